"""From a RunSpec to what trains it: the optimizer, and the schedule or tuner that its method names."""

from __future__ import annotations

import inspect
import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor, nn

from adatune_lite.schedules import SCHEDULES, mirrored_momentum, schedule
from adatune_lite.tasks.data import Batch, ImageTask
from adatune_lite.tasks.spec import SpecError
from adatune_lite.training.context import Context
from adatune_lite.training.outcome import Series
from adatune_lite.training.spec import RunSpec
from adatune_lite.tuners import (
    HD,
    MARTHE,
    RTHO,
    AutoLR,
    CycledMomentum,
    FixedSchedule,
    ReduceOnPlateau,
    Tuner,
)
from adatune_lite.tuners.autolr.log import PHASES, Decision, reason_code
from adatune_lite.tuners.autolr.variants import OTHERWISE

ONLINE = ("hd", "hd_validation", "rtho", "marthe")
"""HD with training gradients, HD with the validation gradient (mu = 0), RTHO (mu = 1), MARTHE."""

OPTIMIZERS: dict[str, Callable[..., torch.optim.Optimizer]] = {
    "sgd": torch.optim.SGD,
    "adam": torch.optim.Adam,
    "adamw": torch.optim.AdamW,
    "rmsprop": torch.optim.RMSprop,
}

DECISIONS = ("keep", "raise", "lower", "rollback")
"""What AutoLR decides; a record holds the place in this list."""

_CYCLE = ("momentum_low", "momentum_high")
_SAFEGUARDS = ("saturation", "epsilon_threshold")


def make_optimizer(spec: RunSpec, net: nn.Module, lr: float) -> torch.optim.Optimizer:
    """The optimizer of a run at this rate; raises SpecError for a name that does not exist."""
    if spec.optimizer not in OPTIMIZERS:
        raise SpecError(f"optimizer must be one of {', '.join(OPTIMIZERS)}, not {spec.optimizer!r}")
    return OPTIMIZERS[spec.optimizer](net.parameters(), lr=lr, **dict(spec.optimizer_settings))


