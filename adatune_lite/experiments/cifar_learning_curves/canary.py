"""The canary of experiment 07: every kind of run that its records have, very small."""

from __future__ import annotations

from adatune_lite.experiments.cifar_canary import searched, trained
from adatune_lite.training.spec import RunSpec


def runs() -> dict[str, RunSpec]:
    """The small runs by name: those of 08's searches too, which 07 plans."""
    return {**searched(), **trained()}
