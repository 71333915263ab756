"""The tables and sentences of experiment 02, every number from records."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from adatune_lite.experiments.is_the_hypergradient_right.groups import (
    ALL,
    EXACT,
    LABELS,
    OPTIMIZERS,
)
from adatune_lite.experiments.is_the_hypergradient_right.reading import (
    Results,
    accuracy,
    cost,
    deviation,
    error,
    lost,
    seen,
    test_loss,
    turned_negative,
)
from adatune_lite.experiments.is_the_hypergradient_right.scale import (
    CLIP,
    DECAY,
    METHODS,
    MU,
    NETS,
    RULES,
    UNTRAINED,
)
from adatune_lite.report.data import DATASETS
from adatune_lite.report.search import Choice
from adatune_lite.report.statistics import Interval, mean_interval
from adatune_lite.report.tables import NONE, Column, Comparison, Row, Table, named, rows, values_of
from adatune_lite.runs.record import Record
from adatune_lite.training.derivatives import OUTER_ON_TEST, RATE_PER_TENSOR
from adatune_lite.tuners.as_published import FAULTS

TEXTS = {
    **FAULTS,
    OUTER_ON_TEST: "the outer gradient is taken on test images",
    RATE_PER_TENSOR: "HD for Adam moves the rate between the tensors of one step",
}


def setting(results: Results) -> str:
    """What this page shows, and where it is reduced."""
    scale, task, small = results.scale, results.scale.task, results.scale.small
    text = (
        f"**This page** ({results.profile}). Errors: {scale.small_steps} steps in float64 of a network with "
        f"{small.hidden[0]} tanh units on {small.train:,} images, E on {small.validation} others, "
        f"{len(scale.small_seeds)} seeds. Training: {task.train:,} images of {DATASETS[task.dataset]}, "
        f"hidden layers of {' and '.join(map(str, task.hidden))} units, {scale.steps} steps, "
        f"outer batches of {scale.outer_batch}, weight decay {DECAY:g}, mu = {MU:g}, entries of gradients "
        f"clipped at {CLIP:g}; {scale.draws} draws on {len(scale.tuning_seeds)} tuning seeds, "
        f"{len(scale.report_seeds)} other seeds reported."
    )
    if results.profile in ("smoke", "quick"):
        text += " This is a reduced scale: it shows that the code runs, not what the setting gives."
    absent = results.missing_roles()
    if absent:
        listed = ", ".join(f"{role} ({count})" for role, count in absent.items())
        text += f" **Not all runs are made yet**; missing: {listed}."
    return text


def gone(records: Sequence[Record]) -> int:
    """How many are lost."""
    return sum(map(lost, records))


def told(value: float) -> str:
    """A relative error."""
    if math.isnan(value):
        return ""
    return f"{value:.1%}" if 1e-3 <= value < 10 else f"{value:.0e}"


def _loss(row: Row) -> Interval:
    return mean_interval(values_of(row.records, test_loss))


LOSS = Column("test loss", lambda row: (_loss(row), gone(row.records)), lambda x: x[0].text(bare=x[1] > 0))
LOST = Column("lost", lambda row: f"{gone(row.records)} of {len(row.records)}")


@dataclass(frozen=True)
class Minus(Comparison):
    """A difference by seed, without its interval where a run is lost."""

    digits: int = 3

    def columns(self, given: Sequence[Row]) -> list[Column]:
        found = self.compared(given)

        def of(row: Row) -> tuple[Interval, int] | None:
            return (found[row.key].pair.difference, gone(row.records)) if row.key in found else None

        return [Column(self.name, of, lambda both: difference(both[0], both[1], self.digits))]


def difference(mean: Interval, lost: int, digits: int = 3) -> str:
    """A mean difference with its interval; without it where runs are lost."""
    text = f"{mean.mean:+.{digits}f}"
    if lost or mean.n < 2:
        return text
    return f"{text}\N{NO-BREAK SPACE}±\N{NO-BREAK SPACE}{(mean.high - mean.low) / 2:.{digits}f}"


def off(name: str, records: Callable[[Any], Sequence[Record]]) -> Column:
    """The column of relative errors."""
    return Column(name, lambda row: error(records(row)), told)


def errors(results: Results) -> Table:
    """(a) Relative error of each rule and method."""
    return _by_rule(results, "exact", METHODS)


def batchnorm(results: Results) -> Table:
    """(d) Error of the hypergradient where E uses the batch's own or the running statistics."""
    kinds = {"batch": "batch statistics (exact)", "running": "running statistics"}
    return _by_rule(results, "batchnorm", kinds)


def _by_rule(results: Results, key: str, names: Mapping[str, str]) -> Table:
    held = results.by(key)

    def column(kind: str, name: str) -> Column:
        return off(name, lambda rule: held[rule, kind])

    shown = [rule for rule in RULES if any(held.get((rule, kind)) for kind in names)]
    return Table(shown, [Column("optimizer", str), *(column(*both) for both in names.items())])


