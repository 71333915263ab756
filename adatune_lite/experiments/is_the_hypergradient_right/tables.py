"""The tables and sentences of experiment 02, in Markdown, every number from records."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from adatune_lite.experiments.is_the_hypergradient_right.reading import (
    ALL,
    METHODS,
    OPTIMIZERS,
    TEXTS,
    Lean,
    Results,
    Row,
    error,
    label,
    probes,
    turned_negative,
)
from adatune_lite.experiments.is_the_hypergradient_right.scale import CLIP, DECAY, MU, UNTRAINED
from adatune_lite.report.statistics import Paired
from adatune_lite.training.derivatives import RATE_PER_TENSOR
from adatune_lite.tuners.as_published import ADAPTIVE

NONE = "*No records yet.*"


def setting(results: Results) -> str:
    """What this page shows, and where it is reduced."""
    scale, task, small = results.scale, results.scale.task, results.scale.small
    data = {"mnist": "MNIST", "mnist5k": "the 5,000 embedded MNIST digits"}[task.dataset]
    text = (
        f"**This page** ({results.profile}). Errors: {scale.small_steps} steps in float64 of a network with "
        f"{small.hidden[0]} tanh units on {small.train:,} images, E on {small.validation} others, "
        f"{len(scale.small_seeds)} seeds. Training: {task.train:,} images of {data}, hidden layers of "
        f"{' and '.join(map(str, task.hidden))} units, {scale.steps} steps, "
        f"outer batches of {scale.outer_batch}, weight decay {DECAY:g}, mu = {MU:g}, entries of gradients "
        f"clipped at {CLIP:g}; {scale.draws} draws on {len(scale.tuning_seeds)} tuning seeds, "
        f"{len(scale.report_seeds)} other seeds reported."
    )
    if results.profile in ("smoke", "quick"):
        text += " This is a reduced scale: it shows that the code runs, not what the setting gives."
    absent = results.missing_roles()
    if absent:
        listed = ", ".join(f"{role} ({count})" for role, count in absent.items())
        text += f" **Not all runs are made yet**; missing: {listed}."
    return text


def errors(results: Results) -> str:
    """(a) Relative error of each rule and method."""
    rules = list(dict.fromkeys(rule for rule, _ in results.exact))
    if not rules:
        return NONE
    lines = [f"| optimizer | {' | '.join(METHODS.values())} |", "|---|" + "---|" * len(METHODS)]
    for rule in rules:
        cells = [_error(error(results.exact.get((rule, m), []))) for m in METHODS]
        lines.append(f"| {rule} | {' | '.join(cells)} |")
    return "\n".join(lines)


def faults(results: Results, optimizer: str) -> str:
    """(b) What each deviation costs with one optimizer."""
    rows = [results.row(optimizer, kind) for kind in results.kinds(optimizer)]
    return _faults(results, [row for row in rows if row is not None])


def calm(results: Results) -> str:
    """(b) The same for SGD with momentum at a smaller hyper_lr."""
    rows = [results.calm_row(kind) for kind in results.calm]
    return _faults(results, [row for row in rows if row is not None])


def untrained(results: Results) -> str:
    """(b) The error of deviations that the trainings cannot show, beside the same without them."""
    lines = ["| what differs | optimizer | relative error | without it |", "|---|---|---|---|"]
    exact = {
        "outer_statistics": results.batchnorm.get(("momentum", "batch"), []),
        RATE_PER_TENSOR: results.exact.get(("Adam", "hd"), []),
    }
    for fault, optimizer in UNTRAINED.items():
        found = results.faulty.get((optimizer, fault), [])
        if found:
            cells = [label(fault), OPTIMIZERS[optimizer], _error(error(found)), _error(error(exact[fault]))]
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) if len(lines) > 2 else NONE


def _faults(results: Results, rows: list[Row]) -> str:
    lines = [
        "| what differs | relative error | rate differs by (decades) | test loss | minus exact | "
        "accuracy minus exact (points) | lost |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        found = results.faulty.get((row.optimizer, _fault(row.kind)), [])
        cells = [
            label(row.kind),
            _error(error(found)) if found else "",
            "" if math.isnan(row.deviation) or row.kind == "exact" else f"{row.deviation:.2f}",
            row.test_loss.text(bare=row.lost > 0),
            _difference(row.against, 3, row),
            _difference(row.accuracy, 2, row),
            f"{row.lost} of {row.runs}",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) if len(lines) > 2 else NONE


def meanings(results: Results) -> str:
    """What each deviation is, in words."""
    lines = ["| name | what AdaTune does |", "|---|---|"]
    lines += [f"| {label(name)} | {text} |" for name, text in TEXTS.items()]
    return "\n".join(lines)


def adaptive(results: Results) -> str:
    """(b) The adaptive rules of mu and hyper_lr, one by one."""
    lines = [
        "| rules | test loss | minus Marthe-TF's | accuracy minus (points) | lost |",
        "|---|---|---|---|---|",
    ]
    for kind in results.kinds("momentum", adaptive=True):
        row = results.row("momentum", kind, base="marthe_tf")
        if row is not None:
            name = f"{label(kind)} alone" if kind in ADAPTIVE else label(kind)
            cells = [
                name,
                row.test_loss.text(bare=row.lost > 0),
                _difference(row.against, 3, row),
                _difference(row.accuracy, 2, row),
                f"{row.lost} of {row.runs}",
            ]
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) if len(lines) > 2 else NONE


def projection(results: Results) -> str:
    """Adam over the grid of hyper_lr, with and without the projection of the rate."""
    lines = [
        "| hyper-rate | projection | runs | with a negative rate | diverged | median E of the others |",
        "|---|---|---|---|---|---|",
    ]
    for (hyper_lr, projected), records in results.projection.items():
        kept = [r.metrics["validation_loss"] for r in records if r.finished]
        lines.append(
            f"| {hyper_lr:g} | {'yes' if projected else 'no'} | {len(records)} | "
            f"{sum(map(turned_negative, records))} | {sum(not r.finished for r in records)} | "
            f"{f'{np.median(kept):.3f}' if kept else ''} |"
        )
    return "\n".join(lines) if len(lines) > 2 else NONE


def locality(results: Results) -> str:
    """(c) Means over all probes and seeds."""
    lines = [
        "| network | optimizer | rate | cosine | cosine at a tenth | length of the change over H s | "
        "change of g over g |",
        "|---|---|---|---|---|---|---|",
    ]
    for (net, optimizer, lr), records in results.locality.items():
        means = [
            probes(records, name)[1].mean() if any(r.finished for r in records) else math.nan
            for name in ("cosine_1", "cosine_0.1", "length_1", "change_1")
        ]
        cells = " | ".join("diverged" if math.isnan(x) else f"{x:.2f}" for x in means)
        lines.append(f"| {net} | {OPTIMIZERS[optimizer]} | {lr:g} | {cells} |")
    return "\n".join(lines) if len(lines) > 2 else NONE


def lean(results: Results) -> str:
    """(e) Cost, agreement and worth of cheaper hypergradients, at two hyper_lr."""
    lines = [
        "| products | plain steps a step | cosine with the full one | lost at the frozen hyper-rate | "
        "test loss at a third of it | minus full | lost |",
        "|---|---|---|---|---|---|---|",
    ]
    frozen = {row.kind: row for row in results.lean_rows()}
    for row in results.lean_rows(calm=True):
        first = frozen.get(row.kind)
        cells = [
            row.kind,
            f"{row.cost:.2f}",
            "" if math.isnan(row.cosine) else f"{row.cosine:.3f}",
            f"{first.lost} of {first.runs}" if first else "",
            row.test_loss.text(bare=row.lost > 0),
            "" if row.kind == "full" else _difference(row.against, 3, row),
            f"{row.lost} of {row.runs}",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) if len(lines) > 2 else NONE


def batchnorm(results: Results) -> str:
    """(d) Error of the hypergradient where E uses the batch's own or the running statistics."""
    lines = ["| optimizer | batch statistics (exact) | running statistics |", "|---|---|---|"]
    for rule in dict.fromkeys(rule for rule, _ in results.batchnorm):
        cells = [_error(error(results.batchnorm.get((rule, k), []))) for k in ("batch", "running")]
        lines.append(f"| {rule} | {' | '.join(cells)} |")
    return "\n".join(lines) if len(lines) > 2 else NONE


