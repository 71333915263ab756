"""The tables and sentences of experiment 06, in Markdown, every number from records or from the claims."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean

from adatune_lite.experiments.autolr_plots import LABELS, OPTIMIZER_LABELS
from adatune_lite.experiments.autolr_records import (
    accuracies,
    accuracy_text,
    copy_note,
    first_fall,
    loss_text,
    printed_accuracy_text,
    printed_loss_text,
    several,
    signed,
)
from adatune_lite.experiments.autolr_tasks import OPTIMIZERS, describe
from adatune_lite.experiments.autolr_vs_schedules import MAIN, SPACE, baseline, steps_of
from adatune_lite.experiments.autolr_vs_schedules.reading import Cell, Results
from adatune_lite.experiments.autolr_vs_schedules.verdicts import SEED_RATES
from adatune_lite.report.statistics import Paired, holm, paired
from adatune_lite.runs.record import Record

NONE = "*No records yet.*"
TABLE_9 = {
    "autolr": "t4.momentum.autolr",
    "staircase": "t4.momentum.baseline",
    "trapezoid": "t9.trapezoid",
    "one_cycle_linear": "t9.onecycle_tuned",
    "cosine": "t9.cosine",
    "linear": "t9.linear",
}
"""Claims that hold what Tables 7 and 9 print for a method."""


def setting(results: Results) -> str:
    """What this page shows, and where it is reduced."""
    scale = results.scale
    tasks = "; ".join(
        f"{describe(task)}, {steps_of(scale, task) * task.batch / task.train:.0f} epochs"
        for task in (*scale.tasks, *scale.few)
    )
    rates = SPACE["lr"]
    text = (
        f"**This page** ({results.profile}). {tasks}. AutoLR decides every {scale.window} steps on "
        f"superbatches of {scale.superbatch} mini-batches, thresholds and share of explore from Table 8. "
        f"Tuning: {several(scale.draws, 'draw')} of the rate between {rates.low:g} and {rates.high:g}, the "
        f"same for every method, on {several(len(scale.tuning_seeds), 'tuning seed')}; reported on "
        f"{several(len(scale.report_seeds), 'other seed')}."
    )
    if results.profile == "desk":
        text += (
            " **Reduced**: the paper has 60,000 images and 50 epochs of the 4-layer network, and ResNet-18 "
            "with all its channels on CIFAR-10 for 200 epochs. Shrunk for the budget: images, epochs, "
            "channels, superbatch and window, and of CIFAR-10 the cells; the tuned comparison, safeguards, "
            "seed rates and one-cycle's highest rate are on the first task named here."
        )
    if results.profile in ("smoke", "quick"):
        text += " This is a reduced scale: it shows that the code runs, not what the setting gives."
    if note := copy_note(results.all_records()):
        text += f" {note}"
    absent = results.missing()
    if absent:
        text += f" **Not all runs are made yet**: at least {absent} are missing."
    return text


def paper(results: Results, table: str) -> str:
    """(a) One of Tables 4, 13 and 14: AutoLR and the baseline at the paper's rates, and what is printed."""
    cells = [c for o in OPTIMIZERS if (c := results.cell(table, o)) is not None and c.records]
    if not cells:
        return "*Not run: no records of this data set.*"
    lines = [
        "| optimizer | side | training loss | test accuracy (%) | AutoLR minus baseline (points) | "
        "p (Holm) | printed loss | printed accuracy (%) |",
        "|---|---|---|---|---|---|---|---|",
    ]
    p_values = adjusted({c.optimizer: c.accuracy for c in cells})
    for cell in cells:
        lines += [_row(cell, "baseline", cell.baseline), _row(cell, "autolr", cell.autolr, p_values)]
    note = copy_note(r for cell in cells for r in cell.records)
    return "\n\n".join(filter(None, (note, "\n".join(lines))))


def _row(cell: Cell, side: str, records: Sequence[Record], p_values: Mapping[str, str] | None = None) -> str:
    name = f"{cell.table}.{cell.optimizer}.{side}"
    method = "AutoLR" if side == "autolr" else LABELS[baseline(cell.task, cell.optimizer)[0]]
    cells = [
        OPTIMIZER_LABELS[cell.optimizer],
        method,
        loss_text(records),
        accuracy_text(records),
        difference_text(cell.accuracy) if p_values else "",
        p_values[cell.optimizer] if p_values else "",
        printed_loss_text(name),
        printed_accuracy_text(name),
    ]
    return f"| {' | '.join(cells)} |"


def adjusted(pairs: Mapping[str, Paired | None]) -> dict[str, str]:
    """Two-sided p of the paired t-tests of a table, after Holm; empty where there is no test."""
    tested = {name: pair for name, pair in pairs.items() if pair and len(pair.seeds) > 1}
    found = holm([min(1.0, 2 * min(pair.less, pair.greater)) for pair in tested.values()])
    return {**dict.fromkeys(pairs, ""), **{n: f"{p:.2g}" for n, p in zip(tested, found, strict=True)}}


