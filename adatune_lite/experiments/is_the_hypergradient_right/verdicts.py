"""The tests of claims about AdaTune's code, as they were registered, on the records of experiment 02.

How their texts are read where they leave something open, decided before the reporting runs were made:

- adatune.code.frozen_lr: final test accuracy with products at the first rate minus that of the exact
  recursion, at the hyper_lr of the latter. The quirk matters if the accuracy is below, with and without
  momentum; it does not (equivalent) if both differences lie within the margin.
- adatune.issue3.negative_lr: shares over the whole grid of hyper_lr and all seeds, Adam.
"""

from __future__ import annotations

from adatune_lite.claims import ALPHA, Claim, Finding, judge
from adatune_lite.experiments.is_the_hypergradient_right.reading import OPTIMIZERS, Results, turned_negative
from adatune_lite.report.statistics import tost


@judge("adatune.code.frozen_lr")
def frozen_lr(claim: Claim, results: Results) -> Finding:
    """Test accuracy with products at the first rate minus that of the exact recursion."""
    names = ("sgd", "momentum")
    rows = {name: results.row(name, "frozen_lr") for name in names}
    found = {name: row.accuracy for name, row in rows.items() if row is not None and row.accuracy is not None}
    runs = tuple(
        r.spec.hash
        for name in names
        for k in ("exact", "frozen_lr")
        for r in results.trained.get((name, k), [])
    )
    missing = tuple(OPTIMIZERS[name] for name in names if name not in found)
    if missing:
        return Finding(missing=missing, runs=runs)
    margin = claim.equivalence_margin
    assert isinstance(margin, int | float)
    inside = {name: tost(pair.differences, margin) for name, pair in found.items()}
    least = max(found, key=lambda name: found[name].less)
    parts = [
        f"{OPTIMIZERS[name]} {pair.difference.mean:+.3f} points, p = {pair.less:.2g} that it is below, "
        f"p = {inside[name]:.2g} that it is outside ±{margin:g}"
        for name, pair in found.items()
    ]
    return Finding(
        passes=all(pair.less < ALPHA for pair in found.values()),
        opposite=all(pair.greater < ALPHA for pair in found.values()),
        equivalent=all(p < ALPHA for p in inside.values()),
        statistic={"difference": found[least].difference.mean, "p": found[least].less},
        seeds=min(len(pair.seeds) for pair in found.values()),
        why=f"Accuracy minus the exact recursion's: {'; '.join(parts)}.",
        runs=runs,
    )


@judge("adatune.issue3.negative_lr")
def negative_lr(_: Claim, results: Results) -> Finding:
    """Shares of runs with a negative rate and of diverged runs, with and without projection."""
    of = {
        on: [r for (_, projected), records in results.projection.items() if projected == on for r in records]
        for on in (True, False)
    }
    runs = tuple(r.spec.hash for records in of.values() for r in records)
    if not (of[True] and of[False]):
        return Finding(missing=("Adam with and without projection",), runs=runs)
    negative = {on: sum(map(turned_negative, records)) / len(records) for on, records in of.items()}
    lost = {on: sum(not r.finished for r in records) / len(records) for on, records in of.items()}
    return Finding(
        passes=negative[False] > 0 and negative[True] == 0 and lost[True] < lost[False],
        opposite=negative[True] > 0 or lost[True] > lost[False],
        statistic={"negative": negative[False], "diverged": lost[False], "diverged_projected": lost[True]},
        seeds=len({r.spec.seed for r in of[False]} & {r.spec.seed for r in of[True]}),
        why=(
            f"Without projection {negative[False]:.0%} of {len(of[False])} runs have a negative rate and "
            f"{lost[False]:.0%} diverge; with it {negative[True]:.0%} and {lost[True]:.0%}."
        ),
        runs=runs,
    )
