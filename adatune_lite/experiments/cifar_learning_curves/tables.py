"""The tables and sentences of experiment 07, every number from records."""

from __future__ import annotations

from statistics import fmean, median

from adatune_lite.claims import ALPHA
from adatune_lite.claims.catalog import claim_of
from adatune_lite.experiments.autolr_records import standing
from adatune_lite.experiments.autolr_tasks import describe
from adatune_lite.experiments.cifar import OPTIMIZERS
from adatune_lite.experiments.cifar_learning_curves.groups import ADAPTIVE, LABELS
from adatune_lite.experiments.cifar_learning_curves.reading import Results
from adatune_lite.experiments.cifar_rates import rates
from adatune_lite.experiments.cifar_records import final_accuracy, final_loss
from adatune_lite.experiments.cifar_search import ONLINE, TASKS, lost
from adatune_lite.report.tables import (
    NONE,
    Column,
    Comparison,
    Mean,
    Row,
    Table,
    Value,
    by_seed,
    named,
    several,
    signed,
    values_of,
)

SHORT = {"cifar10": "c10", "cifar100": "c100"}
"""Tasks in the ids of claims."""
PRINTED = {row: row for row in ("rtho", "hd", "exponential", "staircase", "sgdr")} | {ADAPTIVE: "marthe"}
"""Rows whose end is printed, by the name in the ids of claims."""


def setting(results: Results) -> str:
    """What this page shows, and where it is reduced."""
    scale = results.scale
    parts = [
        f"{describe(budget.setup.task)}; {OPTIMIZERS[budget.setup.optimizer]} from the rate "
        f"{budget.setup.lr:g}, {several(scale.epochs[task], 'epoch')} of {budget.setup.epoch} steps; "
        f"settings from trainings of {several(budget.epochs, 'epoch')}."
        for task, budget in scale.budgets.items()
    ]
    text = f"**This page** ({results.profile}). {' '.join(parts)} {several(len(scale.seeds), 'seed')}."
    if results.profile == "desk":
        text += (
            " **Reduced**: the paper has all images, full width and 200 epochs. Absolute accuracies are not "
            "to be held against the printed ones; the shapes and the order are what can be compared."
        )
    return text + standing(results)


def _mean(name: str, value: Value, digits: int = 2) -> Column:
    return Column(name, lambda row: Mean.of(row.records, value), lambda mean: mean.text(digits))


def _level(name: str, value: Value, digits: int) -> Column:
    """The mean with its interval; of runs that are lost in part no mean is taken, but the median."""

    def text(row: Row) -> str | None:
        values = values_of(row.records, value)
        if any(map(lost, row.records)):
            return f"median {median(values):.{digits}f}"
        mean = Mean.of(row.records, value)
        return mean.text(digits) if mean else None

    return Column(name, text)


def _rows(results: Results, task: str) -> list[Row]:
    """Those with records, each against MARTHE where no run of the two is lost."""
    held = {row: records for row, records in results.by("curve", task).items() if records}
    whole = {row for row, records in held.items() if not any(map(lost, records))}
    return [
        Row(row, LABELS[row], held[row], "marthe" if row != "marthe" and {row, "marthe"} <= whole else None)
        for row in held
    ]


def ends(results: Results, task: str) -> Table:
    """What each row ends with, against MARTHE and beside the printed end; runs that are lost are counted."""

    def printed(row: Row) -> float | None:
        claim = PRINTED.get(row.key)
        value = claim_of(f"marthe.v1.{SHORT[task]}.{claim}").value if claim else None
        return float(value) if isinstance(value, int | float) else None

    columns = [
        named("method"),
        _level("test accuracy (%)", final_accuracy, 2),
        Comparison("minus MARTHE", final_accuracy),
        _level("test loss", final_loss, 3),
        Column(
            "cost (plain steps)", lambda row: fmean(r.cost["plain_steps"] for r in row.records), "{:,.0f}"
        ),
        Column("runs (lost)", lambda row: f"{len(row.records)} ({sum(map(lost, row.records))})"),
        Column("printed: accuracy after 198 epochs (%)", printed, "{:g}"),
    ]
    return Table(_rows(results, task), columns)


def settings(results: Results, task: str) -> Table:
    """With what the rows were trained, and where that is from."""

    def values(row: Row) -> str:
        own = [(n, v) for n, v in row.records[0].spec.settings if n not in ("outer_batch", "clip_grad_value")]
        return ", ".join(f"{n} = {v:.4g}" if isinstance(v, float) else f"{n} = {v}" for n, v in own)

    def source(row: Row) -> str:
        return "as published" if row.key in ("exponential", "staircase", "sgdr") else "the searches"

    columns = [named("method"), Column("settings", values), Column("from", source)]
    return Table(_rows(results, task), columns)


def shapes(results: Results, task: str) -> Table:
    """The rates of the online methods: highest and last over the first, beside the published curves."""
    columns = [
        named("method"),
        _mean("highest rate over the first", lambda r: float(rates(r).max()), 3),
        _mean("last rate over the first", lambda r: float(rates(r)[-1]), 3),
        Column("runs", lambda row: len(row.records)),
        Column("printed: highest", lambda row: results.printed_rate(task, row.key, "highest"), "{:.3f}"),
        Column("printed: last", lambda row: results.printed_rate(task, row.key, "last"), "{:.3f}"),
    ]
    return Table([row for row in _rows(results, task) if row.key in (*ONLINE, ADAPTIVE)], columns)


def finding(results: Results) -> str:
    """The main finding, in a paragraph."""
    return " ".join(filter(None, (_found(results, task) for task in TASKS))) or NONE


def _found(results: Results, task: str) -> str:
    given = _rows(results, task)
    if len(given) < len(LABELS) or any(len(r.records) < len(results.scale.seeds) for r in given):
        return ""
    means = {row.key: fmean(by_seed(row.records, final_accuracy).values()) for row in given}
    first = max(means, key=lambda row: means[row])
    text = (
        f"**{TASKS[task]}**: {LABELS[first]} ends highest, at {means[first]:.2f} % test accuracy over "
        f"{several(len(results.scale.seeds), 'seed')}; MARTHE at {means['marthe']:.2f} %, with adaptive μ at "
        f"{means[ADAPTIVE]:.2f} %"
    )
    apart = [
        f"{row.name} {signed(found.pair.difference)}"
        for row, found in ends(results, task).compared()
        if found.p is not None and found.p < ALPHA
    ]
    rest = f"minus MARTHE, in points, where it differs after Holm: {'; '.join(apart)}"
    return f"{text}; {rest if apart else 'no other row differs from MARTHE after Holm'}."
