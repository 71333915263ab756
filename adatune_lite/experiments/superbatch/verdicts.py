"""The tests of claims about AutoLR's superbatch, as they were registered, on the records of experiment 04.

How their texts are read where they leave something open, decided before any run on real data was made:

- Every optimizer and network that the claim's data set has must pass; the statistic is that of the worst.
- autolr.fig7.*: the slope as measured, without the correction for draws without repetition; mean and
  interval over seeds.
- autolr.appb.size100_enough: tasks with at least four times 100 mini-batches measured. Of 200 the ratio of
  the two spreads is 1.73 whatever the loss, since two draws of 100 share half of their mini-batches.
- autolr.appc.three_samples, autolr.s22.same_superbatch: at 100 mini-batches, changes of the rate within
  AutoLR's bounds; the median is over the measured steps of all seeds.
- autolr.appc.cost_bound: forward passes as counted in the runs, a third of a step each, for 5 samples of 100
  mini-batches in a window of 1000 steps. A count, no measured time.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import numpy as np

from adatune_lite.claims import Claim, Finding, judge
from adatune_lite.claims.kinds import Limit, bounded, hashes, limits
from adatune_lite.experiments.autolr_records import printed
from adatune_lite.experiments.superbatch.reading import Results, counted, median, sizes, slope, spread, values
from adatune_lite.report.groups import Key
from adatune_lite.report.statistics import Interval, mean_interval, mean_less
from adatune_lite.runs.record import Record

SIZES = (1, 2, 5, 10, 20, 50, 100)
STEEPEST, FLATTEST = -0.65, -0.35
RATIO, SPREAD = 1.6, 0.05
DIFFERENCE, AGREE = 0.1, 0.95
COMMON = math.nextafter(0.5, 0)
"""The largest number below 0.5."""
MARGIN = 0.1
"""Percentage points; the claim's margin is a text."""


def _planned(results: Results, dataset: str = "", least: int = 0) -> dict[str, Key]:
    """The groups that the profile has, on a data set if it is named. least: mini-batches measured."""
    return {
        group.name: key
        for key, group in results.groups.items()
        if group.specs and dataset in ("", key[0]) and group.specs[0].get("superbatch") >= least
    }


def _slopes(record: Record) -> tuple[float, float] | None:
    """As measured and corrected, over the registered sizes."""
    if SIZES[-1] not in sizes(record):
        return None
    return slope(record, SIZES, corrected=False), slope(record, SIZES)


_NOISE = Limit(
    _slopes,
    level=lambda runs: (mean_interval([measured for measured, _ in runs]), np.mean([c for _, c in runs])),
    holds=lambda level: STEEPEST <= level[0].mean <= FLATTEST and level[0].high < 0,
    against=lambda runs: mean_less([-measured for measured, _ in runs], -FLATTEST),
    form=lambda level: f"{level[0].text(2)} (corrected {level[1]:.2f})",
    worst=partial(max, key=lambda level: abs(level[0].mean + 0.5)),
)


def _steepest(found: Interval, _: float) -> dict[str, float]:
    return {"slope": found.mean, "low": found.low, "high": found.high}


for _claim, _dataset in (("autolr.fig7.noise_cifar10", "cifar10"), ("autolr.fig7.noise_mnist", "mnist")):
    limits(
        _claim,
        partial(_planned, dataset=_dataset),
        {"slope": _NOISE},
        "Slope, mean over seeds",
        lambda found: _steepest(*_NOISE.worst(found["slope"].level.values())),
        lacks="100 mini-batches",
    )


def _ratio(record: Record) -> float | None:
    """Of the spreads of 50 and of 100 mini-batches, the median."""
    return median(spread([record], 50) / spread([record], 100)) if _large(record) else None


def _variation(record: Record) -> float | None:
    """The relative spread of 100 mini-batches, the median."""
    return median(spread([record], 100)) if _large(record) else None


def _large(record: Record) -> bool:
    return bool(record.spec.get("superbatch") >= 400)


limits(
    "autolr.appb.size100_enough",
    lambda results: _planned(results, least=400) or _planned(results),
    {
        "ratio": bounded(_ratio, np.median, float, most=RATIO, form="{:.2f}"),
        "variation": bounded(_variation, np.median, float, most=SPREAD, form="{:.3f}"),
    },
    "Spread of 50 over that of 100 mini-batches, and spread over loss at 100",
    lacks="four times 100 mini-batches",
)


def _at_100(name: str) -> Callable[[Record], np.ndarray | None]:
    return lambda record: values([record], name, 100) if 100 in sizes(record) else None


def _pooled(runs: list[np.ndarray]) -> float:
    return median(np.concatenate(runs))


def _share(runs: list[np.ndarray]) -> float:
    return float(np.mean([run.mean() for run in runs]))


limits(
    "autolr.appc.three_samples",
    _planned,
    {
        "difference": bounded(_at_100("samples_difference"), _pooled, median, most=DIFFERENCE, form="{:.4f}"),
        "agreement": bounded(_at_100("samples_agree"), _share, np.mean, least=AGREE, form="{:.1%}"),
    },
    "Median relative difference and share of equal directions",
    lacks="100 mini-batches",
)
limits(
    "autolr.s22.same_superbatch",
    _planned,
    {"ratio": bounded(_at_100("variance_ratio"), _pooled, median, most=COMMON, form="{:.2g}")},
    "Median ratio of the variances",
    lacks="100 mini-batches",
)


@judge("autolr.appc.cost_bound")
def cost_bound(claim: Claim, results: Results) -> Finding:
    """5 samples of 100 mini-batches in a window of 1000 steps, at the price that the runs counted."""
    records = [record for row in results.measured for record in row.records]
    if not records:
        return Finding()
    ours, theirs = 100 * 500 * counted(records) / 1000, printed(claim.id)
    meets = abs(ours - theirs) <= MARGIN
    return Finding(
        passes=meets,
        opposite=not meets,
        statistic={"percent": ours, "printed": theirs},
        seeds=len({r.spec.seed for r in records}),
        why=f"Forward passes, each booked as a third of a step: {ours:.2f} % of training, printed "
        f"{theirs:g} %. A check of their count, no measured time: that is what `make bench` gives.",
        runs=hashes(records),
    )
