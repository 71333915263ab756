"""The settings and scales of experiment 02."""

from __future__ import annotations

from dataclasses import dataclass, replace

from adatune_lite.report.search import LogUniform, Space
from adatune_lite.tasks.spec import TaskSpec, Value
from adatune_lite.training.derivatives import OUTER_ON_TEST, RATE_PER_TENSOR
from adatune_lite.tuners.as_published import ADAM, TANGENT

MU = 0.99
CLIP = 100.0
DECAY = 5e-4


@dataclass(frozen=True)
class Base:
    """An optimizer with its options, its first rate, and a hyper_lr that moves the rate within 20 steps."""

    optimizer: str
    options: tuple[tuple[str, Value], ...]
    lr: float
    hyper_lr: float


RULES = {
    "SGD": Base("sgd", (), 0.1, 1e-2),
    "SGD, weight decay": Base("sgd", (("weight_decay", 0.01),), 0.1, 1e-2),
    "momentum": Base("sgd", (("momentum", 0.9),), 0.02, 1e-3),
    "momentum, weight decay": Base("sgd", (("momentum", 0.9), ("weight_decay", DECAY)), 0.02, 1e-3),
    "Nesterov": Base("sgd", (("momentum", 0.9), ("nesterov", True)), 0.02, 1e-3),
    "Adam": Base("adam", (), 1e-3, 1e-5),
    "Adam, weight decay": Base("adam", (("eps", 1e-4), ("weight_decay", DECAY)), 1e-3, 1e-5),
    "AdamW": Base("adamw", (("weight_decay", 0.1),), 1e-3, 1e-5),
    "RMSprop, eps 0.01": Base("rmsprop", (("eps", 0.01), ("momentum", 0.5)), 1e-3, 1e-5),
}
"""What (a) differentiates. RMSprop with a small eps is rougher near v = 0 than finite differences resolve."""
METHODS = {
    "hd": "HD",
    "hd_validation": "HD (validation)",
    "rtho": "RTHO",
    "marthe": "MARTHE",
    "reverse": "whole schedule (reverse)",
}
"""The methods that it differentiates by, as readers know them."""

SPACES: dict[str, Space] = {
    "sgd": {"hyper_lr": LogUniform(1e-5, 1e-1)},
    "momentum": {"hyper_lr": LogUniform(1e-6, 1e-2)},
    "adam": {"hyper_lr": LogUniform(1e-9, 1e-5)},
}
CONSTANT_SPACES: dict[str, Space] = {
    "sgd": {"lr": LogUniform(1e-2, 3.0)},
    "momentum": {"lr": LogUniform(1e-3, 0.3)},
    "adam": {"lr": LogUniform(1e-4, 1e-1)},
}
ALPHA: Space = {"alpha": LogUniform(1e-9, 1e-4)}
TRAINED = {
    "sgd": Base("sgd", (("weight_decay", DECAY),), 0.01, 0.0),
    "momentum": Base("sgd", (("momentum", 0.9), ("weight_decay", DECAY)), 0.01, 0.0),
    "adam": Base("adam", (("eps", 1e-4), ("weight_decay", DECAY)), 1e-3, 0.0),
}
"""What (b) trains with."""

GRID = (1e-9, 1e-8, 1e-7, 1e-6, 1e-5)
"""hyper_lr of the runs with and without projection (claim adatune.issue3.negative_lr)."""

_STEPS = ("no_projection", "float32_lr", OUTER_ON_TEST)
FAULTS: dict[str, tuple[str, ...]] = {
    "sgd": ("frozen_lr",),
    "momentum": (*TANGENT, *_STEPS),
    "adam": (*TANGENT, *ADAM, *_STEPS),
}
"""The deviations that training with each optimizer can show; the MNIST network has no BatchNorm."""
DERIVED: dict[str, tuple[str, ...]] = {
    "momentum": ("frozen_lr", "no_decay", "first_step_skipped"),
    "adam": ("frozen_lr", "no_decay", "first_step_skipped", *ADAM),
}
"""Those that change the hypergradient itself: (b) gives their error."""
UNTRAINED = {"outer_statistics": "momentum", RATE_PER_TENSOR: "adam"}
"""Two that need BatchNorm or are of HD, which (b) does not train, with the optimizer of their error."""

