"""The figures of experiment 02, each a pure function of its results."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from adatune_lite.experiments.is_the_hypergradient_right.reading import (
    ALL,
    METHODS,
    OPTIMIZERS,
    Results,
    Row,
    error,
    label,
    lost,
    probes,
)
from adatune_lite.experiments.is_the_hypergradient_right.scale import DERIVED, NETS, UNTRAINED
from adatune_lite.plotting import panels
from adatune_lite.report.figures import COLOURS, MARKERS, not_run

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from adatune_lite.runs.record import Record

_COLOURS = {**{m: COLOURS[m] for m in METHODS if m in COLOURS}, "reverse": COLOURS["lrs_opt"]}
_LINES = ("#D55E00", "#0072B2", "#009E73", "#CC79A7", "#56B4E9", "#8C6D31", "#6A51A3", "#B8860B")


def errors(results: Results) -> Figure:
    """(a) Relative error against finite differences: every rule and method, then AdaTune's deviations."""
    figure, (upper, lower) = panels(2, height=7.6, stacked=True)
    _exact_panel(upper, results)
    _faulty_panel(lower, results)
    return figure


def _exact_panel(axes: Axes, results: Results) -> None:
    rules = list(dict.fromkeys(rule for rule, _ in results.exact))[::-1]
    if not rules:
        not_run(axes)
        return
    for method, name in METHODS.items():
        points = [
            (error(results.exact[r, method]), y) for y, r in enumerate(rules) if (r, method) in results.exact
        ]
        colour, marker = _COLOURS[method], MARKERS.get(method, "*")
        axes.scatter(
            [x for x, _ in points], [y for _, y in points], label=name, color=colour, marker=marker, zorder=3
        )
    axes.set_xscale("log")
    axes.set_xlim(1e-12, 1e-4)
    axes.set_yticks(range(len(rules)), rules)
    axes.set_xlabel("relative error against finite differences (largest of the seeds)")
    axes.set_title("Every method and optimizer of this library")
    axes.legend(loc="upper right")


def _faulty_panel(axes: Axes, results: Results) -> None:
    derived = dict.fromkeys(f for faults in DERIVED.values() for f in faults)
    names = ["", *derived, ALL, *UNTRAINED][::-1]
    if not results.faulty:
        not_run(axes)
        return
    for k, (optimizer, marker) in enumerate((("momentum", "o"), ("adam", "s"))):
        points = [
            (max(error(results.faulty[optimizer, f]), 1e-12), y)
            for y, f in enumerate(names)
            if (optimizer, f) in results.faulty
        ]
        axes.scatter(
            [x for x, _ in points],
            [y for _, y in points],
            marker=marker,
            color=_LINES[k],
            label=OPTIMIZERS[optimizer],
            zorder=3,
        )
    axes.axvline(1.0, color="#888888", lw=1, ls="--")
    axes.set_xscale("log")
    axes.set_yticks(range(len(names)), ["none (exact)" if not f else label(f) for f in names])
    axes.set_xlabel("relative error; right of the line the error is larger than the hypergradient")
    axes.set_title("AdaTune's deviations, each alone")
    axes.legend(loc="upper right")


def schedules(results: Results) -> Figure:
    """(b) What each deviation makes of the learned schedule: the median over the seeds that were not lost."""
    figure, axes = panels(3, height=11.0, stacked=True)
    for panel, title, runs in zip(axes, _TITLES, _trainings(results), strict=True):
        if not runs:
            not_run(panel)
            continue
        colours = iter(_LINES * 2)
        for place, (kind, records) in enumerate(runs.items()):
            colour, width = ("#000000", 2.6) if kind == "exact" else (next(colours), 1.4)
            kept = [r.series("lr")[1] for r in records if not lost(r)]
            style = "--" if place > len(_LINES) else "-"
            gone = f" ({len(records) - len(kept)} of {len(records)} lost)" if len(kept) < len(records) else ""
            median = np.median(kept, axis=0) if kept else np.full(1, np.nan)
            panel.plot(median, style, color=colour, lw=width, label=label(kind) + gone)
        panel.set_yscale("log")
        low, high = panel.get_ylim()
        panel.set_ylim(max(low, 1e-6), min(high, 10.0))
        panel.set_xlabel("step")
        panel.set_ylabel("learning rate")
        panel.set_title(title)
        panel.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure


_TITLES = (OPTIMIZERS["momentum"], f"{OPTIMIZERS['momentum']}, a third of the hyper-rate", OPTIMIZERS["adam"])


