"""Covering by pairs: few of many cases, in which every pair of values of two factors still occurs.

A fault mostly hangs on one circumstance or on two that meet: cases that cover all pairs find it at a small
part of the full product's cost.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence, Set
from itertools import combinations

Factors = Mapping[str, Hashable]
"""What a case is made of: values by the name of the factor."""


def pairs(case: Factors) -> set[Hashable]:
    """The pairs of values that meet in a case."""
    return set(combinations(sorted(case.items(), key=lambda item: item[0]), 2))


def covering(cases: Sequence[Set[Hashable]]) -> list[int]:
    """Indices, rising, of cases which together cover all that any of them covers.

    cases: what each covers, its `pairs` for example. Greedy: always the case that covers most of what is
    still to come, of equal ones the first. So the same on every machine, and near the fewest.
    """
    everything = sorted(set().union(*cases), key=repr)
    number = {thing: k for k, thing in enumerate(everything)}
    masks = [sum(1 << number[thing] for thing in case) for case in cases]
    left, chosen = (1 << len(number)) - 1, []
    while left:
        best = max(range(len(cases)), key=lambda k: (masks[k] & left).bit_count())
        chosen.append(best)
        left &= ~masks[best]
    return sorted(chosen)
