"""The tests of the claims about MARTHE's Figure 3, as they were registered, on experiment 08.

How their texts are read where they leave something open, decided before any desk run was made:

- An independent search has draws, weights and batch order of its own; searches of one number share the
  quantiles of their draws, weights and batch order across methods, and are paired. The validation and test
  images are the same in all.
- Final incumbent test accuracy: at the look with the best validation accuracy of all draws of a search, on
  the fixed test images of the looks. A draw that diverges counts with the looks it had.
- The differences to MARTHE of one task are one family: Holm, in each direction.
- Orders: the searches are drawn again with repetition, the same for all methods. Contradicted where the
  order holds in at most 5 % of the resamples (CIFAR-100: where tau is below 0 in at least 95 %).
- sooner: time in plain steps of complete draws, of which the looks are no part. A MARTHE search that never
  gets there counts with all that it spent. Wilcoxon's signed-rank test of the log ratios; every rival has
  to pass.
- variance: p is the share of resamples of the searches in which MARTHE's range is not the larger one; both
  tasks have to pass.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import median

import numpy as np

from adatune_lite.claims import ALPHA, Claim, Finding, judge
from adatune_lite.claims.kinds import Family, absolute_finding, beyond, hashes, margin_of, same
from adatune_lite.experiments.cifar_search import LABELS, PUBLISHED, TASKS
from adatune_lite.experiments.random_search.reading import Results
from adatune_lite.report.association import drawn_again, tau_of_order
from adatune_lite.report.statistics import Paired, holm, paired
from adatune_lite.report.tables import signed

RIVALS = ("rtho", "hd", "exponential")
RANGE_ALPHA = 0.1
"""Of the claim about the spread."""
RESAMPLES = 10_000

_ENDS = {
    "marthe.fig3.c10.marthe": ("cifar10", "marthe"),
    "marthe.fig3.c10.rtho": ("cifar10", "rtho"),
    "marthe.fig3.c10.hd": ("cifar10", "hd"),
    "marthe.fig3.c10.exponential": ("cifar10", "exponential"),
    "marthe.fig3.c100.marthe": ("cifar100", "marthe"),
    "marthe.fig3.c100.rtho": ("cifar100", "rtho"),
    "marthe.fig3.c100.hd": ("cifar100", "hd"),
    "marthe.fig3.c100.exponential": ("cifar100", "exponential"),
}
_MINUS = {
    "marthe.fig3.c10.marthe_minus_rtho": ("cifar10", "rtho"),
    "marthe.fig3.c10.marthe_minus_hd": ("cifar10", "hd"),
    "marthe.fig3.c10.marthe_minus_exponential": ("cifar10", "exponential"),
    "marthe.fig3.c100.marthe_minus_rtho": ("cifar100", "rtho"),
    "marthe.fig3.c100.marthe_minus_hd": ("cifar100", "hd"),
    "marthe.fig3.c100.marthe_minus_exponential": ("cifar100", "exponential"),
}


def _runs(results: Results, task: str, methods: Sequence[str]) -> tuple[str, ...]:
    return hashes(*(results["search", task, method] for method in methods))


def _missing(results: Results, task: str, methods: Sequence[str]) -> tuple[str, ...]:
    """Methods that lack searches of the plan."""
    few = [m for m in methods if len(results.finals(task, m)) < results.scale[task].searches]
    return tuple(f"some searches of {LABELS[m]} on {TASKS[task]}" for m in few)


def _pair(results: Results, task: str, rival: str, ours: str = "marthe") -> Paired | None:
    return paired(results.finals(task, ours), results.finals(task, rival))


def _end(claim_id: str, task: str, method: str) -> None:
    @judge(claim_id)
    def compare(claim: Claim, results: Results) -> Finding:
        """The 95 % interval of the mean over searches meets the printed value within the margin."""
        values = list(results.finals(task, method).values())
        return absolute_finding(claim, results["search", task, method], values) if values else Finding()


def _minus(claim_id: str, task: str, rival: str, family: Family) -> None:
    def tested(results: Results) -> tuple[float, float] | None:
        pair = _pair(results, task, rival)
        return (pair.greater, pair.less) if pair else None

    family.add(claim_id, tested)

    @judge(claim_id)
    def compare(claim: Claim, results: Results) -> Finding:
        """Final incumbents of MARTHE minus those of a rival, by search."""
        sides = ("marthe", rival)
        runs, missing = _runs(results, task, sides), _missing(results, task, sides)
        pair = _pair(results, task, rival)
        if pair is None:
            return Finding(missing=missing, runs=runs)
        p, opposite = family.adjusted(results)[claim_id]
        return Finding(
            passes=p < ALPHA,
            opposite=opposite < ALPHA,
            equivalent=same(pair, margin_of(claim)) < ALPHA,
            statistic={"difference": pair.difference.mean, "p": p},
            seeds=len(pair.seeds),
            why=f"MARTHE minus {LABELS[rival]}, points: {signed(pair.difference)} over {len(pair.seeds)} "
            f"searches, p = {p:.2g} that it is above 0 after Holm.",
            missing=missing,
            runs=runs,
        )


for _claim, (_task, _method) in _ENDS.items():
    _end(_claim, _task, _method)
_FAMILIES = {task: Family() for task in TASKS}
for _claim, (_task, _method) in _MINUS.items():
    _minus(_claim, _task, _method, _FAMILIES[_task])


def _table(results: Results, task: str, methods: Sequence[str]) -> np.ndarray:
    """Final incumbents [searches, methods], of searches that all methods have."""
    found = [results.finals(task, m) for m in methods]
    seeds = sorted(set.intersection(*map(set, found)))
    return np.array([[of[seed] for of in found] for seed in seeds]).reshape(-1, len(methods))


@judge("marthe.fig3.c10.order")
def order_on_cifar10(_: Claim, results: Results) -> Finding:
    """In how many resamples MARTHE is first and HD last."""
    table = _table(results, "cifar10", PUBLISHED)
    runs = _runs(results, "cifar10", PUBLISHED)
    missing = _missing(results, "cifar10", PUBLISHED)
    if not len(table):
        return Finding(missing=missing, runs=runs)
    means = drawn_again(table)
    place = {m: k for k, m in enumerate(PUBLISHED)}
    holds = (means.argmax(1) == place["marthe"]) & (means.argmin(1) == place["hd"])
    listed = ", ".join(f"{LABELS[m]} {x:.2f} %" for m, x in zip(PUBLISHED, table.mean(0), strict=True))
    return Finding(
        passes=bool(holds.mean() >= 0.8),
        opposite=bool(holds.mean() <= ALPHA),
        statistic={"share": float(holds.mean())},
        seeds=len(table),
        why=f"Mean incumbents: {listed}; MARTHE is first and HD last in {holds.mean():.0%} of the resamples.",
        missing=missing,
        runs=runs,
    )


PRINTED_ORDER = ("marthe", "rtho", "hd", "exponential")
"""On CIFAR-100, the best first."""


@judge("marthe.fig3.c100.order")
def order_on_cifar100(_: Claim, results: Results) -> Finding:
    """Kendall's tau with the printed order, over resamples."""
    table = _table(results, "cifar100", PRINTED_ORDER)
    runs = _runs(results, "cifar100", PRINTED_ORDER)
    missing = _missing(results, "cifar100", PRINTED_ORDER)
    if not len(table):
        return Finding(missing=missing, runs=runs)
    taus = tau_of_order(drawn_again(table))
    shares = ", ".join(f"{value:+.2f} in {np.mean(taus == value):.0%}" for value in np.unique(taus)[::-1])
    return Finding(
        passes=bool(np.mean(taus == 1) >= 0.5),
        opposite=bool(np.mean(taus < 0) >= 1 - ALPHA),
        statistic={"share": float(np.mean(taus == 1)), "tau": float(tau_of_order(table.mean(0)[None])[0])},
        seeds=len(table),
        why=f"Kendall's tau with the printed order over resamples of the searches: {shares}.",
        missing=missing,
        runs=runs,
    )


