"""The tables and sentences of experiment 02, every number from records."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from adatune_lite.experiments.is_the_hypergradient_right.groups import ALL, EXACT, LABELS, OPTIMIZERS
from adatune_lite.experiments.is_the_hypergradient_right.reading import (
    Results,
    accuracy,
    cost,
    deviation,
    error,
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
from adatune_lite.report.data import DATASETS, not_all
from adatune_lite.report.lost import count, kept
from adatune_lite.report.search import Choice
from adatune_lite.report.tables import (
    NONE,
    Column,
    Comparison,
    Row,
    Table,
    averaged,
    named,
    rows,
    told,
    tuning_loss,
)
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
    return text + not_all(results)


def _error(value: float) -> str:
    """A relative error."""
    if math.isnan(value):
        return ""
    return f"{value:.1%}" if 1e-3 <= value < 10 else f"{value:.0e}"


LOSS = averaged("test loss", test_loss)


def off(name: str, records: Callable[[Any], Sequence[Record]]) -> Column:
    """The column of relative errors."""
    return Column(name, lambda row: error(records(row)), _error)


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
    return faults_of(results, "trained", optimizer)


def calm(results: Results) -> Table:
    """(b) The same for SGD with momentum at a smaller hyper_lr."""
    return faults_of(results, "calm")


def faults_of(results: Results, *prefix: str) -> Table:
    """Trainings under a key against the exact recursion."""
    optimizer, exact = "momentum" if prefix == ("calm",) else prefix[-1], results[*prefix, EXACT]
    errors = results.by("fault")

    def differs(row: Row) -> float | None:
        return deviation(row.records, exact) if row.key != EXACT else None

    columns = [
        named("what differs"),
        off("relative error", lambda row: errors.get((optimizer, row.key), [])),
        Column("rate differs by (decades)", differs, "{:.2f}"),
        LOSS,
        Comparison("minus exact", test_loss, digits=3),
        Comparison("accuracy minus exact (points)", accuracy, p_name=""),
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
    minus = (
        Comparison("minus Marthe-TF's", test_loss, digits=3),
        Comparison("accuracy minus (points)", accuracy, p_name=""),
    )
    return Table(rows(results, "adaptive", against="marthe_tf"), [named("rules"), LOSS, *minus])


def projection(results: Results) -> Table:
    """Adam over the grid of hyper_lr, with and without the projection of the rate."""

    def best(row: Row) -> float | None:
        held = [r.metrics["validation_loss"] for r in kept(row.records)]
        return statistics.median(held) if held else None

    columns = [
        Column("hyper-rate", lambda row: row.key[1], "{:g}"),
        Column("projection", lambda row: row.key[0]),
        Column("runs", lambda row: len(row.records)),
        Column("with a negative rate", lambda row: sum(map(turned_negative, row.records))),
        Column("diverged", lambda row: sum(not r.finished for r in row.records)),
        Column("lost", lambda row: count(row.records)),
        Column("median E of the others", best, "{:.3f}"),
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

    def frozen(row: Row) -> str:
        records = results["lean", "frozen", row.key]
        return f"{count(records)} of {len(records)}" if records else ""

    columns = [
        named("products"),
        Column("plain steps a step", lambda row: cost(row.records), "{:.2f}"),
        Column("cosine with the full one", lambda row: results.cosine(row.key), "{:.3f}"),
        Column("lost at the frozen hyper-rate", frozen),
        averaged("test loss at a third of it", test_loss),
        Comparison("minus full", test_loss, digits=3),
    ]
    return Table(results.cheaper, columns)


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
        tuning_loss(lambda given: given[1]),
        Column("draws (lost)", lambda given: f"{given[1].trials} ({given[1].lost})"),
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
        f"{_error(max(held))}** or better ({len(held)} pairs of method and optimizer)."
    )
    for optimizer in ("momentum", "adam"):
        if found := results["fault", optimizer, ALL]:
            name = OPTIMIZERS[optimizer]
            text += f" AdaTune's recursion as published is off by {_error(error(found))} with {name}."
    return text


def _costs(results: Results) -> str:
    """What the deviations do to the test loss, where no run is lost; the lost ones by number."""
    calmer, adam = calm(results), faults(results, "adam")
    sentences = [_lost(rows(results, "trained", "momentum"))]
    for name, table in (("SGD with momentum at a third of the frozen hyper-rate", calmer), ("Adam", adam)):
        given = [(row, found) for row, found in table.compared() if row.key != "constant"]
        if not given:
            continue
        worse = [row.name for row, found in given if found.sure and found.pair.middle > 0]
        gone = [f"{row.name} ({n} of {len(row.records)})" for row, _ in given if (n := count(row.records))]
        sentences.append(
            f"With {name}, {len(worse)} of {len(given)} deviations raise the test loss significantly "
            f"({', '.join(worse) or 'none'}); runs are lost with {', '.join(gone) or 'none'}."
        )
    sentences += [
        "With Adam a tuned constant rate differs from the exact recursion by "
        f"{told(found.pair, 3)} in test loss."
        for row, found in adam.compared()
        if row.key == "constant"
    ]
    return " ".join(filter(None, sentences))


def _lost(given: Iterable[Row]) -> str:
    there = {row.key: row for row in given if row.records and row.key != "constant"}
    if EXACT not in there or not (gone := count(there[EXACT].records)):
        return ""
    never = [row.name for row in there.values() if not count(row.records)]
    return (
        f"**With SGD with momentum the exact recursion itself is lost on {gone} of "
        f"{len(there[EXACT].records)} reporting seeds, at the hyper-rate chosen on the tuning seeds; never "
        f"lost are: {', '.join(never) or 'none'}.**"
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
    return f"Running statistics of BatchNorm in E put the hypergradient off by up to {_error(max(found))}."
