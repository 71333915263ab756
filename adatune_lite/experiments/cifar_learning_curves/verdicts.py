"""The tests of the claims about MARTHE's learning curves, as they were registered, on experiment 07.

How their texts are read where they leave something open, decided before any desk run was made:

- Final test accuracy: after the last step, on all test images; a diverged run counts as guessing. Along the
  training it is that of the looks, on fixed images; a share of the budget is a look.
- MARTHE of the first version (v1.*) adapts mu, as there. abs.* are the later abstract's: the mu that the
  searches found. What is said of the shape of MARTHE's schedule has to hold for both. HD is Baydin's.
- "tasks: both": on both. Several comparisons all have to pass; opposites are corrected by Holm.
- v1.*.order: seeds are drawn again with repetition, the same for all methods. Contradicted where tau is
  below 0, or MARTHE first in at most 5 % of the resamples.
- v1.staircase_jump: the gain from the look at the cut to the next one, over the gain from the cut to the end.
- v1.sgdr_saw: of each run its largest change after a restart and the earliest peak of its cycles; the mean
  and the median over seeds decide. The last look of a cycle is its end, since short cycles have few looks;
  the last cycle, which the budget cuts off, has none.
- v1.faster_convergence: the best final accuracy is that of HD, RTHO and MARTHE; a run that never gets there
  is censored at the budget. The log-rank test does not pair.
- abs.more_stable: the draws of both tasks' searches together, which share their hyper-rates; frozen before
  half of the draw's own budget. Part (b) on the trainings of this page.
- shape.*: the rates that records keep. A share of seeds is contradicted where its upper 95 % bound lies below
  the one that is asked for.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from statistics import fmean, median

import numpy as np

from adatune_lite.claims import ALPHA, Claim, Finding, judge, kinds
from adatune_lite.claims.kinds import Limit, Weighed, hashes
from adatune_lite.experiments import cifar_rates as shapes
from adatune_lite.experiments.cifar_learning_curves.groups import ADAPTIVE, LABELS
from adatune_lite.experiments.cifar_learning_curves.reading import Results
from adatune_lite.experiments.cifar_published import decay_of_printed
from adatune_lite.experiments.cifar_records import (
    accuracy_at,
    accuracy_of,
    earliest_peak,
    final_accuracy,
    final_loss,
    sgdr_cycles,
)
from adatune_lite.experiments.cifar_search import TASKS
from adatune_lite.report.association import drawn_again, sooner, tau_of_order
from adatune_lite.report.groups import Key
from adatune_lite.report.statistics import Paired, holm, mean_interval, mean_less, paired
from adatune_lite.report.tables import by_seed, signed, values_of
from adatune_lite.runs.record import Record

CUT, LATER = 0.3, 0.025
"""Shares of the budget: the staircase's first cut, and one look."""


def _key(task: str, row: str) -> Key:
    return "curve", task, row


_ENDS = {
    "marthe.v1.c10.marthe": _key("cifar10", ADAPTIVE),
    "marthe.v1.c10.staircase": _key("cifar10", "staircase"),
    "marthe.v1.c10.sgdr": _key("cifar10", "sgdr"),
    "marthe.v1.c10.exponential": _key("cifar10", "exponential"),
    "marthe.v1.c10.rtho": _key("cifar10", "rtho"),
    "marthe.v1.c10.hd": _key("cifar10", "hd"),
    "marthe.v1.c100.marthe": _key("cifar100", ADAPTIVE),
    "marthe.v1.c100.staircase": _key("cifar100", "staircase"),
    "marthe.v1.c100.sgdr": _key("cifar100", "sgdr"),
    "marthe.v1.c100.exponential": _key("cifar100", "exponential"),
    "marthe.v1.c100.rtho": _key("cifar100", "rtho"),
    "marthe.v1.c100.hd": _key("cifar100", "hd"),
}
for _claim, _of in _ENDS.items():
    kinds.absolute(_claim, _of, final_accuracy)


def _sides(ours: str, *rivals: str) -> dict[str, tuple[Key, Key]]:
    """On both tasks."""
    return {
        f"{LABELS[ours]} minus {LABELS[rival]} on {TASKS[task]}": (_key(task, ours), _key(task, rival))
        for task in TASKS
        for rival in rivals
    }


