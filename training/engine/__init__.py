"""The training engine: torch, no Django. Run it with `python -m training.engine`."""
