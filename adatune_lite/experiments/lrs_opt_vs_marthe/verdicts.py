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

from collections.abc import Sequence
from dataclasses import replace
from statistics import fmean

from adatune_lite.claims import ALPHA, Claim, Finding, judge, kinds, meets_printed
from adatune_lite.claims.kinds import hashes
from adatune_lite.experiments.lrs_opt_vs_marthe.groups import ENDS, INNER_MUS, LABELS, ONLINE
from adatune_lite.experiments.lrs_opt_vs_marthe.reading import Results, schedule_of
from adatune_lite.report.groups import Key
from adatune_lite.report.lost import E, diverged_as_guessing
from adatune_lite.report.statistics import Paired, paired
from adatune_lite.report.tables import Value, by_seed, signed, values_of
from adatune_lite.runs.record import Record

final_loss = diverged_as_guessing(E)
LEAST_SHARE = 0.9
"""Of the seeds, with LRS-OPT at or below an online method (marthe.mnist.lrsopt_lower_bound)."""
RIVALS_OF_MARTHE = ("hd", "hd_validation", "rtho")

Sides = dict[str, tuple[Key, Key]]


@judge("marthe.mnist.horizon")
def horizon(claim: Claim, results: Results) -> Finding:
    """Epochs of the reporting runs, from the steps, batch and training images of their specs."""
    records = results["report"]
    if not records:
        return Finding()
    epochs = by_seed(records, lambda r: r.spec.steps * r.spec.task.batch / r.spec.task.train)
    meets, numbers = meets_printed(claim, list(epochs.values()))
    steps, task = records[0].spec.steps, records[0].spec.task
    why = (
        f"{steps} steps of {task.batch} out of {task.train:,} images are {numbers['mean']:.2f} epochs; "
        f"the paper's are {numbers['printed']:g} ± {claim.equivalence_margin}."
    )
    return Finding(meets, not meets, statistic=numbers, seeds=len(epochs), why=why, runs=hashes(records))


@judge("marthe.mnist.lrsopt_beats_constant")
def lrsopt_beats_constant(_: Claim, results: Results) -> Finding:
    """E of LRS-OPT minus that of the constant schedule it starts from."""
    return _below(results, _against("lrs_opt", ["start"]))


@judge("marthe.mnist.lrsopt_lower_bound")
def lrsopt_lower_bound(_: Claim, results: Results) -> Finding:
    """E of LRS-OPT minus that of each online method, after Holm; on how many seeds it is not above."""
    return _below(results, _against("lrs_opt", ONLINE), adjust=True, least_share=LEAST_SHARE)


@judge("marthe.mnist.marthe_closest")
def marthe_closest(_: Claim, results: Results) -> Finding:
    """The gap in E to LRS-OPT of MARTHE minus that of HD and of RTHO, and whose schedule is most like its.

    The gaps of a seed share LRS-OPT's E, so that their difference is that of E; seeds without LRS-OPT are
    left out.
    """
    best = results["report", "lrs_opt"]
    seeds = {r.spec.seed for r in best}

    def loss(record: Record) -> float | None:
        return final_loss(record) if record.spec.seed in seeds else None

    finding = _below(results, _against("marthe", RIVALS_OF_MARTHE), loss)
    if not best:
        return Finding(missing=(LABELS["lrs_opt"],), runs=finding.runs)
    shapes = {m: values_of(results["report", m], results.likeness) for m in ("marthe", *RIVALS_OF_MARTHE)}
    likeness = {m: fmean(found) for m, found in shapes.items() if found}
    listed = ", ".join(f"{LABELS[m]} {c:.2f}" for m, c in likeness.items()) or "undefined"
    correlation = {"correlation": likeness["marthe"]} if "marthe" in likeness else {}
    return replace(
        finding,
        passes=finding.passes and max(likeness, key=lambda m: likeness[m], default="") == "marthe",
        statistic={**finding.statistic, **correlation},
        why=f"{finding.why} Correlation of the smoothed log schedules with LRS-OPT's: {listed}.".strip(),
        runs=(*finding.runs, *hashes(best)),
    )


