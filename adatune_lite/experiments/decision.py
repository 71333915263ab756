"""Which method, with what settings, at what cost: tables for practice from records.

`chapter` reads experiment 01: every method with plain SGD. `optimizers` reads experiment 02: MARTHE beside a
tuned constant rate, with each optimizer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from adatune_lite.claims import ALPHA
from adatune_lite.experiments.is_the_hypergradient_right import reading as second
from adatune_lite.experiments.is_the_hypergradient_right.groups import LABELS, OPTIMIZERS
from adatune_lite.experiments.is_the_hypergradient_right.scale import CALM
from adatune_lite.experiments.lrs_opt_vs_marthe.groups import CLASSICAL, ONLINE, SPACES
from adatune_lite.experiments.lrs_opt_vs_marthe.reading import (
    TEST_LOSS,
    Results,
    final_test_loss,
    plain_steps,
)
from adatune_lite.report.lost import cannot_tell, count
from adatune_lite.report.search import Choice
from adatune_lite.report.statistics import Paired
from adatune_lite.report.tables import Column, Row, Table, against, averaged, named, paragraphs, rows
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
        found = against(row.records, constant, final_test_loss)
        lost = f"{n} of {len(row.records)} lost: " if (n := count(row.records)) else ""
        return lost + _verdict(found) if found and row.key != "constant" else ""

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
        searched("draws that lose a run", lambda choice: f"{choice.lost} of {choice.trials}"),
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
    if whole := [row for row in online if not count(row.records)]:
        best, search = whole[0], results.choice("tuning", "constant")
        assert search is not None
        cost, constant = plain_steps(best.records), plain_steps(ranked["constant"].records)
        spent = sum(r.cost["plain_steps"] for r in results["tuning", "constant"]) + constant
        text += (
            f" Of the online methods that lost no seed it is {best.name}, {TEST_LOSS.text(best)}, at "
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
    """One method with one optimizer on the seeds that experiment 02 reports."""

    optimizer: str
    method: str
    records: Sequence[Record]
    constant: Sequence[Record]
    """The tuned constant rate with the same optimizer; none for that itself."""

    @property
    def lost(self) -> str:
        """How many of its runs are lost; empty where none is."""
        gone = count(self.records)
        return f"{gone} of {len(self.records)}" if gone else ""

    @property
    def verdict(self) -> str:
        """Against the constant rate."""
        found = against(self.records, self.constant, second.test_loss)
        return _verdict(found) if found else ""


LOSS = averaged("test loss", second.test_loss)


def lines(results: second.Results) -> list[Line]:
    """By optimizer: the constant rate, MARTHE, and where it was run MARTHE at a part of its hyper-rate."""
    found = []
    for optimizer in results.scale.optimizers:
        constant, name = results["trained", optimizer, "constant"], OPTIMIZERS[optimizer]
        found.append(Line(name, CONSTANT, constant, []))
        found.append(Line(name, "MARTHE", results["trained", optimizer, "exact"], constant))
        if optimizer == "momentum":
            found.append(Line(name, CALMED, results["calm", "exact"], constant))
    return [line for line in found if line.records]


def optimizers(results: second.Results) -> str:
    """What the book includes of experiment 02: sentences, then the table."""
    found = lines(results)
    columns = [
        Column("optimizer", lambda line: line.optimizer),
        Column("method", lambda line: line.method),
        LOSS,
        Column("against the tuned constant rate", lambda line: line.verdict),
        Column("a run costs", lambda line: second.cost(line.records), "{:,.0f} ×"),
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
                f"{who} is lost on {line.lost} seeds and the tuned constant rate on "
                f"{constant.lost or f'0 of {len(constant.records)}'}."
            )
        else:
            yield (
                f"{who} ends at {LOSS.text(line)} and the tuned constant rate at "
                f"{LOSS.text(constant)}: {line.verdict}."
            )
    chosen = [x for x in found if x.method != CALMED]
    broken = sum(bool(x.lost) for x in chosen)
    if broken:
        yield (
            f"Of the {len(chosen)} tuned settings, each the best of its search by the mean over "
            f"{tuning_seeds} tuning seeds, {broken} lose a seed that had no part in the choice."
        )


def _verdict(found: Paired) -> str:
    if found.exact and cannot_tell([len(found.seeds)]):
        return f"{len(found.seeds)} seeds cannot tell"
    alpha = ALPHA / 2 if found.exact else ALPHA
    if found.less < alpha:
        return f"better (p = {found.less:.1g})"
    return f"worse (p = {found.greater:.1g})" if found.greater < alpha else "cannot be told apart"
