"""The tables and sentences of experiment 03, every number from records."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from adatune_lite.experiments.autolr_records import reduced
from adatune_lite.experiments.autolr_tasks import NETWORKS, SHORT
from adatune_lite.experiments.quadratic_fit.groups import DATASETS, PROFILES, threshold
from adatune_lite.experiments.quadratic_fit.reading import Fits, Probe, Results, inside, outside
from adatune_lite.report.data import copy_note
from adatune_lite.report.tables import NONE, Column, Table, named, runs_and_lost
from adatune_lite.training.quadratic import SAMPLES


def setting(results: Results) -> str:
    """What this page shows, what is reduced, and what was shrunk to fit the budget."""
    scale, task, paper = results.scale, results.scale.main, PROFILES["paper"]
    others = ", ".join(f"{DATASETS[t.dataset]} with the {NETWORKS[t.model]} network" for t in scale.others)
    factors = " and ".join(f"{f:g}" for f in scale.factors)
    data = "the embedded MNIST digits" if task.dataset == "mnist5k" else DATASETS[task.dataset]
    bounds = {DATASETS[t.dataset]: threshold(t) for t in (task, scale.rates, *scale.others)}
    trusted = (
        f"r = {r:g} on {' and '.join(d for d, found in bounds.items() if found == r)}"
        for r in sorted(set(bounds.values()))
    )
    return (
        f"**This page** ({results.profile}). {task.train:,} images of {data}, the "
        f"{NETWORKS[task.model]} network, batches of {task.batch}, {scale.epochs} epochs at a constant rate, "
        f"{len(scale.seeds)} seeds; the loss along the step is measured at {scale.probes} steps, each time "
        f"on a superbatch of {scale.superbatch} mini-batches. The rate is varied by {factors} on "
        f"{DATASETS[scale.rates.dataset]} ({NETWORKS[scale.rates.model]}) with {len(scale.seeds[:2])} seeds"
        f"{f'; also, on one seed: {others}' if others else ''}. The trust bound has {', '.join(trusted)}."
    ) + reduced(
        results,
        f"the paper's: {DATASETS[paper.main.dataset]} with {NETWORKS[paper.main.model]} to the network "
        f"above, {paper.epochs} epochs to {scale.epochs}, and superbatches of {paper.superbatch} "
        f"mini-batches to {scale.superbatch}",
    )


def _r2(value: float) -> str:
    return "> 0.99999" if value > 1 - 5e-6 else f"{value:.5f}" if value > 0.999 else f"{value:.3f}"


def _error(value: float) -> str:
    return f"{value:.2%}" if value >= 1e-4 else f"{value:.0e}"


def _judged(row: Fits) -> str:
    count = len(row.found)
    return f"{count}" if row.judged == count else f"{count} (R²: {row.judged})"


def _of_r2(row: Fits, q: float = 0.5) -> str:
    return _r2(row.quantile(lambda p: p.five.r2, q))


def _radius(row: Fits) -> float:
    return row.quantile(lambda p: p.five.radius)


def fits(results: Results) -> Table:
    """Every task, optimizer and rate: held-out R^2, error at the minimum, radius."""

    def error(name: str, among: Callable[[Probe], bool]) -> Column:
        return Column(name, lambda row: row.quantile(lambda p: p.minimum_error, among=among), _error)

    columns = [
        named("runs that differ in the seed alone"),
        runs_and_lost(),
        Column("steps measured", _judged),
        Column(
            "R² (10 % quantile)", lambda row: f"{_of_r2(row)} ({_of_r2(row, 0.1)})" if row.judged else None
        ),
        Column("R² in the rate itself", lambda row: row.quantile(lambda p: p.wide_r2), _r2),
        error("error at minima inside", inside),
        error("outside", outside),
        Column("radius for 1 %", _radius, "{:g}"),
        Column("for 5 %", lambda row: row.quantile(lambda p: p.radius_5), "{:g}"),
        _share("convex", lambda p: p.five.fit[2] > 0),
    ]
    return Table(results.table, columns, below=copy_note(results.all_records()))


def _share(name: str, holds: Callable[[Probe], bool]) -> Column:
    """Of the steps measured, those of which it holds."""
    return Column(name, lambda row: float(np.mean([holds(p) for p in row.found])), "{:.0%}")


def minima(results: Results) -> Table:
    """Where the predicted minimum lies, and what AutoLR would do, on the main task."""
    columns = [
        Column("optimizer", lambda row: row.optimizer),
        Column("steps measured", lambda row: len(row.found)),
        _share("no minimum", lambda p: math.isnan(p.minimum)),
        _share("minimum inside the samples", inside),
        _share("outside, within the bound", outside),
        _share("beyond the bound", lambda p: abs(p.minimum) > max(p.most, *SAMPLES)),
        _share("raises the rate", lambda p: p.move > 0),
        _share("3 samples move it the same way", lambda p: bool(np.sign(p.move) == np.sign(p.move_3))),
    ]
    return Table(results.main, columns)


def finding(results: Results) -> str:
    """The findings in a paragraph."""
    at_seed = [row for row in results.table if row.key[0] == "main" and row.judged]
    return " ".join(filter(None, (_quality(at_seed), _rates(results)))) or NONE


def _quality(rows: Sequence[Fits]) -> str:
    if not rows:
        return ""
    r2 = ", ".join(f"{_of_r2(row)} ({row.optimizer})" for row in rows)
    radii = ", ".join(f"{_radius(row):g} ({row.optimizer})" for row in rows)
    return (
        f"At the seed rates, the parabola through five samples explains held-out losses within the trust "
        f"region with a median R² of {r2}. Half of the parabolas stay within 1 % of the loss at least "
        f"up to a change of {radii} times the rate."
    )


def _rates(results: Results) -> str:
    texts = []
    for optimizer in SHORT.values():
        rows = {row.records[0].spec: _radius(row) for row in results.table if row.optimizer == optimizer}
        of = {spec.get("lr"): radius for spec, radius in rows.items() if spec.task == results.scale.rates}
        told = sorted((lr, radius) for lr, radius in of.items() if math.isfinite(radius))
        if len(told) > 1:
            texts.append(f"{optimizer} {', '.join(f'{radius:g} at {lr:g}' for lr, radius in told)}")
    return f"Against the rate, that radius is: {'; '.join(texts)}." if texts else ""
