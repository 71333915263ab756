"""Trainings and runs that are stopped at a boundary and taken up again, for test_resume.py.

A `Case` is one of them at one boundary. Their full product is thousands; `trainings` and `runs` choose those
in which all pairs occur.

python resumed_runs.py FOLDER KILLS    one run, in processes killed at random moments until it is done
"""

from __future__ import annotations

import os
import random
import re
import signal
import sys
import time
from collections.abc import Callable, Hashable
from dataclasses import asdict, dataclass, field
from functools import cache, partial
from itertools import product
from pathlib import Path
from typing import Any

import oracles
import torch
from pairwise import Factors, covering, pairs
from torch import nn
from tuner_registry import TUNERS

from adatune_lite.checkpoint import Checkpoint
from adatune_lite.experiments import EXPERIMENTS
from adatune_lite.runs import canary
from adatune_lite.runs.record import Record
from adatune_lite.runs.store import Store
from adatune_lite.runs.worker import one_thread, seeded
from adatune_lite.tasks.data import ImageTask, image_task
from adatune_lite.tasks.spec import TaskSpec
from adatune_lite.training import registry
from adatune_lite.training.context import Context
from adatune_lite.training.loop import train
from adatune_lite.training.making import superbatches
from adatune_lite.training.outcome import Series
from adatune_lite.training.spec import RunSpec

STEPS, HYPER_STEP, EPOCH = 8, 4, 5
STOPS = (HYPER_STEP - 1, HYPER_STEP, EPOCH, EPOCH + 1)
"""Just before and just after the rate moves, and just before and just after an epoch ends."""
TASK = TaskSpec("mnist5k", train=30 * EPOCH, validation=40, test=40, hidden=(8, 8), batch=30)

OPTIONS: dict[str, dict[str, Any]] = {
    "rtho": {"every": HYPER_STEP},
    "autolr": {"samples": 3, "epsilon_threshold": None},
    "plateau": {"every": HYPER_STEP // 2, "threshold": 0.5},
}
"""What lets values move at the boundaries above, where a registered tuner would move them elsewhere."""
LOOKS = ("autolr", "plateau")
RUN_STOPS = (3, 4, 7, 8)
"""Of the canaries' runs: around a look of their tuners, and around the end of their first epoch."""
NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "plain": lambda: nn.Sequential(nn.Linear(784, 8), nn.Tanh(), nn.Linear(8, 10)),
    "random": lambda: nn.Sequential(
        *(nn.Linear(784, 8), nn.BatchNorm1d(8), nn.Tanh(), nn.Dropout(0.3), nn.Linear(8, 10))
    ),
}
"""The second has running statistics, and random numbers of its own."""

State = dict[str, Any]
"""What a training or run leaves: numbers, texts and tensors, nested."""


@dataclass(frozen=True)
class Case:
    """A training or a run that stops after `stop` of its steps."""

    name: str
    stop: int
    factors: Factors
    """What it is made of, the boundary among it."""
    run: Callable[[Path, int], State]
    """Of the file of its state and the steps after which to stop, 0 for none; it goes on from that state."""
    settings: frozenset[Hashable] = frozenset()
    """Names of a run's settings, with their values where these are words or switches."""

    def __str__(self) -> str:
        return f"{re.sub(r'[^a-z0-9_]+', '-', self.name.lower())}-{self.stop}"


class Stopped(Exception):
    """Stands for the end of a process."""


@dataclass
class Keeper:
    """Saves and stops after `stop` steps, if at all."""

    checkpoint: Checkpoint
    stop: int = 0
    asked: int = field(default=0, init=False)

    def load(self) -> Any | None:
        return self.checkpoint.load()

    def save(self, state: Any) -> None:
        self.checkpoint.save(state)

    def due(self) -> bool:
        self.asked += 1
        return self.asked == self.stop

    def ending(self) -> bool:
        return True


def training_product() -> list[Case]:
    """Every tuner with every rule on both networks, stopped at each of STOPS."""
    found = []
    for tuner, setting, network, stop in product(TUNERS, oracles.SETTINGS, NETWORKS, STOPS):
        if setting.options.get("eps") == 0.0:
            continue  # torch divides 0 by 0 at pixels that are always black
        factors = {"tuner": tuner, "rule": setting.name, "network": network, "stop": stop}
        run = partial(_training, tuner, setting, network)
        found.append(Case(f"{tuner} {setting.name} {network}", stop, factors, run))
    return found


def trainings() -> list[Case]:
    """Of the `training_product` few, in which all pairs of values occur."""
    every = training_product()
    return [every[k] for k in covering([pairs(case.factors) for case in every])]


@cache
def _task() -> ImageTask:
    return image_task(TASK, dtype=torch.float64)


def _training(tuner_name: str, setting: oracles.Setting, network: str, path: Path, stop: int) -> State:
    task = _task()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        net = NETWORKS[network]().double()
        optimizer, kind = setting.optimizer(list(net.parameters()), 0.01), TUNERS[tuner_name]
        tuner = kind(optimizer, 1e-5, **OPTIONS.get(tuner_name, {}))
        trace = train(
            net,
            tuner,
            task,
            seed=3,
            steps=STEPS,
            outer=(lambda t: task.validation()) if kind.outer and tuner_name not in LOOKS else None,
            look=superbatches(task, 3, 2) if tuner_name in LOOKS else None,
            keeper=Keeper(Checkpoint(path, path.stem), stop),
        )
        trace.seconds = 0.0
        return {
            "trace": asdict(trace),
            "net": dict(net.state_dict()),
            "optimizer": tuner.optimizer.state_dict(),
            "tuner": tuner.state_dict(),
            "random": torch.get_rng_state(),
        }


