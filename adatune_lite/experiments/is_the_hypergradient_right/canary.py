"""The canary of experiment 02: every kind of run that its records have, very small."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

from adatune_lite.experiments.is_the_hypergradient_right.scale import (
    CLIP,
    FAULTS,
    METHODS,
    MU,
    RULES,
    TRAINED,
)
from adatune_lite.runs.canary import reaching
from adatune_lite.tasks.spec import TaskSpec, Value, pairs
from adatune_lite.training.derivatives import PUBLISHED, RATE_PER_TENSOR
from adatune_lite.training.spec import RunSpec
from adatune_lite.tuners.as_published import ADAPTIVE

TASK = TaskSpec("mnist5k", train=200, validation=50, test=60, hidden=(8,), activation="tanh", batch=25)
NORMAL = replace(TASK, model="mlp_bn")
Settings = dict[str, Any]


def _run(
    function: str, method: str, optimizer: str, steps: int = 16, task: TaskSpec = TASK, **settings: Value
) -> RunSpec:
    base = TRAINED[optimizer]
    fields: dict[str, Any] = {"optimizer": base.optimizer, "optimizer_settings": base.options}
    given = pairs(settings)
    return RunSpec(function, task, method, steps, seed=0, settings=given, precision="float64", **fields)


def runs() -> dict[str, RunSpec]:
    """The small runs by name."""
    hyper: Settings = {"lr": 0.02, "hyper_lr": 1e-3}
    marthe: Settings = {**hyper, "mu": MU}
    slow: Settings = {"lr": 1e-3, "hyper_lr": 1e-5, "mu": MU}
    outer: Settings = {"outer_batch": 25, "clip_grad_value": CLIP}
    adaptive: Settings = {"lr": 0.02, "mu": "adaptive", "hyper_lr": "adaptive", "alpha": 1e-6}
    error = partial(_run, "hypergradient_error", steps=5)
    lean = partial(_run, "lean", "marthe", "momentum", **marthe, **outer)

    def published(optimizer: str, **settings: Any) -> RunSpec:
        return _run("published", PUBLISHED, optimizer, **outer, **settings)

    every = {name: ",".join(faults) for name, faults in FAULTS.items()}
    found = {
        "error, hd": error("hd", "momentum", **hyper),
        "error, rtho": error("rtho", "momentum", **hyper),
        "error, marthe": error("marthe", "adam", **slow),
        "error, reverse": error("reverse", "momentum", lr=0.02),
        "error, running": error("marthe", "sgd", task=NORMAL, outer_batchnorm="running", **marthe),
        "error, frozen": error(PUBLISHED, "momentum", faults="frozen_lr", **marthe),
        "error, inside": error(PUBLISHED, "adam", faults="eps_inside", **slow),
        "error, per tensor": error(RATE_PER_TENSOR, "adam", lr=1e-3, hyper_lr=1e-5),
        "error, absorbed": error(PUBLISHED, "momentum", task=NORMAL, faults="outer_statistics", **marthe),
        "locality": _run("locality", "constant", "momentum", task=NORMAL, lr=0.02),
        "published": published("momentum", faults="", **marthe),
        "published, all": published("momentum", faults=every["momentum"], **marthe),
        "published, adam": published("adam", faults=every["adam"], **slow),
        "published, adaptive": published("momentum", faults="", **adaptive),
        "published, adatune": published("momentum", faults=",".join(ADAPTIVE), **adaptive),
        "lean, every 2nd": lean(product_every=2),
        "lean, half": lean(product_fraction=0.5),
        "training": _run("training", "constant", "adam", lr=1e-3),
    }
    for rule in ("SGD", "Adam", "AdamW", "RMSprop, eps 0.01"):
        base = RULES[rule]
        for method in METHODS:
            settings: Settings = {"lr": base.lr}
            settings |= {"hyper_lr": base.hyper_lr} if method != "reverse" else {}
            settings |= {"mu": MU} if method == "marthe" else {}
            run = error(method, "sgd", **settings)
            run = replace(run, optimizer=base.optimizer, optimizer_settings=base.options)
            found[f"error, {method}, {rule}"] = run
    found["error, BatchNorm, adam"] = error("marthe", "adam", task=NORMAL, **slow)
    found["locality, plain network"] = replace(found["locality"], task=TASK)
    for network, task in (("plain network", TASK), ("BatchNorm", NORMAL)):
        found[f"locality, {network}, adam"] = _run("locality", "constant", "adam", task=task, lr=3e-3)
    found["training, momentum"] = _run("training", "constant", "momentum", lr=0.1)
    # Runs of this function have 20 steps; differences through time at 72 would take a minute.
    short = replace(TASK, train=75)
    found["error, reaching"] = reaching(error("hd", "momentum", steps=12, task=short, **hyper), steps=12)
    for name, run in {
        "locality": _run("locality", "constant", "momentum", lr=0.1),
        "published": found["published, all"],
        "lean": found["lean, half"],
        "training": found["training, momentum"],
    }.items():
        found[f"{name}, reaching"] = reaching(run)
        found[f"{name}, float32"] = replace(run, precision="float32")
    found["lean, reaching"] = reaching(found["lean, half"], hyper_lr=1e-5)
    return found
