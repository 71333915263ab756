"""The runs of experiment 02, by what they are for.

A *kind* is the exact recursion, it with one of AdaTune's deviations or with all of them, or another training
beside it; errors, trainings and tables share their names.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import product
from typing import Any

from adatune_lite.experiments.is_the_hypergradient_right.scale import (
    ALPHA,
    CALM,
    CLIP,
    CONSTANT_SPACES,
    DERIVED,
    FAULTS,
    GRID,
    LEAN,
    LEAN_RATE,
    LOCAL_RATES,
    METHODS,
    MU,
    NETS,
    RULES,
    SPACES,
    TRAINED,
    Scale,
)
from adatune_lite.report.groups import Group, Page, Role, Search
from adatune_lite.report.search import Space, draws
from adatune_lite.tasks.spec import TaskSpec, Value, pairs
from adatune_lite.training.derivatives import OUTER_ON_TEST, PUBLISHED, RATE_PER_TENSOR
from adatune_lite.training.spec import RunSpec
from adatune_lite.tuners.as_published import ADAPTIVE

EXACT = "exact"
ALL = "all of them together"
LABELS = {
    EXACT: "exact",
    ALL: ALL,
    "published": "all of them, own hyper-rate",
    "constant": "constant rate, tuned",
    "marthe_tf": "Marthe-TF's rules",
    "adatune": "AdaTune's rules, own alpha",
    OUTER_ON_TEST: "outer gradient on the test set",
    "frozen_lr": "products at the first rate",
    "no_decay": "no weight decay in the tangent",
    "first_step_skipped": "first step left out",
    "clipped_products": "clipped products",
    "lost_identity": "lost identity (Adam's bracket)",
    "stale_moments": "stale moments",
    "eps_inside": "eps inside the root",
    "no_projection": "no projection",
    "float32_lr": "rate in float32",
    "outer_statistics": "outer statistics taken up",
    RATE_PER_TENSOR: "a rate for each tensor (HD)",
    "mu_rule": "AdaTune's q",
    "memory_rule": "AdaTune's memory",
    "hyper_lr_rule": "AdaTune's hyper-rate",
}
"""How kinds are called in figures and tables."""
SEARCHED = {name: (EXACT, "constant", "published")[: 1 + len(FAULTS[name])] for name in TRAINED}
"""What has a search of its own, by optimizer: of a single deviation there are no several together."""
OPTIMIZERS = {"sgd": "SGD", "momentum": "SGD with momentum", "adam": "Adam"}

ERRORS = Role("exact", 100, "(a) errors of every method and optimizer")
FAULT_ERRORS = Role("fault_error", 95, "(b) errors of AdaTune's recursion")
BATCHNORM = Role("batchnorm", 90, "(d) errors with the batch's own and with running statistics in E")
LOCALITY = Role("locality", 80, "(c) products beside real changes of the gradient")
TUNING = Role("tuning", 70, "draws of the hyper-rate or the rate, as many for each kind")
REPORT = Role("report", 60, "(b) trainings with frozen settings")
CHEAPER = Role("lean", 50, "(e) cheaper hypergradients")
CALMER = Role("calm", 45, "(b) and (e) at a part of the frozen hyper-rate")
PROJECTION = Role("projection", 40, "Adam with and without projection of the rate")
ADAPTIVE_TUNING = Role("adaptive_tuning", 35, "draws of alpha")
ADAPTIVE_REPORT = Role("adaptive", 30, "(b) the adaptive rules of mu and hyper_lr")

Settings = Mapping[str, Value]


def groups(scale: Scale, page: Page[Scale]) -> Iterator[Group]:
    """All groups, in the order of the plan."""
    yield from _errors(scale)
    yield from _locality(scale)
    yield from _searches(scale)
    yield from _trainings(scale, page)
    yield from _at_the_hyper_rate(scale, page)
    yield from _projection(scale)


def kinds(faults: Sequence[str]) -> dict[str, str]:
    """The exact recursion, each deviation alone, and all together, with the setting `faults` of each."""
    together = {ALL: ",".join(faults)} if len(faults) > 1 else {}
    return {EXACT: "", **dict(zip(faults, faults, strict=True)), **together}


def _errors(scale: Scale) -> Iterator[Group]:
    normal = replace(scale.small, model="mlp_bn")

    def runs(method: str, rule: str, task: TaskSpec = scale.small, **settings: Value) -> list[RunSpec]:
        base, function = RULES[rule], "hypergradient_error"
        settings["lr"] = base.lr
        settings |= {"hyper_lr": base.hyper_lr} if method != "reverse" else {}
        settings |= {"mu": MU} if method in ("marthe", PUBLISHED) else {}
        given = pairs(settings), base.optimizer, base.options, "float64"
        return [RunSpec(function, task, method, scale.small_steps, s, *given) for s in scale.small_seeds]

    for (rule, _), (method, name) in product(RULES.items(), METHODS.items()):
        yield Group(("exact", rule, method), name, ERRORS, runs(method, rule) if rule in scale.rules else [])
    for optimizer, faults in DERIVED.items():
        rule = {"momentum": "momentum, weight decay", "adam": "Adam, weight decay"}[optimizer]
        for kind, fault in kinds(faults).items():
            yield _fault(optimizer, kind, runs(PUBLISHED, rule, faults=fault))
    taken_up = runs(PUBLISHED, "momentum", normal, faults="outer_statistics")
    yield _fault("momentum", "outer_statistics", taken_up)
    yield _fault("adam", RATE_PER_TENSOR, runs(RATE_PER_TENSOR, "Adam"))
    # The bias before a BatchNorm has no gradient but rounding: Adam with a small eps would divide by it.
    for rule, kind in product(("SGD", "momentum", "Adam, weight decay"), ("batch", "running")):
        specs = runs("marthe", rule, normal, outer_batchnorm=kind)
        yield Group(("batchnorm", rule, kind), rule, BATCHNORM, specs)


def _fault(optimizer: str, kind: str, specs: list[RunSpec]) -> Group:
    return Group(("fault", optimizer, kind), LABELS[kind], FAULT_ERRORS, specs)


def _locality(scale: Scale) -> Iterator[Group]:
    for (net, change), optimizer in product(NETS.items(), TRAINED):
        task = replace(scale.task, **change)  # type: ignore[arg-type]
        for lr in LOCAL_RATES[optimizer]:
            seeds = scale.report_seeds[: len(scale.tuning_seeds)] if optimizer in scale.optimizers else ()
            specs = _runs(scale, "locality", "constant", optimizer, {"lr": lr}, seeds, task=task)
            name = f"{OPTIMIZERS[optimizer]}, rate {lr:g}"
            yield Group(("locality", net, optimizer, lr), name, LOCALITY, specs)


def _runs(
    scale: Scale,
    function: str,
    method: str,
    optimizer: str,
    settings: Settings,
    seeds: Sequence[int],
    **changed: Any,
) -> list[RunSpec]:
    """By seed. changed: fields of their specs."""
    base = TRAINED[optimizer]
    fields: dict[str, Any] = {
        "task": scale.task,
        "settings": pairs(settings),
        "optimizer": base.optimizer,
        **changed,
    }
    fields["optimizer_settings"] = base.options
    return [RunSpec(function=function, method=method, steps=scale.steps, seed=s, **fields) for s in seeds]


def _trained(
    scale: Scale, optimizer: str, settings: Settings, seeds: Sequence[int], **changed: Any
) -> list[RunSpec]:
    """Trainings of (b); at a constant rate where there is no mu among the settings."""
    if "mu" not in settings:
        return _runs(scale, "training", "constant", optimizer, settings, seeds, **changed)
    settings = {**_common(scale, optimizer), **settings}
    return _runs(scale, "published", PUBLISHED, optimizer, settings, seeds, **changed)


def _common(scale: Scale, optimizer: str) -> dict[str, Value]:
    return {"lr": TRAINED[optimizer].lr, "outer_batch": scale.outer_batch, "clip_grad_value": CLIP}


def _searches(scale: Scale) -> Iterator[Group]:
    def search(role: Role, optimizer: str, kind: str, space: Space, fixed: Settings) -> Search:
        drawn = draws(space, fixed, scale.draws) if optimizer in scale.optimizers else []
        seeds = scale.tuning_seeds
        trials = [_trained(scale, optimizer, dict(found), seeds, detail="summary") for found in drawn]
        return Search(("tuning", optimizer, kind), LABELS[kind], role, trials=trials, space=space)

    for optimizer, searched in SEARCHED.items():
        for kind in searched:
            space = CONSTANT_SPACES[optimizer] if kind == "constant" else SPACES[optimizer]
            faults = ",".join(FAULTS[optimizer]) if kind == "published" else ""
            fixed: Settings = {} if kind == "constant" else {"mu": MU, "faults": faults}
            yield search(TUNING, optimizer, kind, space, fixed)
    for kind, faults in (("marthe_tf", ""), ("adatune", ",".join(ADAPTIVE))):
        fixed = {"mu": "adaptive", "hyper_lr": "adaptive", "faults": faults}
        yield search(ADAPTIVE_TUNING, "momentum", kind, ALPHA, fixed)


def _trainings(scale: Scale, page: Page[Scale]) -> Iterator[Group]:
    def chosen(optimizer: str, search: str, **changed: Value) -> list[RunSpec]:
        """At the settings that a search chose, on the reporting seeds."""
        choice = page.choice("tuning", optimizer, search)
        settings = {**dict(choice.settings), **changed} if choice else {}
        return _trained(scale, optimizer, settings, scale.report_seeds) if choice else []

    for optimizer in TRAINED:
        for kind, faults in kinds(FAULTS[optimizer]).items():
            specs = chosen(optimizer, EXACT, faults=faults)
            yield Group(("trained", optimizer, kind), LABELS[kind], REPORT, specs)
        for kind in SEARCHED[optimizer][1:]:
            yield Group(("trained", optimizer, kind), LABELS[kind], REPORT, chosen(optimizer, kind))
    role, of_authors = ADAPTIVE_REPORT, chosen("momentum", "marthe_tf")
    yield Group(("adaptive", "marthe_tf"), LABELS["marthe_tf"], role, of_authors)
    for fault in ADAPTIVE:
        specs = chosen("momentum", "marthe_tf", faults=fault)
        yield Group(("adaptive", fault), f"{LABELS[fault]} alone", role, specs)
    yield Group(("adaptive", "adatune"), LABELS["adatune"], role, chosen("momentum", "adatune"))


def _at_the_hyper_rate(scale: Scale, page: Page[Scale]) -> Iterator[Group]:
    """(e) and what is run at a part of the frozen hyper_lr, all with SGD and momentum."""
    choice, seeds = page.choice("tuning", "momentum", EXACT), scale.report_seeds
    frozen = float(dict(choice.settings)["hyper_lr"]) if choice else 0.0
    common = {**_common(scale, "momentum"), "mu": MU}

    def lean(what: str, role: Role, seeds: Sequence[int], **settings: Value) -> Iterator[Group]:
        for kind, change in LEAN.items():
            there = seeds if kind in scale.lean else ()
            given = {**common, **settings, **change}
            specs = _runs(scale, "lean", "marthe", "momentum", given, there)
            yield Group(("lean", what, kind), kind, role, specs)

    there = seeds if choice else ()
    # Hypergradients of every step along the same weights, then what they are worth.
    yield from lean("series", CHEAPER, seeds[:2], lr=LEAN_RATE, hyper_lr=0.0)
    yield from lean("frozen", CHEAPER, there, hyper_lr=frozen)
    for kind, faults in kinds(FAULTS["momentum"]).items():
        settings: Settings = {"mu": MU, "hyper_lr": frozen / CALM, "faults": faults}
        specs = _trained(scale, "momentum", settings, there)
        yield Group(("calm", kind), LABELS[kind], CALMER, specs)
    yield from lean("calm", CALMER, there, hyper_lr=frozen / CALM)


def _projection(scale: Scale) -> Iterator[Group]:
    for hyper_lr, (projected, faults) in product(GRID, (("yes", ""), ("no", "no_projection"))):
        settings: Settings = {"mu": MU, "hyper_lr": hyper_lr, "faults": faults}
        seeds = scale.report_seeds if "adam" in scale.optimizers else ()
        specs = _trained(scale, "adam", settings, seeds, detail="summary")
        yield Group(("projection", projected, hyper_lr), f"hyper-rate {hyper_lr:g}", PROJECTION, specs)