def difference_text(pair: Paired | None) -> str:
    """The mean difference of pairs with its interval; empty where there are none."""
    return signed(pair.difference) if pair else ""


def tuned(results: Results) -> str:
    """(b) Tables 7 and 9 with equal tuning: every method against AutoLR, paired by seed."""
    rows = results.ranked()
    ours = accuracies(dict(rows).get("autolr", []))
    lines = [
        "| method | tuned rate | at an edge | mean E on tuning seeds | test accuracy (%) | training loss | "
        "minus AutoLR (points) | p (Holm) | cost (plain steps) | printed, CIFAR-10 (%) | printed loss |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    pairs = {m: paired(accuracies(records), ours) for m, records in rows if m != "autolr"}
    p_values = adjusted(pairs)
    for method, records in rows:
        choice = results.choices[method]
        cells = [
            LABELS[method],
            f"{dict(choice.settings)['lr']:.3g}",
            ", ".join(choice.on_edge) or "no",
            f"{choice.mean_loss:.4f}",
            accuracy_text(records),
            loss_text(records),
            difference_text(pairs.get(method)),
            p_values.get(method, ""),
            f"{cost(records):,.0f}",
            printed_accuracy_text(TABLE_9[method]) if method in TABLE_9 else "",
            printed_loss_text(TABLE_9[method]) if method in TABLE_9 else "",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    text = "\n".join(lines) if len(lines) > 2 else NONE
    plateau = dict(rows).get("plateau", [])
    edge = _edge(results.scale.draws) if rows else ""
    return "\n\n".join(filter(None, (text, edge, _patience(results, plateau), idle(plateau))))


def _edge(draws: int) -> str:
    """What "at an edge" means among so many draws."""
    if draws < 5:
        return f"*At an edge* is not asked of {several(draws, 'draw')}."
    inner = "one" if draws == 5 else f"{draws - 4}"
    return (
        f"*At an edge*: at most one of the {draws} drawn rates lies beyond the chosen one, above or below. "
        f"That is so of all but the {inner} in the middle."
    )


def _patience(results: Results, plateau: Sequence[Record]) -> str:
    """How long ReduceLROnPlateau waits, and at the desk that it was changed."""
    if not plateau:
        return ""
    text = (
        f"{LABELS['plateau']} looks at the validation loss once an epoch and forgives "
        f"{several(plateau[0].spec.get('patience'), 'look')} without gain, a twentieth of the training."
    )
    if results.profile == "desk":
        text += (
            " It first ran with torch's 10, as long as this whole training, and never acted; that was "
            "changed after its runs were seen, for this method alone."
        )
    return text


def idle(plateau: Sequence[Record]) -> str:
    """What to say where ReduceLROnPlateau had no occasion to act."""
    if not plateau or any(len(set(r.series("lr")[1])) > 1 for r in plateau):
        return ""
    return (
        f"{LABELS['plateau']} never lowered its rate here: too few looks in a row were without gain. Its "
        "runs are those of the constant rate, and say nothing of the method."
    )


def cost(records: Sequence[Record]) -> float:
    """What a run cost in plain steps, the mean."""
    return fmean(r.cost["plain_steps"] for r in records)


def safeguards(results: Results) -> str:
    """(c) AutoLR without one safeguard, paired with the whole."""
    whole = results.paper(results.scale.main, MAIN, "autolr")
    lines = [
        "| AutoLR | test accuracy (%) | minus the whole (points) | p (Holm) | "
        "first fall of the rate (epoch) | raises | falls | rollbacks | cost (plain steps) |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    found = {f"without {n}": records for n, records in results.safeguards().items()}
    pairs = {n: paired(accuracies(records), accuracies(whole)) for n, records in found.items()}
    p_values = adjusted(pairs)
    for name, records in {"whole": whole, **found}.items():
        if records:
            cells = [
                name,
                accuracy_text(records),
                difference_text(pairs.get(name)),
                p_values.get(name, ""),
                first_falls(records),
                *(count(records, kind) for kind in ("raise", "lower", "rollback")),
                f"{cost(records):,.0f}",
            ]
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) if len(lines) > 2 else NONE


def first_falls(records: Sequence[Record]) -> str:
    """Epoch at which the rate first fell, the mean of the runs in which it did."""
    falls = [step for r in records if r.finished and (step := first_fall(r)) is not None]
    if not falls:
        return "never"
    task = records[0].spec.task
    every = f" ({len(falls)} of {len(records)} runs)" if len(falls) < len(records) else ""
    return f"{fmean(falls) / (task.train // task.batch):.1f}{every}"


def count(records: Sequence[Record], kind: str) -> str:
    """Decisions of a kind in a run, the mean over runs that finished."""
    held = [r.metrics[kind] for r in records if r.finished]
    return f"{fmean(held):.1f}" if held else ""


def seed_rates(results: Results) -> str:
    """(c) Table 12: AutoLR from several seed rates, paired with the reference."""
    lr, groups = OPTIMIZERS[MAIN].lr, results.seed_rates()
    names = {factor: name for name, factor in SEED_RATES.items()}
    reference = accuracies(groups[1.0])
    pairs = {f"{f:g}": paired(accuracies(records), reference) for f, records in groups.items() if f != 1}
    p_values = adjusted(pairs)
    lines = [
        f"| seed rate | test accuracy (%) | minus that of {lr:g} (points) | p (Holm) | "
        "printed, CIFAR-10 (%) |",
        "|---|---|---|---|---|",
    ]
    for factor, records in groups.items():
        if records:
            key = f"{factor:g}"
            cells = [
                f"{factor * lr:.4g}",
                accuracy_text(records),
                difference_text(pairs.get(key)),
                p_values.get(key, ""),
                printed_accuracy_text(f"t12.{names[factor]}"),
            ]
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) if len(lines) > 2 else NONE


def one_cycle(results: Results) -> str:
    """(e) One-cycle by its highest rate: the range test's default, near its minimum, and tuned as in (b)."""
    if results.minimum is None:
        return NONE
    sides = {
        "a tenth of the minimum (default)": (results.default(), "t9.onecycle_default"),
        "best of the larger fractions": (results.near_minimum(), ""),
        "tuned as all in (b)": (results.tuned().get("one_cycle_linear", []), "t9.onecycle_tuned"),
    }
    lines = [
        "| highest rate of one-cycle | rate | in units of the minimum | test accuracy (%) | training loss | "
        "minus the default (points) | p (Holm) | printed, CIFAR-10 (%) | printed loss |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    default = accuracies(results.default())
    pairs = {
        n: paired(accuracies(records), default) for n, (records, _) in list(sides.items())[1:] if records
    }
    p_values = adjusted(pairs)
    for name, (records, claim) in sides.items():
        if records:
            rate = records[0].spec.get("lr")
            cells = [
                name,
                f"{rate:.3g}",
                f"{rate / results.minimum:.2f}",
                accuracy_text(records),
                loss_text(records),
                difference_text(pairs.get(name)),
                p_values.get(name, ""),
                printed_accuracy_text(claim) if claim else "",
                printed_loss_text(claim) if claim else "",
            ]
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) if len(lines) > 2 else NONE


def equal_cost(results: Results) -> str:
    """(d) AutoLR, the baseline, and the baseline with as many more steps as five looks in every window."""
    task = results.scale.main
    sides = {
        "AutoLR": results.paper(task, MAIN, "autolr"),
        "baseline": results.paper(task, MAIN, "baseline"),
        "longer baseline": results.equal_cost(),
    }
    lines = [
        "| training | steps | cost (plain steps) | test accuracy (%) | AutoLR minus it (points) | p (Holm) |",
        "|---|---|---|---|---|---|",
    ]
    ours = accuracies(sides["AutoLR"])
    pairs = {n: paired(ours, accuracies(records)) for n, records in sides.items() if n != "AutoLR"}
    p_values = adjusted(pairs)
    for name, records in sides.items():
        if records:
            cells = [
                name,
                f"{records[0].spec.steps:,}",
                f"{cost(records):,.0f}",
                accuracy_text(records),
                difference_text(pairs.get(name)),
                p_values.get(name, ""),
            ]
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) if len(lines) > 2 else NONE


def not_run(results: Results) -> str:
    """What of the paper this experiment does not have, and why."""
    held = {c.table for c in results.cells() if c.records}
    lines = ["| of the paper | here |", "|---|---|"]
    lines.append("| Table 3, Figures 4a, 6a, 9 (ImageNet, ResNet-50) | not run: no data |")
    lines.append(
        "| Tables 5, 6, 10, 11, Figures 4c, 4d, 13, 14 (BERT, Transformer) | come with a later issue |"
    )
    for table, what in (
        ("t4", "Table 4, Figures 4b, 10 to 12 (CIFAR-10, ResNet-18)"),
        ("t13", "Table 13, Figures 15 to 17 (MNIST)"),
        ("t14", "Table 14, Figures 18 to 20 (Fashion-MNIST)"),
    ):
        if table not in held:
            lines.append(f"| {what} | not run in this profile: no records |")
    if results.minimum is None:
        lines.append(
            "| Tables 7, 9: one-cycle with a tenth of the range test's minimum | not run: no records |"
        )
    return "\n".join(lines)
