"""What the figures of all pages share: a colour and a sign for each method, bands, empty panels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from adatune_lite.plotting import BLACK, BLUE, GREEN, GREY, LIGHT, ORANGE, PINK
from adatune_lite.report.statistics import mean_interval

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# One method keeps one colour throughout the book.
COLOURS = {
    "lrs_opt": BLACK,
    "marthe": ORANGE,
    "rtho": BLUE,
    "hd_validation": GREEN,
    "hd": PINK,
    "constant": GREY,
    "start": LIGHT,
    "exponential": "#8C6D31",
    "staircase": "#56B4E9",
    "cosine": "#B8860B",
    "one_cycle": "#6A51A3",
    "autolr": "#882255",
}
MARKERS = {"lrs_opt": "*", "marthe": "o", "rtho": "s", "hd_validation": "^", "hd": "v"}
"""A second sign besides colour; methods without one have a diamond."""


def band(
    axes: Axes, series: Sequence[np.ndarray], method: str, label: str, *, log: bool = False, **line: Any
) -> None:
    """Mean over seeds with its 95 % interval (Student's t); series of equal length, one a seed.

    log: the series are logarithms; their means and intervals are drawn as what they are the logarithms of.
    """
    stack = np.stack([np.asarray(s) for s in series])
    steps = np.arange(stack.shape[1])
    colour = line.pop("color", COLOURS.get(method, "#444444"))
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
