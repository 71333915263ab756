"""The tests of the claims marthe.mnist.*, as they were registered, on the records of experiment 01.

How their texts are read where they leave something open, decided without a look at the reporting runs:

- Final validation loss is E of the reporting runs; a run that diverged counts as guessing. Runs are paired by
  seed: the same initial weights and batch order.
- HD is both of its forms, with the gradient of the training loss (Baydin's) and of the validation loss
  (mu = 0). What is said of HD has to hold for both.
- "Best beta on a grid": the best of the log-uniform draws on the tuning seeds, frozen; as many draws for
  every method.
- MARTHE's "best fixed mu in (0,1)" is the frozen mu of its random search over (hyper_lr, mu), chosen on the
  tuning seeds with the budget of its rivals. To add the fixed grid of mu to that search would give MARTHE
  more draws than HD and RTHO had.
- The interior mu of `mu_interior` that meets both ends is chosen on the tuning seeds as well, so that the
  seeds that choose it do not also test it.
- Where a claim needs several comparisons, all have to pass: that takes no correction, and has none unless the
  text asks for it. One comparison that is significant the other way contradicts the claim; since any of them
  would, that direction is corrected by Holm.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from statistics import fmean

from adatune_lite.claims import ALPHA, Claim, Finding, judge, meets_printed
from adatune_lite.experiments.lrs_opt_vs_marthe import CLASSICAL, INNER_MUS, MUS, ONLINE
from adatune_lite.experiments.lrs_opt_vs_marthe.reading import LABELS, Results, schedule_of
from adatune_lite.report.search import final_loss
from adatune_lite.report.statistics import Paired, holm, paired
from adatune_lite.runs.record import Record

LEAST_SHARE = 0.9
"""Of the seeds, with LRS-OPT at or below an online method (marthe.mnist.lrsopt_lower_bound)."""
RIVALS_OF_MARTHE = ("hd", "hd_validation", "rtho")


@judge("marthe.mnist.horizon")
def horizon(claim: Claim, results: Results) -> Finding:
    """Epochs of the reporting runs, from the steps, batch and training images of their specs."""
    methods = ("start", *CLASSICAL, *ONLINE, "lrs_opt")
    records = [r for method in methods for r in results.reported(method)]
    if not records:
        return Finding()
    by_seed = {r.spec.seed: r.spec.steps * r.spec.task.batch / r.spec.task.train for r in records}
    meets, numbers = meets_printed(claim, list(by_seed.values()))
    steps, task = records[0].spec.steps, records[0].spec.task
    why = (
        f"{steps} steps of {task.batch} out of {task.train:,} images are {numbers['mean']:.2f} epochs; "
        f"the paper's are {numbers['printed']:g} ± {claim.equivalence_margin}."
    )
    return Finding(meets, not meets, statistic=numbers, seeds=len(by_seed), why=why, runs=_hashes(records))


@judge("marthe.mnist.lrsopt_beats_constant")
def lrsopt_beats_constant(_: Claim, results: Results) -> Finding:
    """E of LRS-OPT minus that of the constant schedule it starts from."""
    rivals = {LABELS["start"]: results.reported("start")}
    return _decide(LABELS["lrs_opt"], results.reported("lrs_opt"), rivals)


@judge("marthe.mnist.lrsopt_lower_bound")
def lrsopt_lower_bound(_: Claim, results: Results) -> Finding:
    """E of LRS-OPT minus that of each online method, after Holm; on how many seeds it is not above."""
    rivals = {LABELS[m]: results.reported(m) for m in ONLINE}
    return _decide(
        LABELS["lrs_opt"], results.reported("lrs_opt"), rivals, adjust=True, least_share=LEAST_SHARE
    )


@judge("marthe.mnist.marthe_closest")
def marthe_closest(_: Claim, results: Results) -> Finding:
    """The gap in E to LRS-OPT of MARTHE minus that of HD and of RTHO, and whose schedule is most like its.

    The gaps of a seed share LRS-OPT's E, so that their difference is that of E; seeds without LRS-OPT are
    left out.
    """
    best = results.reported("lrs_opt")
    seeds = {r.spec.seed for r in best}
    of = {m: [r for r in results.reported(m) if r.spec.seed in seeds] for m in ("marthe", *RIVALS_OF_MARTHE)}
    finding = _decide(LABELS["marthe"], of["marthe"], {LABELS[m]: of[m] for m in RIVALS_OF_MARTHE})
    runs = (*finding.runs, *_hashes(best))
    if not best:
        runs = _hashes(r for m in of for r in results.reported(m))
        return Finding(missing=(LABELS["lrs_opt"],), runs=runs)
    likeness = {}
    for method in of:
        defined = [c for _, c, _ in results.nearness(method) if c == c]
        if defined:  # A schedule that never changes is like no other.
            likeness[method] = fmean(defined)
    listed = ", ".join(f"{LABELS[m]} {c:.2f}" for m, c in likeness.items()) or "undefined"
    highest = max(likeness, key=lambda m: likeness[m], default="") == "marthe"
    correlation = {"correlation": likeness["marthe"]} if "marthe" in likeness else {}
    return replace(
        finding,
        passes=finding.passes and highest,
        statistic={**finding.statistic, **correlation},
        why=f"{finding.why} Correlation of the smoothed log schedules with LRS-OPT's: {listed}.".strip(),
        runs=runs,
    )


@judge("marthe.mnist.mu_interior")
def mu_interior(_: Claim, results: Results) -> Finding:
    """E at the interior mu with the least tuning loss minus E at both ends.

    Where both differences are below 0, the best mean E of the grid is at an interior mu as well.
    """
    at_mu = {mu: results.at_mu(mu) for mu in MUS}
    means = {mu: fmean(map(final_loss, records)) for mu, records in at_mu.items() if records}
    missing = tuple(_mu(mu) for mu in MUS if mu not in means)
    runs = _hashes(r for records in at_mu.values() for r in records)
    inside = [mu for mu in INNER_MUS if mu in means]
    if not inside:
        return Finding(missing=missing, runs=runs)
    chosen = min(inside, key=lambda mu: results.mu_choices[mu].mean_loss)
    finding = _decide(_mu(chosen), at_mu[chosen], {_mu(mu): at_mu[mu] for mu in (0.0, 1.0)})
    grid = ", ".join(f"{mean:.4f} at {mu:g}" for mu, mean in means.items())
    return replace(
        finding,
        statistic={"mu": chosen, **finding.statistic},
        seeds=min(finding.seeds, *(len(at_mu[mu]) for mu in means)),
        why=f"Mean E over μ: {grid}. {finding.why}".strip(),
        missing=missing,
        runs=runs,
    )


@judge("marthe.mnist.hd_greedy")
def hd_greedy(_: Claim, results: Results) -> Finding:
    """Mean rate over the first half of the horizon, both forms of HD minus LRS-OPT.

    A diverged run has no whole first half: its seed is left out. Contradicted only if both forms are above,
    since they are two readings of one name.
    """
    of = {m: results.reported(m) for m in ("lrs_opt", "hd", "hd_validation")}
    whole = {m: [r for r in records if r.finished] for m, records in of.items()}
    pairs = {
        f"{LABELS[m]} minus LRS-OPT": _pair(whole[m], whole["lrs_opt"], _first_half_rate)
        for m in ("hd", "hd_validation")
    }
    finding = _weigh(pairs, "Mean rate of the first half: ")
    lost = sum(len(of[m]) - len(whole[m]) for m in of)
    return replace(
        finding,
        opposite=all(pair is not None and pair.greater < ALPHA for pair in pairs.values()),
        why=finding.why + (f" {lost} diverged runs are left out." if lost else ""),
        missing=tuple(LABELS[m] for m in whole if not whole[m]),
        runs=_hashes(r for records in of.values() for r in records),
    )


def _first_half_rate(record: Record) -> float:
    return float(schedule_of(record)[: record.spec.steps // 2].mean())


def _mu(mu: float) -> str:
    return f"μ = {mu:g}"


def _hashes(records: Iterable[Record]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(r.spec.hash for r in records))


def _pair(a: Sequence[Record], b: Sequence[Record], value: Callable[[Record], float]) -> Paired | None:
    return paired({r.spec.seed: value(r) for r in a}, {r.spec.seed: value(r) for r in b})


def _decide(
    name: str,
    ours: Sequence[Record],
    rivals: Mapping[str, Sequence[Record]],
    *,
    adjust: bool = False,
    least_share: float = 0.0,
) -> Finding:
    """Whether E of `ours` is below that of every rival."""
    pairs = {f"{name} minus {rival}": _pair(ours, records, final_loss) for rival, records in rivals.items()}
    finding = _weigh(pairs, "E: ", adjust=adjust, least_share=least_share)
    records = [*ours, *(r for held in rivals.values() for r in held)]
    diverged = sum(not r.finished for r in records)
    return replace(
        finding,
        why=finding.why + (f" {diverged} diverged runs count as guessing." if diverged else ""),
        missing=tuple(label for label, held in {name: ours, **rivals}.items() if not held),
        runs=_hashes(records),
    )


def _weigh(
    pairs: Mapping[str, Paired | None], title: str, *, adjust: bool = False, least_share: float = 0.0
) -> Finding:
    """Whether all mean differences are below 0, one-sided p < 0.05; pairs without seeds are left out."""
    there = {label: pair for label, pair in pairs.items() if pair is not None}
    if not there:
        return Finding()
    less = [pair.less for pair in there.values()]
    p_values = dict(zip(there, holm(less) if adjust else less, strict=True))
    shares = {label: pair.share_not_above for label, pair in there.items()}
    worst = max(there, key=lambda label: (p_values[label], there[label].difference.mean))
    statistic = {"difference": there[worst].difference.mean, "p": p_values[worst]}
    if least_share:
        statistic["share"] = min(shares.values())
    parts = []
    for label, pair in there.items():
        mean = pair.difference
        interval = f" (95 % interval {mean.low:+.4f} to {mean.high:+.4f})" if mean.n > 1 else ""
        p_value = f"p = {p_values[label]:.2g}" + (" after Holm" if adjust else "")
        share = f", not above on {shares[label]:.0%} of the seeds" if least_share else ""
        parts.append(f"{label} {mean.mean:+.4f}{interval}, {p_value}{share}")
    return Finding(
        passes=all(p < ALPHA for p in p_values.values()) and min(shares.values()) >= least_share,
        opposite=min(holm([pair.greater for pair in there.values()])) < ALPHA,
        statistic=statistic,
        seeds=min(len(pair.seeds) for pair in there.values()) if len(there) == len(pairs) else 0,
        why=f"{title}{'; '.join(parts)}.",
    )
