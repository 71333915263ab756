"""The canary of experiment 01: every method and every kind of setting that its records have, very small.

Two epochs of 8 steps on 400 embedded digits, so that the order of an epoch is drawn twice; some runs reach
farther.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from adatune_lite.runs.canary import reaching
from adatune_lite.runs.record import Record
from adatune_lite.tasks.spec import TaskSpec, Value, pairs
from adatune_lite.training.outcome import Outcome
from adatune_lite.training.spec import RunSpec

STEPS = 16
TASK = TaskSpec("mnist5k", train=400, validation=100, test=100, hidden=(8, 8), batch=50)
THREE_HIDDEN = replace(TASK, hidden=(8, 8, 8))
TANH = replace(TASK, activation="tanh")


def _run(
    method: str, settings: Mapping[str, Value], task: TaskSpec = TASK, source: Record | None = None
) -> RunSpec:
    return RunSpec(
        function="lrs_opt" if method == "lrs_opt" else "training",
        task=task,
        method=method,
        steps=STEPS,
        seed=0,
        settings=pairs(settings),
        precision="float64",
        source=source.spec.hash if source else "",
        source_digest=source.digest() if source else "",
    )


def _written_down() -> Record:
    # Multiples of 1/64: exact on every machine, as the digest of a learned schedule would not be.
    rates = [(STEPS - step) / 64 for step in range(STEPS)]
    spec = RunSpec("training", TASK, "constant", STEPS, seed=1, precision="float64")
    return Record.of(spec, Outcome("finished", {"lr": rates}), code="written down", device="cpu")


_SOURCE = _written_down()


def sources() -> list[Record]:
    """The schedule that the replay and the warm start begin with."""
    return [_SOURCE]


def runs() -> dict[str, RunSpec]:
    """The small runs by name."""
    hyper = {"lr": 0.1, "hyper_lr": 0.02}
    marthe = {**hyper, "mu": 0.9}
    outer = {"outer_batch": 30}
    offline = {"lr": 0.1, "outer_steps": 4}
    found = {
        "constant": _run("constant", {"lr": 0.3}),
        "constant, diverging": _run("constant", {"lr": 1e200}),
        "exponential": _run("exponential", {"lr": 0.5, "final": 0.01}),
        "staircase": _run("staircase", {"lr": 0.5, "factor": 0.2}),
        "cosine": _run("cosine", {"lr": 0.5}),
        "one_cycle": _run("one_cycle", {"lr": 0.5}),
        "hd": _run("hd", hyper),
        "hd_validation": _run("hd_validation", hyper),
        "rtho": _run("rtho", hyper),
        "marthe": _run("marthe", marthe),
        "hd_validation, outer batch": _run("hd_validation", {**hyper, **outer}),
        "rtho, outer batch": _run("rtho", {**hyper, **outer}),
        "marthe, outer batch": _run("marthe", {**marthe, **outer}),
        "marthe, three hidden": _run("marthe", marthe, THREE_HIDDEN),
        "marthe, tanh": _run("marthe", marthe, TANH),
        "replay": _run("replay", {}, source=_SOURCE),
        "lrs_opt": _run("lrs_opt", offline),
        "lrs_opt, warm": _run("lrs_opt", {"lr": 0.01, "outer_steps": 4, "lr_max": 10.0}, source=_SOURCE),
        "lrs_opt, three hidden": _run("lrs_opt", offline, THREE_HIDDEN),
        "lrs_opt, tanh": _run("lrs_opt", offline, TANH),
    }
    for name in ("constant", "marthe", "lrs_opt"):
        found[f"{name}, reaching"] = reaching(found[name])
        found[f"{name}, float32"] = replace(found[name], precision="float32")
    return found
