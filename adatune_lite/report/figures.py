"""What the figures of all pages share: a colour and a sign for each method, bands, empty panels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from adatune_lite.plotting import DARK, LIGHT
from adatune_lite.report.statistics import mean_interval
from adatune_lite.training import registry

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

registry.load()
COLOURS = {**{name: method.colour for name, method in registry.METHODS.items()}, "start": LIGHT}
"""One method keeps one colour throughout the book; the start is a constant rate that was not tuned."""
LABELS = {name: method.label for name, method in registry.METHODS.items()}
"""What readers call it."""
MARKERS = {name: method.marker for name, method in registry.METHODS.items()}
"""A second sign besides colour."""


def band(
    axes: Axes, series: Sequence[np.ndarray], method: str, label: str, *, log: bool = False, **line: Any
) -> None:
    """Mean over seeds with its 95 % interval (Student's t); series of equal length, one a seed.

    log: the series are logarithms; their means and intervals are drawn as what they are the logarithms of.
    """
    stack = np.stack([np.asarray(s) for s in series])
    steps = np.arange(stack.shape[1])
    colour = line.pop("color", COLOURS.get(method, DARK))
    shown = np.exp if log else np.asarray
    axes.plot(steps, shown(stack.mean(0)), color=colour, label=label, **{"lw": 1.6, **line})
    if len(stack) > 1:
        bounds = [mean_interval(column) for column in stack.T]
        low, high = np.array([b.low for b in bounds]), np.array([b.high for b in bounds])
        axes.fill_between(steps, shown(low), shown(high), color=colour, alpha=0.18, lw=0)


def not_run(axes: Axes) -> None:
    """An empty panel that says why it is empty."""
    axes.text(0.5, 0.5, "no records yet", ha="center", va="center", transform=axes.transAxes, color="#666666")
    axes.set_axis_off()


def legend_below(figure: Figure) -> Figure:
    """One legend below all panels."""
    entries: dict[str, Any] = {}
    for axes in figure.axes:
        handles, labels = axes.get_legend_handles_labels()
        entries |= dict(zip(labels, handles, strict=True))
    if entries:
        figure.legend(list(entries.values()), list(entries), loc="outside lower center", ncols=4)
    return figure
