"""From a RunSpec to what trains it: the optimizer, and the tuner that its method makes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache, partial
from typing import Any

import torch
from torch import Tensor, nn

from adatune_lite.schedules import mirrored_momentum, schedule
from adatune_lite.tasks.data import Batch, ImageTask
from adatune_lite.tasks.spec import SpecError
from adatune_lite.training import registry
from adatune_lite.training.context import Context
from adatune_lite.training.spec import RunSpec
from adatune_lite.tuners import AutoLR, CycledMomentum, FixedSchedule, ReduceOnPlateau, Tuner
from adatune_lite.tuners.autolr.variants import OTHERWISE

Make = Callable[[RunSpec, nn.Module, Context], Tuner]

NO_ARGUMENTS = ("lr", "outer_batch", "otherwise", "faults")
"""Settings of methods that are no arguments of their tuners."""
_CYCLE = ("momentum_low", "momentum_high")
_SAFEGUARDS = ("saturation", "epsilon_threshold")


def make_optimizer(spec: RunSpec, net: nn.Module, lr: float) -> torch.optim.Optimizer:
    """The optimizer of a run at this rate."""
    make = registry.optimizer(spec.optimizer).make
    return make(net.parameters(), lr=lr, **dict(spec.optimizer_settings))


def make_tuner(spec: RunSpec, net: nn.Module, context: Context) -> Tuner:
    """The tuner or schedule of a run; raises SpecError for a method that has none, or lacks a setting."""
    make = registry.method(spec.method).make
    if make is None:
        raise SpecError(f"the method {spec.method!r} makes no tuner: {spec.function} cannot train with it")
    return make(spec, net, context)


def method_settings(spec: RunSpec) -> dict[str, Any]:
    """The settings of a spec that its method declares, those of the run function aside."""
    own = {setting.name for setting in registry.method(spec.method).settings}
    return {name: value for name, value in spec.settings if name in own}


def tuned(kind: Callable[..., Tuner], **more: Any) -> Make:
    """Makes a tuner at the rate `lr` from the method's other settings, under the names of its arguments.

    more: further arguments, in place of settings of their names.
    """
    return partial(_tuned, kind, more)


def _tuned(
    kind: Callable[..., Tuner], more: Mapping[str, Any], spec: RunSpec, net: nn.Module, context: Context
) -> Tuner:
    optimizer = make_optimizer(spec, net, float(spec.get("lr")))
    given = {name: value for name, value in method_settings(spec).items() if name not in NO_ARGUMENTS}
    return kind(optimizer, **{**given, **more})


def autolr(spec: RunSpec, net: nn.Module, context: Context) -> Tuner:
    """AutoLR, or the variant that `otherwise` names; a safeguard is switched off by False."""
    otherwise = spec.get("otherwise")
    kind = AutoLR if otherwise is None else OTHERWISE[otherwise]
    off: dict[str, Any] = {name: None for name in _SAFEGUARDS if spec.get(name) is False}
    explore = spec.get("explore_steps")
    return tuned(kind, explore_steps=explore, total_steps=spec.steps, model=net, **off)(spec, net, context)


def plateau(spec: RunSpec, net: nn.Module, context: Context) -> Tuner:
    """A rate that waits for the validation loss, looked at once an epoch unless `every` says otherwise."""
    every = spec.get("every") or spec.task.train // spec.task.batch
    return tuned(ReduceOnPlateau, every=every)(spec, net, context)


def scheduled(spec: RunSpec, net: nn.Module, context: Context) -> Tuner:
    """A schedule. With momentum_low and momentum_high the momentum mirrors it.

    A staircase may have `explore` in place of milestones: the share at the full rate, the rest in two halves.
    """
    settings = method_settings(spec)
    cycle = [settings.pop(name) for name in _CYCLE if name in settings]
    if "explore" in settings:
        share = settings.pop("explore")
        settings["milestones"] = (share, (1 + share) / 2)
    spec.get("lr")
    rates = schedule(registry.method(spec.method).name, spec.steps, **settings)
    optimizer = make_optimizer(spec, net, float(rates[0]))
    if not cycle:
        return FixedSchedule(optimizer, rates)
    momentum = mirrored_momentum(rates, float(rates[0]), low=cycle[0], high=cycle[1])
    return CycledMomentum(optimizer, rates, momentum)


def replay(spec: RunSpec, net: nn.Module, context: Context) -> Tuner:
    """The schedule of `spec.source`."""
    rates = source_schedule(spec, context)
    return FixedSchedule(make_optimizer(spec, net, float(rates[0])), rates)


def source_schedule(spec: RunSpec, context: Context) -> Tensor:
    """The learned schedule of the run that `spec.source` names, checked against its digest."""
    record = context.source(spec)
    _, rates = record.series("lr")
    if len(rates) != spec.steps:
        raise SpecError(f"the source schedule has {len(rates)} steps, this run {spec.steps}")
    return torch.as_tensor(rates, dtype=torch.float64)


def looks(spec: RunSpec, task: ImageTask, tuner: Tuner) -> Callable[[int], Iterable[Batch]] | None:
    """What the tuner looks at without gradient: superbatch k of the training images, or the validation."""
    if tuner.needs != "look":
        return None
    if tuner.superbatch:
        return superbatches(task, spec.seed, tuner.superbatch)
    return lambda k: [task.validation()]


def superbatches(task: ImageTask, seed: int, batches: int) -> Callable[[int], Iterable[Batch]]:
    """`task.superbatch` of a seed as a function of k; the last one is kept."""

    @lru_cache(maxsize=1)  # a fit asks for the same one for each of its samples
    def at(k: int) -> list[Batch]:
        return list(task.superbatch(k, batches, seed))

    return at