def make_tuner(spec: RunSpec, net: nn.Module, context: Context) -> Tuner:
    """The tuner or schedule of a run; raises SpecError for a method or a setting that does not exist.

    A schedule has its own settings; with momentum_low and momentum_high the momentum mirrors it, and a
    staircase may have `explore` in place of milestones: the share at the full rate, the rest in two halves.
    replay: the schedule of `spec.source`. hd, hd_validation, rtho, marthe: lr and the tuner's.
    autolr, plateau: lr and the tuner's, unknown names refused. A safeguard of AutoLR is switched off by False
    (saturation, epsilon_threshold, rollback); its otherwise is a name of `autolr_otherwise`. The plateau
    looks at the validation loss once an epoch unless `every` says otherwise.
    """
    settings: dict[str, Any] = dict(spec.settings)
    if spec.method in SCHEDULES:
        return _scheduled(spec, net, settings)
    if spec.method == "replay":
        rates = source_schedule(spec, context)
        return FixedSchedule(make_optimizer(spec, net, float(rates[0])), rates)
    settings.pop("outer_batch", None)
    optimizer = make_optimizer(spec, net, float(spec.get("lr")))
    settings.pop("lr")
    if spec.method == "autolr":
        kind = _autolr(settings.pop("otherwise", None))
        _check_names("autolr", AutoLR, settings, given=("optimizer", "total_steps", "model"))
        off: dict[str, Any] = {name: None for name in _SAFEGUARDS if settings.get(name) is False}
        return kind(optimizer, **{**settings, **off}, total_steps=spec.steps, model=net)
    if spec.method == "plateau":
        settings = {"every": spec.task.train // spec.task.batch, **settings}
        _check_names("plateau", ReduceOnPlateau, settings, given=("optimizer",))
        return ReduceOnPlateau(optimizer, **settings)
    kinds: dict[str, Callable[..., MARTHE]] = {"hd": HD, "hd_validation": HD, "rtho": RTHO, "marthe": MARTHE}
    if spec.method not in kinds:
        known = ", ".join((*SCHEDULES, "replay", *kinds, "autolr", "plateau"))
        raise SpecError(f"method must be one of {known}, not {spec.method!r}")
    return kinds[spec.method](optimizer, **settings)


def _autolr(otherwise: object) -> type[AutoLR]:
    if otherwise is None:
        return AutoLR
    if otherwise not in OTHERWISE:
        raise SpecError(f"otherwise must be one of {', '.join(OTHERWISE)}, not {otherwise!r}")
    return OTHERWISE[str(otherwise)]


def _scheduled(spec: RunSpec, net: nn.Module, settings: dict[str, Any]) -> FixedSchedule:
    cycle = [settings.pop(name) for name in _CYCLE if name in settings]
    if spec.method == "staircase" and "explore" in settings:
        share = settings.pop("explore")
        settings["milestones"] = (share, (1 + share) / 2)
    rates = schedule(spec.method, spec.steps, **settings)
    optimizer = make_optimizer(spec, net, float(rates[0]))
    if not cycle:
        return FixedSchedule(optimizer, rates)
    if len(cycle) == 1:
        raise SpecError(f"a cycle of the momentum needs both {' and '.join(_CYCLE)}")
    momentum = mirrored_momentum(rates, float(rates[0]), low=cycle[0], high=cycle[1])
    return CycledMomentum(optimizer, rates, momentum)


def _check_names(method: str, kind: type, settings: dict[str, Any], given: Sequence[str]) -> None:
    options = inspect.signature(kind).parameters
    known = [name for name in options if name not in given]
    unknown = sorted(set(settings) - set(known))
    if unknown:
        raise SpecError(f"{method} has no setting {unknown[0]!r}; it has lr, {', '.join(known)}")
    for name in known:
        if options[name].default is inspect.Parameter.empty and name not in settings:
            raise SpecError(f"the method {method!r} needs the setting {name!r}")


def source_schedule(spec: RunSpec, context: Context) -> Tensor:
    """The learned schedule of the run that `spec.source` names, checked against its digest."""
    record = context.source(spec)
    _, rates = record.series("lr")
    if len(rates) != spec.steps:
        raise SpecError(f"the source schedule has {len(rates)} steps, this run {spec.steps}")
    return torch.as_tensor(rates, dtype=torch.float64)


def looks(spec: RunSpec, task: ImageTask, tuner: Tuner) -> Callable[[int], Iterable[Batch]] | None:
    """What the tuner looks at without gradient: AutoLR at superbatch k, the plateau at the validation."""
    if isinstance(tuner, AutoLR):
        return superbatches(task, spec.seed, tuner.superbatch)
    if isinstance(tuner, ReduceOnPlateau):
        return lambda k: [task.validation()]
    return None


def superbatches(task: ImageTask, seed: int, batches: int) -> Callable[[int], Iterable[Batch]]:
    """`task.superbatch` of a seed as a function of k; the last one is kept."""

    @lru_cache(maxsize=1)  # a fit asks for the same one for each of its samples
    def at(k: int) -> list[Batch]:
        return list(task.superbatch(k, batches, seed))

    return at


def decisions(log: Sequence[Decision]) -> dict[str, Series]:
    """AutoLR's log as series over the steps done at each decision; NaN where nothing was measured.

    decision: place in DECISIONS. decision_reason, decision_phase: places in REASONS and PHASES of
    `tuners.autolr_log`. decision_lr, decision_new_lr: the rates before and after it. drop_rate: of the held
    superbatch; saturation_threshold: what it was judged by. superbatch: index of that of the fit. fit_k0,
    fit_k1, fit_k2: the parabola in eps; fit_minimum: its eps_min, NaN where it has none. sample_width:
    half-width of the samples; sample_0 ...: their losses, evenly spaced over it.
    """
    steps = [found.step for found in log]

    def of(value: Callable[[Decision], float | None]) -> Series:
        values = [value(found) for found in log]
        return Series([math.nan if v is None else v for v in values], steps)

    series = {
        "decision": of(lambda d: DECISIONS.index(d.decision)),
        "decision_reason": of(lambda d: reason_code(d.reason)),
        "decision_phase": of(lambda d: PHASES.index(d.phase)),
        "decision_lr": of(lambda d: d.lr),
        "decision_new_lr": of(lambda d: d.new_lr),
        "drop_rate": of(lambda d: d.drop_rate),
        "saturation_threshold": of(lambda d: d.threshold),
        "superbatch": of(lambda d: d.superbatch),
        "fit_minimum": of(lambda d: -d.fit[1] / (2 * d.fit[2]) if d.fit and d.fit[2] > 0 else None),
        "sample_width": of(lambda d: d.eps[-1] if d.eps else None),
    }
    for i in range(3):
        series[f"fit_k{i}"] = of(lambda d, i=i: d.fit[i] if d.fit else None)  # type: ignore[misc]
    for i in range(max((len(found.losses) for found in log), default=0)):
        series[f"sample_{i}"] = of(lambda d, i=i: d.losses[i] if d.losses else None)  # type: ignore[misc]
    return series


def decision_counts(log: Sequence[Decision]) -> dict[str, float]:
    """How often AutoLR decided what, and how many fits it made."""
    counts = Counter(found.decision for found in log)
    counts["fits"] = sum(bool(found.losses) for found in log)
    return {name: float(counts[name]) for name in (*DECISIONS, "fits")}
