"""The tables and sentences of experiment 08, every number from records."""

from __future__ import annotations

import math
from collections.abc import Callable
from statistics import fmean
from typing import Any

from adatune_lite.claims import ALPHA
from adatune_lite.claims.catalog import claim_of
from adatune_lite.experiments.autolr_records import standing
from adatune_lite.experiments.autolr_tasks import describe
from adatune_lite.experiments.cifar import OPTIMIZERS
from adatune_lite.experiments.cifar_search import LABELS, PUBLISHED, TASKS, Budget, lost, space, validated
from adatune_lite.experiments.random_search.reading import METHODS, Results, executed
from adatune_lite.report.association import share, spearman
from adatune_lite.report.tables import NONE, Column, Comparison, Row, Table, named, several, signed
from adatune_lite.runs.record import Record

SHORT = {"cifar10": "c10", "cifar100": "c100"}
"""Tasks in the ids of claims."""


def setting(results: Results) -> str:
    """What this page shows, and where it is reduced."""
    parts = [_task(budget) for budget in results.scale.values()]
    text = f"**This page** ({results.profile}). {' '.join(parts)}"
    if results.profile == "desk":
        text += (
            " **Reduced**: the paper trains on all images at full width, stops after 10 epochs without gain, "
            "and searches for 36 hours of a V100. Absolute accuracies are not to be held against it."
        )
    if results.profile == "paper":
        text += " The paper does not say how many searches and draws it made: both are ours."
    return text + standing(results)


def _task(budget: Budget) -> str:
    setup = budget.setup
    return (
        f"{describe(setup.task)}; {OPTIMIZERS[setup.optimizer]} from the rate {setup.lr:g}. "
        f"{searches_of(budget.searches)} of {several(budget.draws, 'draw')}, at most "
        f"{several(budget.epochs, 'epoch')} of {setup.epoch} steps, patience "
        f"{several(budget.patience, 'epoch')}; {searches_of(budget.tuned_searches)} of the rate of each of "
        f"the three schedules beside them. Test accuracy along the training is of {setup.test_images:,} "
        "fixed images."
    )


def searches_of(count: int) -> str:
    """A number of them."""
    return "one search" if count == 1 else f"{count} independent searches"


def _rows(results: Results, task: str, against: str | None = None) -> list[Row]:
    return [
        Row(m, LABELS[m], results["search", task, m], None if m == against else against)
        for m in METHODS
        if results.finals(task, m)
    ]


def _finals(results: Results, task: str) -> Callable[[Row], list[float]]:
    return lambda row: list(results.finals(task, row.key).values())


def incumbents(results: Results, task: str) -> Table:
    """What each search ended with, beside the printed values and MARTHE."""
    of = _finals(results, task)

    def printed(row: Row) -> str | None:
        if row.key not in PUBLISHED:
            return None
        claim = claim_of(f"marthe.fig3.{SHORT[task]}.{row.key}")
        spread = claim.spread if isinstance(claim.spread, list) else []
        return f"{claim.value:g} ({' to '.join(f'{end:g}' for end in spread)})"

    def spent(row: Row) -> float:
        return fmean(c.spent for c in results.every_course[task, row.key].values())

    there = {row.key for row in _rows(results, task)}
    against = "marthe" if "marthe" in there else None
    columns = [
        named("method"),
        Column("test accuracy of the incumbent (%), mean", lambda row: fmean(of(row)), "{:.2f}"),
        Column("least to most", lambda row: f"{min(of(row)):.2f} to {max(of(row)):.2f}"),
        Column("searches", lambda row: len(of(row))),
        Column("a search (plain steps)", spent, "{:,.0f}"),
        Comparison("minus MARTHE", results.final),
        Column("printed: mean (least to most)", printed),
    ]
    return Table(_rows(results, task, against), columns)


def divergence(results: Results, task: str) -> Table:
    """How often a draw diverges or is lost, and how long draws are trained."""

    def bounded(row: Row) -> str:
        found = share(sum(map(lost, row.records)), len(row.records))
        return f"{found.value:.0%} ({found.low:.0%} to {found.high:.0%})"

    epoch = results.scale[task].setup.epoch
    columns = [
        named("method"),
        Column("draws", lambda row: len(row.records)),
        Column("diverged", lambda row: sum(not r.finished for r in row.records)),
        Column("diverged, or no better than guessing at the end", bounded),
        Column("mean length (epochs)", lambda row: fmean(map(executed, row.records)) / epoch, "{:.1f}"),
    ]
    below = "In brackets the one-sided 95 % bounds of a share of so many draws."
    given = [Row(m, LABELS[m], results["search", task, m]) for m in METHODS]
    return Table(given, columns, below=below)


def sensitivity(results: Results, task: str) -> Table:
    """How the best validation accuracy of a draw goes with what was drawn, and what was found best."""
    given = [
        (method, name)
        for method in METHODS
        for name in space(results.scale[task], method)
        if len(_seen(results, task, method)) > 2
    ]

    def values(row: tuple[str, str]) -> tuple[list[float], list[float]]:
        records = _seen(results, task, row[0])
        return [float(r.spec.get(row[1])) for r in records], [validated(r) for r in records]

    def best(row: tuple[str, str]) -> float:
        drawn, seen = values(row)
        return drawn[seen.index(max(seen))]

    columns = [
        Column("method", lambda row: LABELS[row[0]]),
        Column("setting", lambda row: WORDS[row[1]]),
        Column("range of the draws", lambda row: "{:.3g} to {:.3g}".format(*_ends(values(row)[0]))),
        Column("best draw", best, "{:.3g}"),
        Column("Spearman's rho with validation accuracy", lambda row: spearman(*values(row)), _rho),
        Column("draws", lambda row: len(values(row)[0])),
    ]
    return Table(given, columns)


WORDS = {"hyper_lr": "hyper-rate", "mu": "μ", "final": "last rate over the first", "lr": "highest rate"}
"""What is drawn, in words."""


def _seen(results: Results, task: str, method: str) -> list[Record]:
    return [r for r in results["search", task, method] if math.isfinite(validated(r))]


def _ends(values: list[float]) -> tuple[float, float]:
    return min(values), max(values)


def _rho(found: Any) -> str:
    if math.isnan(found.rho):
        return "undefined"
    bounds = "" if math.isnan(found.low) else f" ({found.low:+.2f} to {found.high:+.2f})"
    return f"{found.rho:+.2f}{bounds}"


def finding(results: Results) -> str:
    """The main finding, in a paragraph."""
    return " ".join(filter(None, (_found(results, task) for task in TASKS))) or NONE


def _found(results: Results, task: str) -> str:
    needed = results.scale[task].searches
    finals = {m: results.finals(task, m) for m in PUBLISHED}
    if any(len(found) < needed for found in finals.values()):
        return ""
    means = {m: fmean(found.values()) for m, found in finals.items()}
    order = sorted(means, key=lambda m: -means[m])
    listed = ", ".join(f"{LABELS[m]} {means[m]:.2f} %" for m in order)
    compared = incumbents(results, task).compared()
    text = f"**{TASKS[task]}**: incumbents end at {listed} on average over {searches_of(needed)}"
    apart = [
        f"{row.name} ({signed(found.pair.difference)}, p = {found.p:.2g})"
        for row, found in compared
        if row.key in PUBLISHED and found.p is not None and found.p < ALPHA
    ]
    rest = f"minus MARTHE, in points, where it differs after Holm: {'; '.join(apart)}" if apart else ""
    return f"{text}; {rest or 'none of them differs from MARTHE after Holm'}."
