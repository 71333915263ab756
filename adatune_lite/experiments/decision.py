"""Which method, with what settings, at what cost: a table for practice from the records of experiment 01."""

from __future__ import annotations

from dataclasses import dataclass

from adatune_lite.experiments import lrs_opt_vs_marthe as experiment
from adatune_lite.experiments.lrs_opt_vs_marthe import CLASSICAL, ONLINE
from adatune_lite.experiments.lrs_opt_vs_marthe.reading import LABELS, Results
from adatune_lite.experiments.search import final_loss
from adatune_lite.experiments.statistics import paired

NEAR = 1.1
"""A draw is near the best if its mean E is at most this many times the smallest one."""


@dataclass(frozen=True)
class Search:
    """What the draws of one method say about choosing its settings."""

    draws: int
    near: int
    diverged: int
    """Draws of which a tuning seed diverged."""
    ranges: dict[str, tuple[float, float]]
    """Of each setting, the smallest and largest value among the draws near the best."""


def search(results: Results, method: str) -> Search | None:
    """None while the search is not complete."""
    if method not in results.choices:
        return None
    scored, diverged = [], 0
    for specs in experiment.trials(results.scale, method):
        records = results.records(specs)
        diverged += any(not r.finished for r in records)
        scored.append((sum(map(final_loss, records)) / len(records), dict(specs[0].settings)))
    best = min(loss for loss, _ in scored)
    near = [settings for loss, settings in scored if loss <= NEAR * best]
    ranges = {
        name: (min(float(s[name]) for s in near), max(float(s[name]) for s in near))
        for name in experiment.SPACES[method]
    }
    return Search(len(scored), len(near), diverged, ranges)


def table(results: Results) -> str:
    """The decision table in Markdown: every number from records."""
    constant = results.by_seed(results.reported("constant"), "test_loss")
    lines = [
        "| method | test loss | against the tuned constant rate | a run costs | settings that come near the "
        "best | draws near the best | draws that diverge |",
        "|---|---|---|---|---|---|---|",
    ]
    base = results.row("constant")
    for method in (*CLASSICAL, *ONLINE, "lrs_opt"):
        row = results.row(method)
        if row is None or base is None:
            continue
        against = paired(results.by_seed(results.reported(method), "test_loss"), constant)
        verdict = _verdict(against.less, against.greater) if against and method != "constant" else ""
        if row.diverged:
            verdict = f"diverges on {row.diverged} of {row.runs} seeds"
        found = search(results, method)
        cells = [
            LABELS[method],
            row.test_loss.text(bare=row.diverged > 0),
            verdict,
            f"{row.plain_steps / base.plain_steps:,.0f} ×",
            "; ".join(f"{n} {_number(a)} to {_number(b)}" for n, (a, b) in found.ranges.items())
            if found
            else "",
            f"{found.near} of {found.draws}" if found else "",
            f"{found.diverged} of {found.draws}" if found else "",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) if len(lines) > 2 else "*No records yet.*"


def advice(results: Results) -> str:
    """What the table says, in sentences that follow from it."""
    rows = {m: row for m in (*CLASSICAL, *ONLINE) if (row := results.row(m)) is not None}
    if "constant" not in rows or not any(m in rows for m in ONLINE):
        return ""
    classical = min((rows[m] for m in CLASSICAL if m in rows), key=lambda r: r.test_loss.mean)
    whole = [rows[m] for m in ONLINE if m in rows and not rows[m].diverged]
    text = (
        f"Of the fixed schedules {LABELS[classical.method]} has the smallest test loss, "
        f"{classical.test_loss.text()}."
    )
    if whole:
        online, constant = min(whole, key=lambda r: r.test_loss.mean), rows["constant"]
        name, draws = LABELS[online.method], len(experiment.trials(results.scale, "constant"))
        searched = (constant.search_steps + constant.plain_steps) / online.plain_steps
        text += (
            f" Of the online methods that diverged on no seed it is {name}, {online.test_loss.text()}, at "
            f"{online.plain_steps / constant.plain_steps:,.0f} times the cost of a run with a constant rate. "
            f"The whole search for the constant rate ({draws} draws on "
            f"{len(results.scale.tuning_seeds)} seeds) and its run together cost as much as "
            f"{searched:.0f} runs with {name}."
        )
    return text


def chapter(results: Results) -> str:
    """What the book includes: sentences, then the table."""
    return "\n\n".join(filter(None, (advice(results), table(results))))


def _verdict(less: float, greater: float) -> str:
    if less < 0.05:
        return f"better (p = {less:.1g})"
    return f"worse (p = {greater:.1g})" if greater < 0.05 else "cannot be told apart"


def _number(value: float) -> str:
    return f"{value:.3g}"