def _says(_: Claim, weighed: kinds.Weighed) -> str:
    listed = "; ".join(
        f"{name} {signed(pair.difference)}, p = {weighed.p[name]:.2g}" for name, pair in weighed.pairs.items()
    )
    return f"In points: {listed}."


kinds.ordering(
    "marthe.abs.generalises_better", _sides("marthe", "rtho", "hd"), final_accuracy, _says, test="above"
)
_STAIRCASE = _sides(ADAPTIVE, "staircase")
for _claim, _value, _test in (
    ("marthe.v1.marthe_vs_staircase", final_accuracy, "not worse"),
    ("marthe.v1.marthe_early_lead", accuracy_of(0.125), "above"),
):
    kinds.ordering(_claim, _STAIRCASE, _value, _says, test=_test, adjust=False)


def _both(*rows: str) -> dict[str, Key]:
    return {f"{LABELS[row]}, {TASKS[task]}": _key(task, row) for task in TASKS for row in rows}


def _jump(record: Record) -> float | None:
    """Gain at the cut over the gain from there on; None where there is none."""
    before, after, end = (accuracy_at(record, at) for at in (CUT, CUT + LATER, 1.0))
    if before is None or after is None or end is None or end <= before:
        return None
    return (after - before) / (end - before)


kinds.fit(
    "marthe.v1.staircase_jump",
    _both("staircase"),
    _jump,
    median,
    lambda level: level > 0.5,
    lambda values: mean_less(values, 0.5),
    lambda found: f"Median share of the late gain at the first cut: {found.listed('.2f')}.",
    lambda found: {"share": min(found.level.values())},
)


def _of_its_end(record: Record) -> float | None:
    early, end = accuracy_at(record, 0.25), accuracy_at(record, 1.0)
    return early / end if early is not None and end else None


kinds.fit(
    "marthe.v1.c10.rtho_plateau",
    {TASKS["cifar10"]: _key("cifar10", "rtho")},
    _of_its_end,
    fmean,
    lambda level: level >= 0.99,
    lambda values: mean_less(values, 0.99),
    lambda found: f"Accuracy at a quarter of the budget over that at its end: {found.listed('.3f')}.",
    lambda found: {"ratio": min(found.level.values())},
)

ORDERS = {
    "marthe.v1.c10.order": ("cifar10", (ADAPTIVE, "staircase", "exponential", "rtho", "hd")),
    "marthe.v1.c100.order": ("cifar100", (ADAPTIVE, "staircase", "rtho", "exponential", "hd")),
}
"""Printed orders of the five schedules without restarts, the best first."""


def _order(claim_id: str, task: str, printed: Sequence[str]) -> None:
    @judge(claim_id)
    def compare(_: Claim, results: Results) -> Finding:
        """Kendall's tau of the means with the printed order, and how often MARTHE is first."""
        keys = {LABELS[row]: _key(task, row) for row in printed}
        table, found = kinds.common_seeds(results, keys, final_accuracy)
        if found.missing or not found.runs:
            return found
        tau = float(tau_of_order(table.mean(0)[None])[0])
        first = float(np.mean(drawn_again(table).argmax(1) == 0))
        listed = ", ".join(f"{name} {x:.2f} %" for name, x in zip(keys, table.mean(0), strict=True))
        return Finding(
            passes=tau > 0.6 and first >= 0.5,
            opposite=tau < 0 or first <= ALPHA,
            statistic={"tau": tau, "share": first},
            seeds=len(table),
            why=f"Kendall's tau {tau:+.2f}, MARTHE first in {first:.0%} of the resamples: {listed}.",
            runs=found.runs,
        )


for _claim, (_task, _printed) in ORDERS.items():
    _order(_claim, _task, _printed)


def _after_restarts(record: Record) -> float | None:
    """The largest change of accuracy from before a restart, the first one left out, to 2.5 % after it."""
    cycles = sgdr_cycles(record)[2:]
    looks = [(accuracy_at(record, at), accuracy_at(record, at + 2 * LATER - 1e-6)) for at in cycles]
    changes = [after - before for before, after in looks if before is not None and after is not None]
    return max(changes) if len(changes) == len(looks) else None


