"""One run in this process, and processes that do one run after the other.

A run uses one thread, whatever the machine has: the digits then depend on the kind of device alone, and
several runs side by side do not fight over the cores.
"""

from __future__ import annotations

import contextlib
import logging
import math
import os
import signal
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from multiprocessing import connection as pipes
from multiprocessing import get_context
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path

import torch

from adatune_lite import files
from adatune_lite.checkpoint import Checkpoint, folder
from adatune_lite.runs import provenance
from adatune_lite.runs.record import Record, data_digits
from adatune_lite.runs.store import Conflict, Store, StoreError
from adatune_lite.training import registry
from adatune_lite.training.context import Context
from adatune_lite.training.outcome import Outcome
from adatune_lite.training.spec import RunSpec

THREAD_SETTINGS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
REPORT_EVERY = 0.5  # seconds


@dataclass(frozen=True)
class Planned:
    """A run that an experiment wants, and how much."""

    spec: RunSpec
    experiment: str
    profile: str
    role: str
    """What it is for, for example "tuning" or "report"."""
    priority: float = 0.0
    """Runs of higher priority are made first."""

    def __str__(self) -> str:
        return (
            f"{self.experiment} {self.role} {self.spec.method} seed {self.spec.seed} ({self.spec.hash[:16]})"
        )


Group = tuple[Planned, ...]
"""Runs made in one go: a single one, or several that differ in their seed alone."""


@dataclass(frozen=True)
class Setting:
    """What the runs of one execution share."""

    store: Store
    device: str
    deadline: float = math.inf
    """Time (`time.time()`) that runs are told to end at."""
    stop: float = math.inf
    """Time at which a run that is still under way is stopped."""
    entries: tuple[registry.Entry, ...] = ()
    """Run functions and methods that a worker process has to be told of."""


class OutOfTime(BaseException):
    """The budget has ended while a run was under way; no error, so that no run function catches it."""


@dataclass(frozen=True)
class Done:
    """How a run ended."""

    status: str = ""
    """Status of its record; empty if there is none."""
    seconds: float = 0.0
    error: str = ""
    """One sentence if no record could be made or kept."""
    fatal: bool = False
    """The store cannot be written: no use in starting further runs."""


def perform(group: Group, setting: Setting, report: Callable[[int, int], None]) -> list[Done]:
    """Do the runs of a group and write their records; what goes wrong is told, not raised."""
    try:
        code = provenance.code_hash(group[0].spec.function)
        data = provenance.data(group[0].spec.task.dataset)
        checkpoint = _checkpoint(group, code, data["data_checksum"], setting.device)
        context = Context(setting.device, setting.store, checkpoint, report, setting.deadline)
        start = datetime.now(UTC).isoformat(timespec="seconds")
        with one_thread(), seeded(group[0].spec, setting.device), without_log():
            provenance.start_peak(setting.device)
            try:
                with stopped_at(setting.stop):
                    outcomes = _outcomes(group, context)
            except OutOfTime:
                outcomes = [Outcome("stopped by budget")]
            seconds = checkpoint.seconds() / len(group)
            if outcomes[0].status == "stopped by budget":
                return [Done("stopped by budget", seconds)] * len(group)  # The checkpoint carries them on.
            facts = provenance.describe(setting.device) | data
            facts |= {"start": start, "peak_memory": provenance.peak_memory(setting.device)}
            if len(group) > 1:
                facts["side_by_side"] = len(group)
        done = []
        for planned, outcome in zip(group, outcomes, strict=True):
            outcome.cost = {**outcome.cost, "seconds": round(seconds, 3)}
            labels = {"experiment": planned.experiment, "profile": planned.profile, "role": planned.role}
            record = Record.of(
                planned.spec, outcome, code=code, device=setting.device, labels=labels, provenance=facts
            )
            done.append(_keep(record, planned, setting.store))
        if not any(one.fatal for one in done):
            checkpoint.remove()
        return done
    except Exception as error:  # Whatever it is, the other runs go on.
        sentence = _sentence(error) + _details(group[0])
        return [Done(error=f"{planned}: {sentence}") for planned in group]


def _outcomes(group: Group, context: Context) -> list[Outcome]:
    function = registry.function(group[0].spec.function)
    if len(group) == 1:
        return [function.run(group[0].spec, context)]
    assert function.side_by_side is not None
    return function.side_by_side([planned.spec for planned in group], context)


def _checkpoint(group: Group, code: str, data: str, device: str) -> Checkpoint:
    first = group[0].spec
    seeds = "-".join(["", *(str(planned.spec.seed) for planned in group)]) if len(group) > 1 else ""
    name = f"{first.hash[:16]}{seeds}-{code[:8]}-{device}-{first.precision}-{data_digits(data)}"
    return Checkpoint(folder() / f"{name}.pt", name)


def _keep(record: Record, planned: Planned, store: Store) -> Done:
    seconds = record.cost["seconds"]
    try:
        store.put(record)
    except Conflict as error:
        return Done(record.status, seconds, f"{planned}: {error}")
    except StoreError as error:
        rescue = Store(Path(tempfile.gettempdir()) / "adatune-rescued-records")
        with contextlib.suppress(StoreError, Conflict):
            return Done(
                "", seconds, f"{planned}: {error}; its record was put into {rescue.put(record)}", True
            )
        return Done("", seconds, f"{planned}: {error}", True)
    return Done(record.status, seconds)


