"""The canary of experiment 02: every kind of run that its records have, very small."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
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


def _run(
    function: str,
    method: str,
    steps: int,
    optimizer: str,
    settings: Mapping[str, Value],
    task: TaskSpec = TASK,
) -> RunSpec:
    base = TRAINED[optimizer]
    more: dict[str, Any] = {"optimizer": base.optimizer, "optimizer_settings": base.options}
    return RunSpec(
        function, task, method, steps, seed=0, settings=pairs(settings), precision="float64", **more
    )


def runs() -> dict[str, RunSpec]:
    """The small runs by name."""
    hyper: dict[str, Value] = {"lr": 0.02, "hyper_lr": 1e-3}
    marthe: dict[str, Value] = {**hyper, "mu": MU}
    slow: dict[str, Value] = {"lr": 1e-3, "hyper_lr": 1e-5, "mu": MU}
    trained: dict[str, Value] = {"outer_batch": 25, "clip_grad_value": CLIP}
    adaptive: dict[str, Value] = {
        "lr": 0.02,
        "mu": "adaptive",
        "hyper_lr": "adaptive",
        "alpha": 1e-6,
        **trained,
    }
    error = "hypergradient_error"
    found = {
        "error, hd": _run(error, "hd", 5, "momentum", hyper),
        "error, rtho": _run(error, "rtho", 5, "momentum", hyper),
        "error, marthe": _run(error, "marthe", 5, "adam", slow),
        "error, reverse": _run(error, "reverse", 5, "momentum", {"lr": 0.02}),
        "error, running": _run(error, "marthe", 5, "sgd", {**marthe, "outer_batchnorm": "running"}, NORMAL),
        "error, frozen": _run(error, PUBLISHED, 5, "momentum", {**marthe, "faults": "frozen_lr"}),
        "error, inside": _run(error, PUBLISHED, 5, "adam", {**slow, "faults": "eps_inside"}),
        "error, per tensor": _run(error, RATE_PER_TENSOR, 5, "adam", {"lr": 1e-3, "hyper_lr": 1e-5}),
        "error, absorbed": _run(
            error, PUBLISHED, 5, "momentum", {**marthe, "faults": "outer_statistics"}, NORMAL
        ),
        "locality": _run("locality", "constant", 16, "momentum", {"lr": 0.02}, NORMAL),
        "published": _run("published", PUBLISHED, 16, "momentum", {**marthe, **trained, "faults": ""}),
        "published, all": _run(
            "published",
            PUBLISHED,
            16,
            "momentum",
            {**marthe, **trained, "faults": ",".join(FAULTS["momentum"])},
        ),
        "published, adam": _run(
            "published", PUBLISHED, 16, "adam", {**slow, **trained, "faults": ",".join(FAULTS["adam"])}
        ),
        "published, adaptive": _run("published", PUBLISHED, 16, "momentum", {**adaptive, "faults": ""}),
        "published, adatune": _run(
            "published", PUBLISHED, 16, "momentum", {**adaptive, "faults": ",".join(ADAPTIVE)}
        ),
        "lean, every 2nd": _run("lean", "marthe", 16, "momentum", {**marthe, **trained, "product_every": 2}),
        "lean, half": _run("lean", "marthe", 16, "momentum", {**marthe, **trained, "product_fraction": 0.5}),
        "training": _run("training", "constant", 16, "adam", {"lr": 1e-3}),
    }
    for rule in ("SGD", "Adam", "AdamW", "RMSprop, eps 0.01"):
        base = RULES[rule]
        for method in METHODS:
            settings: dict[str, Value] = {"lr": base.lr}
            if method != "reverse":
                settings["hyper_lr"] = base.hyper_lr
            if method == "marthe":
                settings["mu"] = MU
            spec = _run(error, method, 5, "sgd", settings)
            found[f"error, {method}, {rule}"] = replace(
                spec, optimizer=base.optimizer, optimizer_settings=base.options
            )
    found["error, BatchNorm, adam"] = _run(error, "marthe", 5, "adam", slow, NORMAL)
    found["locality, plain network"] = replace(found["locality"], task=TASK)
    for network, task in (("plain network", TASK), ("BatchNorm", NORMAL)):
        found[f"locality, {network}, adam"] = _run("locality", "constant", 16, "adam", {"lr": 3e-3}, task)
    found["training, momentum"] = _run("training", "constant", 16, "momentum", {"lr": 0.1})
    # Runs of this function have 20 steps; differences through time at 72 would take a minute.
    short = replace(TASK, train=75)
    found["error, reaching"] = reaching(_run(error, "hd", 12, "momentum", hyper, short), steps=12)
    single: dict[str, Value] = {"lr": 0.1}
    for name, run in {
        "locality": _run("locality", "constant", 16, "momentum", single),
        "published": found["published, all"],
        "lean": found["lean, half"],
        "training": found["training, momentum"],
    }.items():
        found[f"{name}, reaching"] = reaching(run)
        found[f"{name}, float32"] = replace(run, precision="float32")
    found["lean, reaching"] = reaching(found["lean, half"], hyper_lr=1e-5)
    return found
