"""Which method, with what settings, at what cost: tables for practice from records.

`chapter` reads experiment 01: every method with plain SGD. `optimizers` reads experiment 02: MARTHE beside a
tuned constant rate, with each optimizer.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import fmean

from adatune_lite.experiments import lrs_opt_vs_marthe as experiment
from adatune_lite.experiments.is_the_hypergradient_right import reading as exactness
from adatune_lite.experiments.is_the_hypergradient_right.scale import CALM
from adatune_lite.experiments.lrs_opt_vs_marthe import CLASSICAL, ONLINE
from adatune_lite.experiments.lrs_opt_vs_marthe.reading import LABELS, Results
from adatune_lite.report.search import final_loss
from adatune_lite.report.statistics import Interval, mean_interval, paired
from adatune_lite.runs.record import Record

CONSTANT = exactness.LABELS["constant"]
CALMED = f"MARTHE, hyper-rate divided by {CALM:g}"
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


@dataclass(frozen=True)
class Line:
    """One method with one optimizer on the seeds that experiment 02 reports; lost runs count as guessing."""

    optimizer: str
    method: str
    runs: int
    lost: int
    test_loss: Interval
    verdict: str
    """Against the tuned constant rate with the same optimizer; empty for that itself."""
    cost: float
    """Plain steps of a step; NaN where every run diverged."""


def lines(results: exactness.Results) -> list[Line]:
    """By optimizer: the constant rate, MARTHE, and where it was run MARTHE at a part of its hyper-rate."""
    found = []
    for optimizer in results.scale.optimizers:
        constant = results.trained.get((optimizer, "constant"), [])
        found.append(_line(optimizer, CONSTANT, constant, []))
        found.append(_line(optimizer, "MARTHE", results.trained.get((optimizer, "exact"), []), constant))
        if optimizer == "momentum":
            calm = results.calm.get("exact", [])
            found.append(_line(optimizer, CALMED, calm, constant))
    return [line for line in found if line is not None]


def _line(optimizer: str, method: str, records: Sequence[Record], base: Sequence[Record]) -> Line | None:
    if not records:
        return None
    losses = exactness.by_seed(records, "test_loss")
    against = paired(losses, exactness.by_seed(base, "test_loss"))
    whole = [r.cost["plain_steps"] / r.spec.steps for r in records if r.finished]
    return Line(
        exactness.OPTIMIZERS[optimizer],
        method,
        len(records),
        sum(map(exactness.lost, records)),
        mean_interval(list(losses.values())),
        _verdict(against.less, against.greater) if against else "",
        fmean(whole) if whole else math.nan,
    )


def optimizers(results: exactness.Results) -> str:
    """What the book includes of experiment 02: sentences, then the table."""
    found = lines(results)
    if not found:
        return "*No records yet.*"
    table = [
        "| optimizer | method | test loss | lost | against the tuned constant rate | a run costs |",
        "|---|---|---|---|---|---|",
    ]
    for x in found:
        cells = [
            x.optimizer,
            x.method,
            x.test_loss.text(bare=x.lost > 0),
            f"{x.lost} of {x.runs}",
            "" if x.lost else x.verdict,
            "" if math.isnan(x.cost) else f"{x.cost:,.0f} ×",
        ]
        table.append(f"| {' | '.join(cells)} |")
    return " ".join(_sentences(found, len(results.scale.tuning_seeds))) + "\n\n" + "\n".join(table)


def _sentences(found: Sequence[Line], tuning_seeds: int) -> Iterator[str]:
    """What the table says of each optimizer, and of choosing a setting on few seeds."""
    constants = {x.optimizer: x for x in found if x.method == CONSTANT}
    for line in found:
        constant = constants.get(line.optimizer)
        if constant is None or constant is line:
            continue
        who = f"With {line.optimizer}, {line.method}"
        if line.lost:
            yield (
                f"{who} is lost on {line.lost} of {line.runs} seeds and the tuned constant rate on "
                f"{constant.lost} of {constant.runs}."
            )
        else:
            yield (
                f"{who} ends at {line.test_loss.text()} and the tuned constant rate at "
                f"{constant.test_loss.text(bare=constant.lost > 0)}: {line.verdict}."
            )
    chosen = [x for x in found if x.method != CALMED]
    broken = sum(x.lost > 0 for x in chosen)
    if broken:
        yield (
            f"Of the {len(chosen)} tuned settings, each the best of its search by the mean over "
            f"{tuning_seeds} tuning seeds, {broken} lose a seed that had no part in the choice."
        )


def _verdict(less: float, greater: float) -> str:
    if less < 0.05:
        return f"better (p = {less:.1g})"
    return f"worse (p = {greater:.1g})" if greater < 0.05 else "cannot be told apart"


def _number(value: float) -> str:
    return f"{value:.3g}"
