"""The figures of experiment 01, each a pure function of its results."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from statistics import fmean
from typing import TYPE_CHECKING, Any

import numpy as np

from adatune_lite.experiments.lrs_opt_vs_marthe.groups import ENDS, LABELS, MUS, ONLINE, VARIANTS
from adatune_lite.experiments.lrs_opt_vs_marthe.reading import (
    LR_FLOOR,
    Results,
    final_accuracy,
    final_loss,
    final_test_loss,
    gap,
    smoothed_log,
)
from adatune_lite.plotting import panels
from adatune_lite.report.figures import COLOURS, MARKERS, band, not_run
from adatune_lite.report.groups import Key
from adatune_lite.report.lost import count, kept
from adatune_lite.report.tables import Mean

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

    from adatune_lite.runs.record import Record

Curve = tuple[str, str, list["Record"], dict[str, Any]]
"""Name, method, runs and how its line looks."""


def schedules(results: Results) -> Figure:
    """(a) Learned schedules: the methods on the upper, MARTHE at fixed mu on the lower."""
    import matplotlib as mpl

    figure, (upper, lower) = panels(2, height=7.4, stacked=True)
    arms: list[Curve] = [(LABELS[m], m, results["report", m], {}) for m in ("lrs_opt", *ONLINE)]
    _schedule_panel(upper, arms, "Methods, settings frozen before")
    ends = {mu: f" ({LABELS[m].split()[0]})" for mu, m in ENDS.items()}
    shades = mpl.colormaps["viridis"](np.linspace(0, 0.85, len(MUS)))
    at_mu: list[Curve] = [
        (group.name + ends.get(mu, ""), "marthe", results[group.key], {"color": colour})
        for (mu, group), colour in zip(results.under("mu").items(), shades, strict=True)
    ]
    _schedule_panel(lower, at_mu, "MARTHE at fixed μ, hyper-rate tuned for each")
    return figure


def _schedule_panel(axes: Axes, curves: Sequence[Curve], title: str) -> None:
    axes.set_title(title)
    for label, method, records, line in curves:
        if series := [smoothed_log(r) for r in kept(records)]:
            band(axes, series, method, label, log=True, **line)
    if not axes.lines:
        not_run(axes)
        return
    _label(axes, "step", "learning rate (moving average)", log=True)
    low, high = axes.get_ylim()
    axes.set_ylim(max(low, 10 * LR_FLOOR), high)


def _label(axes: Axes, x: str, y: str, *, log: bool = False, columns: int = 1) -> None:
    """Labels and a legend. log: of the y axis. columns: of the legend."""
    if log:
        axes.set_yscale("log")
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.legend(ncols=columns)


def comparison(results: Results) -> Figure:
    """(b) Test loss, test error and gap of every method: each seed, the mean and its 95 % interval.

    Of a method with lost runs, which count as guessing, the median is marked, without an interval.
    """
    from matplotlib.ticker import LogLocator, NullLocator

    figure, axes = panels(3, width=9.0, height=4.2)
    given = [row for row in results.ranked if row.key != "start"][::-1]
    names = [
        row.name + (f"\n{gone} of {len(row.records)} lost" if (gone := count(row.records)) else "")
        for row in given
    ]
    parts: dict[str, Callable[[Record], float]] = {
        "test loss (log scale)": final_test_loss,
        "test error (%, log scale)": lambda record: 100 - final_accuracy(record),
        "test loss minus E": gap,
    }
    for panel, (title, value) in zip(axes, parts.items(), strict=True):
        if not given:
            not_run(panel)
            continue
        for place, row in enumerate(given):
            mean, colour, marker = Mean.of(row.records, value), COLOURS[row.key], MARKERS.get(row.key, "D")
            assert mean is not None
            panel.plot(mean.numbers, [place] * len(mean.numbers), "|", color=colour, ms=9, alpha=0.6)
            panel.errorbar(mean.middle, place, xerr=mean.bars, fmt=marker, color=colour, capsize=3)
        if value is not gap:
            panel.set_xscale("log")
            panel.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
            panel.xaxis.set_major_formatter("{x:g}")
            panel.xaxis.set_minor_locator(NullLocator())
        panel.set_xlabel(title)
        panel.set_yticks(range(len(given)), names if panel is axes[0] else [""] * len(given))
    return figure


def mu_hyper_lr_map(results: Results) -> Figure:
    """(c) E over mu and hyper_lr on one seed; hatched where the run is lost."""
    import matplotlib as mpl
    from matplotlib.colors import LogNorm
    from matplotlib.patches import Rectangle

    figure, (axes,) = panels(1, width=8.2, height=3.9)
    losses = results.map_losses
    finite = losses[np.isfinite(losses)]
    if not finite.size:
        not_run(axes)
        return figure
    shown = np.ma.masked_invalid(losses)
    colours = mpl.colormaps["viridis_r"].with_extremes(bad="#FFFFFF")
    norm = LogNorm(
        finite.min(), min(finite.max(), 3.0) if finite.max() > finite.min() else finite.max() * 1.01
    )
    image = axes.imshow(shown, aspect="auto", cmap=colours, norm=norm)
    for (i, j), value in np.ndenumerate(losses):
        write = partial(axes.text, j, i, ha="center", va="center", fontsize=8)
        if np.isinf(value):
            axes.add_patch(Rectangle((j - 0.5, i - 0.5), 1, 1, fill=False, hatch="///", ec="#777777", lw=0))
            write("lost", color="#333333", backgroundcolor="white")
        elif np.isfinite(value):
            write(f"{value:.2f}", color="white" if norm(value) > 0.5 else "black")
    axes.set_xticks(range(losses.shape[1]), [f"{b:.1e}" for b in results.scale.map_hyper_lrs], rotation=45)
    axes.set_yticks(range(len(MUS)), [f"{mu:g}" for mu in MUS])
    axes.set_xlabel("hyper-learning rate (rate² per unit of loss)")
    axes.set_ylabel("μ")
    axes.grid(False)
    figure.colorbar(image, ax=axes, label="E (validation loss)")
    return figure


def outer_loop(results: Results) -> Figure:
    """(d) E of LRS-OPT over outer steps: from the constant start, longer, from the best online schedule."""
    figure, (axes,) = panels(1)
    curves: list[tuple[str, Key, dict[str, Any]]] = [
        ("from the constant 0.01", ("report", "lrs_opt"), {"color": "#000000", "lw": 1.0}),
        ("the same, longer", ("long",), {"color": "#0072B2", "lw": 1.8, "ls": "--"}),
        ("from the best online schedule", ("warm",), {"color": "#D55E00", "lw": 1.8}),
    ]
    for label, key, line in curves:
        records = results[key]
        for k, record in enumerate(records):
            steps, values = record.series("outer_loss")
            axes.plot(steps, values, label=None if k else f"{label} ({len(records)} seeds)", **line)
    if axes.lines:
        _label(axes, "outer step", "E (validation loss after the last step)", log=True)
    else:
        not_run(axes)
    return figure


def nearness(results: Results) -> Figure:
    """(e) Online rate over LRS-OPT's, step by step (upper), and gap in E against correlation (lower)."""
    figure, (upper, lower) = panels(2, height=7.4, stacked=True)
    reference = {r.spec.seed: smoothed_log(r) for r in kept(results["report", "lrs_opt"])}
    for method in ("constant", *ONLINE):
        if held := [r for r in kept(results["report", method]) if results.offline(r)]:
            ratios = [smoothed_log(r) - reference[r.spec.seed] for r in held]
            band(upper, ratios, method, LABELS[method], log=True)
            x, y = (np.array([of(r) for r in held], float) for of in (results.likeness, results.offline_gap))
            lower.plot(x, y, MARKERS.get(method, "D"), color=COLOURS[method], label=LABELS[method])
    if not lower.lines:
        not_run(upper)
        not_run(lower)
        return figure
    upper.axhline(1.0, color="black", lw=0.8)
    _label(upper, "step", "rate / LRS-OPT's rate (moving averages)", log=True)
    lower.set_xlabel("correlation of log schedules with LRS-OPT's")
    lower.set_ylabel("E minus LRS-OPT's E")
    return figure


