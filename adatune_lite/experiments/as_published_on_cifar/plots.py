"""The figures of experiment 09, each a pure function of its results."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from adatune_lite.experiments.as_published_on_cifar.groups import NAMES
from adatune_lite.experiments.as_published_on_cifar.reading import Results
from adatune_lite.experiments.as_published_on_cifar.tables import Compared, gains, ingredients
from adatune_lite.plotting import BLUE, DARK, GREEN, GREY, ORANGE, PINK, panels
from adatune_lite.report.figures import COLOURS, not_run
from adatune_lite.report.statistics import mean_interval

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from adatune_lite.runs.record import Record

LINES = {
    "clean": (ORANGE, "-"),
    "published": (DARK, "--"),
    "exponential": (COLOURS["exponential"], "-."),
    "test": (BLUE, ":"),
    "statistics": (GREEN, ":"),
    "code": (PINK, ":"),
}
"""Colour and dashes of each arm."""


def ingredients_alone(results: Results) -> Figure:
    """(a) What each ingredient adds to the clean protocol, and MARTHE's gain, in points by seed."""
    figure, axes = panels(2, width=8.2, height=6.4, stacked=True)
    tables = (ingredients(results), gains(results))
    for panel, table, title in zip(
        axes, tables, ("against the clean protocol", "MARTHE minus exponential decay"), strict=True
    ):
        _differences(panel, table.rows, title)
    if axes[0].lines:
        figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=2)
    return figure


def _differences(axes: Axes, given: Sequence[Compared], title: str) -> None:
    """Points are seeds; a bar is the 95 % interval of their mean, which cells with lost runs do not have."""
    if not given:
        not_run(axes)
        return
    for place, row in enumerate(reversed(given)):
        values = np.array(row.gap.pair.differences)
        shift = np.linspace(-0.15, 0.15, len(values)) if len(values) > 1 else np.zeros(1)
        axes.plot(values, place + shift, "o", ms=4, color=GREY, label="a seed" if not place else None)
        found = row.gap.pair.difference
        if row.gap.lost:
            label = None if any(line.get_marker() == "x" for line in axes.lines) else "median, runs are lost"
            axes.plot(np.median(values), place, "x", ms=8, color=ORANGE, ls="", label=label)
        else:
            ends = [[found.mean - found.low], [found.high - found.mean]] if found.n > 1 else None
            label = "mean, 95 % interval" if not place else None
            axes.errorbar(found.mean, place, xerr=ends, fmt="D", ms=5, color=BLUE, capsize=4, label=label)
    axes.axvline(0, color="black", lw=0.8)
    axes.set_yticks(range(len(given)), [row.name for row in reversed(given)], fontsize=8)
    axes.set(xlabel="points of test accuracy", title=title)


def courses(results: Results) -> Figure:
    """(b) Test accuracy after each epoch, each run's best test epoch marked, and the rate."""
    figure, (left, right) = panels(2, width=8.6, height=4.4)
    shown = {arm: records for arm, records in results.by("arm").items() if records}
    if not shown:
        not_run(left)
        not_run(right)
        return figure
    epoch = results.scale.setup.epoch
    for arm, (colour, dashes) in LINES.items():
        records = [r for r in shown.get(arm, []) if r.finished]
        if not records:
            continue
        epochs = records[0].series("test_accuracy")[0] / epoch
        curves = [r.series("test_accuracy")[1] for r in records]
        line: dict[str, Any] = {"color": colour, "ls": dashes, "lw": 1.6 if dashes != ":" else 1.2}
        left.plot(epochs, np.mean(curves, axis=0), label=f"{NAMES[arm]} ({len(records)})", **line)
        if arm in ("clean", "published"):
            _band(left, epochs, curves, colour)
            _best(left, epochs, curves, colour)
        _rates(right, records, epoch, line)
    left.set(xlabel="epoch", ylabel="test accuracy (%)", title="mean of the seeds; ▾ their best epochs")
    right.set(xlabel="epoch", ylabel="learning rate", title="median of the seeds")
    figure.legend(*left.get_legend_handles_labels(), loc="outside lower center", ncols=2)
    return figure


def _band(axes: Axes, epochs: np.ndarray, curves: Sequence[np.ndarray], colour: str) -> None:
    if len(curves) > 2:
        found = [mean_interval(column) for column in np.stack(curves).T.tolist()]
        axes.fill_between(
            epochs, [f.low for f in found], [f.high for f in found], color=colour, alpha=0.15, lw=0
        )


def _best(axes: Axes, epochs: np.ndarray, curves: Sequence[np.ndarray], colour: str) -> None:
    for curve in curves:
        place = int(np.argmax(curve))
        axes.plot(epochs[place], curve[place], "v", color=colour, ms=5)


def _rates(axes: Axes, records: Sequence[Record], epoch: int, line: dict[str, Any]) -> None:
    steps = np.linspace(0, records[0].spec.steps - 1, 200)
    rates = [np.interp(steps, *record.series("lr")) for record in records]
    axes.plot(steps / epoch, np.median(rates, axis=0), **line)
