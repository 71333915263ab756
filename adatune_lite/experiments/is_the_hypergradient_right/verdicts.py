"""The tests of claims about AdaTune's code, as they were registered, on the records of experiment 02.

How their texts are read where they leave something open, decided before the reporting runs were made:

- adatune.code.frozen_lr: final test accuracy with products at the first rate minus that of the exact
  recursion, at the hyper_lr of the latter. The quirk matters if the accuracy is below, with and without
  momentum; it does not (equivalent) if both differences lie within the margin.
- The accuracy of a run that is lost counts as that of guessing, also where it finished.
- adatune.issue3.negative_lr: shares over the whole grid of hyper_lr and all seeds, Adam.
"""

from __future__ import annotations

from adatune_lite.claims import ALPHA, Claim, Finding, judge
from adatune_lite.claims.kinds import hashes, margin_of
from adatune_lite.experiments.is_the_hypergradient_right.groups import OPTIMIZERS
from adatune_lite.experiments.is_the_hypergradient_right.reading import Results, turned_negative
from adatune_lite.report.lost import Lost, guessing, is_lost
from adatune_lite.report.statistics import paired
from adatune_lite.report.tables import by_seed
from adatune_lite.runs.record import Record


def accuracy(record: Record) -> float:
    """Test accuracy in percent, as it was read when the claim was first judged."""
    guessed = is_lost(record) and not isinstance(record, Lost)
    return guessing(record, "test_accuracy") if guessed else record.metrics["test_accuracy"]


@judge("adatune.code.frozen_lr")
def frozen_lr(claim: Claim, results: Results) -> Finding:
    """Test accuracy with products at the first rate minus that of the exact recursion."""
    held = {
        name: [results["trained", name, kind] for kind in ("exact", "frozen_lr")]
        for name in ("sgd", "momentum")
    }
    runs = hashes(*(records for both in held.values() for records in both))
    pairs = {
        name: paired(by_seed(ours, accuracy), by_seed(exact, accuracy))
        for name, (exact, ours) in held.items()
    }
    found = {OPTIMIZERS[name]: pair for name, pair in pairs.items() if pair is not None}
    if missing := tuple(OPTIMIZERS[name] for name, pair in pairs.items() if pair is None):
        return Finding(missing=missing, runs=runs)
    margin = margin_of(claim)
    inside = {name: pair.within(margin) for name, pair in found.items()}
    least = max(found.values(), key=lambda pair: pair.less)
    parts = [
        f"{name} {pair.difference.mean:+.3f} points, p = {pair.less:.2g} that it is below, "
        f"p = {inside[name]:.2g} that it is outside ±{margin:g}"
        for name, pair in found.items()
    ]
    return Finding(
        passes=all(pair.less < ALPHA for pair in found.values()),
        opposite=all(pair.greater < ALPHA for pair in found.values()),
        equivalent=all(p < ALPHA for p in inside.values()),
        statistic={"difference": least.difference.mean, "p": least.less},
        seeds=min(len(pair.seeds) for pair in found.values()),
        why=f"Accuracy minus the exact recursion's: {'; '.join(parts)}.",
        runs=runs,
    )


@judge("adatune.issue3.negative_lr")
def negative_lr(_: Claim, results: Results) -> Finding:
    """Shares of runs with a negative rate and of diverged runs, with and without projection."""
    projected, free = results["projection", "yes"], results["projection", "no"]
    runs = hashes(projected, free)
    if not (projected and free):
        return Finding(missing=("Adam with and without projection",), runs=runs)
    negative, negative_projected = (sum(map(turned_negative, of)) / len(of) for of in (free, projected))
    lost, lost_projected = (sum(not r.finished for r in of) / len(of) for of in (free, projected))
    return Finding(
        passes=negative > 0 and negative_projected == 0 and lost_projected < lost,
        opposite=negative_projected > 0 or lost_projected > lost,
        statistic={"negative": negative, "diverged": lost, "diverged_projected": lost_projected},
        seeds=len({r.spec.seed for r in free} & {r.spec.seed for r in projected}),
        why=(
            f"Without projection {negative:.0%} of {len(free)} runs have a negative rate and "
            f"{lost:.0%} diverge; with it {negative_projected:.0%} and {lost_projected:.0%}."
        ),
        runs=runs,
    )
