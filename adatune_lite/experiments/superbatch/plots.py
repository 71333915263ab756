"""The figures of experiment 04, each a pure function of its results."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from adatune_lite.experiments.superbatch import ALIKE, NEAR, overhead
from adatune_lite.experiments.superbatch.reading import NAMES, SAMPLES, Group, Results, relative_spread
from adatune_lite.plotting import panels
from adatune_lite.report.figures import not_run

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito's; the marks tell the optimizers apart as well.
LINES = {"sgd": ("#000000", "o"), "momentum": ("#D55E00", "s"), "adam": ("#0072B2", "^")}
STYLES = {5: "-", 3: "--"}
GREY = "#888888"
PAPER, LEAN = (5, 100), (3, 50)
"""Samples and mini-batches of the paper's setting and of the lean one."""


def noise(results: Results) -> Figure:
    """Figure 7: the spread of the loss against the number of mini-batches, one panel for each task."""
    tasks = results.by_task()
    figure, axes = panels(max(1, len(tasks)), width=5.6 if len(tasks) < 2 else 9.6, height=4.4)
    if not tasks:
        not_run(axes[0])
    for panel, (task, groups) in zip(axes, tasks.items(), strict=False):
        for group in groups:
            colour, marker = LINES[group.optimizer]
            sizes = [c.size for c in group.cells]
            low, middle, high = np.transpose(
                [np.quantile(relative_spread(group.records, s), (0.1, 0.5, 0.9)) for s in sizes]
            )
            panel.plot(sizes, middle, color=colour, marker=marker, ms=5, label=NAMES[group.optimizer])
            panel.fill_between(sizes, low, high, color=colour, alpha=0.15, lw=0)
        first = groups[0].cells[0]
        ends = np.array([first.size, groups[0].cells[-1].size])
        panel.plot(ends, first.loss_std * np.sqrt(first.size / ends), ":", color=GREY, label="slope -1/2")
        panel.set_yscale("log")
        panel.set_ylabel("standard deviation of the loss / loss")
        panel.set_title(task)
        _sizes(panel, groups)
        panel.legend(title="band: 10 % to 90 % of steps and seeds", title_fontsize=8)
    return figure


def decisions(results: Results) -> Figure:
    """Agreement in direction and distance to the reference against the number of mini-batches."""
    tasks = results.by_task()
    rows = max(1, len(tasks))
    figure, axes = panels(2 * rows, width=9.6, height=0.6 + 3.6 * rows, columns=2)
    if not tasks:
        for panel in axes:
            not_run(panel)
    for row, (task, groups) in enumerate(tasks.items()):
        share, distance = axes[2 * row : 2 * row + 2]
        for group in groups:
            sizes = [c.size for c in group.cells]
            colour, marker = LINES[group.optimizer]
            for samples in SAMPLES:
                line: dict[str, Any] = {"color": colour, "marker": marker, "ms": 4, "ls": STYLES[samples]}
                name = f"{NAMES[group.optimizer]}, {samples} samples"
                share.plot(sizes, [100 * c.agree[samples] for c in group.cells], label=name, **line)
                distance.plot(sizes, [c.error[samples] for c in group.cells], **line)
        share.axhline(100 * ALIKE, color=GREY, lw=1)
        distance.axhline(NEAR, color=GREY, lw=1)
        share.set_ylabel("draws with the reference's direction (%)")
        distance.set_ylabel("distance to the reference / rate")
        share.set_title(task)
        for panel in (share, distance):
            _sizes(panel, groups)
    return _keyed(figure, axes)


def cost(results: Results) -> Figure:
    """What a decision costs and how far it is from the reference, one panel for each task."""
    tasks = results.by_task()
    figure, axes = panels(max(1, len(tasks)), width=5.6 if len(tasks) < 2 else 9.6, height=4.6)
    if not tasks:
        not_run(axes[0])
    for panel, (task, groups) in zip(axes, tasks.items(), strict=False):
        for group in groups:
            colour, marker = LINES[group.optimizer]
            for samples in SAMPLES:
                panel.plot(
                    [c.cost[samples] for c in group.cells],
                    [c.error[samples] for c in group.cells],
                    color=colour,
                    marker=marker,
                    ms=4,
                    ls=STYLES[samples],
                    label=f"{NAMES[group.optimizer]}, {samples} samples",
                )
        for samples, size in (PAPER, LEAN):
            panel.axvline(overhead(samples, size), color=GREY, lw=1, ls=STYLES[samples])
        panel.axhline(NEAR, color=GREY, lw=1)
        panel.set_xscale("log")
        panel.set_xlabel("cost of explore (% of training)")
        panel.set_ylabel("distance to the reference / rate")
        panel.set_title(task)
    return _keyed(figure, axes)


def _sizes(panel: Axes, groups: Sequence[Group]) -> None:
    sizes = [c.size for c in groups[0].cells]
    panel.set_xscale("log")
    panel.set_xticks(sizes, map(str, sizes))
    panel.minorticks_off()
    panel.set_xlabel("superbatch (mini-batches)")


def _keyed(figure: Figure, axes: Sequence[Axes]) -> Figure:
    """One legend for all panels: colours and lines are the same."""
    named = {name: h for a in axes for h, name in zip(*a.get_legend_handles_labels(), strict=True)}
    if named:
        figure.legend(named.values(), named.keys(), loc="outside lower center", ncols=3)
    return figure