def _above_0(values: list[float]) -> float:
    return mean_less([-x for x in values])


kinds.limits(
    "marthe.v1.sgdr_saw",
    _both("sgdr"),
    {
        "change": Limit(
            _after_restarts, fmean, lambda x: x < 0, lambda x: mean_less([-v for v in x]), "{:+.1f}"
        ),
        "place": Limit(earliest_peak, median, lambda x: x >= 0.9 - 1e-9, lambda x: 1.0, "{:.0%}", min),
    },
    "Largest change after a restart in points, and earliest peak of a cycle",
)


def _below(
    pairs: Mapping[str, Paired | None], runs: tuple[str, ...], passes: Callable[[Weighed], bool]
) -> Finding:
    """Paired differences that are to lie below 0, one beside the other."""
    there = {name: pair for name, pair in pairs.items() if pair}
    missing = tuple(name for name in pairs if name not in there)
    if not there:
        return Finding(missing=missing, runs=runs)
    weighed = kinds.weigh(there, dict.fromkeys(there, kinds.TESTS["below"]), adjust=False)
    listed = "; ".join(f"{name} {signed(pair.difference)}" for name, pair in there.items())
    return Finding(
        passes=passes(weighed),
        opposite=weighed.contradicted,
        statistic={"p": max(weighed.p.values())},
        seeds=weighed.seeds,
        why=f"HD minus others: {listed}.",
        missing=missing,
        runs=runs,
    )


@judge("marthe.v1.c10.hd_slow")
def hd_slow(_: Claim, results: Results) -> Finding:
    """Whether HD has the lowest mean accuracy of the five at three shares of the budget."""
    held = {row: results["curve", "cifar10", row] for row in ORDERS["marthe.v1.c10.order"][1]}
    pairs = {
        f"{LABELS[row]} at {at:.1%}": paired(*(by_seed(held[of], accuracy_of(at)) for of in ("hd", row)))
        for at in (0.05, 0.125, 0.25)
        for row in held
        if row != "hd"
    }
    lowest = max((pair.difference.mean for pair in pairs.values() if pair), default=0.0) < 0
    return _below(pairs, hashes(*held.values()), lambda _: lowest)


@judge("marthe.v1.c100.loss_vs_accuracy")
def loss_vs_accuracy(_: Claim, results: Results) -> Finding:
    """HD minus exponential in test loss and in test accuracy."""
    held = [results["curve", "cifar100", row] for row in ("hd", "exponential")]
    values = {"loss": final_loss, "accuracy": final_accuracy}
    pairs = {name: paired(*(by_seed(side, value) for side in held)) for name, value in values.items()}
    return _below(pairs, hashes(*held), lambda weighed: weighed.passes)


@judge("marthe.v1.faster_convergence")
def faster_convergence(_: Claim, results: Results) -> Finding:
    """Steps to 95 % of the best final accuracy of the three, by the log-rank test."""
    p, opposite, parts, missing, seeds = [], [], [], [], []
    runs = hashes(*(results[_key(task, row)] for task in TASKS for row in (ADAPTIVE, "rtho", "hd")))
    for task, title in TASKS.items():
        records = {row: results[_key(task, row)] for row in (ADAPTIVE, "rtho", "hd")}
        if not all(records.values()):
            missing.append(title)
            continue
        goal = 0.95 * max(fmean(values_of(held, final_accuracy)) for held in records.values())
        times = {row: [_reached(r, goal) for r in held] for row, held in records.items()}
        for rival in ("rtho", "hd"):
            p.append(sooner(times[ADAPTIVE], times[rival]))
            opposite.append(sooner(times[rival], times[ADAPTIVE]))
            parts.append(f"{LABELS[rival]} on {title} p = {p[-1]:.2g}")
        seeds.append(min(map(len, times.values())))
    if not p:
        return Finding(missing=tuple(missing), runs=runs)
    return Finding(
        passes=max(p) < ALPHA,
        opposite=min(holm(opposite)) < ALPHA,
        statistic={"p": max(p)},
        seeds=min(seeds),
        why=f"MARTHE with adaptive μ sooner than {'; '.join(parts)}.",
        missing=tuple(missing),
        runs=runs,
    )