def transfer(results: Results) -> Figure:
    """(f) E of learned schedules on the seed they were learned on and replayed on the others."""
    figure, (axes,) = panels(1)
    data = {method: replays for method, replays in results.by("transfer").items() if replays}
    if not data:
        not_run(axes)
        return figure
    for place, (method, replays) in enumerate(data.items()):
        for records, shift, fill, label in (
            (results["report", method], -0.12, COLOURS[method], "own seed (filled)"),
            (replays, 0.12, "white", "other seeds (open)"),
        ):
            spread = np.linspace(-0.05, 0.05, len(records)) if len(records) > 1 else np.zeros(1)
            points = _points(axes, place + shift + spread, records, method, "" if place else label)
            points.set(markerfacecolor=fill, alpha=0.8)
    if constant := results["report", "constant"]:
        level = fmean(map(final_loss, constant))
        axes.axhline(level, color=COLOURS["constant"], ls="--", lw=1.2, label="best constant rate (mean)")
    axes.set_xticks(range(len(data)), [LABELS[m] for m in data], rotation=12)
    _label(axes, "", "E (validation loss after the last step)", log=True)
    return figure


def _points(axes: Axes, x: np.ndarray, records: Sequence[Record], method: str, label: str) -> Line2D:
    """E of single runs of a method. label: empty where the legend has it already."""
    sign, losses = MARKERS.get(method, "D"), [final_loss(r) for r in records]
    (line,) = axes.plot(x, losses, sign, color=COLOURS[method], ms=5, label=label or None)
    return line


def sensitivity(results: Results) -> Figure:
    """(g) E in variants of the setting, the settings of the methods left as they were."""
    figure, (axes,) = panels(1, width=8.6)
    data = results.by("sensitivity")
    if not any(data.values()):
        not_run(axes)
        return figure
    methods = ("lrs_opt", *ONLINE, "constant", "cosine")
    for k, method in enumerate(methods):
        label = LABELS[method]
        if method == "lrs_opt":
            label += f" ({results.scale.variant_outer_steps} outer steps in the variants)"
        varied = {variant: data.get((variant, method), []) for variant in VARIANTS}
        seeds = {r.spec.seed for records in varied.values() for r in records}
        main = [r for r in results["report", method] if r.spec.seed in seeds]
        for place, records in enumerate((main, *varied.values())):
            x = np.full(len(records), place + 0.08 * (k - (len(methods) - 1) / 2))
            _points(axes, x, records, method, "" if place else label)
    axes.set_xticks(range(1 + len(VARIANTS)), ["main", *VARIANTS.values()])
    _label(axes, "", "E (validation loss after the last step)", log=True, columns=2)
    return figure
