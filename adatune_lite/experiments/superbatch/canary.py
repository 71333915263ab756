"""The canary of experiment 04: every kind of run that its records have, very small."""

from __future__ import annotations

from adatune_lite.experiments.autolr_canary import on_networks
from adatune_lite.training.spec import RunSpec


def runs() -> dict[str, RunSpec]:
    """The small runs by name."""
    settings = {"probes": 4, "superbatch": 8, "draws": 5, "epsilon_threshold": 1e-3}
    return on_networks("superbatch_size", settings, resnet18={"superbatch": 6}, adam={})
