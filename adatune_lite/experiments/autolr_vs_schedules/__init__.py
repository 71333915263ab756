"""Experiment 06: AutoLR against fixed schedules (AutoLR, Tables 4, 7, 9, 12 to 14, Figures 4b, 8a, 10 to 20).

Six parts. (a) The paper's comparison at its own settings: a constant seed rate and AutoLR with SGD, momentum
and Adam (on CIFAR-10 the paper's staircase is the baseline of SGD and momentum). What it lacks: (b) equal
tuning, the same random draws of the rate for every schedule and for AutoLR, chosen by mean validation loss on
tuning seeds and reported on others, with momentum; (c) AutoLR with each safeguard off alone, and with several
seed rates (Table 12); (d) the paper's baseline given the steps that AutoLR's fits cost in explore; (e) the
range test of appendix E (Figure 8a), and one-cycle with the highest rate that it suggests: a tenth of the
rate at the lowest loss, the default, against larger fractions of it, the best chosen as in (b); (f) each
decision that the paper leaves open taken otherwise, alone.

The `paper` profile, on CIFAR-10, also has the schedules of Table 9 at their printed rates, so that what that
table prints can be judged. The others have not: on other data and a narrow network those rates mean nothing,
and (b) compares the same schedules.

The desk profile has 10,000 images, 10 epochs and superbatches of 4 mini-batches, as experiment 05 has. Of
CIFAR-10 it has the cells of Table 4, and a range test, on a ResNet-18 with an eighth of the channels: 7
epochs in place of 200, 10,000 images in place of 50,000. A pilot took 0.22 s a step on a busy core, so that
thirty-five runs of 546 steps, with AutoLR's looks, cost about 1.6 core-hours; one of the 4-layer network
takes 0.1 s by the records of 03, the 45 runs of (f) on it 0.5 core-hours by the first ones of (a). What all
runs took is on the page, from their records.

ReduceLROnPlateau first ran with torch's patience of 10 looks, one an epoch, which is the whole desk training:
it never acted. It now forgives a twentieth of the training, 10 looks in the paper's 200 epochs and 1 at the
desk. That was changed after the first desk runs were seen, for this method alone; no claim is about it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from statistics import geometric_mean
from typing import TYPE_CHECKING

from adatune_lite.experiments.autolr_tasks import OPTIMIZERS, base
from adatune_lite.experiments.autolr_vs_schedules.scale import PROFILES, Scale
from adatune_lite.experiments.superbatch import overhead
from adatune_lite.report.reading import planned_once
from adatune_lite.report.search import Choice, LogUniform, Reader, Space, choose, draws
from adatune_lite.runs.worker import Planned
from adatune_lite.tasks.spec import Pairs, TaskSpec, Value, pairs
from adatune_lite.training.spec import RunSpec
from adatune_lite.tuners.autolr.settings import TABLE_8

if TYPE_CHECKING:
    from adatune_lite.experiments.autolr_vs_schedules.reading import Results

NAME = "06_autolr_vs_schedules"
TITLE = "AutoLR against fixed schedules"

_CYCLE: dict[str, Value] = {"momentum_low": 0.85, "momentum_high": 0.95}
TUNED: dict[str, dict[str, Value]] = {
    "constant": {},
    "staircase": {"explore": 0.5},
    "cosine": {},
    "linear": {},
    "trapezoid": {},
    "one_cycle_linear": _CYCLE,
    "knee": {},
    "plateau": {},
    "autolr": {},
}
"""What (b) compares, with the settings that are not searched."""
DEFAULT = "one-cycle default"
PRINTED: dict[str, tuple[str, dict[str, Value]]] = {
    "trapezoid": ("trapezoid", {"lr": 0.06}),
    DEFAULT: ("one_cycle_linear", {**_CYCLE, "lr": 9e-3}),
    "one_cycle_linear": ("one_cycle_linear", {**_CYCLE, "lr": 0.06}),
    "cosine": ("cosine", {"lr": 0.1}),
    "linear": ("linear", {"lr": 0.1}),
}
"""Table 9's schedules with appendix E's rates. The staircase and AutoLR, which make seven, are in (a)."""
SPACE: Space = {"lr": LogUniform(1e-2, 0.4)}
"""What (b) searches, for every method alike."""
FACTORS = (0.5, 0.75, 1.25, 1.5)
"""Seed rates of Table 12, in units of the reference."""
SAFEGUARDS: dict[str, dict[str, Value]] = {
    "explore": {"explore_steps": 0},
    "saturation": {"saturation": False},
    "trust bound": {"epsilon_threshold": False},
    "rollback": {"rollback": False},
}
"""AutoLR with one of them switched off."""
OPEN: dict[str, dict[str, Value]] = {
    "reach of a fifth": {"reach": 0.2},
    "reach of nine tenths": {"reach": 0.9},
    "samples over a twentieth": {"spread": 0.05},
    "samples over a half": {"spread": 0.5},
    "new rate from the next step": {"otherwise": "next step"},
    "drop rate between fresh superbatches": {"otherwise": "fresh superbatch"},
    "count begins anew at each change": {"otherwise": "count begins anew"},
    "a rising window fixes the threshold": {"otherwise": "rise is a crossing"},
}
"""(f): AutoLR on the main task with one decision taken otherwise."""
EVALUATION = "superbatch in evaluation mode"
"""(f), where there is BatchNorm: without it and dropout, as in the 4-layer network, it changes nothing."""
TWICE = "window twice as long"
"""(f): the paper says 1000 steps and, elsewhere, twice an epoch."""
RANGE: dict[str, Value] = {"lr_min": 1e-4, "lr_max": 10.0}
"""Rates of the range test."""
FRACTIONS = (0.1, 0.2, 0.4, 0.67, 1.0)
"""Highest rates of (e), in units of the rate at the range test's lowest loss; the first is the default."""
MAIN = "momentum"

