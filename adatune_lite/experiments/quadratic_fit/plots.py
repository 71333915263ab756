"""The figures of experiment 03, each a pure function of its results.

A change of the rate is in units of the rate, u = eps / lr: -1 is no step at all, 0 the step that was taken.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from adatune_lite.experiments.autolr_plots import SIGNS, framed, keyed
from adatune_lite.experiments.autolr_tasks import NETWORKS, OPTIMIZERS, SHORT
from adatune_lite.experiments.quadratic_fit.groups import DATASETS
from adatune_lite.experiments.quadratic_fit.reading import Fits, Probe, Results
from adatune_lite.plotting import panels
from adatune_lite.report.figures import not_run
from adatune_lite.training.quadratic import FAR, GRID, SAMPLES
from adatune_lite.tuners.autolr.fit import parabola

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito's: the paper's orange, blue and green, told apart by their signs as well.
SAMPLE, CURVE, HELD, THERE = "#E69F00", "#0072B2", "#009E73", "#CC79A7"
LEAST = 1e-6
"""Errors below it are drawn at it: the logarithm of 0."""
NARROW = min(abs(u) for u in GRID if u)
"""And radii: the grid has no smaller one."""

CASES = {
    "inside": "minimum inside the samples",
    "outside": "minimum outside the samples",
    "far": "large changes of the rate",
}


def examples(results: Results) -> Figure:
    """Figures 1 and 5: one parabola for each of three cases, chosen by rule (see `Results.examples`)."""
    figure, axes = panels(3, width=9.6, height=4.4)
    for panel, (case, title) in zip(axes, CASES.items(), strict=True):
        optimizer, probe = results.examples.get(case, ("", None))
        _one(panel, probe, far=case == "far")
        panel.set_title(f"{title}\n({optimizer})" if probe else title)
    return keyed(figure, axes)


def networks(results: Results) -> Figure:
    """Figure 6: the typical step of every task and optimizer, within the reach of AutoLR."""
    cells = [(t, o, found.get(o)) for t, found in results.typical.items() for o in OPTIMIZERS]
    columns = len(OPTIMIZERS) if cells else 1
    height = 0.6 + 2.9 * max(1, len(results.typical))
    figure, axes = framed(cells, len(cells) or 1, width=9.6, height=height, columns=columns)
    for panel, (task, optimizer, probe) in zip(axes, cells, strict=False):
        _one(panel, probe, far=False)
        name = f"{DATASETS[task.dataset]}, {NETWORKS[task.model]},\n{SHORT[optimizer]}"
        panel.set_title(name, fontsize=9)
    return keyed(figure, axes)


def _one(panel: Axes, probe: Probe | None, *, far: bool) -> None:
    """One line of losses with its parabola; far: as far as it was measured."""
    if probe is None:
        not_run(panel)
        return
    least, most = (-1.0, FAR) if far else (-0.5, 0.5)
    shown = [(u, y) for u, y in zip(GRID, probe.losses, strict=True) if least <= u <= most]
    sampled = [(u, y) for u, y in shown if u in SAMPLES]
    held = [(u, y) for u, y in shown if u not in SAMPLES]
    smooth = np.linspace(least, most, 200)
    panel.axvspan(-probe.most, probe.most, color="#F0F0F0", zorder=0, label="trust region")
    panel.plot(smooth, [parabola(probe.five.fit, u) for u in smooth], color=CURVE, label="parabola")
    panel.plot(*zip(*held, strict=True), "v", color=HELD, ms=6, label="loss, held out")
    panel.plot(*zip(*sampled, strict=True), "^", color=SAMPLE, ms=7, label="loss, fitted")
    marked = []
    if least <= probe.minimum <= most:
        low = parabola(probe.five.fit, probe.minimum)
        marked = [low, probe.true_minimum]
        panel.plot(probe.minimum, low, "o", color="#D55E00", ms=9, mfc="none", mew=2, label="its minimum")
        panel.plot(probe.minimum, probe.true_minimum, "D", color=THERE, ms=5, label="true loss there")
    if far:
        # A parabola that leaves the picture is the point; losses far above it would hide the rest.
        finite = [y for y in (*(y for _, y in shown), *marked) if np.isfinite(y)]
        panel.set_ylim(_limits(finite, [parabola(probe.five.fit, u) for u in (least, most)]))
    panel.set_xlabel("change of the rate / rate")
    panel.set_ylabel(f"loss at step {probe.step}", labelpad=2)


def _limits(losses: Sequence[float], ends: Sequence[float]) -> tuple[float, float]:
    low, high = min(losses), max(losses)
    room = 0.5 * (high - low)
    edge = 0.2 * room  # a mark at the edge must not be cut
    return max(min(low, *ends), low - room) - edge, min(max(high, *ends), high + room) + edge


RADII = (0.03, 0.1, 0.3, 1.0, 4.0)
CURVES: tuple[tuple[str, Callable[[Probe], float]], ...] = (
    ("1 - R² of held-out losses", lambda p: max(1 - p.five.r2, LEAST)),
    ("error at the minimum / loss", lambda p: max(p.minimum_error, LEAST)),
    ("radius of validity / rate", lambda p: max(p.five.radius, NARROW)),
)


def along_training(results: Results) -> Figure:
    """Held-out R^2, error at the predicted minimum and radius of validity over the whole of training."""
    figure, axes = panels(3, height=9.6, stacked=True)
    for panel, (name, of) in zip(axes, CURVES, strict=True):
        drawn = [_curve(panel, row, of) for row in results.main]
        if any(drawn):
            panel.set(yscale="log", ylabel=name, xlabel="step")
        else:
            not_run(panel)
    for panel in axes[:2]:
        panel.axhline(0.01, color="#888888", lw=1, ls="--")
    axes[2].set_yticks(RADII, [f"{r:g}" for r in RADII])
    axes[2].set_ylim(0.8 * NARROW, 1.25 * FAR)
    return keyed(figure, axes, "line: median of the seeds, band: smallest to largest seed")


def _curve(panel: Axes, row: Fits, of: Callable[[Probe], float]) -> bool:
    """Median over seeds and the range of the seeds; a seed without a value at a step is left out there."""
    at: dict[int, list[float]] = {}
    for probe in row.found:
        if np.isfinite(value := of(probe)):
            at.setdefault(probe.step, []).append(value)
    if not at:
        return False
    steps = sorted(at)
    colour, marker = SIGNS[row.key[1]]
    low, middle, high = np.transpose([(min(at[s]), np.median(at[s]), max(at[s])) for s in steps])
    panel.plot(steps, middle, color=colour, marker=marker, ms=3, label=row.optimizer)
    panel.fill_between(steps, low, high, color=colour, alpha=0.15, lw=0)
    return True


def settings(results: Results) -> Figure:
    """How good and how wide the parabola is, for every task, optimizer and rate."""
    rows = results.table[::-1]
    figure, axes = framed(rows, 2, width=9.6, height=max(3.0, 1.6 + 0.32 * len(rows)))
    if not rows:
        return figure
    for panel, (name, of) in zip(axes, (CURVES[0], CURVES[2]), strict=True):
        for place, row in enumerate(rows):
            _spread(panel, place, row, [v for p in row.found if np.isfinite(v := of(p))])
        panel.set_yticks(range(len(rows)), [row.name for row in rows])
        panel.set(ylim=(-0.6, len(rows) - 0.4), xlabel=name, xscale="log")
    axes[0].axvline(0.01, color="#888888", lw=1, ls="--")
    axes[1].set_xticks(RADII, [f"{r:g}" for r in RADII])
    axes[1].set_xlim(0.8 * NARROW, 1.25 * FAR)
    axes[1].set_yticklabels([])
    return figure


def _spread(panel: Axes, place: int, row: Fits, values: Sequence[float]) -> None:
    if not values:
        return
    low, middle, high = np.quantile(values, (0.1, 0.5, 0.9))
    colour, marker = SIGNS[row.key[1]]
    panel.plot([low, high], [place, place], color=colour, lw=1.5)
    panel.plot(middle, place, marker, color=colour, ms=6)
