"""What the canaries of AutoLR's experiments share: one small run, and the settings of AutoLR in it."""

from __future__ import annotations

from collections.abc import Mapping

from adatune_lite.experiments.autolr_tasks import CANARY, Base
from adatune_lite.tasks.spec import Value, pairs
from adatune_lite.training.spec import RunSpec

AUTOLR: dict[str, Value] = {
    "explore_steps": 4,
    "window": 2,
    "superbatch": 2,
    "saturation": 2.0,
    "epsilon_threshold": 1e-3,
}


def small(function: str, base: Base, settings: Mapping[str, Value], method: str = "constant") -> RunSpec:
    """Two epochs of 8 steps, at the seed rate where the settings have none."""
    return RunSpec(
        function=function,
        task=CANARY,
        method=method,
        steps=16,
        seed=0,
        settings=pairs({"lr": base.lr, **settings}),
        optimizer=base.optimizer,
        optimizer_settings=base.options,
        precision="float64",
        detail="summary",
    )
