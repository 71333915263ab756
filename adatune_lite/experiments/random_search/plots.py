"""The figures of experiment 08, each a pure function of its results."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from adatune_lite.experiments.cifar_search import LABELS, PUBLISHED, TASKS, TUNED, Budget, space
from adatune_lite.experiments.random_search.reading import METHODS, Results, best_look, of_n_draws
from adatune_lite.experiments.random_search.tables import WORDS
from adatune_lite.plotting import panels
from adatune_lite.report.figures import COLOURS, MARKERS, legend_below, not_run

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

AXES = {"plain": "plain steps", "seconds": "seconds of one thread"}
POINTS = 400
"""At which the courses of several searches are read."""


def courses(results: Results) -> Figure:
    """The incumbent's test accuracy against time: mean of the searches, and from the least to the most."""
    figure, axes = panels(4, width=9.4, height=7.6, columns=2)
    place = iter(axes)
    for task, title in TASKS.items():
        for axis, words in AXES.items():
            _courses(next(place), results, task, axis, title, words)
    return legend_below(figure)


def _courses(axes: Axes, results: Results, task: str, axis: str, title: str, words: str) -> None:
    for method in PUBLISHED:
        found = list(results.every_course[task, method].values())
        if not found or not all(len(course.plain) for course in found):
            continue
        ends = [getattr(course, axis)[-1] for course in found]
        times = np.linspace(0, max(ends), POINTS)
        table = np.array([course.at(times, axis) for course in found])
        # As in the paper, a mean is of all searches: it begins once each has an incumbent.
        mean, colour = table.mean(0), COLOURS[method]
        axes.plot(times, mean, color=colour, label=LABELS[method], lw=1.8)
        axes.fill_between(times, table.min(0), table.max(0), color=colour, alpha=0.15, lw=0)
    _finish(axes, title, words)


def _finish(axes: Axes, title: str, words: str) -> None:
    axes.set_title(title)
    if not axes.lines and not axes.collections:
        not_run(axes)
        return
    axes.set_xlabel(words)
    axes.set_ylabel("test accuracy of the incumbent (%)")


def number_of_draws(results: Results) -> Figure:
    """The incumbent after 1, 2, 3 ... draws, over orders of the draws of all searches at random."""
    figure, axes = panels(len(TASKS), width=9.4, height=4.4)
    for panel, (task, title) in zip(axes, TASKS.items(), strict=True):
        for method in METHODS:
            if draws := results["search", task, method]:
                spent, shown = of_n_draws(draws)
                style = "--" if method in TUNED else "-"
                panel.plot(spent, shown, style, marker=".", color=COLOURS[method], label=LABELS[method])
        _finish(panel, title, "plain steps")
        panel.set_xscale("log")
    return legend_below(figure)


def sensitivity(results: Results) -> Figure:
    """Test accuracy at the best look of each draw against what was drawn; crosses are draws that diverged."""
    figure, axes = panels(8, width=9.8, height=6.4, columns=4)
    place = iter(axes)
    for task, title in TASKS.items():
        for name in ("hyper_lr", "mu", "final", "lr"):
            _drawn(next(place), results, task, name, title.split(",")[0])
    return legend_below(figure)


def _drawn(axes: Axes, results: Results, task: str, name: str, title: str) -> None:
    budget: Budget = results.scale[task]
    for method in METHODS:
        if name not in space(budget, method):
            continue
        for held in (True, False):
            draws = [r for r in results["search", task, method] if r.finished == held]
            points = [(float(r.spec.get(name)), best_look(r) or 0.0) for r in draws]
            if points:
                sign = MARKERS.get(method, "D") if held else "x"
                label = LABELS[method] if held else None
                x, y = zip(*points, strict=True)
                axes.plot(x, y, sign, color=COLOURS[method], ms=4.5, alpha=0.8, label=label)
    axes.set_title(title)
    if not axes.lines:
        not_run(axes)
        return
    if name in ("hyper_lr", "lr"):
        axes.set_xscale("log")
    axes.set_xlabel(WORDS[name])
    axes.set_ylabel("test accuracy (%)")
