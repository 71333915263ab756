"""Run functions: from a RunSpec to its Outcome. Any experiment may use them; they know none."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import torch
from torch import nn

from adatune_lite.tasks import models
from adatune_lite.tasks.data import Batch, ImageTask, image_task
from adatune_lite.training import registry
from adatune_lite.training.context import Context
from adatune_lite.training.loop import Trace, evaluate, train
from adatune_lite.training.making import looks, make_tuner
from adatune_lite.training.outcome import Floats, Outcome, Series
from adatune_lite.training.registry import Setting, run_function
from adatune_lite.training.spec import RunSpec
from adatune_lite.tuners import Tuner

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
    # makes convolutions 1.4 times faster on a CPU
    return task, net.to(device, dtype).to(memory_format=torch.channels_last)


FINALS = ("validation_loss", "validation_accuracy", "test_loss", "test_accuracy")


def finals(net: nn.Module, task: ImageTask) -> dict[str, float]:
    """Loss and accuracy on the validation and test parts."""
    validation, test = evaluate(net, task.validation()), evaluate(net, task.test())
    return {
        "validation_loss": validation[0],
        "validation_accuracy": validation[1],
        "test_loss": test[0],
        "test_accuracy": test[1],
    }


def trace_series(spec: RunSpec, trace: Trace) -> dict[str, Floats | Series]:
    """The series of a training's record: those of its run function, and what the spec keeps besides."""
    observed = (*(registry.function(spec.function).observes or ()), *spec.keep)
    return {
        "lr": trace.lr,
        "train_loss": trace.train_loss,
        "hypergradient": trace.hypergradient,
        **{name: Series(getattr(trace, name), trace.observed, whole=True) for name in observed},
    }


def observing(spec: RunSpec, task: ImageTask) -> dict[str, Any]:
    """What `train` observes of a run: arguments of it."""
    first = [part[: spec.test_images] for part in task.test()] if spec.test_images else None
    return {"observations": spec.observations, "test": first}


STOP_AFTER = Setting(
    "stop_after",
    int,
    "steps without a better validation accuracy after which the training ends (never)",
    None,
    least=1,
)


@run_function(
    "training",
    methods=("schedule", "replay", "tuner"),
    settings=(STOP_AFTER,),
    observes=("validation_loss",),
    metrics=FINALS,
    resumable=True,
    counted=True,
)
def training(spec: RunSpec, context: Context) -> Outcome:
    """One training along a schedule or with an online tuner.

    E is the validation loss after the last step, wherever that is. Looks of AutoLR cost `look_steps`, a part
    of `plain_steps`.
    """
    task, net = setting(spec, context.device)
    tuner = make_tuner(spec, net, context)
    return trained(spec, context, task, net, tuner, outer_batches(spec, task))


def outer_batches(spec: RunSpec, task: ImageTask) -> Callable[[int], Batch] | None:
    """The batch of the outer loss at step t of the online tuners that take its gradient."""
    if registry.method(spec.method).outer != "gradient":
        return None
    size = int(spec.get("outer_batch") or 0)
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
    return outcome_of(spec, follow(spec, context, task, net, tuner, outer), net, task, tuner)


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
        **observing(spec, task),
        stop_after=int(dict(spec.settings).get(STOP_AFTER.name, 0)),
        report=context.report,
        keeper=context,
    )


def outcome_of(spec: RunSpec, trace: Trace, net: nn.Module, task: ImageTask, tuner: Tuner) -> Outcome:
    """What a training leaves behind, and what the tuner does."""
    own = {name: Series(values, steps) for name, (steps, values) in tuner.series().items()}
    cost = {name: getattr(trace, name) for name in tuner.costs}
    return Outcome(
        status=trace.status,
        series={**trace_series(spec, trace), **own},
        metrics={**(finals(net, task) if trace.status == "finished" else {}), **tuner.metrics()},
        cost={**cost, "training_seconds": trace.seconds},
    )
