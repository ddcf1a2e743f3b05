"""The parts of `methods_experiment.py`: a world with a known reward, one run of one method, and what is shown."""
