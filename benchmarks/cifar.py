"""Steps of the networks that CIFAR is trained with at desk scale against bare ones, data included.

VGG-11 at width 1/4 and ResNet-18 at width 1/8, batch 128, on the embedded digits with 32 pixels and 3
channels. Ours are steps of `train`, networks as a run has them; a look at the validation is of a single
image, so that evaluation stands apart. Bare steps have the batches of `loops.tensor_batches` and torch
alone: forward, backward and update; for HD as published an inner product with the last gradient too; for
MARTHE the product by torch's own double backward, and the gradient of a second batch. Images a second are
of our loop and of one with a `DataLoader`, at this machine's load.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

import adatune_lite as al
from adatune_lite.tasks.data import Batch, ImageTask
from adatune_lite.tasks.spec import TaskSpec
from adatune_lite.training.functions import setting
from adatune_lite.training.loop import train
from adatune_lite.training.spec import RunSpec
from adatune_lite.tuners import Tuner
from benchmarks import loops
from benchmarks.measure import Row, median_interval, ratios, seconds
from benchmarks.steps import FEW

TARGET = 1.05
STEPS = 2
SPECS = (
    replace(loops.SPEC, model="vgg11", width=0.25, train=3840, validation=128),
    replace(loops.SPEC, model="resnet18", width=0.125, train=3840, validation=128),
)


class SmallLook(loops.Onwards):
    """Its validation is one image."""

    def validation(self) -> Batch:
        x, y = self.task.validation()
        return x[:1], y[:1]


def start(spec: TaskSpec) -> tuple[ImageTask, nn.Module, torch.optim.Optimizer]:
    task, net = setting(RunSpec("training", spec, "constant", 1, 0, settings=(("lr", loops.LR),)), "cpu")
    return task, net, torch.optim.SGD(net.parameters(), lr=loops.LR, momentum=0.9, weight_decay=5e-4)


def tuner_of(method: str, optimizer: torch.optim.Optimizer) -> Tuner:
    if method == "plain":
        return al.FixedSchedule(optimizer, [loops.LR] * loops.MOST_STEPS)
    return al.HD(optimizer, 1e-9) if method == "HD" else al.MARTHE(optimizer, 0.99, 1e-9)


def ours(spec: TaskSpec, method: str) -> Callable[[], object]:
    """STEPS steps of `train`."""
    task, net, optimizer = start(spec)
    tuner, data = tuner_of(method, optimizer), SmallLook(task)
    outer = (lambda t: task.validation_batch(t, spec.batch)) if method == "MARTHE" else None
    return lambda: train(net, tuner, data, seed=0, steps=STEPS, outer=outer)


def bare(spec: TaskSpec, method: str, batches: Iterator[Batch]) -> Callable[[], object]:
    """STEPS steps with the same passes, nothing of ours."""
    task, net, optimizer = start(spec)
    weights = list(net.parameters())
    last = [torch.zeros_like(w) for w in weights]
    outer_batch = task.validation()

    def loss(batch: Batch) -> Tensor:
        return cross_entropy(net(batch[0]), batch[1])

    def step() -> None:
        nonlocal last
        here = loss(next(batches))
        grads = torch.autograd.grad(here, weights, create_graph=method == "MARTHE")
        if method == "MARTHE":
            torch.autograd.grad(grads, weights, last)
        elif method == "HD":
            float(sum(torch.dot(g.reshape(-1), x.reshape(-1)) for g, x in zip(grads, last, strict=True)))
        for w, g in zip(weights, grads, strict=True):
            w.grad = g.detach()
        optimizer.step()
        if method == "MARTHE":
            torch.autograd.grad(loss(outer_batch), weights)
        last = [g.detach() for g in grads]

    def call() -> None:
        for _ in range(STEPS):
            step()

    return call


def cifar_rows(pairs: int, specs: tuple[TaskSpec, ...] = SPECS) -> list[Row]:
    """Plain, HD and MARTHE over their bare steps, HD and MARTHE over a plain step, and images a second."""
    rows = []
    for spec in specs:
        name = f"{spec.model}, width {spec.width:g}"
        note = f"batch {spec.batch}, {STEPS} steps in a row, {pairs} pairs"
        plain = ours(spec, "plain")
        for method in ("plain", "HD", "MARTHE"):
            work = plain if method == "plain" else ours(spec, method)
            against = bare(spec, method, loops.tensor_batches(spec))
            found = median_interval(ratios(against, work, pairs))
            rows.append(Row(f"{method} step, {name}", *found, TARGET, "bare steps", note))
            if method != "plain":
                found = median_interval(ratios(plain, work, pairs))
                rows.append(Row(f"{method} step, {name}", *found, None, "plain steps", note))
        loader = bare(spec, "plain", loops.loader_batches(spec))
        for what, call in (("our loop", plain), ("DataLoader loop", loader)):
            speed = [STEPS * spec.batch / seconds(call) for _ in range(FEW)]
            rows.append(
                Row(f"{what}, {name}", statistics.median(speed), min(speed), max(speed), None, "images/s")
            )
    return rows