def settings(results: Results) -> str:
    """The frozen settings and how they were found."""
    if not results.choices:
        return NONE
    lines = [
        "| optimizer | what | frozen settings | mean E on tuning seeds | draws (diverged) | at an edge |",
        "|---|---|---|---|---|---|",
    ]
    for (optimizer, kind), choice in results.choices.items():
        shown = [(n, v) for n, v in choice.settings if n in ("hyper_lr", "alpha") or kind == "constant"]
        values = ", ".join(f"{n} = {v:.3g}" for n, v in shown if isinstance(v, float))
        lines.append(
            f"| {OPTIMIZERS[optimizer]} | {label(kind)} | {values} | {choice.mean_loss:.4f} | "
            f"{choice.trials} ({choice.diverged}) | {', '.join(choice.on_edge) or 'no'} |"
        )
    return "\n".join(lines)


def growth(measured: dict[str, Any]) -> str:
    """What the measurement of `benchmarks/linear.py` says, and where it was made."""
    ratios = [
        row["hypergradient_seconds"] / row["training_seconds"]
        for row in (*measured["by_steps"], *measured["by_weights"])
    ]
    steps = [int(row["steps"]) for row in measured["by_steps"]]
    weights = [int(row["weights"]) for row in measured["by_weights"]]
    return (
        f"From T = {steps[0]} to {steps[-1]} and from {weights[0]:,} to {weights[-1]:,} weights, the "
        f"hypergradient of all rates costs {min(ratios):.1f} to {max(ratios):.1f} plain trainings "
        f"({measured['machine']}, torch {measured['torch']}, load {measured['load']:.1f})."
    )


