"""The canary of experiment 06: every kind of run that its records have, very small."""

from __future__ import annotations

from dataclasses import replace

from adatune_lite.experiments.autolr_tasks import CANARY, CANARY_CONV4, OPTIMIZERS
from adatune_lite.experiments.autolr_vs_schedules import MAIN, SAFEGUARDS, TUNED
from adatune_lite.runs.record import Record
from adatune_lite.runs.spec import RunSpec, Value, pairs

AUTOLR: dict[str, Value] = {
    "explore_steps": 4,
    "window": 2,
    "superbatch": 2,
    "saturation": 2.0,
    "epsilon_threshold": 1e-3,
}


def _run(method: str, settings: dict[str, Value], optimizer: str = MAIN) -> RunSpec:
    base = OPTIMIZERS[optimizer]
    return RunSpec(
        function="generalisation",
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


def sources() -> list[Record]:
    """No run starts from another."""
    return []


def runs() -> dict[str, RunSpec]:
    """The small runs by name: two epochs of 8 steps."""
    found = {m: _run(m, {**settings, **(AUTOLR if m == "autolr" else {})}) for m, settings in TUNED.items()}
    for name, off in SAFEGUARDS.items():
        found[f"autolr without {name}"] = _run("autolr", {**AUTOLR, **off})
    for optimizer in OPTIMIZERS:
        found[f"constant, {optimizer}"] = _run("constant", {}, optimizer)
        found[f"autolr, {optimizer}"] = _run("autolr", AUTOLR, optimizer)
    found["autolr on the 4-layer network"] = replace(found["autolr"], task=CANARY_CONV4)
    return found
