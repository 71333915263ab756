"""Experiment 01: LRS-OPT against MARTHE, RTHO, HD and tuned schedules on MNIST (MARTHE, figures 1 and 2).

7,000 MNIST images, 700 for validation, a network with two hidden layers of 500 units, batches of 100, SGD,
T = 512 steps, E = loss on the 700 images after step T (arXiv 1910.08525; what it leaves open is decided in
the chapter). The rates of online methods and of LRS-OPT start at 0.01.

Settings are chosen by mean E on the tuning seeds, with the same number of random draws for every method, then
frozen and reported on other seeds.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from adatune_lite.report.reading import planned_once
from adatune_lite.report.search import Choice, LogUniform, Reader, Space, choose, draws
from adatune_lite.runs.worker import Planned
from adatune_lite.tasks.spec import Pairs, TaskSpec, Value, pairs
from adatune_lite.training.spec import RunSpec

if TYPE_CHECKING:
    from adatune_lite.experiments.lrs_opt_vs_marthe.reading import Results

NAME = "01_lrs_opt_vs_marthe"
TITLE = "LRS-OPT against online schedules on MNIST"

START = 0.01
"""First rate of LRS-OPT and of every online method (the paper's)."""

_LR = LogUniform(1e-2, 3.0)
_HYPER_LR = LogUniform(1e-6, 1e-2)
SPACES: dict[str, Space] = {
    "constant": {"lr": _LR},
    "exponential": {"lr": _LR, "final": LogUniform(1e-3, 1.0)},
    "staircase": {"lr": _LR, "factor": LogUniform(1e-2, 1.0)},
    "cosine": {"lr": _LR},
    "one_cycle": {"lr": _LR},
    "hd": {"hyper_lr": _HYPER_LR},
    "hd_validation": {"hyper_lr": _HYPER_LR},
    "rtho": {"hyper_lr": _HYPER_LR},
    "marthe": {"hyper_lr": _HYPER_LR, "mu": LogUniform(1e-4, 1.0, one_minus=True)},
}
"""What is searched for each method: the same number of draws everywhere."""

ONLINE = ("hd", "hd_validation", "rtho", "marthe")
CLASSICAL = ("constant", "exponential", "staircase", "cosine", "one_cycle")
INNER_MUS = (0.5, 0.9, 0.99, 0.999)
"""Fixed discounts between HD (mu = 0) and RTHO (mu = 1) of the claim marthe.mnist.mu_interior."""
MUS = (0.0, *INNER_MUS, 1.0)
VARIANTS: dict[str, dict[str, object]] = {
    "three_hidden": {"hidden": 3},
    "tanh": {"activation": "tanh"},
    "outer_batch_100": {"outer_batch": 100},
}
"""Sensitivity: three hidden layers, tanh, an outer batch as small as the training batch; not tuned again."""


@dataclass(frozen=True)
class Scale:
    """How large a profile is."""

    task: TaskSpec
    steps: int
    draws: int
    """Random draws of every method."""
    mu_draws: int
    """Draws (the first ones) for each fixed mu; the two ends are judged on as many."""
    tuning_seeds: tuple[int, ...]
    report_seeds: tuple[int, ...]
    outer_steps: int
    long_outer_steps: int
    """Outer steps of one longer LRS-OPT run on the first reporting seed; 0 leaves it out."""
    variant_outer_steps: int
    """Outer steps of LRS-OPT in the sensitivity runs."""
    pair_seeds: int
    """Reporting seeds of the warm start and of the sensitivity runs."""
    map_hyper_lrs: tuple[float, ...]
    checkpoints: int = 0
    """States that LRS-OPT keeps; 0 stores all."""
    further_seeds: tuple[int, ...] = ()
    """Seeds on which LRS-OPT, its start and the online methods run once more, for the registered claims."""


_MNIST = TaskSpec("mnist", train=7000, validation=700, test=10_000)
_EMBEDDED = TaskSpec("mnist5k", train=4000, validation=500, test=500)
_HALF_DECADES = tuple(float(f"{10 ** (k / 2):.3g}") for k in range(-12, -2))

PROFILES: dict[str, Scale] = {
    "smoke": Scale(
        replace(_EMBEDDED, hidden=(16, 16)), 16, 2, 2, (100,), (0, 1), 3, 0, 3, 1, (1e-4, 1e-2), 0, (2,)
    ),
    "quick": Scale(
        replace(_EMBEDDED, hidden=(100, 100)), 64, 4, 3, (100,), (0, 1), 8, 12, 8, 1, (1e-4, 1e-3, 1e-2)
    ),
    "desk": Scale(
        _MNIST,
        512,
        30,
        10,
        (100, 101, 102),
        (0, 1, 2, 3, 4),
        60,
        150,
        20,
        2,
        _HALF_DECADES,
        further_seeds=(5, 6, 7, 8, 9),
    ),
    "paper": Scale(_MNIST, 512, 30, 30, (100, 101, 102), tuple(range(10)), 1000, 0, 1000, 2, _HALF_DECADES),
}

_PRIORITY = {
    "tuning": 100,
    "report": 90,
    "lrs_opt": 80,
    "mu_tuning": 70,
    "mu_report": 68,
    "map": 60,
    "transfer": 50,
    "lrs_opt_long": 40,
    "lrs_opt_warm": 30,
    "sensitivity": 20,
    "further_seeds": 10,
}
"""Order of value: what figures (a), (b) and (c) need comes first."""


def _run(scale: Scale, method: str, seed: int, settings: Mapping[str, Value] | Pairs, **more: Any) -> RunSpec:
    function = "lrs_opt" if method == "lrs_opt" else "training"
    fields: dict[str, Any] = {"task": scale.task, "settings": pairs(settings), **more}
    return RunSpec(function=function, method=method, steps=scale.steps, seed=seed, **fields)


def trials(scale: Scale, method: str) -> list[list[RunSpec]]:
    """The search of one method: a list of draws, each a spec for every tuning seed."""
    fixed = {"lr": START} if method in ONLINE else {}
    return [
        [_run(scale, method, seed, settings, detail="summary") for seed in scale.tuning_seeds]
        for settings in draws(SPACES[method], fixed, scale.draws)
    ]


def mu_trials(scale: Scale, mu: float) -> list[list[RunSpec]]:
    """The search of hyper_lr at one mu: the first draws; the ends are HD (validation gradient) and RTHO."""
    if mu in (0.0, 1.0):
        return trials(scale, "rtho" if mu else "hd_validation")[: scale.mu_draws]
    space = {"hyper_lr": _HYPER_LR}
    return [
        [_run(scale, "marthe", seed, settings, detail="summary") for seed in scale.tuning_seeds]
        for settings in draws(space, {"lr": START, "mu": mu}, scale.mu_draws)
    ]


def choices(scale: Scale, store: Reader) -> dict[str, Choice]:
    """The frozen settings of every method whose search is complete."""
    found = {m: choose(trials(scale, m), store, SPACES[m]) for m in SPACES}
    return {m: c for m, c in found.items() if c is not None}


def mu_choices(scale: Scale, store: Reader) -> dict[float, Choice]:
    """The frozen hyper_lr of every fixed mu whose search is complete."""
    found = {mu: choose(mu_trials(scale, mu), store, {"hyper_lr": _HYPER_LR}) for mu in MUS}
    return {mu: c for mu, c in found.items() if c is not None}


def start_runs(scale: Scale) -> list[RunSpec]:
    """The constant start schedule of LRS-OPT, untuned, on the reporting seeds."""
    return [_run(scale, "constant", seed, {"lr": START}) for seed in scale.report_seeds]


def report_runs(scale: Scale, method: str, choice: Choice) -> list[RunSpec]:
    """One method with frozen settings on the reporting seeds."""
    return [_run(scale, method, seed, choice.settings) for seed in scale.report_seeds]


def mu_runs(scale: Scale, mu: float, choice: Choice) -> list[RunSpec]:
    """MARTHE at a fixed mu (its ends under the names of HD and RTHO) on the reporting seeds."""
    method = {0.0: "hd_validation", 1.0: "rtho"}.get(mu, "marthe")
    return report_runs(scale, method, choice)


def _lrs_opt_settings(scale: Scale, outer_steps: int) -> dict[str, Value]:
    kept: dict[str, Value] = {"checkpoints": scale.checkpoints} if scale.checkpoints else {}
    return {"lr": START, "outer_steps": outer_steps, **kept}


def lrs_opt_runs(scale: Scale) -> list[RunSpec]:
    """LRS-OPT from the constant start on the reporting seeds."""
    settings = _lrs_opt_settings(scale, scale.outer_steps)
    return [_run(scale, "lrs_opt", seed, settings) for seed in scale.report_seeds]


def long_runs(scale: Scale) -> list[RunSpec]:
    """The longer LRS-OPT run on the first reporting seed."""
    if not scale.long_outer_steps:
        return []
    return [_run(scale, "lrs_opt", scale.report_seeds[0], _lrs_opt_settings(scale, scale.long_outer_steps))]


def map_runs(scale: Scale) -> dict[tuple[float, float], RunSpec]:
    """The mu x hyper_lr map on one seed (a figure only: nothing is chosen from it)."""
    return {
        (mu, hyper_lr): _run(
            scale,
            "marthe",
            scale.tuning_seeds[0],
            {"lr": START, "mu": mu, "hyper_lr": hyper_lr},
            detail="summary",
        )
        for mu in MUS
        for hyper_lr in scale.map_hyper_lrs
    }


def best_online(scale: Scale, found: Mapping[str, Choice]) -> str | None:
    """The online method with the smallest mean E on the tuning seeds; None before all are tuned."""
    if any(m not in found for m in ONLINE):
        return None
    return min(ONLINE, key=lambda m: (found[m].mean_loss, m))


def warm_runs(scale: Scale, store: Reader, found: Mapping[str, Choice]) -> list[RunSpec]:
    """LRS-OPT from the best online schedule of a seed, on the first seeds where that did not diverge."""
    method = best_online(scale, found)
    if method is None:
        return []
    settings: dict[str, Value] = {**_lrs_opt_settings(scale, scale.outer_steps), "lr_max": 10.0}
    specs: list[RunSpec] = []
    for source in report_runs(scale, method, found[method]):
        record = store.get(source)
        if record is not None and record.finished and len(specs) < scale.pair_seeds:
            more = {"source": source.hash, "source_digest": record.digest()}
            specs.append(_run(scale, "lrs_opt", source.seed, settings, **more))
    return specs


def learned_runs(scale: Scale, found: Mapping[str, Choice]) -> dict[str, list[RunSpec]]:
    """The runs whose schedules are learned, by method."""
    online = {m: report_runs(scale, m, found[m]) for m in ONLINE if m in found}
    return {"lrs_opt": lrs_opt_runs(scale), **online}


def transfer_runs(
    scale: Scale, store: Reader, found: Mapping[str, Choice]
) -> dict[tuple[str, int, int], RunSpec]:
    """Each learned schedule replayed on the other seeds, keyed (method, learned on, replayed on)."""
    runs = {}
    for method, sources in learned_runs(scale, found).items():
        for source in sources:
            record = store.get(source)
            if record is None or not record.finished:
                continue
            for seed in scale.report_seeds:
                if seed != source.seed:
                    more = {"source": source.hash, "source_digest": record.digest(), "detail": "summary"}
                    runs[method, source.seed, seed] = _run(scale, "replay", seed, {}, **more)
    return runs


def sensitivity_runs(scale: Scale, found: Mapping[str, Choice]) -> dict[tuple[str, str], list[RunSpec]]:
    """Variants of the setting with the frozen settings of the main one, keyed (variant, method)."""
    runs: dict[tuple[str, str], list[RunSpec]] = {}
    for variant, change in VARIANTS.items():
        task = scale.task
        if "hidden" in change:
            task = replace(task, hidden=(*task.hidden, task.hidden[-1]))
        if "activation" in change:
            task = replace(task, activation=str(change["activation"]))
        seeds = scale.report_seeds[: scale.pair_seeds]
        changed = replace(scale, task=task, report_seeds=seeds, outer_steps=scale.variant_outer_steps)
        outer = {"outer_batch": min(100, task.validation)} if "outer_batch" in change else {}
        for method in ("constant", "cosine", *ONLINE):
            if method not in found or (outer and method in ("constant", "cosine", "hd")):
                continue
            choice = found[method]
            settings = {**dict(choice.settings), **outer}
            runs[variant, method] = [_run(changed, method, s, settings) for s in changed.report_seeds]
        if not outer:
            runs[variant, "lrs_opt"] = lrs_opt_runs(changed)
    return runs


def further_runs(scale: Scale, found: Mapping[str, Choice]) -> dict[str, list[RunSpec]]:
    """What the registered claims read on further seeds, by method: LRS-OPT, its start, the online ones."""
    more = replace(scale, report_seeds=scale.further_seeds)
    online = {m: report_runs(more, m, found[m]) for m in ONLINE if m in found}
    return {"start": start_runs(more), **online, "lrs_opt": lrs_opt_runs(more)}


def _stages(scale: Scale, store: Reader) -> Iterator[tuple[str, Sequence[RunSpec]]]:
    for method in SPACES:
        yield "tuning", [spec for trial in trials(scale, method) for spec in trial]
    found, at_mu = choices(scale, store), mu_choices(scale, store)
    yield "report", start_runs(scale)
    for method, choice in found.items():
        yield "report", report_runs(scale, method, choice)
    yield "lrs_opt", lrs_opt_runs(scale)
    for mu in INNER_MUS:
        yield "mu_tuning", [spec for trial in mu_trials(scale, mu) for spec in trial]
    for mu, choice in at_mu.items():
        yield "mu_report", mu_runs(scale, mu, choice)
    yield "map", list(map_runs(scale).values())
    yield "transfer", list(transfer_runs(scale, store, found).values())
    yield "lrs_opt_long", long_runs(scale)
    yield "lrs_opt_warm", warm_runs(scale, store, found)
    for specs in sensitivity_runs(scale, found).values():
        yield "sensitivity", specs
    for specs in further_runs(scale, found).values():
        yield "further_seeds", specs


def plan(profile: str, store: Reader) -> list[Planned]:
    """All runs of a profile that are known so far; later ones depend on records of earlier ones."""
    return planned_once(_stages(PROFILES[profile], store), NAME, profile, _PRIORITY)


def results(profile: str, store: Reader) -> Results:
    """What the records of a profile say."""
    from adatune_lite.experiments.lrs_opt_vs_marthe.reading import Results

    return Results(profile, store)


def finding(profile: str, store: Reader) -> str:
    """The main finding in a paragraph, every number from records."""
    from adatune_lite.experiments.lrs_opt_vs_marthe import tables

    return tables.finding(results(profile, store))