@judge("marthe.fig3.c10.rtho_equals_exponential")
def rtho_equals_exponential(claim: Claim, results: Results) -> Finding:
    """Two one-sided tests of the difference by search."""
    sides = ("rtho", "exponential")
    runs, missing = _runs(results, "cifar10", sides), _missing(results, "cifar10", sides)
    pair = _pair(results, "cifar10", "exponential", "rtho")
    if pair is None:
        return Finding(missing=missing, runs=runs)
    margin = margin_of(claim)
    p = same(pair, margin)
    return Finding(
        passes=p < ALPHA,
        opposite=beyond(pair, margin) < ALPHA,
        equivalent=p < ALPHA,
        statistic={"difference": pair.difference.mean, "p": p},
        seeds=len(pair.seeds),
        why=f"RTHO minus exponential, points: {signed(pair.difference)}, p = {p:.2g} that it is within "
        f"±{margin:g}.",
        missing=missing,
        runs=runs,
    )


def _sooner(claim_id: str, task: str) -> None:
    @judge(claim_id)
    def compare(_: Claim, results: Results) -> Finding:
        """Time at which MARTHE has what a rival ends with, over the rival's own, by search."""
        methods = ("marthe", *RIVALS)
        runs, missing = _runs(results, task, methods), _missing(results, task, methods)
        ratios = {rival: log_ratios(results, task, rival) for rival in RIVALS}
        if not all(map(len, ratios.values())):
            return Finding(missing=missing, runs=runs)
        p = {rival: signed_rank(values) for rival, values in ratios.items()}
        opposite = holm([signed_rank([-x for x in values]) for values in ratios.values()])
        medians = {rival: math.exp(median(values)) for rival, values in ratios.items()}
        listed = ", ".join(f"{LABELS[r]} {medians[r]:.2f} (p = {p[r]:.2g})" for r in RIVALS)
        return Finding(
            passes=all(p[r] < ALPHA and medians[r] < 1 for r in RIVALS),
            opposite=min(opposite) < ALPHA,
            statistic={"ratio": max(medians.values()), "p": max(p.values())},
            seeds=min(map(len, ratios.values())),
            why=f"Plain steps of MARTHE to the end value of a rival over the rival's own, median: {listed}.",
            missing=missing,
            runs=runs,
        )


