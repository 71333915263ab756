"""Costs of the engine in plain training steps: `python -m benchmarks`."""
