"""The tables and sentences of experiment 04, every number from records."""

from __future__ import annotations

import math

import numpy as np

from adatune_lite.experiments.autolr_records import reduced
from adatune_lite.experiments.autolr_tasks import BATCH, NETWORKS, SHORT
from adatune_lite.experiments.superbatch.groups import ALIKE, DATASETS, NEAR, PROFILES, SAMPLES, overhead
from adatune_lite.experiments.superbatch.reading import Measured, Results, at_bound, counted, slope
from adatune_lite.report.statistics import Interval, mean_interval
from adatune_lite.report.tables import NONE, Column, Table

HALF = math.ceil(50_000 / BATCH) / 2
"""Steps of half an epoch of CIFAR-10 in the paper, which holds no image out."""


def setting(results: Results) -> str:
    """What this page shows, what is reduced, and what was shrunk to fit the budget."""
    scale, paper = results.scale, PROFILES["paper"]
    tasks = [
        f"{task.train:,} images of {DATASETS[task.dataset]} with the {NETWORKS[task.model]} "
        f"network and {', '.join(SHORT[o] for o in scale.optimizers(task))} (batches of {task.batch}, "
        f"{measured} mini-batches measured, {len(scale.seeds)} seeds)"
        for task, measured in scale.tasks.items()
    ]
    names = ", ".join(f"{DATASETS[task.dataset]} ({NETWORKS[task.model]})" for task in paper.tasks)
    return (
        f"**This page** ({results.profile}). {'; '.join(tasks)}. {scale.steps:,} steps at a constant rate, "
        f"measured at {scale.probes} of them; {scale.draws} superbatches of each size."
    ) + reduced(
        results,
        f"the paper profile: its tasks, {names}, to those above, its {paper.steps:,} steps to "
        f"{scale.steps:,} and its {paper.probes} measured steps to {scale.probes}",
    )


TASK = (Column("task", lambda row: row.task), Column("optimizer", lambda row: row.optimizer))


def smallest(results: Results) -> Table:
    """The smallest superbatch that decides alike, its cost, and the slopes of the spread."""
    found = [column for samples in SAMPLES for column in _smallest(samples)]
    slopes = (_slope("slope as measured", corrected=False), _slope("corrected", corrected=True))
    return Table(results.measured, [*TASK, *found, *slopes])


def _size(row: Measured, samples: int) -> tuple[str, float]:
    """The smallest superbatch, and what it costs; NaN where none of those measured is large enough."""
    found = row.smallest(samples)
    if found is None:
        return f"more than {row.cells[-1].size}", math.nan
    return f"{found.size}", overhead(samples, found.size)


def _smallest(samples: int) -> tuple[Column, Column]:
    return (
        Column(f"smallest, {samples} samples", lambda row: _size(row, samples)[0]),
        Column(f"costs, {samples} samples", lambda row: _size(row, samples)[1], "{:.1f} %", "costs"),
    )


def _slope(name: str, *, corrected: bool) -> Column:
    def of(row: Measured) -> Interval:
        return mean_interval([slope(r, corrected=corrected) for r in row.records])

    return Column(name, of, lambda interval: interval.text(2))


def costs(results: Results) -> Table:
    """Appendix C's arithmetic beside the passes that were counted, each booked as a third of a step too."""
    price = counted(results.all_records())
    rows = [
        ("the paper's: 5 samples of 100, every 1000 steps", 5, 100, 1000),
        ("lean: 3 samples of 50, every 1000 steps", 3, 50, 1000),
        (f"5 samples of 100 twice per epoch, every {HALF:g} steps (CIFAR-10)", 5, 100, HALF),
        (f"3 samples of 50 twice per epoch, every {HALF:g} steps (CIFAR-10)", 3, 50, HALF),
    ]
    by_count = "passes counted in the runs, a third of a step each (no time)"
    columns = [
        Column("setting", lambda row: row[0]),
        Column("cost of explore, appendix C's arithmetic", lambda row: overhead(*row[1:]), "{:.1f} %"),
        Column(by_count, lambda row: 3 * price * overhead(*row[1:]), "{:.1f} %"),
    ]
    return Table(rows, columns)


def sizes(results: Results) -> Table:
    """Every size of every task and optimizer."""
    columns = [
        *TASK,
        Column("mini-batches", lambda cell: cell.size),
        Column("spread / loss", lambda cell: float(np.median(cell.spread)), "{:.3f}"),
        Column("agreement, 5 samples", lambda cell: cell.mean("agree_5"), "{:.0%}"),
        Column("agreement, 3 samples", lambda cell: cell.mean("agree_3"), "{:.0%}", "3 samples"),
        Column("distance, 5 samples", lambda cell: cell.mean("error_5"), "{:.3f}"),
        Column("distance, 3 samples", lambda cell: cell.mean("error_3"), "{:.3f}", "3 samples"),
        Column("3 as 5: direction", lambda cell: cell.mean("samples_agree"), "{:.1%}"),
        Column("3 as 5: difference", lambda cell: cell.median("samples_difference"), "{:.3f}", "difference"),
        Column("variance ratio", lambda cell: cell.median("variance_ratio"), "{:.2g}"),
    ]
    rows = [cell for row in results.measured for cell in row.cells]
    return Table(rows, columns, below=_clipped(results) if rows else "")


def _clipped(results: Results) -> str:
    """How often the reference decides for the bound, which makes the variances of changes small."""
    found = np.concatenate([at_bound(r) for row in results.measured for r in row.records])
    return (
        f"The reference moves to the bound at {found.sum()} of {found.size} measured steps "
        f"({found.mean():.0%}). Draws that do so too make one and the same change: for that reason "
        "alone many variance ratios are small."
    )


def finding(results: Results) -> str:
    """The findings in a paragraph."""

    def words(row: Measured, samples: int) -> str:
        size, price = _size(row, samples)
        return f"{size} with {samples} samples" + (
            "" if math.isnan(price) else f" ({price:.1f} % of training)"
        )

    found = [f"{row.name}: {' and '.join(words(row, n) for n in SAMPLES)}" for row in results.measured]
    return (
        f"The smallest superbatch that decides alike ({ALIKE:.0%} in the same direction, and within {NEAR:g} "
        f"of the rate), in mini-batches: {'; '.join(found)}."
        if found
        else NONE
    )
