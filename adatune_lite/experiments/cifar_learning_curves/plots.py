"""The figures of experiment 07, each a pure function of its results."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from adatune_lite.experiments.cifar_learning_curves.groups import BESIDE, LABELS
from adatune_lite.experiments.cifar_learning_curves.reading import Results
from adatune_lite.experiments.cifar_published import published
from adatune_lite.experiments.cifar_records import curve
from adatune_lite.plotting import BLACK, LIGHT, panels
from adatune_lite.report.figures import COLOURS, legend_below, not_run
from adatune_lite.report.statistics import mean_interval

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from adatune_lite.runs.record import Record

PUBLISHED = tuple(row for row in LABELS if row not in BESIDE)
QUANTITIES = {
    "accuracy": "test accuracy (%)",
    "loss": "validation loss",
    "lr": "learning rate",
}
"""What a panel shows of our runs. The published loss and accuracy are of the test images."""
OWN = {
    "marthe_adaptive": BLACK,
    "staircase": "#56B4E9",
    "sgdr": "#882255",
    "exponential_searched": COLOURS["exponential"],
}
"""Colours of rows that are no method's own."""


def curves(results: Results, task: str) -> Figure:
    """Accuracy, loss and rate of the published methods over the budget; the printed curves are dashed."""
    return _figure(results, task, PUBLISHED, beneath=True)


def beside(results: Results, task: str) -> Figure:
    """The same of MARTHE and of the schedules that the published figures lack."""
    return _figure(results, task, ("marthe", *BESIDE), beneath=False)


def _figure(results: Results, task: str, shown: tuple[str, ...], *, beneath: bool) -> Figure:
    figure, axes = panels(len(QUANTITIES), width=10.6, height=4.6)
    for panel, (quantity, words) in zip(axes, QUANTITIES.items(), strict=True):
        drawn = False
        for row in shown:
            records = [r for r in results["curve", task, row] if r.finished]
            if records:
                drawn = True
                _band(panel, records, row, quantity)
                if beneath and (printed := published().get((task, row, quantity))):
                    label = "printed, full size, 200 epochs" if row == shown[-1] else None
                    colour = _colour(row)
                    panel.plot(*printed, "--", color=colour, lw=1.0, alpha=0.6, zorder=1)
                    panel.plot([], [], "--", color=LIGHT, label=label)
        if not drawn:
            not_run(panel)
            continue
        panel.set_xlabel("share of the training")
        panel.set_ylabel(words)
        if quantity == "loss":
            panel.set_yscale("log")
        if quantity == "lr":
            panel.set_ylim(bottom=0)
    return legend_below(figure)


def _colour(row: str) -> str:
    return OWN.get(row, COLOURS.get(row, BLACK))


def _band(axes: Axes, records: list[Record], row: str, quantity: str) -> None:
    """Mean of the seeds with its 95 % interval."""
    found = [curve(record, quantity) for record in records]
    shares, table = found[0][0], np.array([values for _, values in found])
    colour = _colour(row)
    axes.plot(shares, table.mean(0), color=colour, lw=1.6, label=LABELS[row])
    if len(table) > 1 and len(shares) <= 64:
        bounds = [mean_interval(column) for column in table.T]
        low, high = (np.array([getattr(b, end) for b in bounds]) for end in ("low", "high"))
        low = np.maximum(low, table.min(0) / 2)  # of a loss or rate the interval may go below 0
        axes.fill_between(shares, low, high, color=colour, alpha=0.15, lw=0)


def every_rate(results: Results, task: str) -> Figure:
    """The rates of each seed of the online methods over the first one: what depends on weights and order."""
    online = ("marthe", "marthe_adaptive", "rtho", "hd")
    figure, axes = panels(len(online), width=10.6, height=3.6)
    for panel, row in zip(axes, online, strict=True):
        records = [r for r in results["curve", task, row] if r.finished]
        panel.set_title(LABELS[row])
        if not records:
            not_run(panel)
            continue
        for record in records:
            shares, values = curve(record, "lr")
            panel.plot(shares, values / record.spec.get("lr"), color=_colour(row), lw=0.9, alpha=0.8)
        if printed := published().get((task, "marthe_adaptive" if row == "marthe" else row, "lr")):
            panel.plot(printed[0], printed[1] / records[0].spec.get("lr"), "--", color=LIGHT, label="printed")
        panel.axhline(1.0, color=LIGHT, lw=0.8)
        panel.set_xlabel("share of the training")
        panel.set_ylabel("rate over the first")
    return legend_below(figure)
