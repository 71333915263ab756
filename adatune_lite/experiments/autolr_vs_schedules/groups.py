"""The runs of experiment 06, by what they are for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import product
from statistics import geometric_mean

from adatune_lite.experiments.autolr_plots import LABELS
from adatune_lite.experiments.autolr_tasks import OPTIMIZERS, runs
from adatune_lite.experiments.autolr_vs_schedules.scale import MAIN, TABLES, Scale
from adatune_lite.experiments.superbatch import overhead
from adatune_lite.report.data import DATASETS
from adatune_lite.report.groups import Group, Key, Page, Role, Search
from adatune_lite.report.search import LogUniform, Space, draws
from adatune_lite.tasks.spec import Pairs, TaskSpec, Value
from adatune_lite.training.spec import RunSpec
from adatune_lite.tuners.autolr.settings import TABLE_8

_CYCLE: dict[str, Value] = {"momentum_low": 0.85, "momentum_high": 0.95}
TUNED: dict[str, dict[str, Value]] = {
    "constant": {},
    "staircase": {"explore": 0.5},
    "cosine": {},
    "linear": {},
    "trapezoid": {},
    "one_cycle_linear": _CYCLE,
    "knee": {},
    "plateau": {},
    "autolr": {},
}
"""What (b) compares, with the settings that are not searched."""
DEFAULT = "one-cycle default"
PRINTED: dict[str, tuple[str, dict[str, Value]]] = {
    "trapezoid": ("trapezoid", {"lr": 0.06}),
    DEFAULT: ("one_cycle_linear", {**_CYCLE, "lr": 9e-3}),
    "one_cycle_linear": ("one_cycle_linear", {**_CYCLE, "lr": 0.06}),
    "cosine": ("cosine", {"lr": 0.1}),
    "linear": ("linear", {"lr": 0.1}),
}
"""Table 9's schedules with appendix E's rates. The staircase and AutoLR, which make seven, are in (a)."""
SPACE: Space = {"lr": LogUniform(1e-2, 0.4)}
"""What (b) searches, for every method alike."""
FACTORS = (0.5, 0.75, 1.0, 1.25, 1.5)
"""Seed rates of Table 12, in units of the reference."""
SAFEGUARDS: dict[str, dict[str, Value]] = {
    "explore": {"explore_steps": 0},
    "saturation": {"saturation": False},
    "trust bound": {"epsilon_threshold": False},
    "rollback": {"rollback": False},
}
"""AutoLR with one of them switched off."""
OPEN: dict[str, dict[str, Value]] = {
    "reach of a fifth": {"reach": 0.2},
    "reach of nine tenths": {"reach": 0.9},
    "samples over a twentieth": {"spread": 0.05},
    "samples over a half": {"spread": 0.5},
    "new rate from the next step": {"otherwise": "next step"},
    "drop rate between fresh superbatches": {"otherwise": "fresh superbatch"},
    "count begins anew at each change": {"otherwise": "count begins anew"},
    "a rising window fixes the threshold": {"otherwise": "rise is a crossing"},
}
"""(f): AutoLR on the main task with one decision taken otherwise."""
EVALUATION = "superbatch in evaluation mode"
"""(f), where there is BatchNorm: without it and dropout, as in the 4-layer network, it changes nothing."""
TWICE = "window twice as long"
"""(f): the paper says 1000 steps and, elsewhere, twice an epoch."""
RANGE: dict[str, Value] = {"lr_min": 1e-4, "lr_max": 10.0}
"""Rates of the range test."""
FRACTIONS = (0.1, 0.2, 0.4, 0.67, 1.0)
"""Highest rates of (e), in units of the rate at the range test's lowest loss; the first is the default."""

PAPER = Role("paper", 100, "(a) AutoLR and its baseline at the paper's rates")
FEW = Role("few", 97, "(a) the same on a task with fewer epochs")
RANGE_TEST = Role("range", 95, "(e) range tests")
TUNING = Role("tuning", 90, "(b) draws of the rate, the same for every method")
PRINTED_RATES = Role("printed", 85, "Table 9 at its printed rates")
REPORT = Role("report", 80, "(b) every method at its tuned rate")
SAFEGUARD = Role("safeguards", 70, "(c) AutoLR with one part switched off")
ONE_CYCLE = Role("one_cycle", 65, "(e) one-cycle by its highest rate")
EQUAL_COST = Role("equal_cost", 60, "(d) the baseline with the steps that AutoLR's looks cost")
SEED_RATES = Role("seed_rates", 50, "(c) AutoLR from other seed rates")
OPEN_DECISIONS = Role("open", 40, "(f) what the paper leaves open, decided otherwise")


