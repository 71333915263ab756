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
from typing import Any

from adatune_lite.claims import ALPHA, Claim, Finding, judge
from adatune_lite.claims.kinds import Family, difference, hashes
from adatune_lite.experiments.autolr_records import accuracies, accuracy, printed, train_loss
from adatune_lite.experiments.autolr_vs_schedules.groups import DEFAULT
from adatune_lite.experiments.autolr_vs_schedules.reading import Results
from adatune_lite.experiments.autolr_vs_schedules.verdicts.printed import TABLE_7
from adatune_lite.report.association import exact_spearman, kendall
from adatune_lite.report.data import from_copy
from adatune_lite.report.lost import E, diverged_as_guessing
from adatune_lite.report.statistics import mean_interval, paired
from adatune_lite.report.tables import signed, values_of

WITHIN = 2.0
"""The factor of fig8.lr_range_cifar10."""


TABLE_7_TESTS = Family()


def _order(results: Results) -> tuple[list[float], list[float]]:
    """Printed and measured mean accuracies of the schedules of Table 7."""
    ours = {m: fmean(accuracies(records).values()) for m, records in results.by("table 7").items()}
    return [printed(TABLE_7[method]) for method in ours], list(ours.values())


def _rank(results: Results) -> tuple[float, float] | None:
    if not all(results.by("table 7").values()):
        return None
    found = kendall(*_order(results))
    return found.greater, found.less


TABLE_7_TESTS.add("autolr.t7.rank_cifar", _rank)


@judge("autolr.t7.rank_cifar")
def rank_cifar(claim: Claim, results: Results) -> Finding:
    """Kendall's tau between the printed order of seven schedules and ours."""
    held = results.by("table 7")
    missing = tuple(method for method, records in held.items() if not records)
    runs = hashes(*held.values()) if _on_cifar10(results) else ()
    if missing or not runs:
        return Finding(missing=missing, runs=runs)
    printed_order, ours = _order(results)
    tau = kendall(printed_order, ours).rho
    p, opposite = TABLE_7_TESTS.adjusted(results)[claim.id]
    flips = [
        f"{a} and {b}"
        for (a, x, u), (b, y, v) in combinations(zip(held, printed_order, ours, strict=True), 2)
        if (x - y) * (u - v) < 0
    ]
    return Finding(
        passes=tau > 0 and p < ALPHA,
        opposite=opposite < ALPHA,
        statistic={"tau": tau, "p": p},
        seeds=min(map(len, held.values())),
        why=f"tau = {tau:+.2f}, p = {p:.2g} after Holm; in the other order: {', '.join(flips) or 'none'}.",
        runs=runs,
    )


def _on_cifar10(results: Any) -> bool:
    return bool(results.scale.main.dataset == "cifar10")


difference(
    "autolr.t7.onecycle_tuning.cifar10",
    ("tuned", "one_cycle_linear"),
    ("one-cycle", DEFAULT),
    accuracy,
    what="Tuned minus default",
    family=TABLE_7_TESTS,
    where=_on_cifar10,
)


@judge("autolr.t9.trainloss_vs_acc")
def loss_against_accuracy(_: Claim, results: Results) -> Finding:
    """Rank correlation of mean training loss and mean accuracy over the six schedules of Table 9."""
    every = results.by("table 7").items()
    held = {m: [r for r in records if r.finished] for m, records in every if m != "staircase"}
    missing = tuple(m for m, records in held.items() if not records)
    runs = hashes(*held.values())
    if missing:
        return Finding(missing=missing, runs=runs)
    sides = ([fmean(values_of(held[m], of)) for m in held] for of in (train_loss, accuracy))
    found = exact_spearman(*sides)
    return Finding(
        passes=found.rho > 0,
        opposite=found.less < ALPHA,
        statistic={"rho": found.rho, "p": found.greater},
        seeds=min(map(len, held.values())),
        why=f"rho = {found.rho:+.2f} over {len(held)} schedules, exact p = {found.greater:.2g} that it is "
        "above 0.",
        runs=runs,
    )


@judge("autolr.fig8.near_minimum_better")
def near_minimum_better(_: Claim, results: Results) -> Finding:
    """One-cycle near the minimum of the range test minus one-cycle at a tenth of it."""
    sides = results["one-cycle", "near"], results["one-cycle", DEFAULT]
    runs, trials = hashes(*sides), results["fractions", "default"]
    near = results.choice("fractions", "near")
    pair = paired(*map(accuracies, sides))
    if near is None or results.minimum is None or pair is None or not trials:
        return Finding(missing=("one-cycle at fractions of the minimum",), runs=runs)
    fraction = float(dict(near.settings)["lr"]) / results.minimum
    better = near.mean_loss < fmean(map(diverged_as_guessing(E), trials))
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
def lowest_loss(claim: Claim, results: Results) -> Finding:
    """The rate at the range test's lowest loss on CIFAR-10."""
    records = results["range", "t4"]
    if not records:
        return Finding()
    known = printed(claim.id)
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
