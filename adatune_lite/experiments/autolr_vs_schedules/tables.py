"""The tables of experiment 06, every number from records or from the claims."""

from __future__ import annotations

import csv
import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache
from typing import Any

from adatune_lite import files
from adatune_lite.experiments.autolr_plots import LABELS, OPTIMIZER_LABELS
from adatune_lite.experiments.autolr_records import (
    ACCURACY,
    COST,
    DECISIONS,
    LOSS,
    accuracy,
    printed_columns,
    rates,
    standing,
)
from adatune_lite.experiments.autolr_tasks import OPTIMIZERS, describe
from adatune_lite.experiments.autolr_vs_schedules.groups import DEFAULT, EVALUATION, SPACE
from adatune_lite.experiments.autolr_vs_schedules.reading import Results
from adatune_lite.experiments.autolr_vs_schedules.scale import MAIN
from adatune_lite.experiments.autolr_vs_schedules.verdicts.printed import OF
from adatune_lite.report.data import copy_note, data_name
from adatune_lite.report.tables import (
    Column,
    Comparison,
    Row,
    Table,
    named,
    paragraphs,
    rows,
    several,
    tuning_loss,
)
from adatune_lite.runs.record import Record
from adatune_lite.tuners.autolr.log import PHASES, REASONS


def setting(results: Results) -> str:
    """What this page shows, and where it is reduced."""
    scale = results.scale
    tasks = "; ".join(
        f"{describe(task)}, {scale.steps_of(task) * task.batch / task.train:.0f} epochs"
        for task in (*scale.epochs, *scale.few)
    )
    drawn = SPACE["lr"]
    text = (
        f"**This page** ({results.profile}). {tasks}. AutoLR decides every {scale.window} steps on "
        f"superbatches of {scale.superbatch} mini-batches, thresholds and share of explore from Table 8. "
        f"Tuning: {several(scale.draws, 'draw')} of the rate between {drawn.low:g} and {drawn.high:g}, the "
        f"same for every method, on {several(len(scale.tuning_seeds), 'tuning seed')}; reported on "
        f"{several(len(scale.report_seeds), 'other seed')}."
    )
    if results.profile == "desk":
        text += (
            " **Reduced**: the paper has 60,000 images and 50 epochs of the 4-layer network, and ResNet-18 "
            "with all its channels on CIFAR-10 for 200 epochs. Shrunk for the budget: images, epochs, "
            "channels, superbatch and window, and of CIFAR-10 the cells; the tuned comparison, safeguards, "
            "seed rates and one-cycle's highest rate are on the first task named here."
        )
    return text + standing(results, "at least ")


def paper(results: Results, table: str) -> Table:
    """(a) One of Tables 4, 13 and 14: AutoLR and the baseline at the paper's rates, and what is printed."""
    given = [
        replace(row, key=(table, *row.key), against=(table, row.key[0], "baseline") if _ours(row) else None)
        for row in rows(results, table)
    ]
    columns = [
        Column("optimizer", lambda row: OPTIMIZER_LABELS[row.key[1]]),
        named("side"),
        LOSS,
        ACCURACY,
        Comparison("AutoLR minus baseline (points)", accuracy),
        *reversed(printed_columns(OF, name="printed accuracy (%)")),
    ]
    empty = "*Not run: no records of this data set.*"
    return Table(given, columns, above=copy_note(results[table]), empty=empty)


def _ours(row: Row) -> bool:
    return bool(row.key[-1] == "autolr")


def chosen(results: Results, what: Callable[[Any], Any], name: str, form: str = "{}") -> Column:
    """A column about the search of each method of (b)."""
    return Column(name, lambda row: what(results.choice("tuning", row.key)), form)


def tuned_rate(results: Results) -> Column:
    """The rate that the search of each method of (b) chose."""
    return chosen(results, lambda choice: dict(choice.settings)["lr"], "tuned rate", "{:.3g}")


def tuned(results: Results) -> Table:
    """(b) Tables 7 and 9 with equal tuning: every method against AutoLR, paired by seed."""
    columns = [
        named("method"),
        tuned_rate(results),
        chosen(results, lambda choice: ", ".join(choice.on_edge) or "no", "at an edge"),
        tuning_loss(lambda row: results.choice("tuning", row.key)),
        ACCURACY,
        LOSS,
        Comparison("minus AutoLR (points)", accuracy),
        COST,
        *printed_columns(OF, "table 7"),
    ]
    plateau = results["tuned", "plateau"]
    notes = paragraphs(_edge(results.scale.draws), _patience(results, plateau), idle(plateau))
    return Table(results.ranked, columns, below=notes)


