"""The tables and sentences of experiment 01, in Markdown, every number from records."""

from __future__ import annotations

from typing import Any

from adatune_lite.claims import ALPHA
from adatune_lite.experiments.lrs_opt_vs_marthe.groups import LABELS, ONLINE, SPACES
from adatune_lite.experiments.lrs_opt_vs_marthe.reading import (
    ACCURACY,
    TEST_LOSS,
    Results,
    final_loss,
    final_test_loss,
    gap,
    plain_steps,
)
from adatune_lite.report.data import DATASETS, not_all
from adatune_lite.report.search import Choice
from adatune_lite.report.tables import (
    Column,
    Mean,
    Row,
    Table,
    against,
    averaged,
    named,
    rows,
    runs_and_lost,
    tuning_loss,
    values_of,
)


def setting(results: Results) -> str:
    """What this page shows, and where it is smaller than the paper's setting."""
    scale, task = results.scale, results.scale.task
    text = (
        f"**This page** ({results.profile}): {task.train:,} training, {task.validation:,} validation and "
        f"{task.test:,} test images of {DATASETS[task.dataset]}, hidden layers of "
        f"{' and '.join(map(str, task.hidden))} units, T = {scale.steps} steps "
        f"({scale.steps * task.batch / task.train:.1f} epochs); {scale.draws} random "
        f"draws for every method on {len(scale.tuning_seeds)} tuning seeds, {len(scale.report_seeds)} other "
        f"seeds reported; {scale.mu_draws} draws at each fixed mu; {scale.outer_steps:,} outer steps."
    )
    if scale.variant_outer_steps < scale.outer_steps:
        text += f" In (g) LRS-OPT has {scale.variant_outer_steps} outer steps, to keep to the budget of time."
    if results.profile in ("smoke", "quick"):
        text += " This is a reduced scale: it shows that the code runs, not what the paper's setting gives."
    return text + not_all(results)


E = averaged("E (validation)", final_loss)
COST = Column("a run (plain steps)", lambda row: plain_steps(row.records), "{:,.0f}")


def comparison(results: Results) -> Table:
    """(b) What all methods are worth on the reporting seeds."""
    columns = [named("method"), TEST_LOSS, ACCURACY, E, averaged("test loss minus E", gap), runs_and_lost()]
    return Table(results.ranked, columns)


def costs(results: Results) -> Table:
    """(b) What they cost, in plain training steps as they really were and in seconds of one thread.

    The fastest complete run counts, those of the search included: other work on the machine only adds to it.
    """

    def fastest(row: Row) -> float:
        like = "constant" if row.key == "start" else row.key
        every = [*row.records, *(results["tuning", like] if like in SPACES else ())]
        complete = [r for r in every if r.finished] or row.records
        return min(r.cost["training_seconds"] for r in complete)

    columns = [
        named("method"),
        COST,
        Column("its fastest run (seconds)", fastest, "{:.1f}"),
        Column(
            "its search (plain steps)",
            lambda row: searched(results, row.key),
            lambda steps: f"{steps:,.0f}" if steps else "none",
        ),
    ]
    return Table(sorted(results.ranked, key=COST.of), columns)


def searched(results: Results, method: str) -> float:
    """Plain steps of its search; 0 without one."""
    return sum(r.cost["plain_steps"] for r in results["tuning", method]) if method in SPACES else 0.0


def settings(results: Results) -> Table:
    """The frozen settings and how they were found."""

    def chosen(name: str, of: Any, form: str = "{}") -> Column:
        return Column(name, lambda row: of(results.choice("tuning", row.key)), form)

    def values(choice: Choice) -> str:
        return ", ".join(f"{name} = {value:.4g}" for name, value in choice.settings)

    columns = [
        named("method"),
        chosen("frozen settings", values),
        tuning_loss(lambda row: results.choice("tuning", row.key)),
        chosen("draws (lost)", lambda choice: f"{choice.trials} ({choice.lost})"),
        chosen("at an edge of its range", lambda choice: ", ".join(choice.on_edge) or "no"),
    ]
    complete = [row for row in rows(results, "tuning") if results.choice("tuning", row.key)]
    return Table(complete, columns)


def at_fixed_mu(results: Results) -> Table:
    """MARTHE at each fixed mu with its own frozen hyper_lr."""
    columns = [
        Column("μ", lambda row: row.key, "{:g}"),
        Column("hyper-learning rate", lambda row: row.records[0].spec.get("hyper_lr"), "{:.3g}"),
        averaged("E", final_loss),
        TEST_LOSS,
        ACCURACY,
        Column("runs", lambda row: len(row.records)),
    ]
    return Table(rows(results, "mu"), columns)


def nearness(results: Results) -> Table:
    """(e) Gap in E and correlation with LRS-OPT's schedule."""
    gaps, shapes = averaged("E minus LRS-OPT's E", results.offline_gap), averaged("", results.likeness)
    columns = [
        named("method"),
        gaps,
        Column(
            "correlation of smoothed log schedules", lambda row: shapes.text(row) or "undefined (constant)"
        ),
        Column("seeds", lambda row: len(values_of(row.records, results.offline_gap))),
    ]
    return Table([row for row in rows(results, "report") if row.key in SPACES and gaps.of(row)], columns)


def transfer(results: Results) -> Table:
    """(f) Learned schedules on their own and on other seeds."""
    other = averaged("E on other seeds", final_loss)

    def own(row: Row) -> Any:
        return Mean.of(results["report", row.key], final_loss)

    columns = [
        named("schedule of"),
        Column("E on its own seed", own, other.form),
        other,
        Column("replays", lambda row: len(row.records)),
    ]
    return Table(rows(results, "transfer"), columns)


def finding(results: Results) -> str:
    """The main finding, in a paragraph; says so when a tuned fixed schedule beats the online methods."""
    ranked = {row.key: row for row in results.ranked}
    wanted = len(results.scale.report_seeds)
    absent = [LABELS[m] for m in ("constant", *ONLINE) if m not in ranked or len(ranked[m].records) < wanted]
    if absent:
        return (
            "The runs of this experiment are not complete enough for a finding: those of "
            f"{', '.join(absent)} on the reporting seeds are missing."
        )
    best, constant = next(row for row in ranked.values() if row.key in ONLINE), ranked["constant"]
    pair = against(constant.records, best.records, final_test_loss)
    assert pair is not None
    verdict = f"The best online method, {best.name}, and a tuned constant rate cannot be told apart: it has"
    if pair.less < ALPHA:
        verdict = (
            "**A tuned constant learning rate beats every online method**: the best of them, "
            f"{best.name}, has"
        )
    elif pair.greater < ALPHA:
        verdict = f"The best online method, {best.name}, beats a tuned constant learning rate: it has"
    text = (
        f"{verdict} a test loss of {TEST_LOSS.text(best)} and {ACCURACY.text(best)} % accuracy, the constant "
        f"{TEST_LOSS.text(constant)} and {ACCURACY.text(constant)} % (mean ± half of the 95 % interval, "
        f"{len(pair.seeds)} seeds, equal tuning), at {COST.of(best) / COST.of(constant):.0f} times the cost "
        "of a run."
    )
    offline = ranked.get("lrs_opt")
    if offline is not None:
        text += (
            f" LRS-OPT, which fits all {results.scale.steps} rates offline to one batch order and is a "
            f"reference and not a competitor, reaches E = {E.text(offline)} and a test loss of "
            f"{TEST_LOSS.text(offline)}."
        )
    return text