def faults(results: Results, optimizer: str) -> Table:
    """(b) What each deviation costs with one optimizer."""
    return _faults(results, optimizer, "trained", optimizer)


def calm(results: Results) -> Table:
    """(b) The same for SGD with momentum at a smaller hyper_lr."""
    return _faults(results, "momentum", "calm")


def _faults(results: Results, optimizer: str, *prefix: str) -> Table:
    errors, exact = results.by("fault"), results[*prefix, EXACT]
    columns = [
        named("what differs"),
        off("relative error", lambda row: errors.get((optimizer, row.key), [])),
        Column(
            "rate differs by (decades)",
            lambda row: deviation(row.records, exact) if row.key != EXACT else None,
            "{:.2f}",
        ),
        LOSS,
        Minus("minus exact", test_loss),
        Minus("accuracy minus exact (points)", accuracy, digits=2),
        LOST,
    ]
    return Table(rows(results, *prefix, against=EXACT), columns)


def untrained(results: Results) -> Table:
    """(b) The error of deviations that the trainings cannot show, beside the same without them."""
    exact = {
        "outer_statistics": results["batchnorm", "momentum", "batch"],
        RATE_PER_TENSOR: results["exact", "Adam", "hd"],
    }
    columns = [
        named("what differs"),
        Column("optimizer", lambda row: OPTIMIZERS[UNTRAINED[row.key]]),
        off("relative error", lambda row: row.records),
        off("without it", lambda row: exact[row.key]),
    ]
    return Table([Row(k, LABELS[k], results["fault", o, k]) for k, o in UNTRAINED.items()], columns)


def meanings(results: Results) -> Table:
    """What each deviation is, in words."""
    columns = [Column("name", lambda name: LABELS.get(name, name)), Column("what AdaTune does", TEXTS.get)]
    return Table(list(TEXTS), columns)


def adaptive(results: Results) -> Table:
    """(b) The adaptive rules of mu and hyper_lr, one by one."""
    minus = Minus("minus Marthe-TF's", test_loss), Minus("accuracy minus (points)", accuracy, digits=2)
    return Table(rows(results, "adaptive", against="marthe_tf"), [named("rules"), LOSS, *minus, LOST])


def projection(results: Results) -> Table:
    """Adam over the grid of hyper_lr, with and without the projection of the rate."""

    def median(row: Row) -> float | None:
        kept = [r.metrics["validation_loss"] for r in row.records if r.finished]
        return statistics.median(kept) if kept else None

    columns = [
        Column("hyper-rate", lambda row: row.key[1], "{:g}"),
        Column("projection", lambda row: row.key[0]),
        Column("runs", lambda row: len(row.records)),
        Column("with a negative rate", lambda row: sum(map(turned_negative, row.records))),
        Column("diverged", lambda row: sum(not r.finished for r in row.records)),
        Column("median E of the others", median, "{:.3f}"),
    ]
    return Table(rows(results, "projection"), columns)


def locality(results: Results) -> Table:
    """(c) Means over all probes and seeds."""

    def mean(name: str, series: str) -> Column:
        def of(row: Row) -> float | str:
            return "diverged" if (found := seen(row.records, series)) is None else found

        return Column(name, of, lambda found: found if isinstance(found, str) else f"{found:.2f}")

    columns = [
        Column("network", lambda row: row.key[0]),
        Column("optimizer", lambda row: OPTIMIZERS[row.key[1]]),
        Column("rate", lambda row: row.key[2], "{:g}"),
        mean("cosine", "cosine_1"),
        mean("cosine at a tenth", "cosine_0.1"),
        mean("length of the change over H s", "length_1"),
        mean("change of g over g", "change_1"),
    ]
    return Table(rows(results, "locality"), columns)


def lean(results: Results) -> Table:
    """(e) Cost, agreement and worth of cheaper hypergradients, at two hyper_lr."""
    columns = [
        named("products"),
        Column("plain steps a step", lambda row: cost(row.records), "{:.2f}"),
        Column("cosine with the full one", lambda row: results.cosine(row.key), "{:.3f}"),
        Column("lost at the frozen hyper-rate", lambda row: _frozen(results["lean", "frozen", row.key])),
        Column("test loss at a third of it", LOSS.of, LOSS.form),
        Minus("minus full", test_loss),
        LOST,
    ]
    return Table(results.cheaper, columns)


def _frozen(records: Sequence[Record]) -> str:
    return f"{gone(records)} of {len(records)}" if records else ""