def _reached(record: Record, goal: float) -> float:
    """Share of the budget at the first look with that accuracy; inf: never."""
    steps, values = record.series("test_accuracy")
    there = np.flatnonzero(values >= goal)
    return float(steps[there[0]] / record.spec.steps) if len(there) else math.inf


@judge("marthe.abs.more_stable")
def more_stable(_: Claim, results: Results) -> Finding:
    """Draws that diverged or froze, MARTHE against RTHO; spread of the log rate over seeds, against both."""
    from scipy.stats import fisher_exact

    draws = {m: [r for task in TASKS for r in results["search", task, m]] for m in ("marthe", "rtho")}
    runs = hashes(*draws.values(), *(results[_key(task, row)] for task in TASKS for row in _STABLE))
    spreads = {
        (task, row): spread
        for task in TASKS
        for row in _STABLE
        if (spread := shapes.spread_of_rates(results[_key(task, row)])) is not None
    }
    few = min(map(len, draws.values()))
    missing = [f"{30 - few} of 30 draws"] if few < 30 else []
    missing += [LABELS[row] for task in TASKS for row in _STABLE if (task, row) not in spreads]
    if not few or not spreads:
        return Finding(missing=tuple(missing), runs=runs)
    bad = {m: sum(map(shapes.diverged_or_frozen, held)) for m, held in draws.items()}
    table = [[bad[m], len(draws[m]) - bad[m]] for m in ("marthe", "rtho")]
    p, against = (float(fisher_exact(table, side).pvalue) for side in ("less", "greater"))
    steadier = all(
        spreads[task, "marthe"] < spreads[task, rival]
        for task in TASKS
        for rival in ("rtho", "hd")
        if {(task, "marthe"), (task, rival)} <= spreads.keys()
    )
    listed = ", ".join(f"{LABELS[row]} {x:.3f} on {TASKS[task]}" for (task, row), x in spreads.items())
    return Finding(
        passes=p < ALPHA and steadier,
        opposite=against < ALPHA,
        statistic={"p": p},
        seeds=min(len(results[_key(task, row)]) for task, row in spreads),
        why=f"(a) {bad['marthe']} of {len(draws['marthe'])} draws of MARTHE diverged or froze, "
        f"{bad['rtho']} of {len(draws['rtho'])} of RTHO, Fisher's p = {p:.2g}. (b) Standard deviation of the "
        f"log rate over seeds: {listed}.",
        missing=tuple(dict.fromkeys(missing)),
        runs=runs,
    )


_STABLE = ("marthe", "rtho", "hd")


def _of_seed(results: Results, record: Record, task: str, row: str) -> np.ndarray | None:
    """The rates of another row on the same seed."""
    found = [r for r in results[_key(task, row)] if r.spec.seed == record.spec.seed and r.finished]
    return shapes.rates(found[0]) if found else None


def _small_rise(results: Results, record: Record, task: str) -> bool | None:
    """RTHO's highest rate: at most 5 % above the first, and below MARTHE's."""
    marthe = _of_seed(results, record, task, ADAPTIVE)
    return None if marthe is None else bool(shapes.rates(record).max() <= min(1.05, marthe.max() - 1e-12))


def _last(holds: Callable[[float, float, float], bool]) -> Callable[[Results, Record, str], bool | None]:
    """Of the last rates, over the first, of MARTHE, HD and RTHO on a seed."""

    def told(results: Results, record: Record, task: str) -> bool | None:
        hd, rtho = (_of_seed(results, record, task, row) for row in ("hd", "rtho"))
        return None if hd is None or rtho is None else holds(shapes.rates(record)[-1], hd[-1], rtho[-1])

    return told