@judge("marthe.mnist.mu_interior")
def mu_interior(_: Claim, results: Results) -> Finding:
    """E at the interior mu with the least tuning loss minus E at both ends.

    Where both differences are below 0, the best mean E of the grid is at an interior mu as well.
    """
    at_mu = results.by("mu")
    means = {mu: fmean(map(final_loss, records)) for mu, records in at_mu.items() if records}
    missing = tuple(group.name for mu, group in results.under("mu").items() if mu not in means)
    runs = hashes(results["mu"])
    tuned = {mu: choice.mean_loss for mu in means if (choice := results.choice("mu tuning", mu))}
    inside = [mu for mu in INNER_MUS if mu in means]
    if not inside:
        return Finding(missing=missing, runs=runs)
    chosen = min(inside, key=lambda mu: tuned[mu])
    finding = _below(
        results, {f"μ = {chosen:g} minus μ = {end:g}": (("mu", chosen), ("mu", end)) for end in ENDS}
    )
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
    sides = {f"{LABELS[m]} minus LRS-OPT": _side(m, "lrs_opt") for m in ("hd", "hd_validation")}
    pairs = _pairs(results, sides, _first_half_rate)
    return replace(
        _below(results, sides, _first_half_rate, "Mean rate of the first half", "are left out"),
        opposite=all(pair is not None and pair.greater < ALPHA for pair in pairs.values()),
    )


def _first_half_rate(record: Record) -> float | None:
    return float(schedule_of(record)[: record.spec.steps // 2].mean()) if record.finished else None


def _side(ours: str, theirs: str) -> tuple[Key, Key]:
    return ("report", ours), ("report", theirs)


def _against(ours: str, rivals: Sequence[str]) -> Sides:
    return {f"{LABELS[ours]} minus {LABELS[rival]}": _side(ours, rival) for rival in rivals}


def _pairs(results: Results, sides: Sides, value: Value) -> dict[str, Paired | None]:
    return {name: paired(*(by_seed(results[key], value) for key in keys)) for name, keys in sides.items()}


def _below(
    results: Results,
    sides: Sides,
    value: Value = final_loss,
    title: str = "E",
    diverged: str = "count as guessing",
    *,
    adjust: bool = False,
    least_share: float = 0.0,
) -> Finding:
    """Whether all mean differences are below 0, one-sided p < 0.05; pairs without seeds are left out."""
    keys = dict.fromkeys(key for side in sides.values() for key in side)
    pairs = _pairs(results, sides, value)
    there = {label: pair for label, pair in pairs.items() if pair is not None}
    count = sum(not r.finished for key in keys for r in results[key])
    note = f" {count} diverged runs {diverged}." if count else ""
    found = Finding(
        why=note,
        missing=tuple(results.groups[key].name for key in keys if not by_seed(results[key], value)),
        runs=hashes(*(results[key] for key in keys)),
    )
    if not there:
        return found
    weighed = kinds.weigh(there, dict.fromkeys(there, kinds.TESTS["below"]), adjust=adjust)
    share = min(pair.share_not_above for pair in there.values())
    worst = max(there, key=lambda label: (weighed.p[label], there[label].difference.mean))
    statistic = {"difference": there[worst].difference.mean, "p": weighed.p[worst]}
    parts = []
    for label, pair in there.items():
        p_value = f"p = {weighed.p[label]:.2g}" + (" after Holm" if adjust else "")
        shares = f", not above on {pair.share_not_above:.0%} of the seeds" if least_share else ""
        parts.append(f"{label} {signed(pair.difference, 4)}, {p_value}{shares}")
    return replace(
        found,
        passes=weighed.passes and share >= least_share,
        opposite=weighed.contradicted,
        statistic={**statistic, "share": share} if least_share else statistic,
        seeds=weighed.seeds if len(there) == len(pairs) else 0,
        why=f"{title}: {'; '.join(parts)}.{note}",
    )