def settings(results: Results) -> Table:
    """The frozen settings and how they were found."""
    held = [(row, results.choice("tuning", *row.key)) for row in rows(results, "tuning")]

    def frozen(given: tuple[Row, Choice]) -> str:
        row, choice = given
        own = [(n, v) for n, v in choice.settings if n in ("hyper_lr", "alpha") or row.key[1] == "constant"]
        return ", ".join(f"{n} = {v:.3g}" for n, v in own if isinstance(v, float))

    columns = [
        Column("optimizer", lambda given: OPTIMIZERS[given[0].key[0]]),
        Column("what", lambda given: given[0].name),
        Column("frozen settings", frozen),
        Column("mean E on tuning seeds", lambda given: given[1].mean_loss, "{:.4f}"),
        Column("draws (diverged)", lambda given: f"{given[1].trials} ({given[1].diverged})"),
        Column("at an edge", lambda given: ", ".join(given[1].on_edge) or "no"),
    ]
    return Table([(row, choice) for row, choice in held if choice], columns)


def growth(measured: dict[str, Any]) -> str:
    """What the measurement of `benchmarks/linear.py` says, and where it was made."""
    ratios = [
        row["hypergradient_seconds"] / row["training_seconds"]
        for row in (*measured["by_steps"], *measured["by_weights"])
    ]
    steps = [int(row["steps"]) for row in measured["by_steps"]]
    weights = [int(row["weights"]) for row in measured["by_weights"]]
    return (
        f"From T = {steps[0]} to {steps[-1]} and from {weights[0]:,} to {weights[-1]:,} weights, the "
        f"hypergradient of all rates costs {min(ratios):.1f} to {max(ratios):.1f} plain trainings "
        f"({measured['machine']}, torch {measured['torch']}, load {measured['load']:.1f})."
    )


def finding(results: Results) -> str:
    """The findings in a paragraph."""
    parts = [_exactness(results), _costs(results), _local(results), _running(results)]
    return " ".join(filter(None, parts)) or NONE


def _exactness(results: Results) -> str:
    held = [error(records) for records in results.by("exact").values() if records]
    if not held:
        return ""
    text = (
        f"**Every hypergradient of this library agrees with finite differences through time to "
        f"{told(max(held))}** or better ({len(held)} pairs of method and optimizer)."
    )
    for optimizer in ("momentum", "adam"):
        if found := results["fault", optimizer, ALL]:
            name = OPTIMIZERS[optimizer]
            text += f" AdaTune's recursion as published is off by {told(error(found))} with {name}."
    return text


def _costs(results: Results) -> str:
    """What the deviations do to the test loss, where no run is lost; the lost ones by number."""
    calmer, adam = calm(results), faults(results, "adam")
    sentences = [_lost(rows(results, "trained", "momentum"))]
    for name, table in (("SGD with momentum at a third of the frozen hyper-rate", calmer), ("Adam", adam)):
        given = [(row, found) for row, found in table.compared() if row.key != "constant"]
        if not given:
            continue
        worse = [row.name for row, found in given if found.pair.difference.low > 0 and not gone(row.records)]
        broken = [f"{row.name} ({LOST.of(row)})" for row, _ in given if gone(row.records)]
        sentences.append(
            f"With {name}, {len(worse)} of {len(given)} deviations raise the test loss significantly "
            f"({', '.join(worse) or 'none'}); runs are lost with {', '.join(broken) or 'none'}."
        )
    for row, found in adam.compared():
        if row.key == "constant":
            sentences.append(
                "With Adam a tuned constant rate differs from the exact recursion by "
                f"{difference(found.pair.difference, gone(row.records))} in test loss."
            )
    return " ".join(filter(None, sentences))


def _lost(given: Iterable[Row]) -> str:
    there = {row.key: row for row in given if row.records and row.key != "constant"}
    if EXACT not in there or not gone(there[EXACT].records):
        return ""
    kept = [row.name for row in there.values() if not gone(row.records)]
    return (
        f"**With SGD with momentum the exact recursion itself is lost on {LOST.of(there[EXACT])} "
        "reporting seeds, at the hyper-rate chosen on the tuning seeds; never lost are: "
        f"{', '.join(kept) or 'none'}.**"
    )


def _local(results: Results) -> str:
    texts = []
    for net in NETS:
        cells = results.by("locality", net).values()
        values = [cosine for records in cells if (cosine := seen(records)) is not None]
        if values:
            texts.append(f"{min(values):.2f} to {max(values):.2f} ({net})")
    if not texts:
        return ""
    return (
        "The cosine between the exact Hessian-vector product and the true change of the gradient over one "
        f"real step lies, over optimizers and rates, at {', '.join(texts)}."
    )


def _running(results: Results) -> str:
    held = results.by("batchnorm").items()
    found = [error(records) for (_, kind), records in held if kind == "running" and records]
    if not found:
        return ""
    return f"Running statistics of BatchNorm in E put the hypergradient off by up to {told(max(found))}."