def finding(results: Results) -> str:
    """The findings in a paragraph."""
    parts = [_exactness(results), _costs(results), _locality(results), _running(results)]
    return " ".join(filter(None, parts)) or NONE


def _exactness(results: Results) -> str:
    if not results.exact:
        return ""
    worst = max(error(records) for records in results.exact.values())
    text = (
        f"**Every hypergradient of this library agrees with finite differences through time to "
        f"{_error(worst)}** or better ({len(results.exact)} pairs of method and optimizer)."
    )
    for optimizer, name in (("momentum", "SGD with momentum"), ("adam", "Adam")):
        found = results.faulty.get((optimizer, ALL), [])
        if found:
            text += f" AdaTune's recursion as published is off by {_error(error(found))} with {name}."
    return text


def _costs(results: Results) -> str:
    """What the deviations do to the test loss, where no run is lost; the lost ones by number."""
    momentum = [results.row("momentum", kind) for kind in results.kinds("momentum")]
    sentences = [_lost(momentum)]
    for name, rows in (
        (
            "SGD with momentum at a third of the frozen hyper-rate",
            [results.calm_row(k) for k in results.calm],
        ),
        ("Adam", [results.row("adam", kind) for kind in results.kinds("adam")]),
    ):
        told = [r for r in rows if r is not None and r.against is not None and r.kind != "constant"]
        if not told:
            continue
        worse = [label(r.kind) for r in told if r.against and r.against.difference.low > 0 and not r.lost]
        gone = [f"{label(r.kind)} ({r.lost} of {r.runs})" for r in told if r.lost]
        sentences.append(
            f"With {name}, {len(worse)} of {len(told)} deviations raise the test loss significantly "
            f"({', '.join(worse) or 'none'}); runs are lost with {', '.join(gone) or 'none'}."
        )
    constant = results.row("adam", "constant")
    if constant is not None and constant.against is not None:
        sentences.append(
            "With Adam a tuned constant rate differs from the exact recursion by "
            f"{_difference(constant.against, 3, constant)} in test loss."
        )
    return " ".join(filter(None, sentences))


def _lost(rows: list[Row | None]) -> str:
    there = [r for r in rows if r is not None and r.kind != "constant"]
    exact = next((r for r in there if r.kind == "exact"), None)
    if exact is None or not exact.lost:
        return ""
    kept = [label(r.kind) for r in there if not r.lost]
    return (
        f"**With SGD with momentum the exact recursion itself is lost on {exact.lost} of {exact.runs} "
        "reporting seeds, at the hyper-rate chosen on the tuning seeds; never lost are: "
        f"{', '.join(kept) or 'none'}.**"
    )


def _locality(results: Results) -> str:
    texts = []
    for net in dict.fromkeys(key[0] for key in results.locality):
        values = [
            probes(records, "cosine_1")[1].mean()
            for key, records in results.locality.items()
            if key[0] == net and any(r.finished for r in records)
        ]
        if values:
            texts.append(f"{min(values):.2f} to {max(values):.2f} ({net})")
    if not texts:
        return ""
    return (
        "The cosine between the exact Hessian-vector product and the true change of the gradient over one "
        f"real step lies, over optimizers and rates, at {', '.join(texts)}."
    )


def _running(results: Results) -> str:
    found = [error(r) for (_, kind), r in results.batchnorm.items() if kind == "running"]
    if not found:
        return ""
    return f"Running statistics of BatchNorm in E put the hypergradient off by up to {_error(max(found))}."


def _fault(kind: str) -> str:
    return "" if kind == "exact" else ALL if "," in kind else kind


def _error(value: float) -> str:
    if math.isnan(value):
        return ""
    return f"{value:.1%}" if 1e-3 <= value < 10 else f"{value:.0e}"


def _difference(found: Paired | None, digits: int, row: Row | Lean) -> str:
    if found is None:
        return ""
    mean = found.difference
    if row.lost or mean.n < 2:
        return f"{mean.mean:+.{digits}f}"
    half = (mean.high - mean.low) / 2
    return f"{mean.mean:+.{digits}f}\N{NO-BREAK SPACE}±\N{NO-BREAK SPACE}{half:.{digits}f}"
