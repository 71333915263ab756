"""The run function of the learning-rate range test: the losses at growing rates, and both readings."""

from __future__ import annotations

from adatune_lite.training.context import Context
from adatune_lite.training.functions import setting
from adatune_lite.training.loop import mean_loss
from adatune_lite.training.making import make_optimizer
from adatune_lite.training.outcome import Outcome
from adatune_lite.training.registry import Setting, run_function
from adatune_lite.training.spec import RunSpec
from adatune_lite.tuning.lr_range import lr_range_test


@run_function(
    "lr_range",
    methods=("lr_range",),
    settings=(
        Setting("lr_min", float, "the first rate", above=0),
        Setting("lr_max", float, "the last rate", above=0),
    ),
    metrics=("minimum", "tenth", "exploded", "at_edge"),
    decides=("tuning/lr_range.py", "tuning/rewind.py", "tuners/snapshot.py"),
)
def lr_range(spec: RunSpec, context: Context) -> Outcome:
    """`lr_range_test` on the first batches of a training, from its initial weights.

    steps: rates that are tried, at most 128 for a record that keeps the loss at each. Series: lr, train_loss
    (smoothed). Metrics: minimum and tenth, the two readings; exploded and at_edge, 1 where the loss exploded
    before the last rate, or never turned.
    """
    task, net = setting(spec, context.device)
    found = lr_range_test(
        make_optimizer(spec, net, float(spec.get("lr_min"))),
        lambda t: mean_loss(net, task.batch(spec.seed, t)),
        lr_min=float(spec.get("lr_min")),
        lr_max=float(spec.get("lr_max")),
        steps=spec.steps,
    )
    return Outcome(
        status="finished",
        series={"lr": found.lr, "train_loss": found.loss},
        metrics={
            "minimum": found.minimum,
            "tenth": found.tenth,
            "exploded": float(found.exploded),
            "at_edge": float(found.at_edge),
        },
        # Where the loss exploded, a forward pass more has told so.
        cost={"plain_steps": len(found.lr) + found.exploded / 3},
    )
