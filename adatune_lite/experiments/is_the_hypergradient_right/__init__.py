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
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from adatune_lite.experiments.is_the_hypergradient_right.scale import (
    ALPHA,
    CALM,
    CLIP,
    CONSTANT_SPACES,
    DERIVED,
    EXACT_METHODS,
    FAULTS,
    GRID,
    LEAN,
    LEAN_RATE,
    LOCAL_RATES,
    MU,
    NETS,
    PROFILES,
    RULES,
    SPACES,
    TRAINED,
    Base,
    Scale,
)
from adatune_lite.report.reading import planned_once
from adatune_lite.report.search import Choice, Reader, Space, choose, draws
from adatune_lite.runs.worker import Planned
from adatune_lite.tasks.spec import Pairs, TaskSpec, Value, pairs
from adatune_lite.training.derivatives import PUBLISHED, RATE_PER_TENSOR
from adatune_lite.training.spec import RunSpec
from adatune_lite.tuners.as_published import ADAPTIVE

if TYPE_CHECKING:
    from adatune_lite.experiments.is_the_hypergradient_right.reading import Results

NAME = "02_is_the_hypergradient_right"
TITLE = "Is the hypergradient right?"

_PRIORITY = {
    "exact": 100,
    "fault_error": 95,
    "batchnorm": 90,
    "locality": 80,
    "tuning": 70,
    "report": 60,
    "projection": 40,
    "lean": 50,
    "calm": 45,
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
    normal = replace(scale.small, model="mlp_bn")
    absorbed: dict[str, Value] = {"faults": "outer_statistics"}
    runs["momentum", "outer_statistics"] = [
        _error(scale, PUBLISHED, RULES["momentum"], s, normal, absorbed) for s in scale.small_seeds
    ]
    runs["adam", RATE_PER_TENSOR] = [
        _error(scale, RATE_PER_TENSOR, RULES["Adam"], s, scale.small, {}) for s in scale.small_seeds
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
            for seed in scale.report_seeds[: len(scale.tuning_seeds)]
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


def lean_runs(scale: Scale, settings: Mapping[str, Value], seeds: Sequence[int]) -> dict[str, list[RunSpec]]:
    """(e) SGD with momentum and each of LEAN, at these settings."""
    base = TRAINED["momentum"]
    common = {"lr": base.lr, "mu": MU, "outer_batch": scale.outer_batch, "clip_grad_value": CLIP, **settings}
    return {
        kind: [
            RunSpec(
                "lean",
                scale.task,
                "marthe",
                scale.steps,
                seed,
                pairs({**common, **change}),
                base.optimizer,
                base.options,
            )
            for seed in seeds
        ]
        for kind, change in ((kind, LEAN[kind]) for kind in scale.lean)
    }


def calm_settings(found: Mapping[tuple[str, str], Choice]) -> dict[str, Value] | None:
    """Settings of the exact recursion with momentum, its hyper_lr divided by CALM; None before the choice."""
    choice = found.get(("momentum", "exact"))
    if choice is None:
        return None
    settings = _own(choice.settings)
    return {**settings, "hyper_lr": float(settings["hyper_lr"]) / CALM}


def calm_runs(scale: Scale, found: Mapping[tuple[str, str], Choice]) -> dict[str, list[RunSpec]]:
    """(b) SGD with momentum at the smaller hyper_lr, keyed by deviation; "exact" has none."""
    settings = calm_settings(found)
    if settings is None:
        return {}
    kinds = {"exact": "", **{fault: fault for fault in (*FAULTS["momentum"], all_faults("momentum"))}}
    return {
        kind: [train_run(scale, "momentum", {**settings, "faults": faults}, s) for s in scale.report_seeds]
        for kind, faults in kinds.items()
    }


def lean_trainings(
    scale: Scale, found: Mapping[tuple[str, str], Choice], calm: bool = False
) -> dict[str, list[RunSpec]]:
    """(e) trainings at the frozen hyper_lr of the exact recursion; calm: at the smaller one."""
    choice, smaller = found.get(("momentum", "exact")), calm_settings(found)
    if choice is None or smaller is None:
        return {}
    hyper_lr = smaller["hyper_lr"] if calm else dict(choice.settings)["hyper_lr"]
    return lean_runs(scale, {"hyper_lr": hyper_lr}, scale.report_seeds)


def lean_series(scale: Scale) -> dict[str, list[RunSpec]]:
    """(e) hypergradients of every step along the same weights: hyper_lr = 0 at a constant rate."""
    return lean_runs(scale, {"lr": LEAN_RATE, "hyper_lr": 0.0}, scale.report_seeds[:2])


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
    found = choices(scale, store)
    for specs in (*lean_series(scale).values(), *lean_trainings(scale, found).values()):
        yield "lean", specs
    for specs in (*calm_runs(scale, found).values(), *lean_trainings(scale, found, calm=True).values()):
        yield "calm", specs
    for specs in projection_runs(scale).values():
        yield "projection", specs


def plan(profile: str, store: Reader) -> list[Planned]:
    """All runs of a profile that are known so far; later ones depend on records of earlier ones."""
    return planned_once(_stages(PROFILES[profile], store), NAME, profile, _PRIORITY)


def results(profile: str, store: Reader) -> Results:
    """What the records of a profile say."""
    from adatune_lite.experiments.is_the_hypergradient_right.reading import Results

    return Results(profile, store)


def finding(profile: str, store: Reader) -> str:
    """The main findings in a paragraph, every number from records."""
    from adatune_lite.experiments.is_the_hypergradient_right import tables

    return tables.finding(results(profile, store))
