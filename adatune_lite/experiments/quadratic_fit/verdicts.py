"""The tests of claims about AutoLR's parabola, as they were registered, on the records of experiment 03.

How their texts are read where they leave something open, decided before any run on real data was made; that
of fig1 when the records of the desk profile were there and its outcome was not known:

- autolr.fig5.* name CIFAR-10 and ResNet-18: runs on other tasks do not judge them. Every optimizer must pass
  on every seed's run (quadratic_cifar) or in the median over the recomputations of all seeds (minimum_value).
- autolr.s2.expand_in_eps names no task: the main task of the profile. Recomputations of all seeds together,
  those left out whose trust region holds fewer than 5 held-out points; Holm over the three optimizers.
- autolr.fig1.large_eps_breaks_quadratic: the main task, every optimizer at its seed rate; recomputations of
  all seeds together, Holm over the three optimizers. The bound is AutoLR's own, |eps|^3 < r L and at most
  half of the rate. Read are those whose true loss was measured at both places: the minimum on the grid, and
  the bound on it too, which it is where half of the rate is the narrower bound. Contradicted: the error at
  the bound is the larger one, for every optimizer. A factor between 1 and 3 is undecided. The p values take
  the recomputations of a run as independent, as the registered test does; the factors by run stand beside.
- Figure 6 (ImageNet, IWSLT, SQuAD) has no runs here.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np

from adatune_lite.claims import ALPHA, Claim, Finding, judge
from adatune_lite.claims.kinds import Fitted, bounded, hashes, limits
from adatune_lite.experiments.autolr_tasks import OPTIMIZERS, SHORT, place
from adatune_lite.experiments.quadratic_fit.reading import Probe, Results, inside, outside, probes, quantile
from adatune_lite.report.groups import Key
from adatune_lite.report.statistics import holm
from adatune_lite.runs.record import Record
from adatune_lite.training.quadratic import GRID
from adatune_lite.tuners.autolr.fit import parabola

RECOMPUTATIONS = 50
"""Of one run, at least (claim autolr.fig5.quadratic_cifar)."""
LEAST_R2 = 0.99
TIMES = 3
"""By which the error at a minimum beyond the bound exceeds that at the bound, at least."""
WITHIN, BEYOND = 0.01, 0.05
"""Errors at the minimum that pass, inside the samples and outside."""

Runs = list[list[float]]
"""A number of the probes, run by run, where they have it."""
Pair = tuple[float, float]


def _of_figure_5(results: Results) -> dict[str, Key]:
    """The runs at the seed rate on CIFAR-10 with ResNet-18."""
    at = ("cifar10", "resnet18")
    main = place(results.scale.main) == at
    return {SHORT[o]: ("main", o) if main else ("others", o, *at) for o in OPTIMIZERS}


def _pooled(runs: Runs, q: float = 0.5) -> float:
    return quantile([value for run in runs for value in run], q)


def _median(run: Sequence[float]) -> float:
    return quantile(run, 0.5)


def _r2(record: Record) -> list[float]:
    return [p.five.r2 for p in probes(record) if math.isfinite(p.five.r2)]


def _least_median(runs: Runs) -> float:
    """NaN where a run has too few of them."""
    return min(map(_median, runs)) if all(len(run) >= RECOMPUTATIONS for run in runs) else math.nan


def _told_r2(found: Mapping[str, Fitted]) -> str:
    parts = [
        f"{name} {_pooled(runs):.4f}, 10 % quantile {_pooled(runs, 0.1):.4f}, "
        f"smallest median of a run {_least_median(runs):.4f}"
        for name, runs in found["r2"].values.items()
    ]
    return f"Median held-out R^2: {'; '.join(parts)}."


limits(
    "autolr.fig5.quadratic_cifar",
    _of_figure_5,
    {"r2": bounded(_r2, _least_median, _median, least=LEAST_R2)},
    _told_r2,
    lacks=f"{RECOMPUTATIONS} recomputations of each run",
)


def _error(where: Callable[[Probe], bool]) -> Callable[[Record], list[float]]:
    def of(record: Record) -> list[float]:
        return [p.minimum_error for p in probes(record) if where(p) and math.isfinite(p.minimum_error)]

    return of


def _told_errors(found: Mapping[str, Fitted]) -> str:
    names = found["inside"].level
    parts = [f"{name} {where} {fitted.level[name]:.2%}" for name in names for where, fitted in found.items()]
    return f"Median error at the minimum, relative to the loss: {', '.join(parts)}."


def _worst_error(found: Mapping[str, Fitted]) -> dict[str, float]:
    """In units of what passes."""
    inner, outer = (max(fitted.level.values()) for fitted in found.values())
    return {"error": inner if inner / WITHIN >= outer / BEYOND else outer}


limits(
    "autolr.fig5.minimum_value",
    _of_figure_5,
    {
        "inside": bounded(_error(inside), _pooled, _median, most=WITHIN),
        "outside": bounded(_error(outside), _pooled, _median, most=BEYOND),
    },
    _told_errors,
    _worst_error,
    lacks="a minimum inside the samples and a minimum outside the samples",
)


def _finite(found: Sequence[Probe], pair: Callable[[Probe], Pair]) -> list[Pair]:
    return [both for probe in found if all(map(math.isfinite, both := pair(probe)))]


def _compared(
    results: Results, pair: Callable[[Probe], Pair]
) -> tuple[Finding, dict[str, list[Pair]], dict[str, float]]:
    """Two numbers of each recomputation of the main task by Wilcoxon's signed-rank test.

    Returns the finding so far, the pairs by optimizer, and p that the first is larger, after Holm.
    """
    from scipy import stats

    pairs = {row.optimizer: _finite(row.found, pair) for row in results.main}
    runs = hashes(*(row.records for row in results.main))
    if missing := tuple(name for name, found in pairs.items() if not found):
        return Finding(missing=missing, runs=runs), {}, {}

    def p(side: str) -> dict[str, float]:
        gaps = [[a - b for a, b in found] for found in pairs.values()]
        # Without any difference there is nothing to rank: p is 1.
        values = [float(stats.wilcoxon(g, alternative=side).pvalue) if any(g) else 1.0 for g in gaps]
        return dict(zip(pairs, holm(values), strict=True))

    above = p("greater")
    finding = Finding(
        passes=max(above.values()) < ALPHA,
        opposite=max(p("less").values()) < ALPHA,
        seeds=min(len(row.records) for row in results.main),
        runs=runs,
    )
    return finding, pairs, above


@judge("autolr.s2.expand_in_eps")
def expand_in_eps(_: Claim, results: Results) -> Finding:
    """The two held-out R^2, recomputation by recomputation."""
    found, pairs, p = _compared(results, lambda probe: (probe.five.r2, probe.wide_r2))
    if found.missing:
        return found
    least = max(p, key=lambda name: p[name])
    parts = [
        f"{name} {np.median([a for a, _ in held]):.6f} against {np.median([b for _, b in held]):.6f} over "
        f"{len(held)} recomputations, p = {p[name]:.2g}"
        for name, held in pairs.items()
    ]
    return replace(
        found,
        statistic={"difference": float(np.median([a - b for a, b in pairs[least]])), "p": p[least]},
        why=f"Median held-out R^2, in eps against in the rate: {'; '.join(parts)} (Holm).",
    )


def _errors(probe: Probe) -> Pair:
    """|L - parabola| / L at a minimum beyond the bound, and where the bound stops it.

    NaN where the minimum does not lie beyond the bound, and where the bound is no point of GRID: then the
    true loss there was not measured. The bound is one wherever it is half the rate.
    """
    stopped = math.copysign(probe.most, probe.minimum)
    if not abs(probe.minimum) > probe.most or stopped not in GRID:
        return math.nan, math.nan
    true = probe.losses[GRID.index(stopped)]
    near = abs(true - parabola(probe.five.fit, stopped)) / abs(true) if true else math.nan
    return probe.minimum_error, near


@judge("autolr.fig1.large_eps_breaks_quadratic")
def large_eps_breaks_quadratic(_: Claim, results: Results) -> Finding:
    """Errors at a minimum beyond the bound and where the bound stops it, recomputation by recomputation."""
    found, pairs, p = _compared(results, _errors)
    if found.missing:
        return found
    times = {name: _times(held) for name, held in pairs.items()}
    least = min(times, key=lambda name: times[name])
    parts = []
    for row in results.main:
        name = row.optimizer
        far, near = np.median(pairs[name], axis=0)
        beyond = sum(abs(probe.minimum) > probe.most for probe in row.found)
        by_run = [_times(_finite(run, _errors)) for run in row.probes]
        parts.append(
            f"{name} {far:.3%} against {near:.3%}, {times[name]:.1f} times ({_span(by_run)} by run), "
            f"over {len(pairs[name])} of {beyond} such recomputations, p = {p[name]:.2g}"
        )
    return replace(
        found,
        passes=found.passes and times[least] >= TIMES,
        statistic={"times": times[least], "p": p[least]},
        why=f"Median error, relative to the loss, at minima beyond the bound and at the bound: "
        f"{'; '.join(parts)} (Holm).",
    )


def _times(pairs: Sequence[Pair]) -> float:
    """The median error at the minimum over that at the bound; NaN without any."""
    far, near = np.median(pairs, axis=0) if pairs else (math.nan, math.nan)
    return float(far / near) if near else math.inf


def _span(values: Sequence[float]) -> str:
    finite = [v for v in values if not math.isnan(v)]
    return f"{min(finite):.1f} to {max(finite):.1f}" if finite else "none"
