"""The parts of `training_against_trl.py`: one worker for each side, which never share a process."""
