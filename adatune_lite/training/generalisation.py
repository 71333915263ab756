"""The run function of generalisation: training loss, its gap to the test loss, width of the minimum."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

from torch import nn

from adatune_lite.engine.eigenvalue import top_eigenvalue
from adatune_lite.tasks.data import Batch
from adatune_lite.tasks.spec import pairs
from adatune_lite.training.context import Context
from adatune_lite.training.functions import follow, outcome_of, outer_batches, setting
from adatune_lite.training.loop import evaluate, mean_loss
from adatune_lite.training.methods import make_tuner
from adatune_lite.training.outcome import Outcome, Series
from adatune_lite.training.spec import RunSpec

CHUNK = 500
"""Images of one graph of the Hessian."""


def generalisation(spec: RunSpec, context: Context) -> Outcome:
    """A `training`, and how it generalises.

    Settings: those of `training`; eigenvalue_images: training images for the Hessian of the final loss
    (default 0: none). Further series: validation_accuracy. Further metrics: train_loss and train_accuracy on
    the whole training part in evaluation mode; top_eigenvalue, the largest eigenvalue of that Hessian.
    """
    settings = dict(spec.settings)
    images = int(settings.pop("eigenvalue_images", 0))
    plain = replace(spec, settings=pairs(settings))
    task, net = setting(plain, context.device)
    tuner = make_tuner(plain, net, context)
    trace = follow(plain, context, task, net, tuner, outer_batches(plain, task))
    outcome = outcome_of(trace, net, task, tuner)
    accuracy = Series(trace.validation_accuracy, trace.observed)
    outcome.series = {**outcome.series, "validation_accuracy": accuracy}
    if outcome.status == "finished":
        x, y = task.training()
        loss, percent = evaluate(net, (x, y))
        outcome.metrics = {**outcome.metrics, "train_loss": loss, "train_accuracy": percent}
        if images:
            width = _top_eigenvalue(net, (x[:images], y[:images]))
            outcome.metrics = {**outcome.metrics, "top_eigenvalue": width}
    return outcome


def _top_eigenvalue(net: nn.Module, batch: Batch) -> float:
    """Of the Hessian of the mean loss over a batch, in evaluation mode."""
    parts = list(zip(*(part.split(CHUNK) for part in batch), strict=True))
    net.eval()
    try:
        losses = [partial(mean_loss, net, part) for part in parts]
        return top_eigenvalue(losses, list(net.parameters()), [len(y) for _, y in parts]).value
    finally:
        net.train()


RUN_FUNCTIONS: dict[str, Callable[[RunSpec, Context], Outcome]] = {"generalisation": generalisation}
