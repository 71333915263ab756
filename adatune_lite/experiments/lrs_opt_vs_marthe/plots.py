"""The figures of experiment 01, each a pure function of its results."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from adatune_lite.experiments.lrs_opt_vs_marthe import CLASSICAL, MUS, ONLINE
from adatune_lite.experiments.lrs_opt_vs_marthe.reading import (
    LABELS,
    LR_FLOOR,
    Results,
    schedule_of,
    smoothed_log,
)
from adatune_lite.plotting import panels
from adatune_lite.report.figures import COLOURS, MARKERS, band, not_run
from adatune_lite.report.search import final_loss
from adatune_lite.report.statistics import mean_interval

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from adatune_lite.runs.record import Record


def schedules(results: Results) -> Figure:
    """(a) Learned schedules: the methods on the upper, MARTHE at fixed mu on the lower."""
    figure, (upper, lower) = panels(2, height=7.4, stacked=True)
    _schedule_panel(upper, [(LABELS[m], m, results.reported(m), {}) for m in ("lrs_opt", *ONLINE)])
    upper.set_title("Methods, settings frozen before")
    import matplotlib as mpl

    shades = mpl.colormaps["viridis"](np.linspace(0, 0.85, len(MUS)))
    rows = [
        (
            f"μ = {mu:g}" + {0.0: " (HD)", 1.0: " (RTHO)"}.get(mu, ""),
            "marthe",
            results.at_mu(mu),
            {"color": c},
        )
        for mu, c in zip(MUS, shades, strict=True)
    ]
    _schedule_panel(lower, rows)
    lower.set_title("MARTHE at fixed μ, hyper-rate tuned for each")
    return figure


def _schedule_panel(axes: Axes, rows: list[tuple[str, str, list[Record], dict[str, Any]]]) -> None:
    drawn = False
    for label, method, records, line in rows:
        series = [smoothed_log(schedule_of(r)) for r in records if r.finished]
        if series:
            band(axes, series, method, label, log=True, **line)
            drawn = True
    if not drawn:
        not_run(axes)
        return
    axes.set_yscale("log")
    low, high = axes.get_ylim()
    axes.set_ylim(max(low, 10 * LR_FLOOR), high)
    axes.set_xlabel("step")
    axes.set_ylabel("learning rate (moving average)")
    axes.legend(loc="best")


def comparison(results: Results) -> Figure:
    """(b) Test loss, test error and gap of every method: each seed, the mean and its 95 % interval.

    A method with diverged runs has no interval: their values are those of guessing, and no bell curve.
    """
    from matplotlib.ticker import LogLocator, NullLocator

    figure, axes = panels(3, width=9.0, height=4.2)
    rows = [row for row in results.table() if row.method != "start"][::-1]
    if not rows:
        for panel in axes:
            not_run(panel)
        return figure
    names = [
        LABELS[row.method] + (f"\n{row.diverged} of {row.runs} diverged" if row.diverged else "")
        for row in rows
    ]
    parts = ("test loss (log scale)", "test error (%, log scale)", "test loss minus E")
    for k, (panel, title) in enumerate(zip(axes, parts, strict=True)):
        for place, row in enumerate(rows):
            loss = results.by_seed(results.reported(row.method), "test_loss")
            accuracy = results.by_seed(results.reported(row.method), "test_accuracy")
            final = results.by_seed(results.reported(row.method))
            values = [(loss[s], 100 - accuracy[s], loss[s] - final[s])[k] for s in loss]
            mean, colour = mean_interval(values), COLOURS[row.method]
            panel.plot(values, [place] * len(values), "|", color=colour, ms=9, alpha=0.6)
            marked = mean.n > 1 and not row.diverged
            error = [[mean.mean - mean.low], [mean.high - mean.mean]] if marked else None
            marker = MARKERS.get(row.method, "D")
            panel.errorbar(mean.mean, place, xerr=error, fmt=marker, color=colour, capsize=3)
        if k < 2:
            panel.set_xscale("log")
            panel.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
            panel.xaxis.set_major_formatter("{x:g}")
            panel.xaxis.set_minor_locator(NullLocator())
        panel.set_xlabel(title)
        panel.set_yticks(range(len(rows)), names if panel is axes[0] else [""] * len(rows))
    return figure


def mu_hyper_lr_map(results: Results) -> Figure:
    """(c) E over mu and hyper_lr on one seed; hatched where the run diverged."""
    import matplotlib as mpl
    from matplotlib.colors import LogNorm
    from matplotlib.patches import Rectangle

    figure, (axes,) = panels(1, width=8.2, height=3.9)
    losses = results.map_losses()
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
        if np.isinf(value):
            axes.add_patch(Rectangle((j - 0.5, i - 0.5), 1, 1, fill=False, hatch="///", ec="#777777", lw=0))
            axes.text(
                j, i, "div.", ha="center", va="center", fontsize=8, color="#333333", backgroundcolor="white"
            )
        elif np.isfinite(value):
            dark = norm(value) > 0.5
            axes.text(
                j,
                i,
                f"{value:.2f}",
                ha="center",
                va="center",
                fontsize=8,
                color="black" if not dark else "white",
            )
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
    groups: list[tuple[str, list[Record], dict[str, Any]]] = [
        ("from the constant 0.01", results.reported("lrs_opt"), {"color": "#000000", "lw": 1.0}),
        ("the same, longer", results.long(), {"color": "#0072B2", "lw": 1.8, "ls": "--"}),
        ("from the best online schedule", results.warm(), {"color": "#D55E00", "lw": 1.8}),
    ]
    drawn = False
    for label, records, line in groups:
        for k, record in enumerate(records):
            steps, values = record.series("outer_loss")
            axes.plot(steps, values, label=f"{label} ({len(records)} seeds)" if k == 0 else None, **line)
            drawn = True
    if not drawn:
        not_run(axes)
        return figure
    axes.set_yscale("log")
    axes.set_xlabel("outer step")
    axes.set_ylabel("E (validation loss after the last step)")
    axes.legend()
    return figure


def nearness(results: Results) -> Figure:
    """(e) Online rate over LRS-OPT's, step by step (upper), and gap in E against correlation (lower)."""
    figure, (upper, lower) = panels(2, height=7.4, stacked=True)
    reference = {r.spec.seed: smoothed_log(schedule_of(r)) for r in results.reported("lrs_opt") if r.finished}
    drawn = False
    for method in ("constant", *ONLINE):
        ratios = [
            smoothed_log(schedule_of(r)) - reference[r.spec.seed]
            for r in results.reported(method)
            if r.finished and r.spec.seed in reference
        ]
        points = [(c, gap) for _, c, gap in results.nearness(method)]
        if ratios:
            band(upper, ratios, method, LABELS[method], log=True)
            x, y = zip(*points, strict=True)
            lower.plot(x, y, MARKERS.get(method, "D"), color=COLOURS[method], label=LABELS[method])
            drawn = True
    if not drawn:
        not_run(upper)
        not_run(lower)
        return figure
    upper.axhline(1.0, color="black", lw=0.8)
    upper.set_yscale("log")
    upper.set_xlabel("step")
    upper.set_ylabel("rate / LRS-OPT's rate (moving averages)")
    upper.legend()
    lower.set_xlabel("correlation of log schedules with LRS-OPT's")
    lower.set_ylabel("E minus LRS-OPT's E")
    return figure