def _trainings(results: Results) -> list[dict[str, list[Record]]]:
    """The adaptive trainings of the three panels, by kind."""
    of = {
        optimizer: {k: results.trained[optimizer, k] for k in results.kinds(optimizer) if k != "constant"}
        for optimizer in ("momentum", "adam")
    }
    return [of["momentum"], results.calm, of["adam"]]


def costs_of_faults(results: Results) -> Figure:
    """(b) Test loss with each deviation minus that of the exact recursion, paired by seed."""
    figure, axes = panels(3, height=11.0, stacked=True)
    calm = [results.calm_row(kind) for kind in results.calm]
    both = [_rows(results, "momentum"), calm, _rows(results, "adam")]
    for panel, title, rows in zip(axes, _TITLES, both, strict=True):
        shown = [row for row in rows if row is not None and row.against is not None][::-1]
        if not shown:
            not_run(panel)
            continue
        for place, row in enumerate(shown):
            assert row.against is not None
            colour = COLOURS["constant"] if row.kind == "constant" else _LINES[0]
            panel.plot(row.against.differences, [place] * len(row.against.seeds), "|", color=colour, ms=9)
            mean = row.against.difference
            if mean.n > 1 and not row.lost:
                bars = [[mean.mean - mean.low], [mean.high - mean.mean]]
                panel.errorbar(mean.mean, place, xerr=bars, fmt="o", color=colour, capsize=3)
        names = [label(r.kind) + (f" ({r.lost} of {r.runs} lost)" if r.lost else "") for r in shown]
        panel.set_yticks(range(len(shown)), names)
        panel.axvline(0, color="#888888", lw=1)
        panel.set_xscale("symlog", linthresh=0.02)
        panel.set_xlabel("test loss minus that of the exact recursion, by seed")
        panel.set_title(title)
    return figure


def _rows(results: Results, optimizer: str) -> list[Row | None]:
    return [results.row(optimizer, kind) for kind in results.kinds(optimizer)]


def locality(results: Results) -> Figure:
    """(c) Cosine of the product and the true change of the gradient over one real step, along training."""
    figure, axes = panels(3, width=9.4, height=4.4)
    for panel, net in zip(axes, NETS, strict=True):
        cells = [key for key in results.locality if key[0] == net]
        if not cells:
            not_run(panel)
            continue
        for colour, key in zip(_LINES, cells, strict=False):
            steps, values = probes(results.locality[key], "cosine_1")
            if len(steps):
                style = {"sgd": "-", "momentum": "--", "adam": ":"}[key[1]]
                name = OPTIMIZERS[key[1]]
                panel.plot(steps, values.mean(0), style, color=colour, label=f"{name}, rate {key[2]:g}")
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
    rows = results.lean_rows(calm=True)
    if not rows:
        not_run(left)
        not_run(right)
        return figure
    for place, row in enumerate(rows):
        colour, marker = _LINES[place % len(_LINES)], "osD^v*P"[place % 7]
        left.plot(row.cost, row.cosine, marker, color=colour, ms=8, label=row.kind)
        mean = row.test_loss
        bars = [[mean.mean - mean.low], [mean.high - mean.mean]] if mean.n > 1 and not row.lost else None
        right.errorbar(row.cost, mean.mean, yerr=bars, fmt=marker, color=colour, ms=8, capsize=3)
    left.set_ylabel("cosine with the full hypergradient")
    right.set_yscale("log")
    right.set_ylabel("test loss (mean, 95 % interval)")
    for panel in (left, right):
        panel.set_xlabel("plain steps a step costs")
    figure.legend(*left.get_legend_handles_labels(), loc="outside lower center", ncols=3)
    return figure


def growth(measured: dict[str, Any]) -> Figure:
    """Processor time of a whole schedule's hypergradient against its steps, and against the weights."""
    figure, axes = panels(2, width=9.4, height=4.2)
    for panel, (key, name) in zip(axes, (("steps", "steps T"), ("weights", "weights")), strict=True):
        rows = measured[f"by_{key}"]
        sizes = np.array([row[key] for row in rows])
        for kind, label_, marker in (
            ("hypergradient_seconds", "hypergradient of all rates", "o"),
            ("training_seconds", "plain training", "s"),
        ):
            times = np.array([row[kind] for row in rows])
            colour = _LINES[0] if kind.startswith("hyper") else COLOURS["constant"]
            panel.plot(sizes, times, marker, color=colour, label=label_)
            panel.plot(sizes, times[-1] * sizes / sizes[-1], "-", color=colour, lw=1)
        panel.set_xscale("log")
        panel.set_yscale("log")
        panel.set_xlabel(name)
    axes[0].set_ylabel("processor time (s)")
    axes[0].legend(loc="best")
    return figure
