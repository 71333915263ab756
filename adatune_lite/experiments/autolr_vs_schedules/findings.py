"""What experiment 06 found in sentences, for its page and for chapters, every number from records."""

from __future__ import annotations

import math

from adatune_lite import claims
from adatune_lite.claims import ALPHA
from adatune_lite.experiments.autolr_plots import LABELS
from adatune_lite.experiments.autolr_records import (
    accuracies,
    accuracy_text,
    copy_note,
    data_name,
    several,
    signed,
)
from adatune_lite.experiments.autolr_tasks import describe, network
from adatune_lite.experiments.autolr_vs_schedules import MAIN, NAME, steps_of
from adatune_lite.experiments.autolr_vs_schedules.reading import Results
from adatune_lite.experiments.autolr_vs_schedules.tables import NONE, adjusted, cost, difference_text, idle
from adatune_lite.experiments.autolr_vs_schedules.verdicts import pairs_of_cells
from adatune_lite.report.statistics import paired
from adatune_lite.tasks.spec import TaskSpec


def finding(results: Results) -> str:
    """The findings in a paragraph."""
    return " ".join(filter(None, (_cells(results), _ranking(results), _cost_of(results)))) or NONE


def first_page(results: Results) -> str:
    """The findings with their setting, for the first page."""
    return f"{_where(results)} {finding(results)}"


def chapter(results: Results) -> str:
    """The comparison at equal tuning in short, with its setting, for the chapter of practice."""
    rows = results.ranked()
    if not rows:
        return NONE
    ours = accuracies(dict(rows).get("autolr", []))
    lines = [
        "| method | tuned rate | test accuracy (%) | minus AutoLR (points) | cost (plain steps) |",
        "|---|---|---|---|---|",
    ]
    for method, records in rows:
        pair = paired(accuracies(records), ours) if method != "autolr" else None
        lr = dict(results.choices[method].settings)["lr"]
        cells = [
            LABELS[method],
            f"{lr:.3g}",
            accuracy_text(records),
            difference_text(pair),
            f"{cost(records):,.0f}",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    table = "\n".join(lines)
    return "\n\n".join(filter(None, (_where(results), table, idle(dict(rows).get("plateau", [])))))


def judged(results: Results) -> str:
    """The claims with their verdicts, and what the data sets in their texts are."""
    note = copy_note(results.all_records())
    told = f"A data set in this table is what the runs read. {note}" if note else ""
    return "\n\n".join(filter(None, (claims.table_markdown(claims.verdicts(NAME, results)), told)))


def _where(results: Results) -> str:
    task = results.scale.main
    reduced = "" if results.profile == "paper" else ", reduced scale"
    text = f"{describe(task)}; {_epochs(results, task)} ({results.profile}{reduced})."
    note = copy_note(r for c in results.cells() if c.task == task for r in c.records)
    return f"{text} {note}" if note else text


def _epochs(results: Results, task: TaskSpec) -> str:
    return several(round(steps_of(results.scale, task) * task.batch / task.train), "epoch")


def _tasks(results: Results) -> str:
    """The tasks of (a) that have records, in a few words each."""
    held = {c.task: c.records for c in results.cells() if c.records}
    return "; ".join(f"{network(t)} on {data_name(r)}, {_epochs(results, t)}" for t, r in held.items())


def _cells(results: Results) -> str:
    pairs, _, _ = pairs_of_cells(results)
    if not pairs:
        return ""
    gains = [pair.difference.mean for pair in pairs.values()]
    p_values = adjusted(dict(pairs))
    sure = {name: pair for name, pair in pairs.items() if p_values[name] and float(p_values[name]) < ALPHA}
    named = "; ".join(f"{name}, {signed(pair.difference)} points" for name, pair in sure.items())
    return (
        f"**At the paper's rates** AutoLR minus the baseline is between {min(gains):+.2f} and "
        f"{max(gains):+.2f} points of test accuracy in {len(pairs)} cells of task and optimizer "
        f"({_tasks(results)}); in {len(sure)} of them the paired test finds a difference (p < {ALPHA:g} "
        f"after Holm){': ' if named else ''}{named}."
    )


def _ranking(results: Results) -> str:
    rows = results.ranked()
    names = [m for m, _ in rows]
    if "autolr" not in names:
        return ""
    place = names.index("autolr") + 1
    best = rows[0] if place > 1 else rows[min(1, len(rows) - 1)]
    pair = paired(accuracies(dict(rows)["autolr"]), accuracies(best[1]))
    pairs = {m: paired(accuracies(records), accuracies(dict(rows)["autolr"])) for m, records in rows}
    p = adjusted({m: found for m, found in pairs.items() if m != "autolr"}).get(best[0], "")
    versus = f"; minus {LABELS[best[0]]}: {signed(pair.difference)} points" if pair and len(rows) > 1 else ""
    versus += f", p = {p} after Holm over all {len(rows) - 1}" if versus and p else ""
    return f"**With the rate of every method tuned alike** AutoLR is number {place} of {len(rows)}{versus}."


def _cost_of(results: Results) -> str:
    ours, longer = results.paper(results.scale.main, MAIN, "autolr"), results.equal_cost()
    pair = paired(accuracies(ours), accuracies(longer))
    if pair is None:
        return ""
    extra = cost(ours) / ours[0].spec.steps - 1
    if not math.isfinite(extra):
        return ""
    return (
        f"**At equal cost**: AutoLR's looks cost {extra:.1%} of the training; against a baseline that trains "
        f"{longer[0].spec.steps / ours[0].spec.steps - 1:.1%} longer the difference is "
        f"{signed(pair.difference)} points."
    )