def transfer(results: Results) -> Figure:
    """(f) E of learned schedules on the seed they were learned on and replayed on the others."""
    figure, (axes,) = panels(1)
    data = results.transfer()
    if not data:
        not_run(axes)
        return figure
    methods = [m for m in ("lrs_opt", *ONLINE) if m in data]
    for place, method in enumerate(methods):
        own, other = data[method]
        for shift, values, fill in ((-0.12, own, COLOURS[method]), (0.12, other, "white")):
            jitter = np.linspace(-0.05, 0.05, len(values)) if len(values) > 1 else [0.0]
            axes.plot(
                place + shift + np.asarray(jitter),
                values,
                MARKERS.get(method, "D"),
                color=COLOURS[method],
                mfc=fill,
                alpha=0.8,
                ms=5,
                label=("own seed (filled)" if fill != "white" else "other seeds (open)")
                if place == 0
                else None,
            )
    constant = results.reported("constant")
    if constant:
        level = mean_interval([final_loss(r) for r in constant])
        axes.axhline(
            level.mean, color=COLOURS["constant"], ls="--", lw=1.2, label="best constant rate (mean)"
        )
    axes.set_xticks(range(len(methods)), [LABELS[m] for m in methods], rotation=12)
    axes.set_yscale("log")
    axes.set_ylabel("E (validation loss after the last step)")
    axes.legend()
    return figure


def sensitivity(results: Results) -> Figure:
    """(g) E in variants of the setting, the settings of the methods left as they were."""
    figure, (axes,) = panels(1, width=8.6)
    data = results.sensitivity()
    if not data:
        not_run(axes)
        return figure
    titles = {
        "main": "main",
        "three_hidden": "three hidden layers",
        "tanh": "tanh",
        "outer_batch_100": "outer batch of 100",
    }
    methods = ["lrs_opt", *ONLINE, *(m for m in CLASSICAL if m in ("constant", "cosine"))]
    for k, method in enumerate(methods):
        seeds = {r.spec.seed for (_, m), records in data.items() if m == method for r in records}
        main = [r for r in results.reported(method) if r.spec.seed in seeds]
        for place, variant in enumerate(titles):
            records = main if variant == "main" else data.get((variant, method), [])
            x = place + 0.08 * (k - (len(methods) - 1) / 2)
            label = LABELS[method] if place == 0 else None
            if label and method == "lrs_opt":
                label += f" ({results.scale.variant_outer_steps} outer steps in the variants)"
            axes.plot(
                [x] * len(records),
                [final_loss(r) for r in records],
                MARKERS.get(method, "D"),
                color=COLOURS[method],
                ms=5,
                label=label,
            )
    axes.set_xticks(range(len(titles)), list(titles.values()))
    axes.set_yscale("log")
    axes.set_ylabel("E (validation loss after the last step)")
    axes.legend(ncols=2)
    return figure
