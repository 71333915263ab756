"""Run functions about the hypergradient itself: its error, its curvature's worth, AdaTune's deviations."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from adatune_lite.engine.closures import BufferGuard
from adatune_lite.engine.curvature import dot, gradient, product
from adatune_lite.engine.hypergradient import schedule_hypergradient
from adatune_lite.rules import from_optimizer
from adatune_lite.tasks.data import Batch, ImageTask
from adatune_lite.tasks.spec import SpecError
from adatune_lite.training import registry
from adatune_lite.training.context import Context
from adatune_lite.training.functions import (
    FINALS,
    finals,
    follow,
    outcome_of,
    outer_batches,
    setting,
    trained,
)
from adatune_lite.training.loop import mean_loss
from adatune_lite.training.lrs_opt import problem
from adatune_lite.training.making import make_optimizer, make_tuner, tuned
from adatune_lite.training.outcome import Outcome, Series
from adatune_lite.training.registry import Setting, run_function
from adatune_lite.training.spec import RunSpec
from adatune_lite.tuners import Diverged, Tuner
from adatune_lite.tuners.as_published import FAULTS, AdaTune

PUBLISHED = "marthe_as_published"
"""AdaTune's MARTHE with the faults that the setting `faults` names, separated by commas."""
OUTER_ON_TEST = "outer_on_test"
"""The fault of AdaTune's script: outer gradients on test images, as many as there are validation images."""
OUTER_ON_ALL_TEST = "outer_on_all_test"
"""The same on all test images in turn, as the script has it."""
RATE_PER_TENSOR = "hd_rate_per_tensor"
"""AdaTune's HD for Adam, whose rate moves between the tensors of one step."""
RELATIVE_STEP = 1e-4
"""Of finite differences, in units of the first rate: truncation and rounding are then near 1e-9."""
PROBES = 16
"""How often a training of `locality` compares."""
FRACTIONS = (0.1, 0.5, 1.0, 2.0)
"""Lengths at which it compares, in real steps."""


@run_function(
    "published",
    methods=(PUBLISHED,),
    observes=("validation_loss",),
    metrics=FINALS,
    resumable=True,
)
def published(spec: RunSpec, context: Context) -> Outcome:
    """One training with AdaTune's MARTHE; settings as those of MARTHE, faults, outer_batch."""
    faults = spec.get("faults").split(",")
    if OUTER_ON_TEST in faults and OUTER_ON_ALL_TEST in faults:
        raise SpecError(f"faults must be one of {OUTER_ON_TEST!r} and {OUTER_ON_ALL_TEST!r}, not both")
    task, net = setting(spec, context.device)
    tuner = make_tuner(spec, net, context)
    if not {OUTER_ON_TEST, OUTER_ON_ALL_TEST} & set(faults):
        return trained(spec, context, task, net, tuner, outer_batches(spec, task))
    x, y = task.test()
    images = len(y) if OUTER_ON_ALL_TEST in faults else min(len(y), task.spec.validation)
    size = int(spec.get("outer_batch") or images)
    count = images // size

    def outer(t: int) -> Batch:
        begin = t % count * size
        return x[begin : begin + size], y[begin : begin + size]

    return trained(spec, context, task, net, tuner, outer)


def adatune(spec: RunSpec, net: nn.Module, context: Context) -> Tuner:
    """AdaTune's MARTHE with the faults of a spec that are the tuner's, not the script's."""
    faults = [f for f in spec.get("faults").split(",") if f in FAULTS]
    return tuned(AdaTune, faults=faults)(spec, net, context)


@run_function(
    "lean",
    methods=("marthe",),
    settings=(Setting("product_fraction", float, "share of a batch in products", 1.0, above=0, most=1),),
    observes=("validation_loss",),
    metrics=FINALS,
    resumable=True,
)
def lean(spec: RunSpec, context: Context) -> Outcome:
    """One training with MARTHE and cheaper products, of a part of each batch."""
    task, net = setting(spec, context.device)
    tuner = make_tuner(spec, net, context)
    outer, fraction = outer_batches(spec, task), float(spec.get("product_fraction"))
    trace = follow(spec, context, task, net, tuner, outer, fraction)
    return outcome_of(spec, trace, net, task, tuner)