def log_ratios(results: Results, task: str, rival: str) -> list[float]:
    """By search: log of MARTHE's time to the rival's final incumbent over the rival's own time to it."""
    ours, theirs = results.every_course[task, "marthe"], results.every_course[task, rival]
    found = []
    for seed in sorted(ours.keys() & theirs.keys()):
        if (goal := theirs[seed].final) is not None:
            own = theirs[seed].reaches(goal)
            assert own is not None
            found.append(math.log((ours[seed].reaches(goal) or ours[seed].spent) / own))
    return found


def signed_rank(values: Sequence[float]) -> float:
    """One-sided p of Wilcoxon's signed-rank test that the values lie below 0; 1 where all are 0."""
    from scipy.stats import wilcoxon

    if not any(values):
        return 1.0
    return float(wilcoxon(values, alternative="less", method="approx" if 0 in values else "auto").pvalue)


_sooner("marthe.fig3.c10.sooner", "cifar10")
_sooner("marthe.fig3.c100.sooner", "cifar100")


@judge("marthe.fig3.variance")
def variance(_: Claim, results: Results) -> Finding:
    """The range of MARTHE's incumbents against that of RTHO's, by resamples of the searches."""
    sides = ("marthe", "rtho")
    tables = {task: _table(results, task, sides) for task in TASKS}
    runs = tuple(run for task in TASKS for run in _runs(results, task, sides))
    missing = tuple(name for task in TASKS for name in _missing(results, task, sides))
    if not all(map(len, tables.values())):
        return Finding(missing=missing, runs=runs)
    ranges = {task: np.ptp(table, axis=0) for task, table in tables.items()}
    p = {task: larger_range(table) for task, table in tables.items()}
    against = holm([larger_range(table[:, ::-1]) for table in tables.values()])
    listed = "; ".join(
        f"{TASKS[task]} {ours:.2f} against {theirs:.2f} points, p = {p[task]:.2g}"
        for task, (ours, theirs) in ranges.items()
    )
    return Finding(
        passes=max(p.values()) < RANGE_ALPHA,
        opposite=min(against) < ALPHA,
        statistic={
            "wider": min(float(a - b) for a, b in ranges.values()),
            "p": max(p.values()),
        },
        seeds=min(map(len, tables.values())),
        why=f"Range of the final incumbents, MARTHE against RTHO: {listed}.",
        missing=missing,
        runs=runs,
    )


def larger_range(table: np.ndarray) -> float:
    """Share of resamples of the rows [searches, 2] in which the first column's range is not the larger."""
    chosen = np.random.default_rng(0).integers(len(table), size=(RESAMPLES, len(table)))
    spans = np.ptp(table[chosen], axis=1)
    return float(np.mean(spans[:, 0] <= spans[:, 1]))