def autolr_settings(scale: Scale, task: TaskSpec) -> dict[str, Value]:
    """Table 8's thresholds and share of explore, with the window and superbatch of the profile."""
    row = TABLE_8[task.dataset if task.dataset in TABLE_8 else "mnist"]
    return {
        "explore_steps": round(row.explore * scale.steps_of(task)),
        "window": scale.window,
        "superbatch": scale.superbatch,
        "saturation": row.saturation,
        "epsilon_threshold": row.epsilon_threshold,
    }


def baseline(task: TaskSpec, optimizer: str) -> tuple[str, dict[str, Value]]:
    """The paper's baseline: a staircase on CIFAR-10 but for Adam, else the constant seed rate."""
    lr = OPTIMIZERS[optimizer].lr
    if task.dataset == "cifar10" and optimizer != "adam":
        return "staircase", {"lr": lr, "explore": 0.5}
    return "constant", {"lr": lr}


def minimum(page: Page[Scale]) -> float | None:
    """(e): the rate at the range test's lowest loss on the main task, a mean; None without all runs."""
    lowest = [r.metrics["minimum"] for r in page["range", TABLES[page.scale.main.dataset]]]
    complete = len(lowest) == len(page.scale.range_seeds)
    return float(f"{geometric_mean(lowest):.6g}") if complete else None


def groups(scale: Scale, page: Page[Scale]) -> Iterator[Group]:
    """All groups, in the order of the plan."""
    yield from _paper(scale)
    yield from _schedules(scale, page)
    yield from _parts_of_autolr(scale, page)
    yield from _highest_rate(scale, page)
    yield from _table_7(scale, page)


def _trained(
    scale: Scale,
    method: str,
    settings: Mapping[str, Value] | Pairs,
    seeds: Sequence[int] = (),
    task: TaskSpec | None = None,
    optimizer: str = MAIN,
    steps: int = 0,
) -> list[RunSpec]:
    """Trainings by seed, on the reporting seeds and the main task where no others are named."""
    task = task or scale.main
    steps = steps or scale.steps_of(task)
    return runs("generalisation", task, method, settings, steps, seeds or scale.report_seeds, optimizer)


def _autolr(
    scale: Scale, changed: Mapping[str, Value], task: TaskSpec | None = None, optimizer: str = MAIN
) -> list[RunSpec]:
    """AutoLR at its seed rate, with some settings changed."""
    settings = {"lr": OPTIMIZERS[optimizer].lr, **autolr_settings(scale, task or scale.main), **changed}
    return _trained(scale, "autolr", settings, task=task, optimizer=optimizer)


def _paper(scale: Scale) -> Iterator[Group]:
    there = scale.tables
    for table, optimizer in product((*there, *sorted({*TABLES.values()} - {*there})), OPTIMIZERS):
        name, theirs, ours = "baseline", list[RunSpec](), list[RunSpec]()
        if task := there.get(table):
            method, settings = baseline(task, optimizer)
            name, theirs = LABELS[method], _trained(scale, method, settings, (), task, optimizer)
            ours = _autolr(scale, {}, task, optimizer)
        role = FEW if task in scale.few else PAPER
        yield Group((table, optimizer, "baseline"), name, role, theirs)
        yield Group((table, optimizer, "autolr"), LABELS["autolr"], role, ours)


