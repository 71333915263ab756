"""The canary of experiment 04: every kind of run that its records have, very small."""

from __future__ import annotations

from adatune_lite.experiments.autolr_tasks import OPTIMIZERS
from adatune_lite.runs.record import Record
from adatune_lite.runs.spec import RunSpec, TaskSpec, pairs

TASK = TaskSpec("mnist5k", train=200, validation=50, test=50, hidden=(8,), batch=25)


def sources() -> list[Record]:
    """No run starts from another."""
    return []


def runs() -> dict[str, RunSpec]:
    """The small runs by name: two epochs of 8 steps with each optimizer."""
    settings = {"probes": 4, "superbatch": 8, "draws": 5, "epsilon_threshold": 1e-3}
    return {
        name: RunSpec(
            function="superbatch_size",
            task=TASK,
            method="constant",
            steps=16,
            seed=0,
            settings=pairs({"lr": base.lr, **settings}),
            optimizer=base.optimizer,
            optimizer_settings=base.options,
            precision="float64",
            detail="summary",
        )
        for name, base in OPTIMIZERS.items()
    }
