"""Make runs exist: the most valuable missing ones first, several at a time, within a budget of time."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

from adatune_lite.runs import provenance
from adatune_lite.runs.durations import Durations
from adatune_lite.runs.one_data import AtHand
from adatune_lite.runs.progress import Progress, State, console
from adatune_lite.runs.selection import Selection
from adatune_lite.runs.store import Reader, Store
from adatune_lite.runs.worker import Done, Group, Planned, Setting, Workers, perform
from adatune_lite.training import registry
from adatune_lite.training.spec import RunSpec

__all__ = [
    "ExecutionError",
    "Experiment",
    "Planned",
    "Summary",
    "complete",
    "default_jobs",
    "execute",
    "missing",
]

GRACE = 5.0
"""Seconds, or a twentieth of the budget if that is less: runs are told to end twice that before the budget
does, stopped once that before, and a process that is then still busy is ended with the budget."""

WORTH_STARTING = 0.1
"""The part of a run that must fit into the time left if what is done of it is kept."""


class ExecutionError(ValueError):
    """Runs were asked for in a way that cannot be."""


class Experiment(Protocol):
    """What a module of `adatune_lite.experiments` offers."""

    NAME: str

    @property
    def PROFILES(self) -> Mapping[str, object]:
        """How large it is, by profile."""

    def plan(self, profile: str, store: Reader) -> list[Planned]:
        """All runs known so far: later stages appear when the records they depend on are there."""


@dataclass
class Summary:
    """What an execution did."""

    done: int = 0
    """Runs with a record now, the diverged ones among them."""
    diverged: int = 0
    failed: list[str] = field(default_factory=list)
    """A sentence for each run that has no record, or one in conflict."""
    left: int = 0
    """Runs known to be missing still."""
    interrupted: int = 0
    """Runs that the end of the budget stopped under way."""
    out_of_time: bool = False
    stopped: bool = False
    """The store could not be written any more."""
    seconds: float = 0.0

    def add(self, other: Summary) -> None:
        """Count the runs of a later stage as well."""
        self.done += other.done
        self.diverged += other.diverged
        self.failed += other.failed
        self.interrupted += other.interrupted
        self.out_of_time |= other.out_of_time
        self.stopped |= other.stopped
        self.seconds += other.seconds
        self.left = other.left


def missing(planned: Iterable[Planned], store: Reader) -> list[Planned]:
    """The planned runs without a record that is not stale: each once, the most valuable first."""
    unique: dict[str, Planned] = {}
    for run in planned:
        known = unique.get(run.spec.hash)
        if known is None or known.priority < run.priority:
            unique[run.spec.hash] = run
    absent = [run for run in unique.values() if store.get(run.spec) is None]
    return sorted(absent, key=lambda run: -run.priority)


def complete(
    experiment: Experiment,
    profile: str,
    store: Store,
    *,
    jobs: int = 1,
    device: str = "cpu",
    budget_s: float | None = None,
    progress: Progress | None = None,
    selection: Selection | None = None,
) -> Summary:
    """Plan, run what is missing, and plan again, until nothing is missing or nothing more succeeds.

    Runs whose records are on other data are missing where the published data are at hand (see `AtHand`).

    Args:
        selection: the runs that are made; by default all.
        others: as `execute`.

    Raises:
        ExecutionError: the experiment has no such profile, or as `execute`.
        SelectionError: the selection names what no planned run has.
        DataError, StoreError: the data are missing or the store cannot be written: before any run.
        NewerSchema: the store holds records of a later version: before any run.
    """
    if profile not in experiment.PROFILES:
        raise ExecutionError(
            f"{experiment.NAME} has the profiles {', '.join(experiment.PROFILES)}, not {profile!r}"
        )
    start = time.monotonic()  # planning counts: it may have to find and decode the data
    selection = selection or Selection()
    present = AtHand(store)
    selection.check(experiment.plan(profile, present))
    summary, tried = Summary(), set[str]()

    def wanted() -> list[Planned]:
        return missing(filter(selection.holds, experiment.plan(profile, present)), present)

    def fresh_runs() -> list[Planned]:
        runs = [run for run in wanted() if run.spec.hash not in tried]
        tried.update(run.spec.hash for run in runs)
        return runs

    while True:
        fresh = fresh_runs()
        if not fresh or summary.out_of_time or summary.stopped:
            summary.left = len(wanted())
            return summary
        for dataset in sorted({run.spec.task.dataset for run in fresh}):
            provenance.data(dataset)  # Found or fetched once, before several processes look for it.
        left = None if budget_s is None else max(0.0, budget_s - (time.monotonic() - start))
        summary.add(
            execute(
                fresh,
                store,
                jobs=jobs,
                device=device,
                budget_s=left,
                progress=progress,
                more=fresh_runs,
            )
        )


def execute(
    specs: Sequence[Planned],
    store: Store,
    *,
    jobs: int = 1,
    device: str = "cpu",
    budget_s: float | None = None,
    progress: Progress | None = None,
    more: Callable[[], Sequence[Planned]] | None = None,
) -> Summary:
    """Do the given runs, whether or not they have a record, in descending priority.

    With one job the runs are made in this process, one thread each, with the same digits as in others.
    Each record is written as its run ends: a Ctrl-C, a killed process or a run that fails loses no other.

    Args:
        jobs: runs at a time.
        device: "cpu", "cuda", or "auto" for cuda where there is one.
        budget_s: seconds; a run is started only if, by the durations of past runs, it ends in time, or gets
            somewhere and can be carried on. What is still under way at the end is stopped.
        progress: called with the `State`; by default a bar or lines on standard error.
        more: asked for further runs each time the last run of a role has ended.

    Raises:
        ExecutionError: jobs or budget that make no sense, or a device that is not there.
        StoreError: the store cannot be written.
        NewerSchema: it holds records of a later version.
    """
    if jobs < 1:
        raise ExecutionError(f"jobs must be at least 1, not {jobs}")
    if budget_s is not None and not (budget_s >= 0 and math.isfinite(budget_s)):
        raise ExecutionError(f"the budget must be a number of seconds of at least 0, not {budget_s}")
    kind = device_kind(device)
    store.check_writable()
    start = time.monotonic()
    end, grace = math.inf, 0.0
    if budget_s is not None:
        end, grace = time.time() + budget_s, min(GRACE, budget_s / 20)
    setting = Setting(store, kind, end - 2 * grace, end - grace, registry.foreign())
    queue = _Queue(specs, Durations(store.records(), kind), jobs, setting.stop, more, kind == "cuda")
    show = progress or console()
    if jobs == 1:
        _alone(queue, setting, show)
    else:
        _together(queue, setting, show, end)
    show(queue.state({}, last=True))
    queue.summary.seconds = time.monotonic() - start
    queue.summary.left = queue.left
    return queue.summary


def default_jobs(profile: str) -> int:
    """One run per core; one in `smoke`, where starting a process costs more than a run."""
    return 1 if profile == "smoke" else os.cpu_count() or 1


def device_kind(device: str) -> str:
    """ "cpu" or "cuda" for "cpu", "cuda" or "auto".

    Raises:
        ExecutionError: another name, or cuda where torch finds none.
    """
    import torch

    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if device not in ("cpu", "cuda"):
        raise ExecutionError(f"the device must be cpu, cuda or auto, not {device!r}")
    if device == "cuda" and not torch.cuda.is_available():
        raise ExecutionError("torch finds no CUDA device on this machine: use cpu")
    return device


class _Queue:
    """Runs that wait, and the account of those that have ended."""

    def __init__(
        self,
        specs: Sequence[Planned],
        durations: Durations,
        jobs: int,
        deadline: float,
        more: Callable[[], Sequence[Planned]] | None,
        together: bool = False,
    ) -> None:
        self.waiting = sorted(specs, key=lambda run: -run.priority)
        self.summary = Summary()
        self._total = len(specs)
        self._ended = 0
        self._durations = durations
        self.jobs = jobs
        self._deadline = deadline
        self._more = more
        self._together = together

    def next(self) -> Group | None:
        """The most valuable run that ends in time or can be carried on, if the store is not broken.

        With it, where the device gains from that, come all that differ from it in their seed alone.
        """
        if self.summary.stopped:
            return None
        left = self._deadline - time.time()
        for place, run in enumerate(self.waiting):
            function = registry.function(run.spec.function)
            part = WORTH_STARTING if function.resumable else 1.0
            if left > part * (self._durations.estimate(run.spec) or 0.0):
                group = [self.waiting.pop(place)]
                if self._together and function.side_by_side and not run.spec.source:
                    group += [other for other in self.waiting if _siblings(run.spec, other.spec)]
                    self.waiting = [other for other in self.waiting if other not in group]
                return tuple(group)
        self.summary.out_of_time |= bool(self.waiting)
        return None

    def account(self, run: Planned, done: Done) -> None:
        """Note how a run ended."""
        self._ended += 1
        self.summary.stopped |= done.fatal
        if done.error:
            self.summary.failed.append(done.error)
        elif done.status == "stopped by budget":
            self.summary.out_of_time = True
            self.summary.interrupted += 1
        else:
            self.summary.done += 1
            self.summary.diverged += done.status.startswith("diverged")
            if done.status == "finished":
                self._durations.learn(run.spec, done.seconds)
        if self._more and all(other.role != run.role for other in self.waiting):
            new = self._more()
            self._total += len(new)
            self.waiting = sorted([*self.waiting, *new], key=lambda other: -other.priority)

    @property
    def left(self) -> int:
        """Runs not started, or to be carried on."""
        return len(self.waiting) + self.summary.interrupted

    def state(self, under_way: dict[Planned, float], last: bool = False) -> State:
        """For the progress display."""
        seconds = self._durations.total([run.spec for run in (*self.waiting, *under_way)])
        if seconds is not None:
            seconds -= sum(f * (self._durations.estimate(run.spec) or 0) for run, f in under_way.items())
            seconds /= self.jobs
        done = self._ended + sum(under_way.values())
        return State(done, self._total, len(self.summary.failed), seconds, last)


def _siblings(one: RunSpec, other: RunSpec) -> bool:
    return replace(one, seed=0) == replace(other, seed=0)


def _alone(queue: _Queue, setting: Setting, show: Progress) -> None:
    while (group := queue.next()) is not None:
        current = group

        def report(done: int, total: int, group: Group = current) -> None:
            show(queue.state(dict.fromkeys(group, done / max(total, 1))))

        for run, done in zip(group, perform(group, setting, report), strict=True):
            queue.account(run, done)
        show(queue.state({}))


def _together(queue: _Queue, setting: Setting, show: Progress, end: float) -> None:
    with Workers(queue.jobs, setting) as workers:
        while True:
            while workers.free and (group := queue.next()) is not None:
                workers.submit(group)
            if not workers.fractions:
                return
            ended = workers.wait(timeout=max(0.0, min(1.0, end - time.time())))
            for run, done in ended if time.time() < end else [*ended, *workers.give_up()]:
                queue.account(run, done)
            show(queue.state(workers.fractions))
