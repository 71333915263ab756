"""Figures that the experiments about AutoLR share: curves in its paper's split form, points, intervals."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from adatune_lite.experiments.autolr_records import rates
from adatune_lite.plotting import BLACK, BLUE, ORANGE, panels, style
from adatune_lite.report.figures import COLOURS, not_run
from adatune_lite.report.statistics import Paired
from adatune_lite.report.tables import Mean
from adatune_lite.runs.record import Record

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LABELS = {
    "autolr": "AutoLR",
    "constant": "constant rate",
    "staircase": "staircase",
    "cosine": "cosine",
    "linear": "linear",
    "trapezoid": "trapezoid",
    "one_cycle_linear": "one-cycle",
    "knee": "Knee",
    "plateau": "ReduceLROnPlateau",
}
"""How methods are called in figures and tables."""
OPTIMIZER_LABELS = {"sgd": "SGD", "momentum": "SGD with momentum", "adam": "Adam"}
SIGNS = {"sgd": (BLACK, "o"), "momentum": (ORANGE, "s"), "adam": (BLUE, "^")}
"""Colour and marker of an optimizer."""
LINES = {"autolr": "-", "constant": "--", "staircase": "--"}

Curve = tuple[np.ndarray, np.ndarray]


def _thinned(values: np.ndarray) -> Curve:
    """At most 200 of the values, the first and the last among them."""
    chosen = np.linspace(0, len(values) - 1, min(200, len(values))).round().astype(np.int64)
    return chosen, values[chosen]


ROWS: dict[str, Callable[[Record], Curve]] = {
    "training loss\n(mini-batches)": lambda r: r.series("train_loss"),
    "validation\naccuracy (%)": lambda r: r.series("validation_accuracy"),
    "learning rate": lambda r: _thinned(rates(r)),
}
"""What a row of `split_curves` shows of a record."""


def epoch_of(record: Record) -> int:
    """Steps of an epoch."""
    return record.spec.task.train // record.spec.task.batch


def split_curves(
    groups: Mapping[str, Sequence[Record]], cuts: Sequence[float], rows: Sequence[str] = tuple(ROWS)
) -> Figure:
    """Curves over epochs, the run split at `cuts` (shares of the steps), each part with its own y-axis.

    groups: records by method. Every seed that finished is a thin line, their mean a thick one.
    """
    import matplotlib.pyplot as plt

    style()
    finished = {m: [r for r in records if r.finished] for m, records in groups.items()}
    held = [r for records in finished.values() for r in records]
    parts = len(cuts) + 1
    figure, axes = plt.subplots(
        len(rows), parts, figsize=(7.6, 1.2 + 2.0 * len(rows)), squeeze=False, layout="constrained"
    )
    if not held:
        for panel in axes.flat:
            not_run(panel)
        return figure
    last = max(r.spec.steps for r in held) / epoch_of(held[0])
    edges = [0.0, *(c * last for c in cuts), last]
    for line, name in zip(axes, rows, strict=True):
        line[0].set_ylabel(name)
        for k, panel in enumerate(line):
            for method, records in finished.items():
                if records:
                    _part(panel, method, [ROWS[name](r) for r in records], epoch_of(records[0]), edges[k:])
            panel.set_xlim(edges[k], edges[k + 1])
            panel.ticklabel_format(axis="y", useOffset=False, style="plain")
    for panel in axes[-1]:
        panel.set_xlabel("epoch")
    handles, names = axes[0][0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside upper center", ncols=len(names))
    return figure


def _part(axes: Axes, method: str, curves: Sequence[Curve], epoch: int, edges: Sequence[float]) -> None:
    seeds(axes, f"{LABELS[method]} ({len(curves)} seeds)", curves, epoch, edges[0], edges[1], **_line(method))


def _line(method: str) -> dict[str, Any]:
    return {"color": COLOURS[method], "ls": LINES.get(method, "-")}


def seeds(
    axes: Axes,
    label: str,
    curves: Sequence[Curve],
    epoch: int,
    first: float = 0.0,
    last: float = math.inf,
    *,
    log: bool = False,
    **line: Any,
) -> None:
    """Every seed as a thin line over epochs, their mean as a thick one; log: the geometric mean."""
    x = curves[0][0] / epoch
    inside = (x >= first) & (x <= last)
    if not inside.any():
        return
    for _, values in curves:
        axes.plot(x[inside], values[inside], **line, lw=0.7, alpha=0.4)
    stack = np.stack([values[inside] for _, values in curves])
    mean = np.exp(np.log(stack).mean(0)) if log else stack.mean(0)
    axes.plot(x[inside], mean, **line, lw=2.0, marker="." if inside.sum() <= 20 else "", label=label)


def points(
    axes: Axes,
    place: float,
    cell: Mean | Paired,
    colour: str,
    marker: str = "o",
    *,
    upright: bool = False,
) -> None:
    """Every seed as a tick, the mean with its 95 % interval from three seeds on; of lost ones the median.

    upright: values along the y-axis.
    """
    # Of two values the interval is a dozen times as wide as they are apart: it would hide all else.
    error = cell.bars if len(cell.numbers) > 2 else None
    form: dict[str, Any] = {"fmt": marker, "color": colour, "capsize": 3, "zorder": 3}
    if upright:
        axes.plot([place] * len(cell.numbers), cell.numbers, "_", color=colour, ms=8, alpha=0.5)
        axes.errorbar(place, cell.middle, yerr=error, **form)
    else:
        axes.plot(cell.numbers, [place] * len(cell.numbers), "|", color=colour, ms=9, alpha=0.5)
        axes.errorbar(cell.middle, place, xerr=error, **form)


def rows_of_points(
    held: Sequence[tuple[str, Mean | Paired, str, str]], xlabel: str, height: float
) -> tuple[Figure, Axes]:
    """`points` for each (name, cell, colour, marker), from below; an empty panel without any."""
    figure, (axes,) = panels(height=height)
    if not held:
        not_run(axes)
        return figure, axes
    for place, (_, cell, colour, marker) in enumerate(held):
        points(axes, place, cell, colour, marker)
    axes.set_yticks(range(len(held)), [name for name, *_ in held])
    axes.set_xlabel(xlabel)
    return figure, axes


def framed(held: Any, count: int, **shape: Any) -> tuple[Figure, list[Axes]]:
    """Panels, each of which says that nothing was run where nothing is held. shape: see `panels`."""
    figure, axes = panels(count, **shape)
    for panel in axes if not held else ():
        not_run(panel)
    return figure, axes


def keyed(figure: Figure, axes: Sequence[Axes], title: str | None = None) -> Figure:
    """The figure with one legend for all panels, whose signs are the same."""
    known = {name: h for a in axes for h, name in zip(*a.get_legend_handles_labels(), strict=True)}
    if known:
        figure.legend(known.values(), known.keys(), loc="outside lower center", ncols=3, title=title)
    return figure


def beside_printed(
    ours: Mapping[str, Mapping[float, Mean]],
    theirs: Mapping[str, Mapping[float, float]],
    xlabel: str,
) -> Figure:
    """Test accuracy over a setting: ours on the left, the printed means on the right.

    ours, theirs: by method and setting.
    """
    figure, (left, right) = panels(2, width=7.8, height=3.9)
    width = max((x for found in ours.values() for x in found), default=1.0)
    for k, (method, found) in enumerate(ours.items()):
        shift = (k - (len(ours) - 1) / 2) * 0.012 * width
        marker = "os"[k % 2]
        for x, mean in found.items():
            points(left, x + shift, mean, COLOURS[method], marker, upright=True)
        if found:
            left.plot([], [], marker, color=COLOURS[method], label=LABELS[method])
    for k, (method, known) in enumerate(theirs.items()):
        marker = "os"[k % 2]
        right.plot(*zip(*known.items(), strict=True), marker, color=COLOURS[method], label=LABELS[method])
    for panel, title in (
        (left, "this page: seeds, mean, 95 % interval"),
        (right, "printed (CIFAR-10, ResNet-18)"),
    ):
        panel.set(xlabel=xlabel, ylabel="test accuracy (%)", title=title)
    if any(ours.values()):
        left.legend()
    else:
        not_run(left)
    right.legend()
    return figure
