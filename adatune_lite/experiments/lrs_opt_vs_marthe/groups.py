"""The runs of experiment 01, by what they are for.

An *arm* is one way to train: the start, a method with its frozen settings, LRS-OPT. A part of the page is
some arms on some seeds, so that a further arm, or further seeds, are one line of a generator below.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from adatune_lite.experiments.lrs_opt_vs_marthe.scale import Scale
from adatune_lite.report.groups import Group, Key, Page, Role, Search
from adatune_lite.report.search import LogUniform, Space, draws
from adatune_lite.runs.record import Record
from adatune_lite.tasks.spec import Pairs, Value, pairs
from adatune_lite.training.spec import RunSpec

Settings = Mapping[str, Value] | Pairs
Seeds = Sequence[int]

START = 0.01
"""First rate of LRS-OPT and of every online method (the paper's)."""

_LR: Space = {"lr": LogUniform(1e-2, 3.0)}
_HYPER_LR: Space = {"hyper_lr": LogUniform(1e-6, 1e-2)}
SPACES: dict[str, Space] = {
    "constant": _LR,
    "exponential": {**_LR, "final": LogUniform(1e-3, 1.0)},
    "staircase": {**_LR, "factor": LogUniform(1e-2, 1.0)},
    "cosine": _LR,
    "one_cycle": _LR,
    "hd": _HYPER_LR,
    "hd_validation": _HYPER_LR,
    "rtho": _HYPER_LR,
    "marthe": {**_HYPER_LR, "mu": LogUniform(1e-4, 1.0, one_minus=True)},
}
"""What is searched for each method: the same number of draws everywhere."""

ONLINE = ("hd", "hd_validation", "rtho", "marthe")
CLASSICAL = ("constant", "exponential", "staircase", "cosine", "one_cycle")
INNER_MUS = (0.5, 0.9, 0.99, 0.999)
"""Fixed discounts between HD (mu = 0) and RTHO (mu = 1) of the claim marthe.mnist.mu_interior."""
ENDS = {0.0: "hd_validation", 1.0: "rtho"}
"""What MARTHE is called at the ends of the grid of mu."""
MUS = (0.0, *INNER_MUS, 1.0)
VARIANTS = {"three_hidden": "three hidden layers", "tanh": "tanh", "outer_batch_100": "outer batch of 100"}
"""Sensitivity, with titles: the last is an outer batch as small as the training batch; not tuned again."""

LABELS = {
    "start": "constant 0.01 (the start)",
    "constant": "constant",
    "exponential": "exponential",
    "staircase": "staircase",
    "cosine": "cosine",
    "one_cycle": "one-cycle",
    "hd": "HD (training gradient)",
    "hd_validation": "HD (validation gradient)",
    "rtho": "RTHO",
    "marthe": "MARTHE",
    "lrs_opt": "LRS-OPT (offline)",
}
"""The arms, and how they are called in figures and tables."""

# What figures (a), (b) and (c) need comes first.
TUNING = Role("tuning", 100, "draws of the settings, as many for every method")
REPORT = Role("report", 90, "every method with its frozen settings")
LRS_OPT = Role("lrs_opt", 80, "LRS-OPT from the constant start")
MU_TUNING = Role("mu_tuning", 70, "draws of the hyper-rate at each fixed mu")
MU_REPORT = Role("mu_report", 68, "MARTHE at each fixed mu")
MAP = Role("map", 60, "mu x hyper_lr on one seed: a figure only, nothing is chosen from it")
TRANSFER = Role("transfer", 50, "learned schedules replayed on the other seeds")
LONG = Role("lrs_opt_long", 40, "a longer LRS-OPT on the first reporting seed")
WARM = Role("lrs_opt_warm", 30, "LRS-OPT from the best online schedule of a seed")
SENSITIVITY = Role("sensitivity", 20, "variants of the setting with the frozen settings of the main one")
FURTHER = Role("further_seeds", 10, "what the registered claims read, on further seeds")


def groups(scale: Scale, page: Page[Scale]) -> Iterator[Group]:
    """All groups, in the order of the plan."""
    yield from _methods(scale, page)
    yield from _fixed_mus(scale, page)
    yield from _schedules(scale, page)
    yield from _variants(scale, page)
    for arm in ("start", *ONLINE, "lrs_opt"):
        yield Group(("further", arm), LABELS[arm], FURTHER, _arm(page, arm, scale.further_seeds))


def _runs(scale: Scale, method: str, settings: Settings, seeds: Seeds, **changed: Any) -> list[RunSpec]:
    """By seed. changed: fields of their specs."""
    function = "lrs_opt" if method == "lrs_opt" else "training"
    fields = {"task": scale.task, "settings": pairs(settings), **changed}
    return [RunSpec(function=function, method=method, steps=scale.steps, seed=s, **fields) for s in seeds]


def _trials(scale: Scale, method: str, drawn: Iterable[Settings]) -> list[list[RunSpec]]:
    """A search: each draw on every tuning seed."""
    return [_runs(scale, method, found, scale.tuning_seeds, detail="summary") for found in drawn]


def _arm(
    page: Page[Scale], arm: str | Key, seeds: Seeds, settings: Settings = (), **changed: Any
) -> list[RunSpec]:
    """One arm by seed; without runs before its settings are chosen.

    arm: its name, or the key of the searches that choose its method and settings. settings, changed: what
    differs from it elsewhere.
    """
    scale, method, own = page.scale, str(arm), dict[str, Value](lr=START)
    if arm == "start":
        method = "constant"
    elif arm == "lrs_opt":
        own["outer_steps"] = scale.outer_steps
        own |= {"checkpoints": scale.checkpoints} if scale.checkpoints else {}
    elif choice := page.choice(*(arm if isinstance(arm, tuple) else ("tuning", arm))):
        method, own = choice.method, dict(choice.settings)
    else:
        return []
    return _runs(scale, method, {**own, **dict(settings)}, seeds, **changed)


def _schedule_of(record: Record) -> dict[str, str]:
    """The fields of a run that begins with the schedule of another one."""
    return {"source": record.spec.hash, "source_digest": record.digest()}


def _methods(scale: Scale, page: Page[Scale]) -> Iterator[Group]:
    for method, space in SPACES.items():
        drawn = draws(space, {"lr": START} if method in ONLINE else {}, scale.draws)
        trials = _trials(scale, method, drawn)
        yield Search(("tuning", method), LABELS[method], TUNING, trials=trials, space=space)
    for arm, name in LABELS.items():
        role = LRS_OPT if arm == "lrs_opt" else REPORT
        yield Group(("report", arm), name, role, _arm(page, arm, scale.report_seeds))


def _fixed_mus(scale: Scale, page: Page[Scale]) -> Iterator[Group]:
    for mu in MUS:
        drawn = draws(_HYPER_LR, {"lr": START} if mu in ENDS else {"lr": START, "mu": mu}, scale.mu_draws)
        trials = _trials(scale, ENDS.get(mu, "marthe"), drawn)
        yield Search(("mu tuning", mu), f"μ = {mu:g}", MU_TUNING, trials=trials, space=_HYPER_LR)
    for mu in MUS:
        specs = _arm(page, ("mu tuning", mu), scale.report_seeds)
        yield Group(("mu", mu), f"μ = {mu:g}", MU_REPORT, specs)
    for mu in MUS:
        every = [{"lr": START, "mu": mu, "hyper_lr": hyper_lr} for hyper_lr in scale.map_hyper_lrs]
        first = scale.tuning_seeds[:1]
        specs = [run for found in every for run in _runs(scale, "marthe", found, first, detail="summary")]
        yield Group(("map", mu), f"μ = {mu:g}", MAP, specs)


def _schedules(scale: Scale, page: Page[Scale]) -> Iterator[Group]:
    """Learned schedules: on other seeds, learned longer, and learned on from another one."""
    for arm in ("lrs_opt", *ONLINE):
        learned = [(_schedule_of(r), r.spec.seed) for r in page["report", arm] if r.finished]
        specs = [
            spec
            for source, own in learned
            for seeds in [[seed for seed in scale.report_seeds if seed != own]]
            for spec in _runs(scale, "replay", {}, seeds, detail="summary", **source)
        ]
        yield Group(("transfer", arm), LABELS[arm], TRANSFER, specs)
    first = scale.report_seeds[: bool(scale.long_outer_steps)]
    specs = _arm(page, "lrs_opt", first, {"outer_steps": scale.long_outer_steps})
    yield Group(("long",), "the same, longer", LONG, specs)
    best = best_online(page)
    whole = [r for r in page["report", best] if r.finished][: scale.pair_seeds] if best else []
    begun = [_arm(page, "lrs_opt", [r.spec.seed], {"lr_max": 10.0}, **_schedule_of(r)) for r in whole]
    yield Group(("warm",), "from the best online schedule", WARM, [spec for (spec,) in begun])


def best_online(page: Page[Scale]) -> str | None:
    """The online method with the smallest mean E on the tuning seeds; None before all are tuned."""
    found = [(choice.mean_loss, m) for m in ONLINE if (choice := page.choice("tuning", m))]
    return min(found)[1] if len(found) == len(ONLINE) else None


def _variants(scale: Scale, page: Page[Scale]) -> Iterator[Group]:
    seeds, task = scale.report_seeds[: scale.pair_seeds], scale.task
    small: dict[str, Value] = {"outer_batch": min(100, task.validation)}
    deep = replace(task, hidden=(*task.hidden, task.hidden[-1]))
    tasks = {"three_hidden": deep, "tanh": replace(task, activation="tanh")}
    for variant in VARIANTS:
        for arm in ("constant", "cosine", *ONLINE, "lrs_opt"):
            if variant not in tasks and arm not in ("hd_validation", "rtho", "marthe"):
                continue
            settings: Settings = () if variant in tasks else small
            if arm == "lrs_opt":
                settings = {"outer_steps": scale.variant_outer_steps}
            specs = _arm(page, arm, seeds, settings, task=tasks.get(variant, task))
            yield Group(("sensitivity", variant, arm), LABELS[arm], SENSITIVITY, specs)