_PRIORITY = {
    "paper": 100,
    "few": 97,
    "range": 95,
    "tuning": 90,
    "printed": 85,
    "report": 80,
    "safeguards": 70,
    "one_cycle": 65,
    "equal_cost": 60,
    "seed_rates": 50,
    "open": 40,
}


def steps_of(scale: Scale, task: TaskSpec) -> int:
    """Steps of a training."""
    epochs = scale.epochs if task == scale.main else scale.other_epochs
    if task in scale.few:
        epochs = scale.few_epochs
    return epochs * (task.train // task.batch)


def _run(
    scale: Scale,
    task: TaskSpec,
    optimizer: str,
    method: str,
    seed: int,
    settings: Mapping[str, Value] | Pairs,
    steps: int = 0,
) -> RunSpec:
    start = base(optimizer, task)
    return RunSpec(
        function="generalisation",
        task=task,
        method=method,
        steps=steps or steps_of(scale, task),
        seed=seed,
        settings=pairs(settings),
        optimizer=start.optimizer,
        optimizer_settings=start.options,
        detail="summary",  # AutoLR's decisions give its rates exactly.
    )


def autolr_settings(scale: Scale, task: TaskSpec) -> dict[str, Value]:
    """Table 8's thresholds and share of explore, with the window and superbatch of the profile."""
    row = TABLE_8[task.dataset if task.dataset in TABLE_8 else "mnist"]
    steps = steps_of(scale, task)
    return {
        "explore_steps": round((row.explore if scale.explore is None else scale.explore) * steps),
        "window": scale.window,
        "superbatch": scale.superbatch,
        "saturation": row.saturation,
        "epsilon_threshold": row.epsilon_threshold,
    }


def baseline(task: TaskSpec, optimizer: str) -> tuple[str, dict[str, Value]]:
    """The paper's baseline: a staircase on CIFAR-10 but for Adam, else the constant seed rate."""
    lr = OPTIMIZERS[optimizer].lr
    if task.dataset == "cifar10" and optimizer != "adam":
        return "staircase", {"lr": lr, "explore": 0.5}
    return "constant", {"lr": lr}


def cells(scale: Scale) -> list[tuple[TaskSpec, str]]:
    """(a): the tasks and optimizers that are compared."""
    return list(product((*scale.tasks, *scale.few), OPTIMIZERS))


def paper_runs(scale: Scale) -> dict[tuple[TaskSpec, str, str], list[RunSpec]]:
    """(a), keyed (task, optimizer, "baseline" or "autolr")."""
    runs: dict[tuple[TaskSpec, str, str], list[RunSpec]] = {}
    for task, optimizer in cells(scale):
        method, settings = baseline(task, optimizer)
        ours = {"lr": OPTIMIZERS[optimizer].lr, **autolr_settings(scale, task)}
        for seed in scale.report_seeds:
            key = task, optimizer
            runs.setdefault((*key, "baseline"), []).append(
                _run(scale, task, optimizer, method, seed, settings)
            )
            runs.setdefault((*key, "autolr"), []).append(_run(scale, task, optimizer, "autolr", seed, ours))
    return runs


def trials(scale: Scale, method: str) -> list[list[RunSpec]]:
    """(b): the search of one method, a list of draws, each a spec for every tuning seed."""
    fixed = {**TUNED[method], **_scaled(scale, method)}
    return [
        [_run(scale, scale.main, MAIN, method, seed, settings) for seed in scale.tuning_seeds]
        for settings in draws(SPACE, fixed, scale.draws)
    ]


def _scaled(scale: Scale, method: str) -> dict[str, Value]:
    """What of a method's settings goes with the length of the training."""
    if method == "autolr":
        return autolr_settings(scale, scale.main)
    return {"patience": max(1, round(scale.epochs / 20))} if method == "plateau" else {}


def choices(scale: Scale, store: Reader) -> dict[str, Choice]:
    """The frozen settings of every method whose search is complete."""
    found = {method: choose(trials(scale, method), store, SPACE) for method in TUNED}
    return {method: choice for method, choice in found.items() if choice is not None}


def report_runs(scale: Scale, method: str, choice: Choice) -> list[RunSpec]:
    """(b): one method with frozen settings on the reporting seeds."""
    return [_run(scale, scale.main, MAIN, method, s, choice.settings) for s in scale.report_seeds]


def printed_runs(scale: Scale) -> dict[str, list[RunSpec]]:
    """Table 9 at its printed rates, keyed as `PRINTED`; empty where the profile has no such runs."""
    if not scale.printed:
        return {}
    return {
        name: [_run(scale, scale.main, MAIN, method, seed, settings) for seed in scale.report_seeds]
        for name, (method, settings) in PRINTED.items()
    }


def safeguard_runs(scale: Scale) -> dict[str, list[RunSpec]]:
    """(c): AutoLR at the seed rate with one safeguard off, keyed by its name."""
    ours = {"lr": OPTIMIZERS[MAIN].lr, **autolr_settings(scale, scale.main)}
    return {
        name: [_run(scale, scale.main, MAIN, "autolr", s, {**ours, **off}) for s in scale.report_seeds]
        for name, off in SAFEGUARDS.items()
    }


def open_runs(scale: Scale) -> dict[str, list[RunSpec]]:
    """(f): AutoLR at the seed rate with one open decision taken otherwise, keyed by what is done.

    The whole that they are compared with is in `paper_runs`.
    """

    def runs(task: TaskSpec, changed: Mapping[str, Value]) -> list[RunSpec]:
        ours = {"lr": OPTIMIZERS[MAIN].lr, **autolr_settings(scale, task), **changed}
        return [_run(scale, task, MAIN, "autolr", seed, ours) for seed in scale.report_seeds]

    found = {name: runs(scale.main, changed) for name, changed in OPEN.items()}
    found[TWICE] = runs(scale.main, {"window": 2 * scale.window})
    for task in with_batchnorm(scale):
        found[EVALUATION] = runs(task, {"otherwise": "evaluation mode"})
    return found


def with_batchnorm(scale: Scale) -> list[TaskSpec]:
    """The task of (f)'s evaluation mode: the first of (a) whose network has BatchNorm, if there is one."""
    return [t for t in (*scale.few, *scale.tasks) if t.model == "resnet18"][:1]


def seed_rate_runs(scale: Scale) -> dict[float, list[RunSpec]]:
    """(c): AutoLR from other seed rates, keyed by their factor; 1.0 is in `paper_runs`."""
    ours, lr = autolr_settings(scale, scale.main), OPTIMIZERS[MAIN].lr
    return {
        factor: [
            _run(scale, scale.main, MAIN, "autolr", seed, {**ours, "lr": float(f"{factor * lr:.6g}")})
            for seed in scale.report_seeds
        ]
        for factor in FACTORS
    }


def equal_cost_runs(scale: Scale) -> list[RunSpec]:
    """(d): the paper's baseline with as many more steps as five looks in every window of AutoLR cost.

    That is the price of explore. A window of exploit has up to six, or one where it only measures a drop.
    """
    method, settings = baseline(scale.main, MAIN)
    longer = round(steps_of(scale, scale.main) * (1 + overhead(5, scale.superbatch, scale.window) / 100))
    return [_run(scale, scale.main, MAIN, method, s, settings, longer) for s in scale.report_seeds]


def range_runs(scale: Scale, task: TaskSpec) -> list[RunSpec]:
    """(e): the range test of a task, by seed."""
    start = base(MAIN, task)
    return [
        RunSpec(
            function="lr_range",
            task=task,
            method="lr_range",
            steps=scale.range_steps,
            seed=seed,
            settings=pairs(RANGE),
            optimizer=start.optimizer,
            optimizer_settings=start.options,
        )
        for seed in scale.range_seeds
    ]


def range_minimum(scale: Scale, store: Reader) -> float | None:
    """(e): the rate at the lowest loss on the main task, the geometric mean over seeds; None without all."""
    found = [store.get(spec) for spec in range_runs(scale, scale.main)]
    lowest = [r.metrics["minimum"] for r in found if r is not None]
    return float(f"{geometric_mean(lowest):.6g}") if len(lowest) == len(found) else None


def one_cycle_runs(scale: Scale, minimum: float, fraction: float, seeds: Sequence[int]) -> list[RunSpec]:
    """(e): one-cycle up to a fraction of that rate."""
    settings = {**_CYCLE, "lr": float(f"{fraction * minimum:.6g}")}
    return [_run(scale, scale.main, MAIN, "one_cycle_linear", seed, settings) for seed in seeds]


def near_minimum(scale: Scale, minimum: float, store: Reader) -> Choice | None:
    """(e): the best of the fractions above the default, by mean validation loss on the tuning seeds."""
    return choose(
        (one_cycle_runs(scale, minimum, f, scale.tuning_seeds) for f in FRACTIONS[1:]), store, SPACE
    )


def _one_cycle_stages(scale: Scale, store: Reader) -> Iterator[tuple[str, Sequence[RunSpec]]]:
    for task in (scale.main, *scale.few):
        yield "range", range_runs(scale, task)
    minimum = range_minimum(scale, store)
    if minimum is None:
        return
    for fraction in FRACTIONS:
        yield "one_cycle", one_cycle_runs(scale, minimum, fraction, scale.tuning_seeds)
    yield "one_cycle", one_cycle_runs(scale, minimum, FRACTIONS[0], scale.report_seeds)
    best = near_minimum(scale, minimum, store)
    if best is not None:
        yield "one_cycle", report_runs(scale, "one_cycle_linear", best)


def _stages(scale: Scale, store: Reader) -> Iterator[tuple[str, Sequence[RunSpec]]]:
    for (task, _, _), specs in paper_runs(scale).items():
        yield "few" if task in scale.few else "paper", specs
    for method in TUNED:
        yield "tuning", [spec for trial in trials(scale, method) for spec in trial]
    for specs in printed_runs(scale).values():
        yield "printed", specs
    for method, choice in choices(scale, store).items():
        yield "report", report_runs(scale, method, choice)
    for specs in safeguard_runs(scale).values():
        yield "safeguards", specs
    yield "equal_cost", equal_cost_runs(scale)
    for specs in seed_rate_runs(scale).values():
        yield "seed_rates", specs
    for specs in open_runs(scale).values():
        yield "open", specs
    yield from _one_cycle_stages(scale, store)


def plan(profile: str, store: Reader) -> list[Planned]:
    """All runs of a profile that are known so far: some depend on the records of a search or a range test."""
    return planned_once(_stages(PROFILES[profile], store), NAME, profile, _PRIORITY)


def results(profile: str, store: Reader) -> Results:
    """What the records of a profile say."""
    from adatune_lite.experiments.autolr_vs_schedules.reading import Results

    return Results(profile, store)
