"""The canary of experiment 08: every kind of run that its records have, very small."""

from adatune_lite.experiments.cifar_canary import searched as runs

__all__ = ["runs"]