def _schedules(scale: Scale, page: Page[Scale]) -> Iterator[Group]:
    scaled: dict[str, dict[str, Value]] = {
        "autolr": autolr_settings(scale, scale.main),
        "plateau": {"patience": max(1, round(scale.epochs[scale.main] / 20))},
    }
    for method, settings in TUNED.items():
        drawn = draws(SPACE, {**settings, **scaled.get(method, {})}, scale.draws)
        trials = [_trained(scale, method, found, scale.tuning_seeds) for found in drawn]
        yield Search(("tuning", method), LABELS[method], TUNING, trials=trials, space=SPACE)
    for name, (method, settings) in PRINTED.items():
        label = "one-cycle, default" if name == DEFAULT else LABELS[method]
        specs = _trained(scale, method, settings) if scale.printed else []
        yield Group(("printed", name), label, PRINTED_RATES, specs)
    for method in TUNED:
        choice = page.choice("tuning", method)
        specs = _trained(scale, method, choice.settings) if choice else []
        yield Group(("tuned", method), LABELS[method], REPORT, specs)


def _parts_of_autolr(scale: Scale, page: Page[Scale]) -> Iterator[Group]:
    for name, off in SAFEGUARDS.items():
        yield Group(("safeguards", name), f"without {name}", SAFEGUARD, _autolr(scale, off))
    # The price of explore: a window of exploit has up to six looks, or one where it only measures a drop.
    longer = round(scale.steps_of(scale.main) * (1 + overhead(5, scale.superbatch, scale.window) / 100))
    specs = _trained(scale, *baseline(scale.main, MAIN), steps=longer)
    yield Group(("equal cost",), "longer baseline", EQUAL_COST, specs)
    for factor in FACTORS:
        lr = float(f"{factor * OPTIMIZERS[MAIN].lr:.6g}")
        there = page.groups[scale.whole()].specs
        yield Group(
            ("seed rates", factor),
            f"{lr:.4g}",
            SEED_RATES,
            there if factor == 1 else _autolr(scale, {"lr": lr}),
        )
    twice: dict[str, Value] = {"window": 2 * scale.window}
    for name, changed in {**OPEN, TWICE: twice}.items():
        yield Group(("open", name), name, OPEN_DECISIONS, _autolr(scale, changed))
    task = scale.with_batchnorm
    specs = _autolr(scale, {"otherwise": "evaluation mode"}, task) if task else []
    yield Group(("open", EVALUATION), EVALUATION, OPEN_DECISIONS, specs)


def _highest_rate(scale: Scale, page: Page[Scale]) -> Iterator[Group]:
    tested = partial(runs, "lr_range", method="lr_range", settings=RANGE, detail="full")
    tasks = {TABLES[task.dataset]: task for task in (scale.main, *scale.few)}
    for table in (*tasks, *sorted({*TABLES.values()} - {*tasks})):
        task = tasks.get(table)
        specs = tested(task=task, steps=scale.range_steps, seeds=scale.range_seeds) if task else []
        yield Group(("range", table), DATASETS[task.dataset] if task else "not run", RANGE_TEST, specs)
    lowest = minimum(page)

    def up_to(fraction: float, seeds: Sequence[int]) -> list[RunSpec]:
        settings = {**_CYCLE, "lr": float(f"{fraction * (lowest or 0.0):.6g}")}
        return _trained(scale, "one_cycle_linear", settings, seeds) if lowest else []

    first, *larger = FRACTIONS
    yield Group(("fractions", "default"), "the default", ONE_CYCLE, up_to(first, scale.tuning_seeds))
    trials = [up_to(fraction, scale.tuning_seeds) for fraction in larger] if lowest else []
    yield Search(("fractions", "near"), "larger fractions", ONE_CYCLE, trials=trials, space=SPACE)
    default = "a tenth of the minimum (default)"
    yield Group(("one-cycle", DEFAULT), default, ONE_CYCLE, up_to(first, scale.report_seeds))
    near = page.choice("fractions", "near")
    specs = _trained(scale, "one_cycle_linear", near.settings) if near else []
    yield Group(("one-cycle", "near"), "best of the larger fractions", ONE_CYCLE, specs)


def _table_7(scale: Scale, page: Page[Scale]) -> Iterator[Group]:
    """The seven schedules at their printed rates where there are such runs, else at their tuned ones."""
    for name in (*PRINTED, "autolr", "staircase"):
        key: Key = ("printed" if scale.printed else "tuned", name)
        if scale.printed and name not in PRINTED:
            key = *scale.whole()[:2], "autolr" if name == "autolr" else "baseline"
        elif name == DEFAULT and not scale.printed:
            key = "one-cycle", DEFAULT
        yield replace(page.groups[key], key=("table 7", name))
