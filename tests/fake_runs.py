"""Run functions and an experiment so small that a test can wait for them; importable by worker processes."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from adatune_lite.runs.execute import Planned
from adatune_lite.runs.store import Store
from adatune_lite.tasks.spec import TaskSpec
from adatune_lite.training.context import Context
from adatune_lite.training.outcome import Outcome
from adatune_lite.training.registry import Function, Method, Setting
from adatune_lite.training.spec import RunSpec

TASK = TaskSpec("mnist5k", train=4000, validation=500, test=500)
NAME = "99_fake"
PROFILES = {"smoke": 2, "desk": 3}


def run(
    seed: int, role: str = "tuning", priority: float = 0.0, method: str = "noise", **settings: float
) -> Planned:
    """One planned run; a method of this module's table decides what happens."""
    spec = RunSpec(method, TASK, method, 8, seed, tuple(settings.items()))
    return Planned(spec, NAME, "smoke", role, priority)


def plan(profile: str, store: Store) -> list[Planned]:
    """Tuning runs first; the report of the best one is known only when they are there."""
    tuning = [run(seed, priority=-seed) for seed in range(PROFILES[profile])]
    records = [store.get(planned.spec) for planned in tuning]
    if any(record is None for record in records):
        return tuning
    best = min((r for r in records if r is not None), key=lambda r: r.metrics["loss"])
    spec = RunSpec("replay", TASK, "replay", 8, 0, source=best.spec.hash, source_digest=best.digest())
    return [*tuning, Planned(spec, NAME, profile, "report")]


def noise(spec: RunSpec, context: Context) -> Outcome:
    """Sums whose last digits depend on the number of threads, and unseeded random numbers."""
    wide = torch.randn(300_000)
    lr = [float((wide * k).sum()) ** 2 for k in range(1, spec.steps + 1)]
    for step in range(spec.steps):
        context.report(step, spec.steps)
    metrics = {"loss": lr[0], "threads": torch.get_num_threads()}
    return Outcome("finished", {"lr": lr}, metrics, {"plain_steps": spec.steps})


def replay(spec: RunSpec, context: Context) -> Outcome:
    """What another run learned."""
    _, lr = context.source(spec).series("lr")
    return Outcome("finished", {"lr": lr}, {"loss": float(lr[0])})


def diverge(spec: RunSpec, context: Context) -> Outcome:
    """A run that blows up."""
    return Outcome("diverged at step 3", {"lr": [0.1, float("nan")]})


def fail(spec: RunSpec, context: Context) -> Outcome:
    """A run with a mistake in it."""
    raise ZeroDivisionError("no\nway")


def die(spec: RunSpec, context: Context) -> Outcome:
    """A run whose process is killed, by the system for example."""
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError


def sleep(spec: RunSpec, context: Context) -> Outcome:
    """A run that takes its time and says where it is."""
    Path(f"started-{spec.seed}").touch()
    time.sleep(float(spec.get("seconds")))
    return Outcome("finished", {}, {"loss": 1.0})


def resume(spec: RunSpec, context: Context) -> Outcome:
    """A run that counts to three, one step each time it is called."""
    count = int(context.load() or 0) + 1
    if count < 3:
        context.save(count)
        return Outcome("stopped by budget")
    return Outcome("finished", {}, {"loss": float(count)})


def count(spec: RunSpec, context: Context) -> Outcome:
    """A run that never looks at the time but saves after each of its steps, as LRS-OPT does."""
    done = int(context.load() or 0)
    for step in range(done, spec.steps):
        time.sleep(0.25)
        context.save(step + 1)
    return Outcome("finished", {}, {"loss": 1.0, "resumed_at": float(done)})


def stubborn(spec: RunSpec, context: Context) -> Outcome:
    """A run that nothing inside its process stops, as in a long call of a library."""
    end = time.monotonic() + 15
    while time.monotonic() < end:
        with contextlib.suppress(BaseException):
            time.sleep(15)
    return Outcome("finished", {}, {"loss": 1.0})


def pair(specs: Sequence[RunSpec], context: Context) -> list[Outcome]:
    """Several seeds in one go, twice if the budget allows only one step each time."""
    if context.load() is None:
        context.save(1)
        return [Outcome("stopped by budget")] * len(specs)
    return [Outcome("finished", {}, {"loss": float(spec.seed), "of": float(len(specs))}) for spec in specs]


def _no_run(spec: RunSpec, context: Context) -> Outcome:
    raise AssertionError("pair is made side by side alone")


def entry(name: str, run: Callable[[RunSpec, Context], Outcome], **more: Any) -> Function:
    """A run function of these, whose method has its name."""
    return Function(name, run, methods=(name,), **more)


_SETTINGS = (Setting("seconds", float, "how long it sleeps"), Setting("lr", float, "changes nothing"))
_RUNS = (diverge, fail, die, sleep, resume, count, stubborn)
FAKES: tuple[Function | Method, ...] = (
    entry("noise", noise),
    entry("replay", replay),
    *(entry(run.__name__, run) for run in _RUNS),
    entry("pair", _no_run, side_by_side=pair),
    *(Method(run.__name__, run.__name__, _SETTINGS) for run in (noise, *_RUNS, pair)),
)
"""What `registry.registered` makes known to the tests that use this module."""
