"""One plotting style: readable on white and on dark pages, for colour-blind readers, and in print."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito's colours, dark enough on white; one method keeps one colour throughout the book.
COLOURS = {
    "lrs_opt": "#000000",
    "marthe": "#D55E00",
    "rtho": "#0072B2",
    "hd_validation": "#009E73",
    "hd": "#CC79A7",
    "constant": "#7F7F7F",
    "start": "#B0B0B0",
    "exponential": "#8C6D31",
    "staircase": "#56B4E9",
    "cosine": "#B8860B",
    "one_cycle": "#6A51A3",
    "autolr": "#882255",
}
MARKERS = {"lrs_opt": "*", "marthe": "o", "rtho": "s", "hd_validation": "^", "hd": "v"}
"""A second sign besides colour; methods without one have a diamond."""


def style() -> None:
    """Set the house style for the figures that follow."""
    import matplotlib as mpl
    import seaborn as sns

    sns.set_theme(style="ticks", context="notebook")
    mpl.rcParams.update(
        {
            "figure.dpi": 160,  # twice a screen's, with room: pages scale pictures down
            "savefig.dpi": 160,
            "figure.facecolor": "white",
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.grid": True,
            "grid.color": "#E6E6E6",
            "font.size": 10,
            "axes.titlesize": 11,
            "axes.labelsize": 10,
            "legend.frameon": False,
            "legend.fontsize": 9,
            "svg.hashsalt": "adatune_lite",
        }
    )


def panels(
    count: int = 1,
    *,
    width: float = 7.6,
    height: float = 4.0,
    stacked: bool = False,
    columns: int | None = None,
) -> tuple[Figure, list[Axes]]:
    """A figure with `count` panels side by side, or stacked: larger where a screen is narrow.

    columns: panels of one row, of which `count` is a multiple.
    """
    import matplotlib.pyplot as plt

    style()
    wide = columns or (1 if stacked else count)
    shape = (count // wide, wide)
    figure, axes = plt.subplots(*shape, figsize=(width, height), squeeze=False, layout="constrained")
    return figure, list(axes.flat)


def band(
    axes: Axes, series: Sequence[np.ndarray], method: str, label: str, *, log: bool = False, **line: Any
) -> None:
    """Mean over seeds with its 95 % interval (Student's t); series of equal length, one a seed.

    log: the series are logarithms; their means and intervals are drawn as what they are the logarithms of.
    """
    from adatune_lite.experiments.statistics import mean_interval

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