LEAN: dict[str, dict[str, Value]] = {
    "full": {},
    "every 2nd": {"product_every": 2},
    "every 4th": {"product_every": 4},
    "every 8th": {"product_every": 8},
    "half of the batch": {"product_fraction": 0.5},
    "a quarter": {"product_fraction": 0.25},
    "a tenth": {"product_fraction": 0.1},
    "outer batch of 50": {"outer_batch": 50},
    "outer batch of 25": {"outer_batch": 25},
    "a quarter, every 2nd, outer 25": {"product_fraction": 0.25, "product_every": 2, "outer_batch": 25},
    "no products (mu = 0)": {"mu": 0.0},
}
"""Cheaper hypergradients for (e): how often products are taken, of how much, and the outer batch."""
CALM = 3.0
"""The frozen hyper_lr of SGD with momentum lies near a cliff: (b) and (e) are run at this part of it as well.

Decided after the first reporting runs, when the exact recursion was lost on some seeds; no claim reads it.
"""
LEAN_RATE = 0.05
"""The constant rate along which their hypergradients are compared."""

LOCAL_RATES = {"sgd": (0.01, 0.1, 0.5), "momentum": (0.01, 0.05), "adam": (3e-4, 3e-3)}
NETS = {
    "tanh": {"activation": "tanh"},
    "ReLU": {"activation": "relu"},
    "ReLU, BatchNorm": {"activation": "relu", "model": "mlp_bn"},
}


@dataclass(frozen=True)
class Scale:
    """How large a profile is."""

    task: TaskSpec
    steps: int
    small: TaskSpec
    """The task of finite differences."""
    small_steps: int
    small_seeds: tuple[int, ...]
    draws: int
    tuning_seeds: tuple[int, ...]
    report_seeds: tuple[int, ...]
    outer_batch: int
    optimizers: tuple[str, ...] = ("sgd", "momentum", "adam")
    """What (b) and (c) train with."""
    rules: tuple[str, ...] = tuple(RULES)
    """What (a) differentiates."""
    lean: tuple[str, ...] = tuple(LEAN)
    """What (e) compares."""


_MNIST = TaskSpec("mnist", train=7000, validation=700, test=10_000)
_EMBEDDED = TaskSpec("mnist5k", train=4000, validation=500, test=500)
_SMALL = TaskSpec("mnist", train=1000, validation=100, test=100, hidden=(32,), activation="tanh", batch=50)
_SMALL_EMBEDDED = replace(_SMALL, dataset="mnist5k")

PROFILES: dict[str, Scale] = {
    "smoke": Scale(
        task=replace(_EMBEDDED, hidden=(8, 8)),
        steps=8,
        small=replace(_SMALL_EMBEDDED, hidden=(4,), validation=20, batch=10),
        small_steps=3,
        small_seeds=(0,),
        draws=2,
        tuning_seeds=(100,),
        report_seeds=(0, 1),
        outer_batch=50,
        optimizers=("momentum",),
        rules=("momentum, weight decay", "Adam"),
        lean=("full", "every 2nd", "half of the batch"),
    ),
    "quick": Scale(
        task=replace(_EMBEDDED, hidden=(64, 64)),
        steps=48,
        small=_SMALL_EMBEDDED,
        small_steps=6,
        small_seeds=(0,),
        draws=3,
        tuning_seeds=(100,),
        report_seeds=(0, 1),
        outer_batch=100,
        optimizers=("momentum", "adam"),
    ),
    "desk": Scale(_MNIST, 512, _SMALL, 20, (0, 1, 2), 10, (100, 101), (0, 1, 2, 3, 4), 100),
    "paper": Scale(_MNIST, 512, _SMALL, 20, (0, 1, 2), 30, (100, 101, 102), tuple(range(10)), 100),
}
