"""The canary of experiment 04: every kind of run that its records have, very small."""

from __future__ import annotations

from dataclasses import replace

from adatune_lite.experiments.autolr_tasks import CANARY, CANARY_CONV4, OPTIMIZERS
from adatune_lite.runs.record import Record
from adatune_lite.runs.spec import RunSpec, pairs


def sources() -> list[Record]:
    """No run starts from another."""
    return []


def runs() -> dict[str, RunSpec]:
    """The small runs by name: two epochs of 8 steps with each optimizer, and on the 4-layer network."""
    settings = {"probes": 4, "superbatch": 8, "draws": 5, "epsilon_threshold": 1e-3}
    found = {
        name: RunSpec(
            function="superbatch_size",
            task=CANARY,
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
    found["4-layer network"] = replace(found["momentum"], task=CANARY_CONV4)
    return found
