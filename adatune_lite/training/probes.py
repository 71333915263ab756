"""Run functions that look along the steps of a training: how quadratic the loss is, how large a superbatch.

Both train along one of the schedules and measure at `probes` steps, evenly spaced, the last step among them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from statistics import fmean

import numpy as np
from torch import nn

from adatune_lite.schedules import schedule
from adatune_lite.tasks.data import Batch, ImageTask
from adatune_lite.tasks.spec import SpecError
from adatune_lite.training.context import Context
from adatune_lite.training.functions import setting
from adatune_lite.training.line import Line, LineProbe, Measure
from adatune_lite.training.loop import Trace, train
from adatune_lite.training.making import make_optimizer, method_settings, superbatches
from adatune_lite.training.outcome import Outcome, Series
from adatune_lite.training.quadratic import FAR, GRID, SAMPLES, bound, minimum, move
from adatune_lite.training.registry import Setting, run_function
from adatune_lite.training.spec import RunSpec
from adatune_lite.tuners.autolr.fit import fit_parabola, positions

SIZES = (1, 2, 5, 10, 20, 50, 100, 200)
"""Mini-batches of the superbatches that are compared; those up to half of the mini-batches measured."""


PROBES = Setting("probes", int, "steps that are measured, evenly spaced", 10, least=1)
DECIDES = (
    *("training/line.py", "training/quadratic.py", "schedules.py", "engine/hypergradient.py"),
    *("tuners/autolr/checks.py", "tuners/autolr/fit.py", "tuners/snapshot.py"),
)


@run_function(
    "quadratic_fit",
    methods=("schedule",),
    unread=("momentum_low", "momentum_high", "explore"),
    settings=(PROBES, Setting("superbatch", int, "mini-batches of a loss", 100, least=1)),
    metrics=("validation_loss",),
    resumable=True,
    decides=DECIDES,
)
def quadratic_fit(spec: RunSpec, context: Context) -> Outcome:
    """Losses along the optimizer's own steps, for figures of AutoLR's parabola.

    Each probe has a superbatch of its own. Series: "line S", the losses of the step that ends at S, on
    `GRID`; fit_minimum, where the parabola through the five samples is lowest (in units of the rate), and
    loss_at_minimum, the true loss there, NaN without minimum or beyond `FAR`; probe_lr, the rates of those
    steps.
    """

    def measure(step: int, line: Line) -> dict[str, list[float]]:
        losses = [line.losses(u, [step])[0] for u in GRID]
        sampled = [losses[GRID.index(u)] for u in SAMPLES]
        lowest = minimum(fit_parabola(SAMPLES, sampled)) if np.isfinite(sampled).all() else math.nan
        there = line.losses(lowest, [step]) if abs(lowest) <= FAR else [math.nan]
        return {"line": losses, "minimum": [lowest], "loss_at_minimum": there}

    task, net = setting(spec, context.device)
    look = superbatches(task, spec.seed, int(spec.get("superbatch")))
    tuner, trace = _probed(spec, context, task, net, measure, look)
    found = tuner.found
    return _outcome(
        trace,
        {
            **{f"line {s}": found[s]["line"] for s in found},
            "fit_minimum": Series([found[s]["minimum"][0] for s in found], list(found)),
            "loss_at_minimum": Series([found[s]["loss_at_minimum"][0] for s in found], list(found)),
            "probe_lr": Series([tuner.schedule[s - 1] for s in found], list(found)),
        },
    )


@run_function(
    "superbatch_size",
    methods=("schedule",),
    unread=("momentum_low", "momentum_high", "explore"),
    settings=(
        PROBES,
        Setting("superbatch", int, "mini-batches measured at each probe, all of them the reference", least=1),
        Setting("draws", int, "superbatches drawn from those for each size", 50, least=2),
        Setting(
            "epsilon_threshold", float, "r of AutoLR's bound (False: none)", 1e-3, above=0, words=(False,)
        ),
    ),
    metrics=("validation_loss",),
    resumable=True,
    decides=DECIDES,
)
def superbatch_size(spec: RunSpec, context: Context) -> Outcome:
    """What AutoLR would decide from superbatches of several sizes, at the same steps.

    A change of the rate, the "move", is in units of the rate. Series over the probes: probe_lr; loss and move
    of the reference; move_3, its move from 3 samples; and those of `compare` as "name S" for superbatches of
    S mini-batches.
    """
    task, net = setting(spec, context.device)
    count, draws = int(spec.get("superbatch")), int(spec.get("draws"))
    threshold = spec.get("epsilon_threshold") or None
    batches = list(superbatches(task, spec.seed, count)(0))

    def measure(step: int, line: Line) -> dict[str, list[float]]:
        middle = line.losses(0.0, range(count))
        most = bound(line.lr, fmean(middle), threshold)
        places = positions(1.0, most, 5)
        losses = np.array([middle if u == 0 else line.losses(u, range(count)) for u in places])
        found = {
            "probe_lr": line.lr,
            "loss": fmean(middle),
            "move": move(places, list(losses.mean(1)), most),
            "move_3": move(places[::2], list(losses[::2].mean(1)), most),
        }
        for size in (s for s in SIZES if 2 * s <= count):
            generator = np.random.default_rng([spec.seed, step, size])
            compared = compare(losses, places, most, size, draws, generator)
            found |= {f"{name} {size}": value for name, value in compared.items()}
        return {name: [value] for name, value in found.items()}

    tuner, trace = _probed(spec, context, task, net, measure, lambda k: [batches[k]])
    found = tuner.found
    names = next(iter(found.values()), {})
    return _outcome(trace, {n: Series([found[s][n][0] for s in found], list(found)) for n in names})


def compare(
    losses: np.ndarray, u: Sequence[float], most: float, size: int, draws: int, generator: np.random.Generator
) -> dict[str, float]:
    """Decisions from `draws` superbatches of `size` mini-batches against that from all of them.

    losses: [5, mini-batches], at the positions u. A superbatch holds no mini-batch twice.

    loss_std: spread of the loss at u = 0. agree_5, agree_3: share of the draws whose move from 5 or 3 samples
    has the sign of the reference's; error_5, error_3: median distance of their moves to it.
    samples_agree, samples_difference: 3 samples against 5 of the same draw, as share of equal signs and
    median of |move_3 - move_5| / |move_5|. variance_ratio: variance of the moves over that with a superbatch
    of its own for every sample; NaN where that is 0.
    """

    def drawn() -> np.ndarray:
        return generator.choice(losses.shape[1], size, replace=False)

    def moves(sampled: Sequence[np.ndarray], stride: int = 1) -> np.ndarray:
        return np.array([move(u[::stride], list(s[::stride]), most) for s in sampled])

    reference = move(u, list(losses.mean(1)), most)
    common = [losses[:, drawn()].mean(1) for _ in range(draws)]
    apart = moves([np.array([row[drawn()].mean() for row in losses]) for _ in range(draws)])
    five, three = moves(common), moves(common, 2)
    moved = five != 0
    return {
        "loss_std": float(np.std([s[2] for s in common], ddof=1)),
        "agree_5": float(np.mean(np.sign(five) == np.sign(reference))),
        "agree_3": float(np.mean(np.sign(three) == np.sign(reference))),
        "error_5": float(np.median(np.abs(five - reference))),
        "error_3": float(np.median(np.abs(three - reference))),
        "samples_agree": float(np.mean(np.sign(three) == np.sign(five))),
        "samples_difference": (
            float(np.median(np.abs(three - five)[moved] / np.abs(five[moved]))) if moved.any() else math.nan
        ),
        "variance_ratio": float(five.var() / apart.var()) if apart.var() > 0 else math.nan,
    }


def _probed(
    spec: RunSpec,
    context: Context,
    task: ImageTask,
    net: nn.Module,
    measure: Measure,
    look: Callable[[int], Iterable[Batch]],
) -> tuple[LineProbe, Trace]:
    probes = int(spec.get("probes"))
    if probes > spec.steps:
        raise SpecError(f"probes must be at most the training's {spec.steps} steps, not {probes}")
    rates = schedule(spec.method, spec.steps, **method_settings(spec))
    at = [round((i + 1) * spec.steps / probes) for i in range(probes)]
    tuner = LineProbe(make_optimizer(spec, net, float(rates[0])), rates, at, measure)
    trace = train(
        net,
        tuner,
        task,
        seed=spec.seed,
        steps=spec.steps,
        look=look,
        report=context.report,
        keeper=context,
    )
    return tuner, trace


def _outcome(trace: Trace, measured: Mapping[str, Sequence[float] | Series]) -> Outcome:
    finished = trace.status == "finished"
    return Outcome(
        status=trace.status,
        series={"lr": trace.lr, "train_loss": trace.train_loss, **measured},
        metrics={"validation_loss": trace.validation_loss[-1]} if finished else {},
        cost={
            "plain_steps": trace.plain_steps,
            "look_steps": trace.look_steps,
            "training_seconds": trace.seconds,
        },
    )
