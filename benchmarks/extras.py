"""What AutoLR's decisions and an eigenvalue cost, in plain training steps.

AutoLR in explore decides once in 1000 steps on a superbatch of 100 mini-batches (50 in the lean setting).
Here each step decides, on PART of these mini-batches, beside a step of the same loop at a constant rate; the
cost is proportional to the mini-batches, so

    overhead = (ratio of a step with its decision to one without - 1) (superbatch / PART) / 1000.

What does not grow with the superbatch, copies of the weights, counts too often in this. The paper's width
matters: in a narrow network the forward pass is a larger part of a step. "In passes" is what
AutoLR counts itself: a forward pass without gradient is a third of a step (AutoLR, Appendix C).
"""

from __future__ import annotations

import statistics
from collections.abc import Callable
from functools import partial

import adatune_lite as al
from adatune_lite.tasks.data import Batch
from adatune_lite.tasks.spec import TaskSpec
from adatune_lite.training.loop import mean_loss, train
from adatune_lite.training.making import superbatches
from benchmarks.loops import LR, MOST_STEPS, Onwards, ours, start
from benchmarks.measure import Row, median_interval, ratios, seconds

WINDOW = 1000
PART = 1
SETTINGS = (("AutoLR explore", 5, 100, 17.0), ("AutoLR explore, lean", 3, 50, 6.0))
"""Samples, mini-batches of a superbatch, and the most percent of a training that they may cost."""

CONV4 = TaskSpec("mnist5k", train=4000, validation=1, test=1, model="conv4", batch=128)
TRAINED = 62
IMAGES, CHUNK = 1000, 500
REPEATS = 3


def deciding(spec: TaskSpec, samples: int) -> tuple[Callable[[], object], al.AutoLR]:
    """One step that ends with a decision on PART mini-batches, and its tuner."""
    task, net, optimizer = start(spec)
    optimizer.param_groups[0]["lr"] = 1e-4  # it rises by up to a fifth at each decision
    length = MOST_STEPS
    tuner = al.AutoLR(optimizer, length, window=1, samples=samples, superbatch=PART, total_steps=length)
    look, data = superbatches(task, 0, PART), Onwards(task)
    return lambda: train(net, tuner, data, seed=0, steps=1, look=look), tuner


def autolr_rows(spec: TaskSpec, pairs: int) -> list[Row]:
    """Overhead of explore in percent of a plain training, by the clock and in passes."""
    rows = []
    for name, samples, batches, target in SETTINGS:
        work, tuner = deciding(spec, samples)
        found = median_interval(ratios(ours(spec, 1), work, pairs))
        part = batches / PART / WINDOW
        percent = [100 * (ratio - 1) * part for ratio in found]
        note = f"{samples} samples x {batches} batches each {WINDOW} steps"
        where = f"ResNet-18, width {spec.width:g}; {PART} of them measured, {pairs} pairs"
        rows.append(Row(name, *percent, target, "% of a training", f"{note}; {where}"))
        passes = 100 * tuner.extra_passes / len(tuner.log) * part
        rows.append(Row(f"{name}, in passes", passes, passes, passes, target, "% of a training", note))
    return rows


def eigenvalue_rows(spec: TaskSpec = CONV4, images: int = IMAGES) -> list[Row]:
    """Products and time of `top_eigenvalue` after TRAINED steps, REPEATS times in turn with plain steps."""
    task, net, optimizer = start(spec)
    train(net, al.FixedSchedule(optimizer, [LR] * TRAINED), task, seed=0, steps=TRAINED)
    x, y = (part[:images] for part in task.training())
    parts: list[Batch] = list(zip(x.split(CHUNK), y.split(CHUNK), strict=True))
    losses, counts = [partial(mean_loss, net, part) for part in parts], [len(y) for _, y in parts]
    weights, found = list(net.parameters()), []

    def search() -> None:
        found.append(al.top_eigenvalue(losses, weights, counts))

    plain = ours(spec, 10)
    times = [10 / seconds(plain) * seconds(search) for _ in range(REPEATS)]
    what, products = f"top eigenvalue, {spec.model}", found[-1].products
    note = f"{images} images, after {TRAINED} steps"
    each = f"{statistics.median(times) / products:.1f} for each product"
    return [
        Row(what, products, products, products, None, "products", note),
        Row(what, statistics.median(times), min(times), max(times), None, "plain steps", f"{note}; {each}"),
    ]
