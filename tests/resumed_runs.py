"""Trainings and runs that are stopped at a boundary and taken up again: run as a program by test_resume.py.

python resumed_runs.py stop FOLDER      every case to each of its boundaries, where its state is kept
python resumed_runs.py finish FOLDER    in a new process: from there to the end
python resumed_runs.py whole FOLDER     every case from its start to its end
python resumed_runs.py patient FOLDER   one run that saves after every step, to be killed meanwhile
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import oracles
import torch
from torch import nn
from tuner_registry import TUNERS

from adatune_lite.checkpoint import Checkpoint
from adatune_lite.experiments import EXPERIMENTS
from adatune_lite.runs import canary, provenance
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
EACH_RULE = ("fixed", "hd", "hd_outer", "rtho", "marthe")
"""Of the other tuners, which keep nothing more of a rule or know nothing of it, three rules stand for all."""


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


def trainings() -> Iterator[tuple[str, Callable[[Path, int], dict[str, Any]]]]:
    """Every tuner with every rule on a network with running statistics and random numbers of its own."""
    for tuner in TUNERS:
        for setting in oracles.SETTINGS:
            if setting.options.get("eps") == 0.0:
                continue  # torch divides 0 by 0 at pixels that are always black
            if tuner not in EACH_RULE and setting.name not in ("momentum_decay", "adamw", "rmsprop_all"):
                continue
            yield f"{tuner} {setting.name}", partial(_training, tuner, setting)


@lru_cache(maxsize=1)
def _task() -> ImageTask:
    return image_task(TASK, dtype=torch.float64)


def _training(tuner_name: str, setting: oracles.Setting, path: Path, stop: int) -> dict[str, Any]:
    task = _task()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        layers = (nn.Linear(784, 8), nn.BatchNorm1d(8), nn.Tanh(), nn.Dropout(0.3), nn.Linear(8, 10))
        net = nn.Sequential(*layers).double()
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


def runs() -> Iterator[tuple[str, Callable[[Path, int], dict[str, Any]]]]:
    """The canary of every experiment: each kind of run that it makes and that keeps its state."""
    for number, experiment in EXPERIMENTS.items():
        specs = importlib.import_module(f"{experiment.__name__}.canary")
        for name, spec in specs.runs().items():
            if registry.function(spec.function).resumable:
                yield f"{number[:2]} {name}", partial(_run, spec, canary.sources(specs))


def _run(spec: RunSpec, sources: list[Any], path: Path, stop: int) -> dict[str, Any]:
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


def cases() -> dict[str, Callable[[Path, int], dict[str, Any]]]:
    """All of them by name; each takes the file of its state and the step to stop after (0: none)."""
    return {**dict(trainings()), **dict(runs())}


def place(folder: Path, name: str, stop: int) -> Path:
    """The file of a case's state."""
    return folder / f"{name.replace(' ', '-').replace(',', '')}-{stop}.pt"


def patient(folder: Path) -> None:
    """A training of 120 steps that keeps its state after each; its record says when it is done."""
    spec = RunSpec("training", TASK, "marthe", 120, 1, (("lr", 0.05), ("mu", 0.9), ("hyper_lr", 1e-4)))
    checkpoint = Checkpoint(folder / "patient.pt", "patient")
    context = Context("cpu", Store(folder / "store"), checkpoint, save_every=0.0)
    with seeded(spec, "cpu"):
        outcome = registry.function("training").run(spec, context)
    torch.save({"lr": outcome.series["lr"], "metrics": outcome.metrics}, folder / f"done-{os.getpid()}.pt")
    checkpoint.remove()


def main(command: str, folder: Path) -> None:
    with one_thread():
        provenance.data("mnist5k")
        if command == "patient":
            patient(folder)
            return
        results = {}
        for name, case in cases().items():
            for stop in (0,) if command == "whole" else STOPS:
                try:
                    results[f"{name} {stop}"] = case(
                        place(folder, name, stop), stop if command == "stop" else 0
                    )
                except Stopped:
                    continue
        if command != "stop":
            torch.save(results, folder / f"{command}.pt")


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
