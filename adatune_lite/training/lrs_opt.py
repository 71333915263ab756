"""The run function of LRS-OPT: the best found schedule of a training, from the gradient by all its rates."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.functional import cross_entropy

from adatune_lite.engine.hypergradient import Problem
from adatune_lite.engine.lrs_opt import FIRST_RATES, LRSOptResult, lrs_opt
from adatune_lite.engine.seeds import SeedProblem, lrs_opt_seeds
from adatune_lite.rules import from_optimizer
from adatune_lite.tasks.data import ImageTask
from adatune_lite.training.context import Context
from adatune_lite.training.functions import FINALS, finals, observing, setting, trace_series
from adatune_lite.training.loop import train
from adatune_lite.training.making import make_optimizer, source_schedule
from adatune_lite.training.outcome import Outcome, Series
from adatune_lite.training.registry import RULES, Setting, run_function, side_by_side
from adatune_lite.training.spec import RunSpec
from adatune_lite.tuners import FixedSchedule


def problem(net: nn.Module, task: ImageTask, seed: int) -> Problem:
    """The network's training as a Problem whose final loss is that of the whole validation part."""
    x, y = task.validation()

    def train_loss(weights: dict[str, Tensor], t: int) -> Tensor:
        inputs, labels = task.batch(seed, t)
        return cross_entropy(functional_call(net, weights, (inputs,)), labels)

    def final_loss(weights: dict[str, Tensor]) -> Tensor:
        return cross_entropy(functional_call(net, weights, (x,)), y)

    return Problem({k: w.detach().clone() for k, w in net.named_parameters()}, train_loss, final_loss)


def seed_problem(nets: Sequence[nn.Module], task: ImageTask, seeds: Sequence[int], steps: int) -> SeedProblem:
    """The `problem` of several seeds side by side."""
    images, labels = task.training()
    x, y = task.validation()

    def train_loss(weights: dict[str, Tensor], t: int, order: Tensor) -> Tensor:
        return cross_entropy(functional_call(nets[0], weights, (images[order[t]],)), labels[order[t]])

    def final_loss(weights: dict[str, Tensor], _: Tensor) -> Tensor:
        return cross_entropy(functional_call(nets[0], weights, (x,)), y)

    starts = [dict(net.named_parameters()) for net in nets]
    weights = {k: torch.stack([start[k].detach() for start in starts]) for k in starts[0]}
    return SeedProblem(weights, train_loss, final_loss, torch.stack([task.order(s, steps) for s in seeds]))


def _work(spec: RunSpec) -> float:
    """A training to store the iterates, then a gradient and a product for each step of it."""
    return spec.steps * 4.0 * max(1.0, float(spec.get("outer_steps")))


@run_function(
    "lrs_opt",
    methods=("lrs_opt",),
    settings=(
        Setting("outer_steps", int, "steps of the schedule", least=0),
        Setting("outer_optimizer", str, "what takes them", "adam", words=tuple(FIRST_RATES)),
        Setting("outer_lr", float, "their rate", 0.02, above=0),
        Setting("lr_max", float, "highest rate", 1.0, above=0),
        Setting("checkpoints", int, "iterates that are stored (0: all)", 0, least=0),
    ),
    source=True,
    observes=("validation_loss",),
    metrics=(*FINALS, "lrs_opt_loss"),
    resumable=True,
    counted=True,
    steps=_work,
    decides=(*RULES, "engine/hypergradient.py", "engine/lrs_opt.py", "engine/seeds.py"),
)
def optimised_schedule(spec: RunSpec, context: Context) -> Outcome:
    """LRS-OPT from a constant start (setting lr) or from the schedule of `spec.source`.

    Settings: outer_steps, outer_optimizer, outer_lr, lr_max, checkpoints (0 stores all iterates). The final
    metrics come from a plain training with the best schedule.
    """
    task, net = setting(spec, context.device)
    out = lrs_opt(
        problem(net, task, spec.seed),
        _start(spec, context),
        from_optimizer(make_optimizer(spec, net, 0.0)),
        **_search(spec, [net], context),
        on_step=lambda step: context.report(step.step, int(spec.get("outer_steps"))),
    )
    return _optimised(spec, net, task, out, context.checkpoint.seconds())


@side_by_side("lrs_opt")
def optimised_schedules(specs: Sequence[RunSpec], context: Context) -> list[Outcome]:
    """LRS-OPT for several seeds in one sweep: what `optimised_schedule` gives, up to rounding."""
    spec = specs[0]
    task, nets = setting(spec, context.device)[0], [setting(s, context.device)[1] for s in specs]
    outs = lrs_opt_seeds(
        seed_problem(nets, task, [s.seed for s in specs], spec.steps),
        torch.stack([torch.as_tensor(_start(s, context), dtype=torch.float64) for s in specs]),
        from_optimizer(make_optimizer(spec, nets[0], 0.0)),
        **_search(spec, nets, context),
        on_step=lambda _, step: context.report(step.step, int(spec.get("outer_steps"))),
    )
    seconds = context.checkpoint.seconds() / len(specs)
    return [_optimised(s, n, task, out, seconds) for s, n, out in zip(specs, nets, outs, strict=True)]


def _start(spec: RunSpec, context: Context) -> Tensor | list[float]:
    return source_schedule(spec, context) if spec.source else [float(spec.get("lr"))] * spec.steps


def _search(spec: RunSpec, nets: Sequence[nn.Module], context: Context) -> dict[str, Any]:
    checkpoints = int(spec.get("checkpoints"))
    return {
        "outer_steps": int(spec.get("outer_steps")),
        "outer_optimizer": spec.get("outer_optimizer"),
        "outer_lr": spec.get("outer_lr"),
        "lr_max": spec.get("lr_max"),
        "checkpoints": checkpoints or None,
        "keep_graph": not checkpoints and _graphs_fit(spec.steps, nets, context.device),
        "resume": context,
    }


def _graphs_fit(steps: int, nets: Sequence[nn.Module], device: str) -> bool:
    """Whether states, gradients and graphs of one run for each core fit into half of the memory.

    The numbers are the same either way.
    """
    needed = 3 * steps * sum(w.nbytes for net in nets for w in net.parameters())
    if device == "cuda":
        return needed < torch.cuda.mem_get_info()[1] / 2
    if not hasattr(os, "sysconf"):  # Windows
        return False
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return needed * (os.cpu_count() or 1) < memory / 2


def _optimised(spec: RunSpec, net: nn.Module, task: ImageTask, out: LRSOptResult, seconds: float) -> Outcome:
    tuner = FixedSchedule(make_optimizer(spec, net, float(out.schedule[0])), out.schedule)
    trace = train(net, tuner, task, seed=spec.seed, steps=spec.steps, **observing(spec, task))
    steps = [h.step for h in out.history]
    finished = trace.status == "finished" and math.isfinite(out.final_loss)
    return Outcome(
        status="finished" if finished else "diverged at step 0",
        series={
            **trace_series(spec, trace),
            "outer_loss": Series([h.final_loss for h in out.history], steps),
            "outer_best": Series([h.best for h in out.history], steps),
            "outer_norm": Series([h.hypergradient_norm for h in out.history], steps),
        },
        metrics={**finals(net, task), "lrs_opt_loss": out.final_loss} if finished else {},
        # a hypergradient: one training to store the iterates, then a gradient and a product (3) a step; where
        # graphs are kept it is one training less, which is not counted, since it depends on the memory
        cost={
            "plain_steps": spec.steps * (4.0 * out.hypergradients + out.trainings),
            "training_seconds": seconds,
        },
    )
