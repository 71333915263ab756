"""The canary of experiment 03: every kind of run that its records have, very small."""

from __future__ import annotations

from adatune_lite.experiments.autolr_canary import on_networks
from adatune_lite.training.spec import RunSpec


def runs() -> dict[str, RunSpec]:
    """The small runs by name."""
    # At Adam's seed rate the losses of a parabola differ too little for all processors to agree.
    settings = {"probes": 4, "superbatch": 2}
    return on_networks("quadratic_fit", settings, resnet18={}, adam={"lr": 1e-2})