@run_function(
    "hypergradient_error",
    methods=("hd", "hd_validation", "rtho", "marthe", PUBLISHED, RATE_PER_TENSOR, "reverse"),
    unread=("outer_batch",),
    metrics=("relative_error",),
    decides=("engine/hypergradient.py",),
)
def hypergradient_error(spec: RunSpec, context: Context) -> Outcome:
    """The hypergradient of every step, and the same by finite differences through time.

    E is the loss on the whole validation part. With D[i, t] the derivative of E after step t by the rate of
    step i, by central differences along the rates that were used, Delta_t should be the sum over i <= t of
    mu^(t-i) D[i, t]; for the published HD ("hd") it is D[t-1, t-1] of the training loss of step t with its
    decay, and so it is for HD with a rate for each tensor, along the rates of the last one. Method
    "reverse": the derivative of the last E by each rate of a constant schedule.

    Series by step: hypergradient, finite_difference, lr. Metric relative_error: |difference| over |finite
    differences| (Euclidean norms over the steps).
    """
    if spec.precision != "float64":
        raise SpecError("hypergradient_error compares with finite differences: precision must be float64")
    task, net = setting(spec, context.device)
    start = copy.deepcopy(net.state_dict())
    running = spec.get("outer_batchnorm", "batch") == "running"
    if spec.method == "reverse":
        rates = [float(spec.get("lr"))] * spec.steps
        found = _reverse(spec, net, task, rates)
        mu = 0.0
    else:
        try:
            rates, found, mu = _online(spec, net, task, context)
        except Diverged:
            return Outcome(status="diverged at step 0")
    slopes = _differences(spec, net, task, start, rates, running)
    steps = np.arange(spec.steps)
    if spec.method == "reverse":
        exact = slopes[:, -1]
    elif not registry.method(spec.method).outer:
        exact = np.concatenate([[math.nan], np.diagonal(slopes)[:-1]])
    else:
        discount = np.tril(np.power(mu, np.maximum(steps[:, None] - steps, 0)))  # [t, i]
        exact = (discount * slopes.T).sum(1)
    known = np.isfinite(exact)
    error = np.linalg.norm((found - exact)[known]) / np.linalg.norm(exact[known])
    kept = steps[known]
    return Outcome(
        status="finished",
        series={
            "lr": rates,
            "hypergradient": Series(found[known], kept),
            "finite_difference": Series(exact[known], kept),
        },
        metrics={"relative_error": float(error)},
        cost={"plain_steps": float(2 * spec.steps * spec.steps)},
    )


def _reverse(spec: RunSpec, net: nn.Module, task: ImageTask, rates: list[float]) -> np.ndarray:
    rule = from_optimizer(make_optimizer(spec, net, 0.0))
    _, slopes = schedule_hypergradient(problem(net, task, spec.seed), rates, rule)
    return slopes.numpy()


def _online(
    spec: RunSpec, net: nn.Module, task: ImageTask, context: Context
) -> tuple[list[float], np.ndarray, float]:
    """(rates used, hypergradients, mu) of a tuner along the steps."""
    tuner = make_tuner(spec, net, context)
    outer = partial(mean_loss, net, task.validation()) if registry.method(spec.method).outer else None
    rates, found = [], []
    for t in range(spec.steps):
        tuner.step(partial(mean_loss, net, task.batch(spec.seed, t)), outer)
        rates.append(tuner.used_lr)
        found.append(tuner.hypergradient)
    return rates, np.array(found), float(getattr(tuner, "mu", 0.0))


def _differences(
    spec: RunSpec,
    net: nn.Module,
    task: ImageTask,
    start: dict[str, Tensor],
    rates: list[float],
    running: bool,
) -> np.ndarray:
    """D[i, t] of `hypergradient_error`, by training twice for each rate."""
    step = RELATIVE_STEP * rates[0]
    out = np.zeros((spec.steps, spec.steps))
    for i in range(spec.steps):
        ends = []
        for sign in (1, -1):
            net.load_state_dict(start)
            moved = [rate + sign * step * (k == i) for k, rate in enumerate(rates)]
            ends.append(_losses(spec, net, task, moved, running, i))
        out[i, i:] = (ends[0] - ends[1]) / (2 * step)
    return out


