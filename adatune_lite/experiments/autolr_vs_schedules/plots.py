"""The figures of experiment 06, each a pure function of its results."""

from __future__ import annotations

from statistics import geometric_mean
from typing import TYPE_CHECKING

from adatune_lite.experiments.autolr_plots import (
    LABELS,
    ROWS,
    beside_printed,
    epoch_of,
    points,
    seeds,
    split_curves,
)
from adatune_lite.experiments.autolr_records import (
    accuracies,
    accuracy,
    data_name,
    printed_value,
    several,
)
from adatune_lite.experiments.autolr_tasks import OPTIMIZERS
from adatune_lite.experiments.autolr_vs_schedules import MAIN
from adatune_lite.experiments.autolr_vs_schedules.reading import Results
from adatune_lite.experiments.autolr_vs_schedules.verdicts import SEED_RATES
from adatune_lite.plotting import panels
from adatune_lite.report.figures import COLOURS, not_run
from adatune_lite.report.statistics import paired

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def curves(results: Results, table: str, optimizer: str) -> Figure:
    """Figures 10 to 12 ("t4"), 15 to 17 ("t13"), 18 to 20 ("t14"): AutoLR and the baseline.

    The run is split at the end of explore; of the rest, CIFAR-10 has another part, as in the paper.
    """
    cell = results.cell(table, optimizer)
    if cell is None or not cell.records:
        return split_curves({}, (0.5,))
    explore = next((r.spec.get("explore_steps") / r.spec.steps for r in cell.autolr), 0.5)
    cuts = (explore, (1 + explore) / 2) if table == "t4" else (explore,)
    method = cell.baseline[0].spec.method if cell.baseline else "constant"
    return split_curves({"autolr": cell.autolr, method: cell.baseline}, cuts)


def overlay(results: Results, table: str) -> Figure:
    """Figure 4b ("t4"): rates and held-out accuracies of AutoLR and the baseline, with momentum.

    Every seed is a thin line, their mean a thick one. The rate is solid, the accuracy dashed, each with its
    own y-axis; a colour is a method.
    """
    figure, (left,) = panels(height=3.9)
    cell = results.cell(table, MAIN)
    sides = [cell.autolr, cell.baseline] if cell else []
    finished = [found for records in sides if (found := [r for r in records if r.finished])]
    if not finished:
        not_run(left)
        return figure
    right = left.twinx()
    right.grid(visible=False)
    for axes, row, name, line in (
        (left, "learning rate", "learning rate (solid)", "-"),
        (right, "validation\naccuracy (%)", "validation accuracy (%, dashed)", "--"),
    ):
        for runs in finished:
            method = runs[0].spec.method
            label = f"{LABELS[method]} ({several(len(runs), 'seed')})"
            drawn = [ROWS[row](r) for r in runs]
            seeds(axes, label, drawn, epoch_of(runs[0]), color=COLOURS[method], ls=line)
        axes.set_ylabel(name)
    left.set(xlabel="epoch", title=data_name([r for runs in finished for r in runs]))
    left.ticklabel_format(axis="y", useOffset=False, style="plain")
    figure.legend(*left.get_legend_handles_labels(), loc="outside lower center", ncols=2)
    return figure


def tuned(results: Results) -> Figure:
    """(b) Test accuracy of every method with its tuned rate: each seed, the mean, its 95 % interval."""
    figure, (axes,) = panels(height=4.4)
    rows = [(m, records) for m, records in results.ranked() if records][::-1]
    if not rows:
        not_run(axes)
        return figure
    for place, (method, records) in enumerate(rows):
        ours = method == "autolr"
        points(axes, place, [accuracy(r) for r in records], COLOURS["autolr" if ours else "rtho"], "Ds"[ours])
    names = [
        LABELS[m] + (f" ({lost} diverged)" if (lost := sum(not r.finished for r in records)) else "")
        for m, records in rows
    ]
    axes.set_yticks(range(len(rows)), names)
    axes.set_xlabel("test accuracy (%), rate tuned with the same draws for all")
    return figure


def safeguards(results: Results) -> Figure:
    """(c) Test accuracy of AutoLR without one safeguard minus that of the whole AutoLR, by seed."""
    figure, (axes,) = panels(height=3.4)
    whole = accuracies(results.paper(results.scale.main, MAIN, "autolr"))
    pairs = {n: paired(accuracies(records), whole) for n, records in results.safeguards().items()}
    rows = [(name, pair) for name, pair in pairs.items() if pair is not None][::-1]
    if not rows:
        not_run(axes)
        return figure
    for place, (_, pair) in enumerate(rows):
        points(axes, place, pair.differences, COLOURS["autolr"])
    axes.set_yticks(range(len(rows)), [f"without {name}" for name, _ in rows])
    axes.set_ylim(-0.6, len(rows) - 0.4)
    axes.axvline(0, color="#888888", lw=1)
    axes.set_xlabel("test accuracy minus that of the whole AutoLR (points), by seed")
    return figure


def seed_rates(results: Results) -> Figure:
    """Table 12: test accuracy of AutoLR over its seed rate."""
    lr = OPTIMIZERS[MAIN].lr
    ours = {f * lr: [accuracy(r) for r in records] for f, records in results.seed_rates().items() if records}
    theirs = {f * lr: printed_value(f"t12.{name}") for name, f in SEED_RATES.items()}
    return beside_printed({"autolr": ours}, {"autolr": theirs}, "seed rate")


def range_test(results: Results) -> Figure:
    """Figure 8a: smoothed training loss over the growing rate, seed by seed, with the mean readings."""
    tests = {task: records for task, records in results.range_tests().items() if records}
    figure, axes = panels(max(1, len(tests)), width=7.8, height=3.9)
    if not tests:
        not_run(axes[0])
    for panel, (task, records) in zip(axes, tests.items(), strict=False):
        for record in records:
            panel.plot(record.series("lr")[1], record.series("train_loss")[1], color="#000000", lw=1)
        lowest = geometric_mean(r.metrics["minimum"] for r in records)
        panel.axvline(lowest, color="#D55E00", label=f"lowest loss: {lowest:.3g}")
        panel.axvline(lowest / 10, color="#0072B2", ls="--", label=f"a tenth of it: {lowest / 10:.3g}")
        if task.dataset == "cifar10":
            known = printed_value("fig8.lr_range_cifar10")
            panel.axvline(known, color="#D55E00", ls=":", label=f"printed, lowest loss: {known:g}")
        panel.set(
            xscale="log",
            xlabel="learning rate",
            ylabel="training loss, smoothed",
            title=f"{data_name(records)}, {several(len(records), 'seed')}",
        )
        panel.legend()
    return figure