kinds.share(
    "marthe.shape.rise_then_decay",
    _both("marthe", ADAPTIVE),
    lambda _, record, __: shapes.rises_then_decays(record),
    "An early rise and a steady fall",
)
kinds.share("marthe.shape.hd_monotone", _both("hd"), lambda _, r, __: shapes.never_rises(r), "No rise")
kinds.share("marthe.shape.rtho_small_rise", _both("rtho"), _small_rise, "A small rise, below MARTHE's,")
kinds.share(
    "marthe.shape.c10.final_order",
    {LABELS[ADAPTIVE]: _key("cifar10", ADAPTIVE)},
    _last(lambda marthe, hd, rtho: hd > 2 * marthe and rtho < 0.5 * marthe),
    "HD ends above twice MARTHE's rate and RTHO below half of it",
)
kinds.share(
    "marthe.shape.c100.final_order",
    {LABELS[ADAPTIVE]: _key("cifar100", ADAPTIVE)},
    _last(lambda marthe, hd, rtho: marthe < hd < rtho),
    "MARTHE ends lowest and RTHO highest",
)


def _peak(claim_id: str, task: str) -> None:
    @judge(claim_id)
    def compare(claim: Claim, results: Results) -> Finding:
        """The mean highest rate against the printed one, within 15 % of that."""
        records = [r for r in results[_key(task, ADAPTIVE)] if r.finished]
        if not records or not isinstance(claim.value, int | float):
            return Finding()
        found = mean_interval([float(r.series("lr")[1].max()) for r in records])
        low, high = (found.low, found.high) if found.n > 1 else (found.mean, found.mean)
        meets = low <= 1.15 * claim.value and high >= 0.85 * claim.value
        return Finding(
            passes=meets,
            opposite=not meets,
            statistic={"mean": found.mean, "printed": float(claim.value)},
            seeds=found.n,
            why=f"Highest rate {found.mean:.3g}, printed {claim.value:g} ± 15 %.",
            runs=hashes(records),
        )


_peak("marthe.shape.c10.peak", "cifar10")
_peak("marthe.shape.c100.peak", "cifar100")


@judge("marthe.shape.not_guaranteed")
def not_guaranteed(_: Claim, results: Results) -> Finding:
    """Spread over seeds of MARTHE's rate at a quarter of the budget, and how many seeds rise."""
    groups = {
        name: [r for r in results[key] if r.finished] for name, key in _both("marthe", ADAPTIVE).items()
    }
    there = {name: held for name, held in groups.items() if len(held) > 1}
    runs = hashes(*groups.values())
    missing = tuple(name for name in groups if name not in there)
    if not there:
        return Finding(missing=missing, runs=runs)
    quarter = {
        name: [float(np.interp(0.25 * r.spec.steps, *r.series("lr"))) for r in held]
        for name, held in there.items()
    }
    varied = {name: float(np.std(x, ddof=1) / np.mean(x)) if any(x) else 0.0 for name, x in quarter.items()}
    rise = {name: fmean(float(shapes.rates(r).max() > 1.02) for r in held) for name, held in there.items()}
    listed = "; ".join(f"{name} {varied[name]:.3f}, {rise[name]:.0%}" for name in there)
    return Finding(
        passes=all(varied[name] > 0.05 and 0 < rise[name] < 1 for name in there),
        statistic={"variation": min(varied.values())},
        seeds=min(map(len, there.values())),
        why=f"Coefficient of variation at a quarter of the budget, and share of seeds that rise: {listed}.",
        missing=missing,
        runs=runs,
    )


@judge("marthe.shape.exponential_gamma")
def exponential_gamma(_: Claim, results: Results) -> Finding:
    """Straight lines through the log of the published rates; ours are trained with that decay."""
    runs = hashes(*(results[_key(task, "exponential")] for task in TASKS))
    fits = {TASKS[task]: decay_of_printed(task) for task in TASKS}
    listed = "; ".join(f"{name} {gamma:.4f}, R² {r2:.5f}" for name, (gamma, r2) in fits.items())
    holds = all(0.9895 <= gamma <= 0.9907 and r2 >= 0.999 for gamma, r2 in fits.values())
    return Finding(
        passes=holds,
        opposite=not holds,
        statistic={
            "gamma": min(gamma for gamma, _ in fits.values()),
            "r2": min(r2 for _, r2 in fits.values()),
        },
        seeds=min(len(results[_key(task, "exponential")]) for task in TASKS),
        why=f"Decay an epoch of the published curves: {listed}.",
        runs=runs,
    )