def _losses(
    spec: RunSpec, net: nn.Module, task: ImageTask, rates: list[float], running: bool, begin: int
) -> np.ndarray:
    """E after each step from `begin` on, of a plain training along the rates."""
    optimizer = make_optimizer(spec, net, rates[0])
    settings: dict[str, Any] = dict(spec.optimizer_settings)
    decay = 0.0 if spec.optimizer == "adamw" else settings.get("weight_decay", 0.0)
    losses = []
    for t, rate in enumerate(rates):
        optimizer.param_groups[0]["lr"] = rate
        optimizer.zero_grad()
        mean_loss(net, task.batch(spec.seed, t)).backward()
        optimizer.step()
        if t < begin:
            continue
        with torch.no_grad(), _mode(net, not running), BufferGuard() as guard:
            if not registry.method(spec.method).outer:
                squares = sum(float((w * w).sum()) for w in net.parameters())
                loss = mean_loss(net, task.batch(spec.seed, t + 1)) + decay / 2 * squares
            else:
                loss = mean_loss(net, task.validation())
        guard.restore()
        losses.append(float(loss))
    return np.array(losses)


@contextmanager
def _mode(net: nn.Module, training: bool) -> Iterator[None]:
    before = net.training
    net.train(training)
    try:
        yield
    finally:
        net.train(before)


@run_function("locality", methods=("schedule", "hd"), metrics=FINALS)
def locality(spec: RunSpec, context: Context) -> Outcome:
    """Whether the Hessian-vector product predicts how the gradient changes over one real step.

    Along a training, at PROBES steps: s the step that the optimizer takes, H s at its beginning, and
    y(a) = g(w + a s) - g(w) of the same batch for a in FRACTIONS. Series by probe, for each a: cosine_a of
    H s and y(a); length_a = |y(a)| / |a H s|; change_a = |y(a)| / |g(w)|.
    """
    task, net = setting(spec, context.device)
    tuner = make_tuner(spec, net, context)
    weights: list[Tensor] = list(net.parameters())
    every = max(1, spec.steps // PROBES)
    probed: list[int] = []
    found: dict[str, list[float]] = {}
    for t in range(spec.steps):
        batch = task.batch(spec.seed, t)
        loss = partial(mean_loss, net, batch)
        probe = t % every == every - 1
        before = [w.detach().clone() for w in weights] if probe else []
        try:
            tuner.step(loss)
        except Diverged:
            return Outcome(status=f"diverged at step {t}")
        if not probe:
            continue
        after = [w.detach().clone() for w in weights]
        step = [x - y for x, y in zip(after, before, strict=True)]
        probed.append(t)
        for name, value in _compared(loss, weights, before, step).items():
            found.setdefault(name, []).append(value)
        _write(weights, after)
    return Outcome(
        status="finished",
        series={name: Series(values, probed) for name, values in found.items()},
        metrics=finals(net, task),
        cost={"plain_steps": float(spec.steps)},
    )


def _compared(
    loss: Callable[[], Tensor], weights: list[Tensor], before: list[Tensor], step: list[Tensor]
) -> dict[str, float]:
    """The figures of one probe; leaves the buffers alone and the weights somewhere along the step."""
    with BufferGuard() as guard:
        _write(weights, before)
        grads = [g for g in gradient(loss(), weights, create_graph=True) if g is not None]
        curved = product(grads, weights, step)
        g = [x.detach() for x in grads]
        figures = {}
        for a in FRACTIONS:
            _write(weights, [w + a * s for w, s in zip(before, step, strict=True)])
            there = [x for x in gradient(loss(), weights) if x is not None]
            change = [x - y for x, y in zip(there, g, strict=True)]
            length, curved_length = _norm(change), _norm(curved)
            figures[f"cosine_{a:g}"] = float(dot(change, curved)) / (length * curved_length)
            figures[f"length_{a:g}"] = length / (a * curved_length)
            figures[f"change_{a:g}"] = length / _norm(g)
    guard.restore()
    return figures


def _norm(x: list[Tensor]) -> float:
    return math.sqrt(float(dot(x, x)))


@torch.no_grad()
def _write(weights: list[Tensor], values: list[Tensor]) -> None:
    for w, x in zip(weights, values, strict=True):
        w.copy_(x)
