"""The figures of experiment 02, each a pure function of its results."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from adatune_lite.experiments.is_the_hypergradient_right import tables
from adatune_lite.experiments.is_the_hypergradient_right.groups import ALL, EXACT, LABELS, OPTIMIZERS
from adatune_lite.experiments.is_the_hypergradient_right.reading import (
    Results,
    cost,
    error,
    probes,
    test_loss,
)
from adatune_lite.experiments.is_the_hypergradient_right.scale import DERIVED, METHODS, NETS, RULES, UNTRAINED
from adatune_lite.plotting import panels
from adatune_lite.report.figures import COLOURS, MARKERS, not_run
from adatune_lite.report.lost import count, kept
from adatune_lite.report.tables import Mean, Row, rows

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_COLOURS = {**{m: COLOURS[m] for m in METHODS if m in COLOURS}, "reverse": COLOURS["lrs_opt"]}
_LINES = ("#D55E00", "#0072B2", "#009E73", "#CC79A7", "#56B4E9", "#8C6D31", "#6A51A3", "#B8860B")
_TITLES = {
    OPTIMIZERS["momentum"]: ("trained", "momentum"),
    f"{OPTIMIZERS['momentum']}, a third of the hyper-rate": ("calm",),
    OPTIMIZERS["adam"]: ("trained", "adam"),
}
"""The trainings of three panels, by their title."""


def errors(results: Results) -> Figure:
    """(a) Relative error against finite differences: every rule and method, then AdaTune's deviations."""
    figure, (upper, lower) = panels(2, height=7.6, stacked=True)
    exact = {key: error(records) for key, records in results.by("exact").items() if records}
    rules = {rule: rule for rule in RULES if any(rule == held for held, _ in exact)}
    methods = {m: (name, _COLOURS[m], MARKERS.get(m, "*")) for m, name in METHODS.items()}
    if _points(upper, exact, rules, methods):
        upper.set_xlim(1e-12, 1e-4)
        upper.set_xlabel("relative error against finite differences (largest of the seeds)")
        upper.set_title("Every method and optimizer of this library")
    by_fault = results.by("fault").items()
    faulty = {(kind, o): max(error(records), 1e-12) for (o, kind), records in by_fault if records}
    kinds = (EXACT, *(fault for faults in DERIVED.values() for fault in faults), ALL, *UNTRAINED)
    names = {kind: LABELS[kind] for kind in kinds} | {EXACT: "none (exact)"}
    signs = {"momentum": (_LINES[0], "o"), "adam": (_LINES[1], "s")}
    if _points(lower, faulty, names, {o: (OPTIMIZERS[o], *sign) for o, sign in signs.items()}):
        lower.axvline(1.0, color="#888888", lw=1, ls="--")
        lower.set_xlabel("relative error; right of the line the error is larger than the hypergradient")
        lower.set_title("AdaTune's deviations, each alone")
    return figure


def _points(
    axes: Axes,
    errors: Mapping[tuple[str, str], float],
    rows: Mapping[str, str],
    series: Mapping[str, tuple[str, str, str]],
) -> bool:
    """Errors by row and series over the rows, the first at the top. series: label, colour and marker."""
    if not errors:
        not_run(axes)
        return False
    order = [*rows][::-1]
    for key, (label, colour, marker) in series.items():
        at = [place for place, row in enumerate(order) if (row, key) in errors]
        x = [errors[order[place], key] for place in at]
        axes.scatter(x, at, label=label, color=colour, marker=marker, zorder=3)
    axes.set_xscale("log")
    axes.set_yticks(range(len(order)), [rows[row] for row in order])
    axes.legend(loc="upper right")
    return True


def schedules(results: Results) -> Figure:
    """(b) What each deviation makes of the learned schedule: the median over the seeds that were not lost."""
    figure, axes = panels(3, height=11.0, stacked=True)
    for panel, (title, key) in zip(axes, _TITLES.items(), strict=True):
        shown = [row for row in rows(results, *key) if row.records and row.key != "constant"]
        if not shown:
            not_run(panel)
            continue
        colours = iter(_LINES * 2)
        for place, row in enumerate(shown):
            colour, width = ("#000000", 2.6) if row.key == EXACT else (next(colours), 1.4)
            held = [r.series("lr")[1] for r in kept(row.records)]
            median = np.median(held, axis=0) if held else np.full(1, np.nan)
            style = "--" if place > len(_LINES) else "-"
            panel.plot(median, style, color=colour, lw=width, label=_with_lost(row))
        panel.set_yscale("log")
        low, high = panel.get_ylim()
        panel.set_ylim(max(low, 1e-6), min(high, 10.0))
        panel.set_xlabel("step")
        panel.set_ylabel("learning rate")
        panel.set_title(title)
        panel.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure


