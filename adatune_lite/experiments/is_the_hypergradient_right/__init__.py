"""Experiment 02: is the hypergradient right, what do AdaTune's deviations cost, and how far does H see?

Four questions. (a) Relative error of every method and optimizer against finite differences through time, in
float64 along 20 steps. (b) The same for AdaTune's recursion with each deviation alone, and what each costs in
the learned schedule and the final test loss of MNIST training: SGD with momentum 0.9 and Adam with eps 1e-4
(AdaTune's), weight decay 5e-4, mu = 0.99, clipping at 100. (c) Whether the Hessian-vector product predicts
how the gradient changes over one real step. (d) The error of BatchNorm's running statistics in E.

hyper_lr is chosen by mean E on tuning seeds, with the same number of draws for the exact recursion, for all
deviations together and for a constant rate, then frozen; single deviations have that of the exact recursion.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from adatune_lite.as_published import ADAM, ADAPTIVE, TANGENT
from adatune_lite.experiments.derivatives import OUTER_ON_TEST, PUBLISHED
from adatune_lite.experiments.search import Choice, LogUniform, Reader, Space, choose, draws
from adatune_lite.runs.spec import Pairs, RunSpec, TaskSpec, Value, pairs
from adatune_lite.runs.worker import Planned

if TYPE_CHECKING:
    from adatune_lite.experiments.is_the_hypergradient_right.reading import Results

NAME = "02_is_the_hypergradient_right"
TITLE = "Is the hypergradient right?"

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
EXACT_METHODS = ("hd", "hd_validation", "rtho", "marthe", "reverse")

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


_MNIST = TaskSpec("mnist", train=7000, validation=700, test=10_000)
_EMBEDDED = TaskSpec("mnist5k", train=4000, validation=500, test=500)
_SMALL = TaskSpec("mnist", train=1000, validation=100, test=100, hidden=(32,), activation="tanh", batch=50)
_SMALL_EMBEDDED = replace(_SMALL, dataset="mnist5k")

PROFILES: dict[str, Scale] = {
    "smoke": Scale(
        task=replace(_EMBEDDED, hidden=(8, 8)),
        steps=8,
        small=replace(_SMALL_EMBEDDED, hidden=(4,), validation=20, batch=10),
        small_steps=4,
        small_seeds=(0,),
        draws=2,
        tuning_seeds=(100,),
        report_seeds=(0, 1),
        outer_batch=50,
        optimizers=("momentum",),
        rules=("momentum, weight decay", "Adam"),
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

_PRIORITY = {
    "exact": 100,
    "fault_error": 95,
    "batchnorm": 90,
    "locality": 80,
    "tuning": 70,
    "report": 60,
    "projection": 40,
    "adaptive_tuning": 35,
    "adaptive": 30,
}


def _error(
    scale: Scale, method: str, base: Base, seed: int, task: TaskSpec, more: Mapping[str, Value]
) -> RunSpec:
    settings: dict[str, Value] = {"lr": base.lr, **more}
    if method != "reverse":
        settings["hyper_lr"] = base.hyper_lr
    if method in ("marthe", PUBLISHED):
        settings.setdefault("mu", MU)
    return RunSpec(
        "hypergradient_error",
        task,
        method,
        scale.small_steps,
        seed,
        pairs(settings),
        base.optimizer,
        base.options,
        "float64",
    )


def exact_runs(scale: Scale) -> dict[tuple[str, str], list[RunSpec]]:
    """(a) keyed (rule, method)."""
    return {
        (name, method): [_error(scale, method, RULES[name], s, scale.small, {}) for s in scale.small_seeds]
        for name in scale.rules
        for method in EXACT_METHODS
    }


def fault_error_runs(scale: Scale) -> dict[tuple[str, str], list[RunSpec]]:
    """(b) errors keyed (optimizer, faults); "" is the recursion without any."""
    runs = {}
    for optimizer, faults in DERIVED.items():
        base = RULES["momentum, weight decay" if optimizer == "momentum" else "Adam, weight decay"]
        for fault in ("", *faults, ",".join(faults)):
            runs[optimizer, fault] = [
                _error(scale, PUBLISHED, base, s, scale.small, {"faults": fault}) for s in scale.small_seeds
            ]
    return runs


def batchnorm_runs(scale: Scale) -> dict[tuple[str, str], list[RunSpec]]:
    """(d) keyed (rule, kind of statistics in E).

    The bias before a BatchNorm has no gradient but rounding; Adam with a small eps would divide it by itself.
    """
    task = replace(scale.small, model="mlp_bn")
    return {
        (name, kind): [
            _error(scale, "marthe", RULES[name], s, task, {"outer_batchnorm": kind})
            for s in scale.small_seeds
        ]
        for name in ("SGD", "momentum", "Adam, weight decay")
        for kind in ("batch", "running")
    }


def locality_runs(scale: Scale) -> dict[tuple[str, str, float], list[RunSpec]]:
    """(c) keyed (network, optimizer, rate)."""
    return {
        (net, optimizer, lr): [
            RunSpec(
                "locality",
                replace(scale.task, **change),  # type: ignore[arg-type]
                "constant",
                scale.steps,
                seed,
                pairs({"lr": lr}),
                TRAINED[optimizer].optimizer,
                TRAINED[optimizer].options,
            )
            for seed in scale.report_seeds[:2]
        ]
        for net, change in NETS.items()
        for optimizer in scale.optimizers
        for lr in LOCAL_RATES[optimizer]
    }


def train_run(
    scale: Scale, optimizer: str, settings: Mapping[str, Value] | Pairs, seed: int, **more: Any
) -> RunSpec:
    """One training of (b); a constant rate where there is no hyper_lr among the settings."""
    base, given = TRAINED[optimizer], dict(settings)
    constant = "mu" not in given
    if not constant:
        given = {"lr": base.lr, "outer_batch": scale.outer_batch, "clip_grad_value": CLIP, **given}
    return RunSpec(
        function="training" if constant else "published",
        method="constant" if constant else PUBLISHED,
        task=scale.task,
        steps=scale.steps,
        seed=seed,
        settings=pairs(given),
        optimizer=base.optimizer,
        optimizer_settings=base.options,
        **more,
    )


def all_faults(optimizer: str) -> str:
    """Every deviation that training with this optimizer can show, as one setting."""
    return ",".join(FAULTS[optimizer])


def trials(scale: Scale, optimizer: str, kind: str) -> list[list[RunSpec]]:
    """The search of one kind: "exact", "published" (all deviations) or "constant"."""
    if kind == "constant":
        return _searched(scale, optimizer, CONSTANT_SPACES[optimizer], {})
    fixed: dict[str, Value] = {"mu": MU, "faults": all_faults(optimizer) if kind == "published" else ""}
    return _searched(scale, optimizer, SPACES[optimizer], fixed)


def adaptive_trials(scale: Scale, kind: str) -> list[list[RunSpec]]:
    """The search of alpha for the adaptive rules: "marthe_tf" or "adatune"; SGD with momentum."""
    fixed: dict[str, Value] = {"mu": "adaptive", "hyper_lr": "adaptive", "faults": _adaptive_faults(kind)}
    return _searched(scale, "momentum", ALPHA, fixed)


def _adaptive_faults(kind: str) -> str:
    return {"marthe_tf": "", "adatune": ",".join(ADAPTIVE)}.get(kind, kind)


def _searched(scale: Scale, optimizer: str, space: Space, fixed: Mapping[str, Value]) -> list[list[RunSpec]]:
    return [
        [train_run(scale, optimizer, settings, seed, detail="summary") for seed in scale.tuning_seeds]
        for settings in draws(space, fixed, scale.draws)
    ]


def choices(scale: Scale, store: Reader) -> dict[tuple[str, str], Choice]:
    """The frozen settings of every search that is complete, keyed (optimizer, kind)."""
    found: dict[tuple[str, str], Choice | None] = {}
    for optimizer in scale.optimizers:
        for kind in ("exact", "constant", *(("published",) if optimizer != "sgd" else ())):
            space = CONSTANT_SPACES[optimizer] if kind == "constant" else SPACES[optimizer]
            found[optimizer, kind] = choose(trials(scale, optimizer, kind), store, space)
    for kind in ("marthe_tf", "adatune"):
        found["momentum", kind] = choose(adaptive_trials(scale, kind), store, ALPHA)
    return {key: choice for key, choice in found.items() if choice is not None}


def report_runs(
    scale: Scale, found: Mapping[tuple[str, str], Choice]
) -> dict[tuple[str, str], list[RunSpec]]:
    """(b) keyed (optimizer, kind): the frozen settings, and each deviation alone at those of "exact"."""
    runs: dict[tuple[str, str], Pairs] = {}
    for (optimizer, kind), choice in found.items():
        runs[optimizer, kind] = choice.settings
        if kind == "exact":
            for fault in (*FAULTS[optimizer], all_faults(optimizer)):
                runs[optimizer, fault] = pairs({**dict(choice.settings), "faults": fault})
        if kind == "marthe_tf":
            for fault in ADAPTIVE:
                runs[optimizer, fault] = pairs({**dict(choice.settings), "faults": fault})
    return {
        (optimizer, kind): [train_run(scale, optimizer, _own(settings), seed) for seed in scale.report_seeds]
        for (optimizer, kind), settings in runs.items()
    }


def _own(settings: Pairs) -> dict[str, Value]:
    """Frozen settings without those that `train_run` adds."""
    added = ("outer_batch", "clip_grad_value", "lr") if "mu" in dict(settings) else ()
    return {name: value for name, value in settings if name not in added}


def projection_runs(scale: Scale) -> dict[tuple[float, bool], list[RunSpec]]:
    """Adam on the reporting seeds with and without projection of the rate, keyed (hyper_lr, projected)."""
    if "adam" not in scale.optimizers:
        return {}
    return {
        (hyper_lr, projected): [
            train_run(
                scale,
                "adam",
                {"mu": MU, "hyper_lr": hyper_lr, "faults": "" if projected else "no_projection"},
                seed,
                detail="summary",
            )
            for seed in scale.report_seeds
        ]
        for hyper_lr in GRID
        for projected in (True, False)
    }


def _stages(scale: Scale, store: Reader) -> Iterator[tuple[str, Sequence[RunSpec]]]:
    for role, runs in (
        ("exact", exact_runs(scale)),
        ("fault_error", fault_error_runs(scale)),
        ("batchnorm", batchnorm_runs(scale)),
        ("locality", locality_runs(scale)),
    ):
        yield role, [spec for specs in runs.values() for spec in specs]
    for optimizer in scale.optimizers:
        for kind in ("exact", "constant", *(("published",) if optimizer != "sgd" else ())):
            yield "tuning", [spec for trial in trials(scale, optimizer, kind) for spec in trial]
    for kind in ("marthe_tf", "adatune"):
        yield "adaptive_tuning", [spec for trial in adaptive_trials(scale, kind) for spec in trial]
    adaptive = {"marthe_tf", "adatune", *ADAPTIVE}
    for (_, kind), specs in report_runs(scale, choices(scale, store)).items():
        yield ("adaptive" if kind in adaptive else "report"), specs
    for specs in projection_runs(scale).values():
        yield "projection", specs


def plan(profile: str, store: Reader) -> list[Planned]:
    """All runs of a profile that are known so far; later ones depend on records of earlier ones."""
    scale = PROFILES[profile]
    make = partial(Planned, experiment=NAME, profile=profile)
    planned: dict[str, Planned] = {}
    for role, specs in _stages(scale, store):
        for spec in specs:
            planned.setdefault(spec.hash, make(spec=spec, role=role, priority=_PRIORITY[role]))
    return list(planned.values())


def results(profile: str, store: Reader) -> Results:
    """What the records of a profile say."""
    from adatune_lite.experiments.is_the_hypergradient_right.reading import Results

    return Results(profile, store)


def finding(profile: str, store: Reader) -> str:
    """The main findings in a paragraph, every number from records."""
    from adatune_lite.experiments.is_the_hypergradient_right import tables

    return tables.finding(results(profile, store))
