"""One plotting style: readable on white and on dark pages, for colour-blind readers, and in print."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito's colours, dark enough on white.
BLACK, DARK, GREY, LIGHT = "#000000", "#444444", "#7F7F7F", "#B0B0B0"
ORANGE, BLUE, GREEN, PINK = "#D55E00", "#0072B2", "#009E73", "#CC79A7"


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