class Stopping(Context):
    """The context of a run that stops after `stop` steps or outer steps, if at all."""

    stop = 0
    asked = 0

    def due(self) -> bool:
        self.asked += 1
        return self.asked == self.stop

    def ending(self) -> bool:
        return self.asked == self.stop


def run_product() -> list[Case]:
    """Every run of every experiment's canary that keeps its state, stopped at each of RUN_STOPS."""
    found: dict[tuple[str, int], Case] = {}
    for number, experiment in EXPERIMENTS.items():
        wanted, sources = canary.specs(experiment)
        for name, spec in wanted.items():
            # One that diverges is over before it can be stopped.
            if not registry.function(spec.function).resumable or "diverging" in name:
                continue
            settings = frozenset((n, v if isinstance(v, str | bool) else "") for n, v in spec.settings)
            for stop in RUN_STOPS:
                factors, run = _factors(spec, stop), partial(_run, spec, sources)
                case = Case(f"{number[:2]} {name}", stop, factors, run, settings)
                found.setdefault((spec.hash, stop), case)  # experiments share some
    return list(found.values())


def _factors(spec: RunSpec, stop: int) -> dict[str, Hashable]:
    options = dict(spec.optimizer_settings)
    return {
        "function": spec.function,
        "method": spec.method,
        "optimizer": spec.optimizer,
        "momentum": bool(options.get("momentum")),
        "weight decay": bool(options.get("weight_decay")),
        "network": (spec.task.model, len(spec.task.hidden), spec.task.activation),
        "stop": stop,
    }


def runs() -> list[Case]:
    """Of the `run_product` few, in which all pairs of values and every setting occur."""
    every = run_product()
    return [every[k] for k in covering([pairs(case.factors) | case.settings for case in every])]


def _run(spec: RunSpec, sources: list[Record], path: Path, stop: int) -> State:
    store = Store(path.parent / "sources")
    for record in sources:
        store.put(record)

    def report(done: int, total: int) -> None:
        if spec.function == "lrs_opt" and stop and done == min(stop, total):
            raise Stopped

    context = Stopping("cpu", store, Checkpoint(path, path.stem), report)
    context.stop = min(stop, spec.steps - 1)  # a run that is over keeps no state
    with seeded(spec, "cpu"):
        outcome = registry.function(spec.function).run(spec, context)
        random = torch.get_rng_state()
    series = {k: _plain(v) for k, v in outcome.series.items()}
    cost = {k: v for k, v in outcome.cost.items() if not k.endswith("seconds")}
    return {
        "status": outcome.status,
        "series": series,
        "metrics": outcome.metrics,
        "cost": cost,
        "random": random,
    }


def _plain(series: Any) -> Any:
    """Lists of plain numbers, which load without trust."""
    if isinstance(series, Series):
        steps = [] if series.steps is None else [int(step) for step in series.steps]
        return {"values": [float(x) for x in series.values], "steps": steps}
    return [float(x) for x in series]


@cache
def cases() -> dict[str, Case]:
    """Those of `trainings` and of `runs` by their names with the boundary."""
    return {str(case): case for case in (*trainings(), *runs())}


def finish(name: str, path: Path, result: Path) -> None:
    """Take a case up where its state is, to its end; what it leaves goes to a file.

    To be called in a process in which no part of it has run.
    """
    with one_thread():
        torch.save(cases()[name].run(path, 0), result)


def patient(folder: Path) -> None:
    """A training of 40 steps that keeps its state after each; its record says when it is done."""
    spec = RunSpec("training", TASK, "marthe", 40, 1, (("lr", 0.05), ("mu", 0.9), ("hyper_lr", 1e-4)))
    checkpoint = Checkpoint(folder / "patient.pt", "patient")
    context = Context("cpu", Store(folder / "store"), checkpoint, save_every=0.0)
    with seeded(spec, "cpu"):
        outcome = registry.function("training").run(spec, context)
    torch.save({"lr": outcome.series["lr"], "metrics": outcome.metrics}, folder / f"done-{os.getpid()}.pt")
    checkpoint.remove()


def killed(folder: Path, kills: int) -> int:
    """Let processes make the run of `patient` and kill the first of them, each after a step or more.

    Returns how many were killed. Forked, so that only this one imports torch, which takes seconds.
    """
    moments, done, known = random.Random(1), 0, folder / "patient.pt"
    while not list(folder.glob("done-*.pt")):
        before = known.read_bytes() if known.exists() else b""
        process = os.fork()
        if not process:
            try:
                patient(folder)
            finally:
                os._exit(0)
        if done < kills:
            while not known.exists() or known.read_bytes() == before:
                time.sleep(0.01)
            time.sleep(moments.uniform(0.0, 0.03))
            os.kill(process, signal.SIGKILL)
        _, status = os.waitpid(process, 0)
        done += os.WIFSIGNALED(status)
    return done


if __name__ == "__main__":
    with one_thread():
        print(killed(Path(sys.argv[1]), int(sys.argv[2])))
