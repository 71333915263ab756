"""What experiment 06 found in sentences, for its page and for chapters, every number from records."""

from __future__ import annotations

import math

from adatune_lite import claims
from adatune_lite.claims import ALPHA
from adatune_lite.experiments.autolr_records import ACCURACY, COST, accuracy, cost
from adatune_lite.experiments.autolr_tasks import describe, network
from adatune_lite.experiments.autolr_vs_schedules.reading import Results
from adatune_lite.experiments.autolr_vs_schedules.tables import idle, tuned, tuned_rate
from adatune_lite.report.data import copy_note, data_name
from adatune_lite.report.tables import (
    NONE,
    Column,
    Comparison,
    Table,
    against,
    compare,
    paragraphs,
    several,
    told,
)
from adatune_lite.tasks.spec import TaskSpec


def finding(results: Results) -> str:
    """The findings in a paragraph."""
    return " ".join(filter(None, (_cells(results), _ranking(results), _cost_of(results)))) or NONE


def first_page(results: Results) -> str:
    """The findings with their setting, for the first page."""
    return f"{_where(results)} {finding(results)}"


def chapter(results: Results) -> Table:
    """The comparison at equal tuning in short, with its setting, for the chapter of practice."""
    columns = [
        Column("method", lambda row: row.name),
        tuned_rate(results),
        ACCURACY,
        Comparison("minus AutoLR (points)", accuracy, p_name=""),
        COST,
    ]
    return Table(results.ranked, columns, above=_where(results), below=idle(results["tuned", "plateau"]))


def judged(results: Results) -> str:
    """The claims with their verdicts, and what the data sets in their texts are."""
    note = copy_note(results.all_records())
    told = f"A data set in this table is what the runs read. {note}" if note else ""
    return paragraphs(claims.table_markdown(claims.verdicts(results)), told)


def _where(results: Results) -> str:
    task = results.scale.main
    reduced = "" if results.profile == "paper" else ", reduced scale"
    text = f"{describe(task)}; {_epochs(results, task)} ({results.profile}{reduced})."
    note = copy_note(results[results.scale.whole()[0]])
    return f"{text} {note}" if note else text


def _epochs(results: Results, task: TaskSpec) -> str:
    return several(round(results.scale.steps_of(task) * task.batch / task.train), "epoch")


def _tasks(results: Results) -> str:
    """The tasks of (a) that have records, in a few words each."""
    held = {task: records for table, task in results.scale.tables.items() if (records := results[table])}
    return "; ".join(f"{network(t)} on {data_name(r)}, {_epochs(results, t)}" for t, r in held.items())


def _cells(results: Results) -> str:
    sides = {
        name: [results[*cell, side] for side in ("autolr", "baseline")]
        for name, cell in results.scale.cells.items()
    }
    found = compare({name: against(ours, theirs, accuracy) for name, (ours, theirs) in sides.items()})
    if not found:
        return ""
    gains = [one.pair.difference.mean for one in found.values()]
    sure = {name: one.pair for name, one in found.items() if one.sure}
    named = "; ".join(f"{name}, {told(pair)} points" for name, pair in sure.items())
    return (
        f"**At the paper's rates** AutoLR minus the baseline is between {min(gains):+.2f} and "
        f"{max(gains):+.2f} points of test accuracy in {len(found)} cells of task and optimizer "
        f"({_tasks(results)}); in {len(sure)} of them the paired test finds a difference (p < {ALPHA:g} "
        f"after Holm){': ' if named else ''}{named}."
    )


def _ranking(results: Results) -> str:
    held = [row for row in results.ranked if row.records]
    names = [row.key for row in held]
    if "autolr" not in names:
        return ""
    place = names.index("autolr") + 1
    best = held[0] if place > 1 else held[min(1, len(held) - 1)]
    found = {row.key: compared for row, compared in tuned(results).compared()}.get(best.key)
    pair = against(held[place - 1].records, best.records, accuracy)
    versus = f"; minus {best.name}: {told(pair)} points" if pair and found else ""
    if found and found.p is not None:
        versus += f", p = {found.p:.2g} after Holm over all {len(held) - 1}"
    return f"**With the rate of every method tuned alike** AutoLR is number {place} of {len(held)}{versus}."


def _cost_of(results: Results) -> str:
    ours, longer = results.whole, results["equal cost"]
    pair = against(ours, longer, accuracy)
    if pair is None:
        return ""
    extra = cost(ours) / ours[0].spec.steps - 1
    if not math.isfinite(extra):
        return ""
    return (
        f"**At equal cost**: AutoLR's looks cost {extra:.1%} of the training; against a baseline that trains "
        f"{longer[0].spec.steps / ours[0].spec.steps - 1:.1%} longer the difference is "
        f"{told(pair)} points."
    )