def _with_lost(row: Row) -> str:
    """Its name and how many runs are lost, if any."""
    return row.name + (f" ({gone} of {len(row.records)} lost)" if (gone := count(row.records)) else "")


def costs_of_faults(results: Results) -> Figure:
    """(b) Test loss with each deviation minus that of the exact recursion, paired by seed."""
    figure, axes = panels(3, height=11.0, stacked=True)
    for panel, (title, key) in zip(axes, _TITLES.items(), strict=True):
        shown = tables.faults_of(results, *key).compared()[::-1]
        if not shown:
            not_run(panel)
            continue
        for place, (row, found) in enumerate(shown):
            colour = COLOURS["constant"] if row.key == "constant" else _LINES[0]
            pair = found.pair
            panel.plot(pair.differences, [place] * len(pair.seeds), "|", color=colour, ms=9)
            panel.errorbar(pair.middle, place, xerr=pair.bars, fmt="o", color=colour, capsize=3)
        panel.set_yticks(range(len(shown)), [_with_lost(row) for row, _ in shown])
        panel.axvline(0, color="#888888", lw=1)
        panel.set_xscale("symlog", linthresh=0.02)
        panel.set_xlabel("test loss minus that of the exact recursion, by seed")
        panel.set_title(title)
    return figure


def locality(results: Results) -> Figure:
    """(c) Cosine of the product and the true change of the gradient over one real step, along training."""
    figure, axes = panels(3, width=9.4, height=4.4)
    for panel, net in zip(axes, NETS, strict=True):
        cells = [row for row in rows(results, "locality", net) if row.records]
        if not cells:
            not_run(panel)
            continue
        for colour, row in zip(_LINES, cells, strict=False):
            steps, values = probes(row.records, "cosine_1")
            if len(steps):
                style = {"sgd": "-", "momentum": "--", "adam": ":"}[row.key[0]]
                panel.plot(steps, values.mean(0), style, color=colour, label=row.name)
        panel.set_ylim(-0.1, 1.05)
        panel.set_xlabel("step")
        panel.set_title(net)
    axes[0].set_ylabel("cosine of H s and the change of g")
    handles, names = next((a.get_legend_handles_labels() for a in axes if a.lines), ([], []))
    if handles:
        figure.legend(handles, names, loc="outside lower center", ncols=4)
    return figure


def lean(results: Results) -> Figure:
    """(e) Cost of a step against the cosine with the full hypergradient, and against the test loss."""
    figure, (left, right) = panels(2, width=9.4, height=4.6)
    shown = results.cheaper
    if not shown:
        not_run(left)
        not_run(right)
        return figure
    for place, row in enumerate(shown):
        colour, marker = _LINES[place % len(_LINES)], "osD^v*P"[place % 7]
        steps, mean = cost(row.records), Mean.of(row.records, test_loss)
        assert mean is not None
        left.plot(steps, results.cosine(row.key), marker, color=colour, ms=8, label=row.name)
        right.errorbar(steps, mean.middle, yerr=mean.bars, fmt=marker, color=colour, ms=8, capsize=3)
    left.set_ylabel("cosine with the full hypergradient")
    right.set_yscale("log")
    right.set_ylabel("test loss (mean, 95 % interval; median where lost)")
    for panel in (left, right):
        panel.set_xlabel("plain steps a step costs")
    figure.legend(*left.get_legend_handles_labels(), loc="outside lower center", ncols=3)
    return figure


def growth(measured: dict[str, Any]) -> Figure:
    """Processor time of a whole schedule's hypergradient against its steps, and against the weights."""
    figure, axes = panels(2, width=9.4, height=4.2)
    for panel, (key, name) in zip(axes, (("steps", "steps T"), ("weights", "weights")), strict=True):
        found = measured[f"by_{key}"]
        sizes = np.array([row[key] for row in found])
        for kind, label_, marker in (
            ("hypergradient_seconds", "hypergradient of all rates", "o"),
            ("training_seconds", "plain training", "s"),
        ):
            times = np.array([row[kind] for row in found])
            colour = _LINES[0] if kind.startswith("hyper") else COLOURS["constant"]
            panel.plot(sizes, times, marker, color=colour, label=label_)
            panel.plot(sizes, times[-1] * sizes / sizes[-1], "-", color=colour, lw=1)
        panel.set_xscale("log")
        panel.set_yscale("log")
        panel.set_xlabel(name)
    axes[0].set_ylabel("processor time (s)")
    axes[0].legend(loc="best")
    return figure
