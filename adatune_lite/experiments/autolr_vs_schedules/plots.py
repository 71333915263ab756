"""The figures of experiment 06, each a pure function of its results."""

from __future__ import annotations

from statistics import geometric_mean
from typing import TYPE_CHECKING

from adatune_lite.experiments.autolr_plots import (
    LABELS,
    ROWS,
    beside_printed,
    epoch_of,
    rows_of_points,
    seeds,
    split_curves,
)
from adatune_lite.experiments.autolr_records import accuracy, printed
from adatune_lite.experiments.autolr_tasks import OPTIMIZERS
from adatune_lite.experiments.autolr_vs_schedules import tables
from adatune_lite.experiments.autolr_vs_schedules.reading import Results
from adatune_lite.experiments.autolr_vs_schedules.scale import MAIN
from adatune_lite.experiments.autolr_vs_schedules.verdicts.printed import PRINTED
from adatune_lite.plotting import panels
from adatune_lite.report.data import data_name
from adatune_lite.report.figures import COLOURS, not_run
from adatune_lite.report.statistics import Paired
from adatune_lite.report.tables import Mean, several
from adatune_lite.runs.record import Record

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def curves(results: Results, table: str, optimizer: str) -> Figure:
    """Figures 10 to 12 ("t4"), 15 to 17 ("t13"), 18 to 20 ("t14"): AutoLR and the baseline.

    The run is split at the end of explore; of the rest, CIFAR-10 has another part, as in the paper.
    """
    sides = _by_method(results, table, optimizer)
    if not sides:
        return split_curves({}, (0.5,))
    explore = next((r.spec.get("explore_steps") / r.spec.steps for r in sides.get("autolr", [])), 0.5)
    return split_curves(sides, (explore, (1 + explore) / 2) if table == "t4" else (explore,))


def _by_method(results: Results, table: str, optimizer: str) -> dict[str, list[Record]]:
    """The runs of AutoLR and of its baseline, where there are any."""
    sides = [results[table, optimizer, side] for side in ("autolr", "baseline")]
    return {records[0].spec.method: records for records in sides if records}


def overlay(results: Results, table: str) -> Figure:
    """Figure 4b ("t4"): rates and held-out accuracies of AutoLR and the baseline, with momentum.

    Every seed is a thin line, their mean a thick one. The rate is solid, the accuracy dashed, each with its
    own y-axis; a colour is a method.
    """
    figure, (left,) = panels(height=3.9)
    sides = _by_method(results, table, MAIN).values()
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
    held: list[tuple[str, Mean | Paired, str, str]] = []
    for row in results.ranked[::-1]:
        if mean := Mean.of(row.records, accuracy):
            ours, name = row.key == "autolr", row.name + (f" ({mean.lost} lost)" if mean.lost else "")
            held.append((name, mean, COLOURS["autolr" if ours else "rtho"], "Ds"[ours]))
    return rows_of_points(held, "test accuracy (%), rate tuned with the same draws for all", 4.4)[0]


def safeguards(results: Results) -> Figure:
    """(c) Test accuracy of AutoLR without one safeguard minus that of the whole AutoLR, by seed."""
    compared = tables.safeguards(results).compared()[::-1]
    held = [(row.name, found.pair, COLOURS["autolr"], "o") for row, found in compared]
    xlabel = "test accuracy minus that of the whole AutoLR (points), by seed"
    figure, axes = rows_of_points(held, xlabel, 3.4)
    if held:
        axes.set_ylim(-0.6, len(held) - 0.4)
        axes.axvline(0, color="#888888", lw=1)
    return figure


def seed_rates(results: Results) -> Figure:
    """Table 12: test accuracy of AutoLR over its seed rate."""
    lr, runs = OPTIMIZERS[MAIN].lr, results.by("seed rates")
    ours = {f * lr: mean for f, records in runs.items() if (mean := Mean.of(records, accuracy))}
    theirs = {float(key[1]) * lr: printed(name) for name, key in PRINTED.items() if key[0] == "seed rates"}
    return beside_printed({"autolr": ours}, {"autolr": theirs}, "seed rate")


def range_test(results: Results) -> Figure:
    """Figure 8a: smoothed training loss over the growing rate, seed by seed, with the mean readings."""
    tests = [records for records in results.by("range").values() if records]
    figure, axes = panels(max(1, len(tests)), width=7.8, height=3.9)
    if not tests:
        not_run(axes[0])
    for panel, records in zip(axes, tests, strict=False):
        for record in records:
            panel.plot(record.series("lr")[1], record.series("train_loss")[1], color="#000000", lw=1)
        lowest = geometric_mean(r.metrics["minimum"] for r in records)
        panel.axvline(lowest, color="#D55E00", label=f"lowest loss: {lowest:.3g}")
        panel.axvline(lowest / 10, color="#0072B2", ls="--", label=f"a tenth of it: {lowest / 10:.3g}")
        if records[0].spec.task.dataset == "cifar10":
            known = printed("autolr.fig8.lr_range_cifar10")
            panel.axvline(known, color="#D55E00", ls=":", label=f"printed, lowest loss: {known:g}")
        panel.set(
            xscale="log",
            xlabel="learning rate",
            ylabel="training loss, smoothed",
            title=f"{data_name(records)}, {several(len(records), 'seed')}",
        )
        panel.legend()
    return figure
