"""The tests of what AutoLR's paper says of other schedules (Tables 7, 9, Figure 8), on experiment 06.

How their texts are read where they leave something open, decided before any desk run was made:

- Statements that name CIFAR-10 are judged by runs on CIFAR-10 alone; the others by the main task of the
  profile. The schedules have their printed rates where the profile has such runs (`paper`); elsewhere they
  are those of (b), each with its searched rate, and one-cycle's default of (e).
- t7.onecycle_tuning.cifar10: the searched rate of (b) against the default of the range test, as in (e).
- The order of Table 7 and its comparison of one-cycle with itself are one family: Holm, in each direction.
- t9.trainloss_vs_acc: a claim about a sign; contradicted where the exact p of a rank correlation below 0 is
  under 0.05. Diverged runs have no training loss.
- fig8.near_minimum_better: the best fraction is that of the lowest mean validation loss on the tuning seeds.
  Passed, it has to beat the default there, and in test accuracy on the reporting seeds.
- fig8.lr_range_cifar10: the 95 % interval of the geometric mean over seeds meets the printed rate within the
  factor.
"""

from __future__ import annotations

import math
from itertools import combinations
from statistics import fmean

import numpy as np

from adatune_lite.claims import ALPHA, Claim, Finding, judge
from adatune_lite.experiments.autolr_records import (
    absolute_finding,
    accuracies,
    accuracy,
    from_copy,
    hashes,
    printed_value,
    signed,
)
from adatune_lite.experiments.autolr_vs_schedules import DEFAULT
from adatune_lite.experiments.autolr_vs_schedules.reading import Results
from adatune_lite.report.search import final_loss
from adatune_lite.report.statistics import Paired, holm_both_ways, mean_interval, paired
from adatune_lite.runs.record import Record

TABLE_9 = {
    "trapezoid": "t9.trapezoid",
    DEFAULT: "t9.onecycle_default",
    "one_cycle_linear": "t9.onecycle_tuned",
    "cosine": "t9.cosine",
    "linear": "t9.linear",
}
TABLE_7 = {**TABLE_9, "autolr": "t4.momentum.autolr", "staircase": "t4.momentum.baseline"}
"""Claims with the printed accuracy of a schedule."""
WITHIN = 2.0
"""The factor of fig8.lr_range_cifar10."""


def schedules(results: Results) -> dict[str, list[Record]]:
    """The schedules of Table 7: at their printed rates, or tuned with one-cycle's default beside them."""
    return results.printed() or {**results.tuned(), DEFAULT: results.default()}


def _printed(method: str, name: str) -> None:
    @judge(f"autolr.{name}")
    def compare(claim: Claim, results: Results) -> Finding:
        """A printed accuracy of Table 9."""
        records = schedules(results).get(method, [])
        return absolute_finding(claim, records, list(map(accuracy, records)))


for _method, _name in TABLE_9.items():
    _printed(_method, _name)


def _order(results: Results) -> tuple[list[float], list[float]]:
    """Printed and measured mean accuracies of the schedules that have runs, in the order of TABLE_7."""
    held = {m: records for m in TABLE_7 if (records := schedules(results).get(m))}
    printed = [printed_value(TABLE_7[m]) for m in held]
    return printed, [fmean(accuracies(records).values()) for records in held.values()]


def _table_7(results: Results) -> dict[str, tuple[float, float]]:
    """p that a statement of Table 7 holds and that its opposite does, after Holm."""
    from scipy import stats

    found: dict[str, tuple[float, float]] = {}
    printed, ours = _order(results)
    if len(ours) == len(TABLE_7):
        above, below = (
            float(stats.kendalltau(printed, ours, alternative=side).pvalue) for side in ("greater", "less")
        )
        found["rank"] = above, below
    if pair := _tuning(results):
        found["tuning"] = pair.greater, pair.less
    return holm_both_ways(found)


def _tuning(results: Results) -> Paired | None:
    """Test accuracy of one-cycle with the searched rate minus that with the default."""
    return paired(*map(accuracies, _sides(results)))


def _sides(results: Results) -> tuple[list[Record], list[Record]]:
    return results.tuned().get("one_cycle_linear", []), results.default()


@judge("autolr.t7.rank_cifar")
def rank_cifar(_: Claim, results: Results) -> Finding:
    """Kendall's tau between the printed order of seven schedules and ours."""
    from scipy import stats

    held = schedules(results)
    missing = tuple(m for m in TABLE_7 if not held.get(m))
    runs = hashes(*(held[m] for m in TABLE_7 if m not in missing))
    if results.scale.main.dataset != "cifar10" or missing:
        return Finding(missing=missing, runs=runs if results.scale.main.dataset == "cifar10" else ())
    printed, ours = _order(results)
    p, opposite = _table_7(results)["rank"]
    tau = float(stats.kendalltau(printed, ours).statistic)
    flips = [
        f"{a} and {b}"
        for (a, x, u), (b, y, v) in combinations(zip(TABLE_7, printed, ours, strict=True), 2)
        if (x - y) * (u - v) < 0
    ]
    return Finding(
        passes=tau > 0 and p < ALPHA,
        opposite=opposite < ALPHA,
        statistic={"tau": tau, "p": p},
        seeds=min(len(held[m]) for m in TABLE_7),
        why=f"tau = {tau:+.2f}, p = {p:.2g} after Holm; in the other order: {', '.join(flips) or 'none'}.",
        runs=runs,
    )


