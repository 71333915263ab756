"""Which method, with what settings, at what cost: tables for practice from records.

`chapter` reads experiment 01: every method with plain SGD. `optimizers` reads experiment 02: MARTHE beside a
tuned constant rate, with each optimizer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from adatune_lite.experiments.is_the_hypergradient_right import reading as second
from adatune_lite.experiments.is_the_hypergradient_right.groups import LABELS, OPTIMIZERS
from adatune_lite.experiments.is_the_hypergradient_right.scale import CALM
from adatune_lite.experiments.lrs_opt_vs_marthe.groups import CLASSICAL, ONLINE, SPACES
from adatune_lite.experiments.lrs_opt_vs_marthe.reading import (
    TEST_LOSS,
    Results,
    final_test_loss,
    lost,
    plain_steps,
)
from adatune_lite.report.search import Choice
from adatune_lite.report.statistics import Interval, mean_interval, paired
from adatune_lite.report.tables import Column, Row, Table, by_seed, named, paragraphs, rows
from adatune_lite.runs.record import Record
from adatune_lite.tasks.spec import Value

CONSTANT = LABELS["constant"]
CALMED = f"MARTHE, hyper-rate divided by {CALM:g}"
NEAR = 1.1
"""A draw is near the best if its mean E is at most this many times the smallest one."""


def near(choice: Choice) -> list[dict[str, Value]]:
    """The draws whose mean E is near the smallest one."""
    return [dict(settings) for loss, settings in choice.scored if loss <= NEAR * choice.mean_loss]


def table(results: Results) -> Table:
    """The decision table: every number from records."""
    constant = results["report", "constant"]

    def verdict(row: Row) -> str:
        if count := lost(row.records):
            return f"diverges on {count} of {len(row.records)} seeds"
        found = paired(by_seed(row.records, final_test_loss), by_seed(constant, final_test_loss))
        return _verdict(found.less, found.greater) if found and row.key != "constant" else ""

    def ranges(choice: Choice) -> str:
        drawn = {name: [float(s[name]) for s in near(choice)] for name in SPACES[choice.method]}
        return "; ".join(f"{name} {min(v):.3g} to {max(v):.3g}" for name, v in drawn.items())

    def searched(name: str, of: Callable[[Choice], str]) -> Column:
        def cell(row: Row) -> str | None:
            choice = results.choice("tuning", row.key) if row.key in SPACES else None
            return of(choice) if choice else None

        return Column(name, cell)

    columns = [
        named("method"),
        TEST_LOSS,
        Column("against the tuned constant rate", verdict),
        Column("a run costs", lambda row: plain_steps(row.records) / plain_steps(constant), "{:,.0f} ×"),
        searched("settings that come near the best", ranges),
        searched("draws near the best", lambda choice: f"{len(near(choice))} of {choice.trials}"),
        searched("draws that diverge", lambda choice: f"{choice.diverged} of {choice.trials}"),
    ]
    given = [row for row in rows(results, "report") if row.key != "start"]
    return Table(given if constant else [], columns)


def advice(results: Results) -> str:
    """What the table says, in sentences that follow from it."""
    ranked = {row.key: row for row in results.ranked}
    online = [row for method, row in ranked.items() if method in ONLINE]
    if "constant" not in ranked or not online:
        return ""
    classical = next(row for method, row in ranked.items() if method in CLASSICAL)
    text = f"Of the fixed schedules {classical.name} has the smallest test loss, {TEST_LOSS.text(classical)}."
    if whole := [row for row in online if not lost(row.records)]:
        best, search = whole[0], results.choice("tuning", "constant")
        assert search is not None
        cost, constant = plain_steps(best.records), plain_steps(ranked["constant"].records)
        spent = sum(r.cost["plain_steps"] for r in results["tuning", "constant"]) + constant
        text += (
            f" Of the online methods that diverged on no seed it is {best.name}, {TEST_LOSS.text(best)}, at "
            f"{cost / constant:,.0f} times the cost of a run with a constant rate. The whole search for the "
            f"constant rate ({search.trials} draws on {len(results.scale.tuning_seeds)} seeds) and its run "
            f"together cost as much as {spent / cost:.0f} runs with {best.name}."
        )
    return text


def chapter(results: Results) -> str:
    """What the book includes: sentences, then the table."""
    return paragraphs(advice(results), str(table(results)))


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


def lines(results: second.Results) -> list[Line]:
    """By optimizer: the constant rate, MARTHE, and where it was run MARTHE at a part of its hyper-rate."""
    found = []
    for optimizer in results.scale.optimizers:
        constant = results["trained", optimizer, "constant"]
        found.append(_line(optimizer, CONSTANT, constant, []))
        found.append(_line(optimizer, "MARTHE", results["trained", optimizer, "exact"], constant))
        if optimizer == "momentum":
            found.append(_line(optimizer, CALMED, results["calm", "exact"], constant))
    return [line for line in found if line is not None]


def _line(optimizer: str, method: str, records: Sequence[Record], base: Sequence[Record]) -> Line | None:
    if not records:
        return None
    losses = by_seed(records, second.test_loss)
    against = paired(losses, by_seed(base, second.test_loss))
    return Line(
        OPTIMIZERS[optimizer],
        method,
        len(records),
        sum(map(second.lost, records)),
        mean_interval(list(losses.values())),
        _verdict(against.less, against.greater) if against else "",
        second.cost(records),
    )


def optimizers(results: second.Results) -> str:
    """What the book includes of experiment 02: sentences, then the table."""
    found = lines(results)
    columns = [
        Column("optimizer", lambda x: x.optimizer),
        Column("method", lambda x: x.method),
        Column("test loss", lambda x: x.test_loss.text(bare=x.lost > 0)),
        Column("lost", lambda x: f"{x.lost} of {x.runs}"),
        Column("against the tuned constant rate", lambda x: "" if x.lost else x.verdict),
        Column("a run costs", lambda x: x.cost, "{:,.0f} ×"),
    ]
    sentences = " ".join(_sentences(found, len(results.scale.tuning_seeds)))
    return str(Table(found, columns, above=sentences))


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
