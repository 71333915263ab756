"""The commands of `python -m adatune_lite`, one module for each kind."""