def _edge(draws: int) -> str:
    """What "at an edge" means among so many draws."""
    if draws < 5:
        return f"*At an edge* is not asked of {several(draws, 'draw')}."
    inner = "one" if draws == 5 else f"{draws - 4}"
    return (
        f"*At an edge*: at most one of the {draws} drawn rates lies beyond the chosen one, above or below. "
        f"That is so of all but the {inner} in the middle."
    )


def _patience(results: Results, plateau: Sequence[Record]) -> str:
    """How long ReduceLROnPlateau waits, and at the desk that it was changed."""
    if not plateau:
        return ""
    text = (
        f"{LABELS['plateau']} looks at the validation loss once an epoch and forgives "
        f"{several(plateau[0].spec.get('patience'), 'look')} without gain, a twentieth of the training."
    )
    if results.profile == "desk":
        text += (
            " It first ran with torch's 10, as long as this whole training, and never acted; that was "
            "changed after its runs were seen, for this method alone."
        )
    return text


def idle(plateau: Sequence[Record]) -> str:
    """What to say where ReduceLROnPlateau had no occasion to act."""
    if not plateau or any(len(set(r.series("lr")[1])) > 1 for r in plateau):
        return ""
    return (
        f"{LABELS['plateau']} never lowered its rate here: too few looks in a row were without gain. Its "
        "runs are those of the constant rate, and say nothing of the method."
    )


def table_9(results: Results) -> Table:
    """Table 9, and the staircase of Table 4, at the rates that the paper prints."""
    given = rows(results, "table 7") if results.scale.printed else []
    columns = [
        named("method"),
        Column("rate", lambda row: row.records[0].spec.get("lr"), "{:g}"),
        ACCURACY,
        LOSS,
        *printed_columns(OF, "table 7", "printed accuracy (%)"),
    ]
    note = copy_note(r for row in given for r in row.records)
    empty = "*Not run: the schedules at their printed rates are in the `paper` profile.*"
    return Table(given, columns, above=note, empty=empty)


def safeguards(results: Results) -> Table:
    """(c) AutoLR without one safeguard, paired with the whole."""
    given = [Row("whole", "whole", results.whole), *rows(results, "safeguards", against="whole")]
    columns = [named("AutoLR"), ACCURACY, Comparison("minus the whole (points)", accuracy), *DECISIONS, COST]
    return Table(given, columns)


def seed_rates(results: Results) -> Table:
    """(c) Table 12: AutoLR from several seed rates, paired with the reference."""
    minus = Comparison(f"minus that of {OPTIMIZERS[MAIN].lr:g} (points)", accuracy)
    columns = [named("seed rate"), ACCURACY, minus, printed_columns(OF, "seed rates")[0]]
    return Table(rows(results, "seed rates", against=1.0), columns)


def equal_cost(results: Results) -> Table:
    """(d) AutoLR, the baseline, and the baseline with as many more steps as five looks in every window."""
    table, optimizer, _ = results.scale.whole()
    given = [
        Row("AutoLR", "AutoLR", results.whole),
        Row("baseline", "baseline", results[table, optimizer, "baseline"], "AutoLR"),
        Row("longer", "longer baseline", results["equal cost"], "AutoLR"),
    ]
    steps = Column("steps", lambda row: row.records[0].spec.steps, "{:,}")
    minus = Comparison("AutoLR minus it (points)", accuracy, reverse=True)
    return Table(given, [named("training"), steps, COST, ACCURACY, minus])


def one_cycle(results: Results) -> Table:
    """(e) One-cycle by its highest rate: the range test's default, near its minimum, and tuned as in (b)."""
    lowest = results.minimum
    tuned = Row("one_cycle_linear", "tuned as all in (b)", results["tuned", "one_cycle_linear"], DEFAULT)
    given = [*rows(results, "one-cycle", against=DEFAULT), tuned]

    def rate(row: Row) -> float:
        return float(row.records[0].spec.get("lr"))

    columns = [
        named("highest rate of one-cycle"),
        Column("rate", rate, "{:.3g}"),
        Column("in units of the minimum", lambda row: rate(row) / (lowest or math.nan), "{:.2f}"),
        ACCURACY,
        LOSS,
        Comparison("minus the default (points)", accuracy),
        *printed_columns(OF, "table 7"),
    ]
    return Table(given if lowest else [], columns)


