"""The figures of experiment 04, each a pure function of its results."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import product
from typing import TYPE_CHECKING

import numpy as np

from adatune_lite.experiments.autolr_plots import SIGNS, framed, keyed
from adatune_lite.experiments.superbatch.groups import ALIKE, NEAR, SAMPLES, overhead
from adatune_lite.experiments.superbatch.reading import Cell, Measured, Results

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

STYLES = {5: "-", 3: "--"}
GREY = "#888888"
PAPER, LEAN = (5, 100), (3, 50)
"""Samples and mini-batches of the paper's setting and of the lean one."""


def noise(results: Results) -> Figure:
    """Figure 7: the spread of the loss against the number of mini-batches, one panel for each task."""
    figure, axes = _a_task_each(results, 4.4)
    for panel, (task, rows) in zip(axes, results.by_task.items(), strict=False):
        for row in rows:
            colour, marker = SIGNS[row.key[-1]]
            bands = [np.quantile(cell.spread, (0.1, 0.5, 0.9)) for cell in row.cells]
            low, middle, high = np.transpose(bands)
            sizes = [cell.size for cell in row.cells]
            panel.plot(sizes, middle, color=colour, marker=marker, ms=5, label=row.optimizer)
            panel.fill_between(sizes, low, high, color=colour, alpha=0.15, lw=0)
        first, last = rows[0].cells[0], rows[0].cells[-1]
        ends = np.array([first.size, last.size])
        fall = float(np.median(first.spread)) * np.sqrt(first.size / ends)
        panel.plot(ends, fall, ":", color=GREY, label="slope -1/2")
        panel.set(yscale="log", ylabel="standard deviation of the loss / loss", title=task)
        _sizes(panel, rows[0])
        panel.legend(title="band: 10 % to 90 % of steps and seeds", title_fontsize=8)
    return figure


def decisions(results: Results) -> Figure:
    """Agreement in direction and distance to the reference against the number of mini-batches."""
    lines = max(1, len(results.by_task))
    figure, axes = framed(results.by_task, 2 * lines, width=9.6, height=0.6 + 3.6 * lines, columns=2)
    for (task, rows), share, distance in zip(results.by_task.items(), axes[::2], axes[1::2], strict=False):
        _lines(share, rows, lambda cell, _: cell.size, lambda cell, n: 100 * cell.mean(f"agree_{n}"))
        _lines(distance, rows, lambda cell, _: cell.size, _distance, named=False)
        share.axhline(100 * ALIKE, color=GREY, lw=1)
        distance.axhline(NEAR, color=GREY, lw=1)
        share.set(ylabel="draws with the reference's direction (%)", title=task)
        distance.set_ylabel("distance to the reference / rate")
        for panel in (share, distance):
            _sizes(panel, rows[0])
    return keyed(figure, axes)


def cost(results: Results) -> Figure:
    """What a decision costs and how far it is from the reference, one panel for each task."""
    figure, axes = _a_task_each(results, 4.6)
    for panel, (task, rows) in zip(axes, results.by_task.items(), strict=False):
        _lines(panel, rows, lambda cell, samples: overhead(samples, cell.size), _distance)
        for samples, size in (PAPER, LEAN):
            panel.axvline(overhead(samples, size), color=GREY, lw=1, ls=STYLES[samples])
        panel.axhline(NEAR, color=GREY, lw=1)
        panel.set(xscale="log", xlabel="cost of explore (% of training)", title=task)
        panel.set_ylabel("distance to the reference / rate")
    return keyed(figure, axes)


def _a_task_each(results: Results, height: float) -> tuple[Figure, Sequence[Axes]]:
    count = len(results.by_task)
    return framed(count, max(1, count), width=5.6 if count < 2 else 9.6, height=height)


Place = Callable[[Cell, int], float]


def _distance(cell: Cell, samples: int) -> float:
    return cell.mean(f"error_{samples}")


def _lines(panel: Axes, rows: Sequence[Measured], x: Place, y: Place, *, named: bool = True) -> None:
    """A line for each optimizer and number of samples, through all sizes."""
    for row, samples in product(rows, SAMPLES):
        colour, marker = SIGNS[row.key[-1]]
        at = [[of(cell, samples) for cell in row.cells] for of in (x, y)]
        name = f"{row.optimizer}, {samples} samples" if named else None
        panel.plot(*at, color=colour, marker=marker, ms=4, ls=STYLES[samples], label=name)


def _sizes(panel: Axes, row: Measured) -> None:
    sizes = [cell.size for cell in row.cells]
    panel.set(xscale="log", xlabel="superbatch (mini-batches)")
    panel.set_xticks(sizes, map(str, sizes))
    panel.minorticks_off()