@contextlib.contextmanager
def stopped_at(end: float) -> Iterator[None]:
    """Raise `OutOfTime` inside the block at the time `end`.

    Only where signals can do that (not on Windows, nor outside the main thread): elsewhere a worker process
    is ended by its parent.
    """
    possible = hasattr(signal, "setitimer") and threading.current_thread() is threading.main_thread()
    if end == math.inf or not possible:
        yield
        return

    def ring(*_: object) -> None:
        raise OutOfTime

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, max(end - time.time(), 1e-6))
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _sentence(error: Exception) -> str:
    text = " ".join(str(error).split()) or "no message"
    return text if isinstance(error, ValueError) else f"{type(error).__name__}: {text}"


def _details(planned: Planned) -> str:
    path = files.scratch_folder() / "errors" / f"{planned.spec.hash[:16]}.txt"
    with contextlib.suppress(OSError):
        files.replace(path, traceback.format_exc().encode())
        return f" (details in {path})"
    return ""


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """One torch thread; afterwards as many as before."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextlib.contextmanager
def without_log() -> Iterator[None]:
    """No warnings of tuners: how a run ended stands in its record, and the terminal shows progress."""
    log = logging.getLogger("adatune_lite")
    before = log.level
    log.setLevel(logging.ERROR)
    try:
        yield
    finally:
        log.setLevel(before)


@contextlib.contextmanager
def seeded(spec: RunSpec, device: str) -> Iterator[None]:
    """Global random numbers as a function of the spec, not of the runs before it; restored afterwards."""
    with torch.random.fork_rng([torch.cuda.current_device()] if device == "cuda" else []):
        torch.manual_seed(int(spec.hash[:15], 16))
        yield


def serve(channel: Connection, setting: Setting) -> None:
    """The life of a worker process: receive a group, do it, send how it ended, until the parent is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle.
    torch.set_num_threads(1)
    registry.put(*setting.entries)
    last = 0.0

    def report(done: int, total: int) -> None:
        nonlocal last
        if time.monotonic() - last >= REPORT_EVERY:
            last = time.monotonic()
            with contextlib.suppress(OSError):
                channel.send(done / max(total, 1))

    with contextlib.suppress(EOFError, OSError):
        while True:
            channel.send(perform(channel.recv(), setting, report))


class Workers:
    """A fixed number of worker processes; a context manager that leaves none behind."""

    def __init__(self, count: int, setting: Setting) -> None:
        self._setting = setting
        self._count = count
        self._busy: dict[Connection, tuple[BaseProcess, Group]] = {}
        self._idle: list[tuple[Connection, BaseProcess]] = []
        self._given_up: list[BaseProcess] = []
        self.fractions: dict[Planned, float] = {}
        """How far each run under way is."""

    def __enter__(self) -> Workers:
        return self

    def __exit__(self, *_: object) -> None:
        processes = [process for process, _ in self._busy.values()] + [process for _, process in self._idle]
        for process in processes:
            process.terminate()
        for process in (*processes, *self._given_up):
            process.join()

    @property
    def free(self) -> bool:
        """Whether another run can be submitted."""
        return len(self._busy) < self._count

    def submit(self, group: Group) -> None:
        """Start a group in an idle process, or in a new one."""
        channel, process = self._idle.pop() if self._idle else self._start()
        channel.send(group)
        self._busy[channel] = (process, group)
        self.fractions.update(dict.fromkeys(group, 0.0))

    def wait(self, timeout: float) -> list[tuple[Planned, Done]]:
        """Runs that have ended, after at most `timeout` seconds."""
        ended = []
        for ready in pipes.wait(list(self._busy), timeout):
            assert isinstance(ready, Connection)
            process, group = self._busy[ready]
            try:
                message = ready.recv()
            except (EOFError, OSError):
                process.join()
                del self._busy[ready]
                how = _ending(process.exitcode)
                message = [Done(error=f"{planned}: its process ended ({how})") for planned in group]
            else:
                if isinstance(message, float):
                    self.fractions.update(dict.fromkeys(group, message))
                    continue
                del self._busy[ready]
                self._idle.append((ready, process))
            for planned, done in zip(group, message, strict=True):
                del self.fractions[planned]
                ended.append((planned, done))
        return ended

    def give_up(self) -> list[tuple[Planned, Done]]:
        """End the processes of all runs under way, whatever they do: what their checkpoints hold stays."""
        ended = []
        for process, group in self._busy.values():
            process.terminate()
            self._given_up.append(process)
            ended += [(planned, Done("stopped by budget")) for planned in group]
        self._busy.clear()
        self.fractions.clear()
        return ended

    def _start(self) -> tuple[Connection, BaseProcess]:
        context = get_context("spawn")
        ours, theirs = context.Pipe()
        process = context.Process(target=serve, args=(theirs, self._setting), daemon=True)
        before = {name: os.environ.get(name) for name in THREAD_SETTINGS}
        os.environ.update(dict.fromkeys(THREAD_SETTINGS, "1"))  # Read when the child imports its libraries.
        try:
            process.start()
        finally:
            for name, value in before.items():
                if value is None:
                    del os.environ[name]
                else:
                    os.environ[name] = value
        theirs.close()
        return ours, process


def _ending(code: int | None) -> str:
    if code is not None and code < 0:
        return f"killed by signal {-code}; out of memory?" if code == -9 else f"killed by signal {-code}"
    return f"exit code {code}"