def decisions(results: Results) -> Table:
    """(f) Each decision taken otherwise, alone, paired with AutoLR as it is on the same task."""
    other = results.scale.with_batchnorm
    wholes = dict.fromkeys([results.scale.whole(), *([results.scale.whole(other)] if other else [])])
    given = [Row(key, "as it is" + _where(results[key]), results[key]) for key in wholes]
    for row in rows(results, "open"):
        special = row.key == EVALUATION
        name = row.name + (_where(row.records) if special else "")
        given.append(replace(row, name=name, against=results.scale.whole(other if special else None)))
    return Table(
        given, [named("AutoLR"), ACCURACY, Comparison("minus AutoLR as it is (points)", accuracy), *DECISIONS]
    )


def _where(records: Sequence[Record]) -> str:
    return f", on {data_name(records)}" if records else ""


def reasons(results: Results) -> Table:
    """(f) How often AutoLR as it is gave which reason, over the windows of all its runs in (a)."""
    cells = [records for cell in results.scale.cells.values() if (records := results[*cell, "autolr"])]
    runs = [record for records in cells for record in records]
    found = Counter(pair for r in runs for pair in _decided(r))
    data = dict.fromkeys(map(data_name, cells))
    where = f"{sum(found.values()):,} windows of {len(runs)} runs on {', '.join(data)}"
    columns = [
        Column(f"reason, in {where}", lambda code: REASONS[code]),
        Column(PHASES[0], lambda code: found[code, 0], "{:,}"),
        Column(PHASES[1], lambda code: found[code, 1], "{:,}"),
    ]
    return Table(range(len(REASONS)) if found else [], columns)


def _decided(record: Record) -> list[tuple[int, int]]:
    """(reason, phase) of every decision, as places in REASONS and PHASES."""
    codes, phases = (record.series(f"decision_{name}")[1] for name in ("reason", "phase"))
    assert phases.max(initial=0) < len(PHASES)
    return [(int(code), int(phase)) for code, phase in zip(codes, phases, strict=True)]


def not_run(results: Results) -> Table:
    """What of the paper this experiment does not have, and why."""
    held = [table for table in results.scale.tables if results[table]]
    absent = {
        "Table 3, Figures 4a, 6a, 9 (ImageNet, ResNet-50)": "not run: no data",
        "Tables 5, 6, 10, 11, Figures 4c, 4d, 13, 14 (BERT, Transformer)": "come with a later issue",
    }
    for table, what in (
        ("t4", "Table 4, Figures 4b, 10 to 12 (CIFAR-10, ResNet-18)"),
        ("t13", "Table 13, Figures 15 to 17 (MNIST)"),
        ("t14", "Table 14, Figures 18 to 20 (Fashion-MNIST)"),
    ):
        if table not in held:
            absent[what] = "not run in this profile: no records"
    if results.minimum is None:
        name = "Tables 7, 9: one-cycle with a tenth of the range test's minimum"
        absent[name] = "not run: no records"
    columns = [Column("of the paper", lambda row: row[0]), Column("here", lambda row: row[1])]
    return Table(list(absent.items()), columns)


@cache
def _axes() -> dict[tuple[str, str], dict[str, str]]:
    with files.reference("autolr_rate_ranges.csv").open(newline="", encoding="utf-8") as file:
        return {(row["table"], row["optimizer"]): row for row in csv.DictReader(file)}


def rate_range(results: Results, table: str, optimizer: str) -> str:
    """One line under a curve: the rates on the paper's axis and those of our runs of AutoLR."""
    known = _axes()[table, optimizer]
    low, high = known["low"], known["high"]
    shown = f"{low} to {high}" if low and high else f"from {low} on" if low else f"up to {high}"
    where = " in explore" if known["part"] == "explore" else ""
    note = f" ({known['note']})" if known["note"] else ""
    text = f"Figure {known['figure']} of the paper: rates {shown}{where}{note}, read off its axis."
    if not (low or high):
        text = f"Figure {known['figure']} of the paper: its rates cannot be read off the scan."
    runs = [r for r in results[table, optimizer, "autolr"] if r.finished]
    if not runs:
        return text
    every = [rates(r) for r in runs]
    early = [found[: int(r.spec.get("explore_steps"))] for r, found in zip(runs, every, strict=True)]
    within = f"{min(e.min() for e in early):.5g} to {max(e.max() for e in early):.5g} in explore, "
    span = f"{min(e.min() for e in every):.5g} to {max(e.max() for e in every):.5g} in the whole run"
    return " ".join(filter(None, (text, f"Ours: {within}{span}.", copy_note(runs))))
