"""Run functions: from a RunSpec to its Outcome. Any experiment may use them; they know none."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.functional import cross_entropy

from adatune_lite.engine.hypergradient import Problem
from adatune_lite.engine.lrs_opt import LRSOptResult, lrs_opt
from adatune_lite.engine.seeds import SeedProblem, lrs_opt_seeds
from adatune_lite.rules import from_optimizer
from adatune_lite.tasks import models
from adatune_lite.tasks.data import Batch, ImageTask, image_task
from adatune_lite.training.context import Context
from adatune_lite.training.loop import Trace, evaluate, train
from adatune_lite.training.methods import (
    ONLINE,
    decision_counts,
    decisions,
    looks,
    make_optimizer,
    make_tuner,
    source_schedule,
)
from adatune_lite.training.outcome import Floats, Outcome, Series
from adatune_lite.training.spec import RunSpec
from adatune_lite.tuners import AutoLR, FixedSchedule, Tuner

DTYPES = {"float32": torch.float32, "float64": torch.float64}

# A task answers as a pure function of (seed, step): one of them serves many runs.
_cached_task = lru_cache(maxsize=2)(image_task)


def setting(spec: RunSpec, device: torch.device | str) -> tuple[ImageTask, nn.Module]:
    """The task of a run, and its network with the weights of its seed."""
    dtype = DTYPES[spec.precision]
    task = _cached_task(spec.task, device, dtype)
    options: dict[str, Any] = {"channels": task.channels, "width": spec.task.width}
    if spec.task.initial:
        options["initial"] = spec.task.initial
    if spec.task.flat:
        options = {
            "features": task.features,
            "hidden": spec.task.hidden,
            "activation": spec.task.activation,
        }
    net = models.build(spec.task.model, seed=spec.seed, classes=task.classes, **options)
    net = net.to(device, dtype)
    return task, net if _strided_thin(net) else net.to(memory_format=torch.channels_last)


def _strided_thin(net: nn.Module) -> bool:
    """Whether channels_last is no choice: it makes convolutions 1.4 times faster on a CPU, but oneDNN writes
    past its workspace where a strided 1x1 convolution has fewer channels than a vector register holds
    (uxlfoundation/oneDNN issue 6035).
    """
    return any(
        isinstance(m, nn.Conv2d) and m.kernel_size == (1, 1) != m.stride and m.in_channels < 16
        for m in net.modules()
    )


def finals(net: nn.Module, task: ImageTask) -> dict[str, float]:
    """Loss and accuracy on the validation and test parts."""
    validation, test = evaluate(net, task.validation()), evaluate(net, task.test())
    return {
        "validation_loss": validation[0],
        "validation_accuracy": validation[1],
        "test_loss": test[0],
        "test_accuracy": test[1],
    }


def trace_series(trace: Trace) -> dict[str, Floats | Series]:
    """The series of a training's record."""
    return {
        "lr": trace.lr,
        "train_loss": trace.train_loss,
        "hypergradient": trace.hypergradient,
        "validation_loss": Series(trace.validation_loss, trace.observed),
    }


def training(spec: RunSpec, context: Context) -> Outcome:
    """One training along a schedule or with an online tuner.

    Settings: see `make_tuner`; outer_batch: images of the outer loss at each step (default: the whole
    validation part). E is the validation loss after the last step. A run of AutoLR has its decisions as
    series and the cost of its fits as `look_steps`, a part of `plain_steps`.
    """
    task, net = setting(spec, context.device)
    tuner = make_tuner(spec, net, context)
    return trained(spec, context, task, net, tuner, outer_batches(spec, task))


def outer_batches(spec: RunSpec, task: ImageTask) -> Callable[[int], Batch] | None:
    """The batch of the outer loss at step t of the online tuners that take its gradient."""
    if spec.method not in ONLINE or spec.method == "hd":
        return None
    size = int(spec.get("outer_batch", 0))
    return (lambda t: task.validation_batch(t, size, spec.seed)) if size else (lambda t: task.validation())


def trained(
    spec: RunSpec,
    context: Context,
    task: ImageTask,
    net: nn.Module,
    tuner: Tuner,
    outer: Callable[[int], Batch] | None = None,
) -> Outcome:
    """The outcome of one training with this tuner."""
    return outcome_of(follow(spec, context, task, net, tuner, outer), net, task, tuner)


