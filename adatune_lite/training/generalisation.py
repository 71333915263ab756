"""The run function of generalisation: training loss, its gap to the test loss, width of the minimum."""

from __future__ import annotations

from functools import partial

from torch import nn

from adatune_lite.engine.eigenvalue import top_eigenvalue
from adatune_lite.tasks.data import Batch
from adatune_lite.training.context import Context
from adatune_lite.training.functions import FINALS, follow, outcome_of, outer_batches, setting
from adatune_lite.training.loop import evaluate, mean_loss
from adatune_lite.training.making import make_tuner
from adatune_lite.training.outcome import Outcome
from adatune_lite.training.registry import Setting, run_function
from adatune_lite.training.spec import RunSpec

CHUNK = 500
"""Images of one graph of the Hessian."""


@run_function(
    "generalisation",
    methods=("schedule", "replay", "tuner"),
    settings=(Setting("eigenvalue_images", int, "images of the final Hessian (0: none)", 0, least=0),),
    observes=("validation_loss", "validation_accuracy"),
    metrics=(*FINALS, "train_loss", "train_accuracy", "top_eigenvalue"),
    resumable=True,
    decides=("engine/eigenvalue.py",),
)
def generalisation(spec: RunSpec, context: Context) -> Outcome:
    """A `training`, and how it generalises.

    Further series: validation_accuracy. Further metrics: train_loss and train_accuracy on
    the whole training part in evaluation mode; top_eigenvalue, the largest eigenvalue of that Hessian.
    """
    images = int(spec.get("eigenvalue_images"))
    task, net = setting(spec, context.device)
    tuner = make_tuner(spec, net, context)
    trace = follow(spec, context, task, net, tuner, outer_batches(spec, task))
    outcome = outcome_of(spec, trace, net, task, tuner)
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