@judge("autolr.t7.onecycle_tuning.cifar10")
def one_cycle_tuning(_: Claim, results: Results) -> Finding:
    """One-cycle with the searched rate minus one-cycle with a tenth of the range test's minimum."""
    if results.scale.main.dataset != "cifar10":
        return Finding()
    pair, runs = _tuning(results), hashes(*_sides(results))
    if pair is None:
        return Finding(missing=("the tuned and the default one-cycle on one seed",), runs=runs)
    p, opposite = _table_7(results)["tuning"]
    return Finding(
        passes=p < ALPHA,
        opposite=opposite < ALPHA,
        statistic={"difference": pair.difference.mean, "p": p},
        seeds=len(pair.seeds),
        why=f"Tuned minus default, points: {signed(pair.difference)}, p = {p:.2g} after Holm.",
        runs=runs,
    )


@judge("autolr.t9.trainloss_vs_acc")
def loss_against_accuracy(_: Claim, results: Results) -> Finding:
    """Rank correlation of mean training loss and mean accuracy over the six schedules of Table 9."""
    from scipy import stats

    names = (*TABLE_9, "autolr")
    held = {m: [r for r in schedules(results).get(m, []) if r.finished] for m in names}
    missing = tuple(m for m, records in held.items() if not records)
    runs = hashes(*held.values())
    if missing:
        return Finding(missing=missing, runs=runs)
    losses = stats.rankdata([fmean(r.metrics["train_loss"] for r in records) for records in held.values()])
    ours = stats.rankdata([fmean(accuracies(records).values()) for records in held.values()])
    rho = float(np.corrcoef(losses, ours)[0, 1])
    greater, less = (
        float(
            stats.permutation_test(
                (losses,),
                lambda x: np.corrcoef(x, ours)[0, 1],
                permutation_type="pairings",
                alternative=side,
                n_resamples=math.inf,
            ).pvalue
        )
        for side in ("greater", "less")
    )
    return Finding(
        passes=rho > 0,
        opposite=less < ALPHA,
        statistic={"rho": rho, "p": greater},
        seeds=min(map(len, held.values())),
        why=f"rho = {rho:+.2f} over {len(held)} schedules, exact p = {greater:.2g} that it is above 0.",
        runs=runs,
    )


@judge("autolr.fig8.near_minimum_better")
def near_minimum_better(_: Claim, results: Results) -> Finding:
    """One-cycle near the minimum of the range test minus one-cycle at a tenth of it."""
    sides = results.near_minimum(), results.default()
    runs, trials, near = hashes(*sides), results.default_trials(), results.near
    pair = paired(*map(accuracies, sides))
    if near is None or results.minimum is None or pair is None or not trials:
        return Finding(missing=("one-cycle at fractions of the minimum",), runs=runs)
    fraction = float(dict(near.settings)["lr"]) / results.minimum
    better = near.mean_loss < fmean(map(final_loss, trials))
    return Finding(
        passes=better and pair.greater < ALPHA,
        opposite=pair.less < ALPHA,
        statistic={"fraction": fraction, "difference": pair.difference.mean, "p": pair.greater},
        seeds=len(pair.seeds),
        why=f"Of the fractions above the default {fraction:.2f} is the best, on the tuning seeds "
        f"{'better' if better else 'worse'} than the default; its accuracy minus the default's, points: "
        f"{signed(pair.difference)}, p = {pair.greater:.2g} that it is above 0.",
        runs=runs,
    )


@judge("autolr.fig8.lr_range_cifar10")
def lowest_loss(_: Claim, results: Results) -> Finding:
    """The rate at the range test's lowest loss on CIFAR-10."""
    tests = results.range_tests()
    records = [r for task, held in tests.items() for r in held if task.dataset == "cifar10"]
    if not records:
        return Finding()
    known = printed_value("fig8.lr_range_cifar10")
    ours = mean_interval([math.log(r.metrics["minimum"] / known) for r in records])
    low, high = (ours.low, ours.high) if ours.n > 1 else (ours.mean, ours.mean)
    meets = low <= math.log(WITHIN) and high >= -math.log(WITHIN)
    rate = known * math.exp(ours.mean)
    return Finding(
        passes=meets,
        opposite=not meets,
        statistic={"rate": rate, "printed": known},
        seeds=len(records),
        why=f"Lowest loss at the rate {rate:.3g} (geometric mean), printed {known:g}, within a factor of "
        f"{WITHIN:g}.",
        missing=("the published images (these runs read a JPEG copy)",) if from_copy(records) else (),
        runs=hashes(records),
    )