def follow(
    spec: RunSpec,
    context: Context,
    task: ImageTask,
    net: nn.Module,
    tuner: Tuner,
    outer: Callable[[int], Batch] | None = None,
    product_fraction: float = 1.0,
) -> Trace:
    """The training of a run with this tuner, taken up where it was stopped."""
    return train(
        net,
        tuner,
        task,
        seed=spec.seed,
        steps=spec.steps,
        outer=outer,
        look=looks(spec, task, tuner),
        product_fraction=product_fraction,
        report=context.report,
        keeper=context,
    )


def outcome_of(trace: Trace, net: nn.Module, task: ImageTask, tuner: Tuner) -> Outcome:
    """What a training leaves behind; of AutoLR its decisions as well."""
    outcome = Outcome(
        status=trace.status,
        series=trace_series(trace),
        metrics=finals(net, task) if trace.status == "finished" else {},
        cost={"plain_steps": trace.plain_steps, "training_seconds": trace.seconds},
    )
    if isinstance(tuner, AutoLR):
        outcome.series = {**outcome.series, **decisions(tuner.log)}
        outcome.metrics = {**outcome.metrics, **decision_counts(tuner.log)}
        outcome.cost = {**outcome.cost, "look_steps": trace.look_steps}
    return outcome


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
    return source_schedule(spec, context) if spec.source else [float(spec.get("lr", 0.01))] * spec.steps


def _search(spec: RunSpec, nets: Sequence[nn.Module], context: Context) -> dict[str, Any]:
    checkpoints = int(spec.get("checkpoints", 0))
    return {
        "outer_steps": int(spec.get("outer_steps")),
        "outer_optimizer": spec.get("outer_optimizer", "adam"),
        "outer_lr": spec.get("outer_lr", 0.02),
        "lr_max": spec.get("lr_max", 1.0),
        "checkpoints": checkpoints or None,
        "keep_graph": not checkpoints and _graphs_fit(spec.steps, nets, context.device),
        "resume": context,
    }


def _graphs_fit(steps: int, nets: Sequence[nn.Module], device: str) -> bool:
    """Whether one run a core keeps states, gradients and graphs in half the memory; no digit hangs on it."""
    needed = 3 * steps * sum(w.nbytes for net in nets for w in net.parameters())
    if device == "cuda":
        return needed < torch.cuda.mem_get_info()[1] / 2
    if not hasattr(os, "sysconf"):  # Windows
        return False
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return needed * (os.cpu_count() or 1) < memory / 2


def _optimised(spec: RunSpec, net: nn.Module, task: ImageTask, out: LRSOptResult, seconds: float) -> Outcome:
    tuner = FixedSchedule(make_optimizer(spec, net, float(out.schedule[0])), out.schedule)
    trace = train(net, tuner, task, seed=spec.seed, steps=spec.steps)
    steps = [h.step for h in out.history]
    finished = trace.status == "finished" and math.isfinite(out.final_loss)
    return Outcome(
        status="finished" if finished else "diverged at step 0",
        series={
            **trace_series(trace),
            "outer_loss": Series([h.final_loss for h in out.history], steps),
            "outer_best": Series([h.best for h in out.history], steps),
            "outer_norm": Series([h.hypergradient_norm for h in out.history], steps),
        },
        metrics={**finals(net, task), "lrs_opt_loss": out.final_loss} if finished else {},
        # a hypergradient: one training to store the iterates, then a gradient and a product (3) a step; where
        # graphs are kept it is one training less, which is not counted, since that hangs on the memory
        cost={
            "plain_steps": spec.steps * (4.0 * out.hypergradients + out.trainings),
            "training_seconds": seconds,
        },
    )


RUN_FUNCTIONS: dict[str, Callable[[RunSpec, Context], Outcome]] = {
    "training": training,
    "lrs_opt": optimised_schedule,
}

SIDE_BY_SIDE: dict[str, Callable[[Sequence[RunSpec], Context], list[Outcome]]] = {
    "lrs_opt": optimised_schedules
}
"""Run functions that make runs which differ in their seed alone in one go: what a GPU needs to be busy."""
