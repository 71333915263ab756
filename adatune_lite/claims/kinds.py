"""Judges by kind of test, for claims whose runs are groups of a page.

Each call registers the judge of one claim, whose id stands there literally, with the groups that it reads:

    absolute     our mean meets what is printed, as in absolute("autolr.t12.seedlr_0p1", ("seed rates", 1.0))
    difference   one group minus another one, paired by seed
    ordering     several such differences, all of which have to pass
    trend        a number that rises with the level of its group
    fit          a number of the runs of each group, or of every run, within limits; `limits` has several
    share        a property that a share of the runs of each group have

A test of paired differences is one of TESTS, which know their opposite too. A `Family` corrects the p values
of tests that belong together by Holm, in each direction, over those that can be made. What fits no kind is a
function under `claims.judge`. The rules that hold for all claims are applied to both, see `verdict`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from adatune_lite.claims.catalog import Claim, ClaimError, claim_of
from adatune_lite.claims.verdict import ALPHA, Finding, judge, meets_printed
from adatune_lite.report.association import share as share_of
from adatune_lite.report.association import trend as rank_trend
from adatune_lite.report.data import from_copy
from adatune_lite.report.groups import Key
from adatune_lite.report.statistics import Paired, holm, holm_both_ways, mean_less, paired, tost
from adatune_lite.report.tables import Value, by_seed, signed, values_of
from adatune_lite.runs.record import Record

Select = Mapping[str, Key] | Callable[[Any], Mapping[str, Key]]
"""Groups by a name for readers, or a function that finds them on a page."""
Sides = Mapping[str, tuple[Key, Key]] | Callable[[Any], Mapping[str, tuple[Key, Key]]]
"""Two groups each, the second of which is subtracted."""


@dataclass(frozen=True)
class Test:
    """A one-sided or equivalence test of paired differences, and that of its opposite, by their p values."""

    p: Callable[[Paired, float], float]
    """Of the differences and a margin."""
    opposite: Callable[[Paired, float], float]
    words: str
    """What the p value is of; {margin} stands for the margin."""


def not_worse(pair: Paired, margin: float) -> float:
    """p of the test that the difference is above -margin."""
    return mean_less([-d for d in pair.differences], margin)


def _worse(pair: Paired, margin: float) -> float:
    return mean_less(pair.differences, -margin)


def _above(pair: Paired, _: float) -> float:
    return pair.greater


def _below(pair: Paired, _: float) -> float:
    return pair.less


def same(pair: Paired, margin: float) -> float:
    """p of the test that the difference lies within ±margin."""
    return tost(pair.differences, margin)


def beyond(pair: Paired, margin: float) -> float:
    """p of the test that it lies outside ±margin, corrected for its two sides."""
    return min(1.0, 2 * min(_worse(pair, margin), mean_less([-d for d in pair.differences], -margin)))


TESTS = {
    "above": Test(_above, _below, "above 0"),
    "below": Test(_below, _above, "below 0"),
    "not worse": Test(not_worse, _worse, "above -{margin:g}"),
    "same": Test(same, beyond, "within ±{margin:g}"),
}


def test_of(name: str | Test) -> Test:
    """A test by its name. Raises ClaimError with the names that there are."""
    if isinstance(name, Test):
        return name
    if name not in TESTS:
        raise ClaimError(f"unknown kind of test {name!r}; there are: {', '.join(TESTS)}")
    return TESTS[name]


class Family:
    """Tests that are corrected together; for a page, over those that can be made."""

    def __init__(self) -> None:
        self._tests: dict[str, Callable[[Any], tuple[float, float] | None]] = {}

    def add(self, claim_id: str, test: Callable[[Any], tuple[float, float] | None]) -> None:
        """The test of a claim: p and that of its opposite from a page, None where it cannot be made."""
        self._tests[claim_id] = test

    def adjusted(self, page: Any) -> dict[str, tuple[float, float]]:
        """p and that of the opposite by claim, after Holm."""
        found = {name: test(page) for name, test in self._tests.items()}
        return holm_both_ways({name: p for name, p in found.items() if p is not None})


def margin_of(claim: Claim) -> float:
    """The claim's margin. Raises ClaimError where it is not one number."""
    margin = claim.equivalence_margin
    if not isinstance(margin, int | float):
        raise ClaimError(
            f"the margin of {claim.id} is {margin!r} and not one number: its judge must compare it"
        )
    return float(margin)


def hashes(*groups: Iterable[Record]) -> tuple[str, ...]:
    """Hashes of the specs, each once, in their order."""
    return tuple(dict.fromkeys(r.spec.hash for group in groups for r in group))


def absolute(
    claim_id: str,
    select: Key | Callable[[Any], Sequence[Record]],
    value: Value,
    take: Callable[[list[float]], list[float]] = list,
    least: int = 0,
) -> None:
    """What is printed against the mean of our runs.

    take: chooses from their values, the largest one say. least: only the first so many runs, and all of them.
    """

    @judge(claim_id)
    def compare(claim: Claim, page: Any) -> Finding:
        """The 95 % interval of the mean meets the printed value within the margin."""
        records = list(select(page) if callable(select) else page[select])[: least or None]
        return absolute_finding(claim, records, take(values_of(records, value)) if records else [], least)


def absolute_finding(
    claim: Claim, records: Sequence[Record], values: Sequence[float], least: int = 0
) -> Finding:
    """Whether the interval of our mean meets what is printed; never on a copy of the images.

    values: of the records, one each or chosen from them. least: runs that the statistic needs.
    """
    if not records:
        return Finding()
    meets, numbers = meets_printed(claim, values)
    missing = []
    if from_copy(records):
        missing.append("the published images (these runs read a JPEG copy)")
    if len(records) < least:
        missing.append(f"{least - len(records)} of {least} runs")
    lost = sum(not r.finished for r in records)
    why = f"Ours {numbers['mean']:.2f} %, printed {numbers['printed']:.2f} % ± {claim.equivalence_margin}."
    return Finding(
        passes=meets,
        opposite=not meets,
        statistic=numbers,
        seeds=len({r.spec.seed for r in records}),
        why=why + (f" {lost} diverged runs count as guessing." if lost else ""),
        missing=tuple(missing),
        runs=hashes(records),
    )


def without_data(claim_id: str, why: str) -> None:
    """A claim that no run of the project can be judged by, and why."""

    @judge(claim_id)
    def nothing(_: Claim, __: Any) -> Finding:
        """Not judged here."""
        return Finding(why=why)


@dataclass(frozen=True)
class Weighed:
    """Paired differences by name, with the p of their tests."""

    pairs: dict[str, Paired]
    p: dict[str, float]
    opposite: dict[str, float]
    """Of the opposite tests; one that is significant contradicts, hence always after Holm."""

    @property
    def passes(self) -> bool:
        """Whether all tests do."""
        return max(self.p.values()) < ALPHA

    @property
    def contradicted(self) -> bool:
        """Whether an opposite test passes."""
        return min(self.opposite.values()) < ALPHA

    @property
    def seeds(self) -> int:
        """The fewest seeds of any."""
        return min(len(pair.seeds) for pair in self.pairs.values())


def weigh(
    pairs: Mapping[str, Paired], tests: Mapping[str, Test], margin: float = 0.0, *, adjust: bool = True
) -> Weighed:
    """The tests of some pairs. adjust: correct them by Holm; their opposites are always corrected."""
    p = [tests[name].p(pair, margin) for name, pair in pairs.items()]
    opposite = [tests[name].opposite(pair, margin) for name, pair in pairs.items()]
    return Weighed(
        dict(pairs),
        dict(zip(pairs, holm(p) if adjust else p, strict=True)),
        dict(zip(pairs, holm(opposite), strict=True)),
    )


def difference(
    claim_id: str,
    ours: Key,
    theirs: Key,
    value: Value,
    *,
    what: str | Callable[[Any], str] = "",
    test: str = "above",
    family: Family | None = None,
    says: Callable[[Claim, Paired, float, int], str] | None = None,
    where: Callable[[Any], bool] = lambda page: True,
) -> None:
    """One group minus another one, paired by seed.

    what: the difference in words, or how it is called on a page. says: all of the sentence, from the pair, p
    and the number of tests of the family. where: pages that the claim is about; it is not run on others.
    """
    kind = test_of(test)

    def pair_of(page: Any) -> Paired | None:
        sides = (by_seed(page[key], value) for key in (ours, theirs))
        return paired(*sides) if where(page) else None

    def tested(page: Any) -> tuple[float, float] | None:
        pair, claim = pair_of(page), claim_of(claim_id)
        margin = float(claim.equivalence_margin) if isinstance(claim.equivalence_margin, int | float) else 0.0
        return (kind.p(pair, margin), kind.opposite(pair, margin)) if pair else None

    (family or Family()).add(claim_id, tested)

    @judge(claim_id)
    def compare(claim: Claim, page: Any) -> Finding:
        """A difference by seed, by the test that the claim names."""
        pair, runs = pair_of(page), hashes(page[ours], page[theirs])
        if pair is None:
            absent = tuple(page.groups[key].name for key in (ours, theirs) if not page[key])
            return (
                Finding(missing=absent or ("a seed that both have",), runs=runs) if where(page) else Finding()
            )
        all_of = family.adjusted(page) if family else {claim_id: tested(page)}
        p, opposite = all_of[claim_id] or (1.0, 1.0)
        margin = claim.equivalence_margin if isinstance(claim.equivalence_margin, int | float) else None
        words = kind.words.format(margin=margin or 0.0)
        title = what(page) if callable(what) else what
        sentence = (
            f"{title}, points: {signed(pair.difference)}, p = {p:.2g} that it is {words}"
            f"{' after Holm' if family else ''}."
        )
        return Finding(
            passes=p < ALPHA,
            opposite=opposite < ALPHA,
            equivalent=margin is not None and same(pair, margin) < ALPHA,
            statistic={"difference": pair.difference.mean, "p": p},
            seeds=len(pair.seeds),
            why=says(claim, pair, p, len(all_of)) if says else sentence,
            runs=runs,
        )


def ordering(
    claim_id: str,
    select: Sides,
    value: Value,
    says: Callable[[Claim, Weighed], str],
    *,
    test: str | Mapping[str, str | Test],
    adjust: bool = True,
    statistic: Callable[[Claim, Weighed], dict[str, float]] = lambda _, weighed: {
        "p": max(weighed.p.values())
    },
    passes: Callable[[Claim, Weighed], bool] = lambda claim, weighed: weighed.passes,
) -> None:
    """Several differences by seed, all of which have to pass; one whose opposite passes contradicts.

    test: of all, or of each by its name. statistic, passes: what decides, where it is not the largest p.
    """
    if isinstance(test, str):
        known = test_of(test)
    own = {} if isinstance(test, str) else {name: test_of(of) for name, of in test.items()}

    @judge(claim_id)
    def compare(claim: Claim, page: Any) -> Finding:
        """Differences by seed, all by the test that the claim names."""
        sides = select(page) if callable(select) else select
        runs = hashes(*(page[key] for keys in sides.values() for key in keys))
        pairs = {
            name: paired(by_seed(page[ours], value), by_seed(page[theirs], value))
            for name, (ours, theirs) in sides.items()
        }
        there = {name: pair for name, pair in pairs.items() if pair is not None}
        missing = tuple(name for name in pairs if name not in there)
        if not there:
            return Finding(missing=missing, runs=runs)
        numeric = isinstance(claim.equivalence_margin, int | float)
        tests = {name: own[name] if own else known for name in there}
        weighed = weigh(there, tests, margin_of(claim) if numeric else 0.0, adjust=adjust)
        return Finding(
            passes=passes(claim, weighed),
            opposite=weighed.contradicted,
            statistic=statistic(claim, weighed),
            seeds=weighed.seeds,
            why=says(claim, weighed),
            missing=missing,
            runs=runs,
        )


def trend(
    claim_id: str,
    levels: Mapping[float, Key],
    value: Value,
    name: Callable[[float], str],
    *,
    per: float,
    per_words: str,
    family: Family | None = None,
) -> None:
    """A number that rises with the level of its group, over the seeds that all levels have.

    levels: the keys of the groups by level. per, per_words: the change of the level that the slope in the
    sentence is for, and its name. name: that of a level without runs.
    """
    keys = {name(level): key for level, key in levels.items()}

    def tested(page: Any) -> tuple[float, float] | None:
        table, found = common_seeds(page, keys, value)
        if found.missing:
            return None
        rise = rank_trend(list(levels), table)
        return rise.greater, rise.less

    if family:
        family.add(claim_id, tested)

    @judge(claim_id)
    def compare(_: Claim, page: Any) -> Finding:
        """Spearman's rho of the level and the number over all runs, by permutation within each seed."""
        table, found = common_seeds(page, keys, value)
        if found.missing:
            return found
        rise = rank_trend(list(levels), table)
        slope = float(np.polyfit(list(levels), table.mean(0), 1)[0]) * per
        p, opposite = family.adjusted(page)[claim_id] if family else (rise.greater, rise.less)
        return Finding(
            passes=rise.rho > 0 and p < ALPHA,
            opposite=opposite < ALPHA,
            statistic={"rho": rise.rho, "p": p, "slope": slope},
            seeds=len(table),
            why=f"Spearman's rho {rise.rho:+.2f} over {table.size} runs, p = {p:.2g} by permutation"
            f"{' after Holm' if family else ''}; {slope:+.2f} points per {per_words}.",
            runs=found.runs,
        )


@dataclass(frozen=True)
class Fitted:
    """What is read of every run that finished, and what is taken of it in each group, by name."""

    values: dict[str, list[Any]]
    level: dict[str, Any]

    def listed(self, form: str) -> str:
        """The levels in words."""
        return ", ".join(f"{name} {level:{form}}" for name, level in self.level.items())

    def only(self, names: Sequence[str]) -> Fitted:
        """Some of the groups."""
        return Fitted({n: self.values[n] for n in names}, {n: self.level[n] for n in names})


@dataclass(frozen=True)
class Limit:
    """What is read of a run, and the limits of what is taken of it in a group of runs."""

    value: Callable[[Record], Any]
    """A number, or as many as the run has looks; None leaves the run out."""
    level: Callable[[list[Any]], Any]
    """What is taken of the runs of a group, a median say; NaN where they do not tell."""
    holds: Callable[[Any], bool]
    """Whether it lies within the limits."""
    against: Callable[[list[Any]], float]
    """p of the test that a group lies beyond."""
    form: str | Callable[[Any], str] = "{}"
    """How the level is written."""
    worst: Callable[[Iterable[Any]], Any] = max
    """Of the groups' levels, the one that decides."""

    def of(self, groups: Mapping[str, Sequence[Record]]) -> Fitted:
        """The groups that have the number."""
        found = {name: [v for r in held if (v := self.value(r)) is not None] for name, held in groups.items()}
        level = {name: self.level(values) for name, values in found.items() if values}
        told = {name: x for name, x in level.items() if not (isinstance(x, float) and np.isnan(x))}
        return Fitted({name: found[name] for name in told}, told)

    def text(self, level: Any) -> str:
        """A level in words."""
        return self.form.format(level) if isinstance(self.form, str) else self.form(level)


def bounded(
    value: Callable[[Record], Any],
    level: Callable[[list[Any]], float],
    of_run: Callable[[Any], float],
    *,
    most: float = np.inf,
    least: float = -np.inf,
    form: str = "{}",
) -> Limit:
    """At most or at least so much; contradicted by a t-test of what is taken of each run."""

    def against(runs: list[Any]) -> float:
        values = [x for run in runs if np.isfinite(x := of_run(run))]
        return min(mean_less([-x for x in values], -most), mean_less(values, least))

    return Limit(value, level, lambda x: least <= x <= most, against, form, max if np.isfinite(most) else min)


def limits(
    claim_id: str,
    select: Select,
    several: Mapping[str, Limit],
    says: str | Callable[[Mapping[str, Fitted]], str],
    statistic: Callable[[Mapping[str, Fitted]], dict[str, float]] | None = None,
    *,
    lacks: str = "",
    adjust: bool = False,
) -> None:
    """Several numbers of the runs of each group within limits; contradicted where a test finds one beyond.

    several: by the name in the statistic. says: the sentence, or what the levels in it are. lacks: what a
    group has not whose runs do not have the numbers. adjust: correct the tests by Holm.
    """

    @judge(claim_id)
    def compare(_: Claim, page: Any) -> Finding:
        """What is taken of every group lies within the limits."""
        groups = {name: [r for r in held if r.finished] for name, held in _selected(select, page).items()}
        if not any(groups.values()):
            return Finding()
        every = {what: limit.of(groups) for what, limit in several.items()}
        there = [name for name in groups if all(name in found.level for found in every.values())]
        absent = {name: held for name, held in groups.items() if name not in there}
        missing = tuple(f"{lacks} of {name}" if lacks and held else name for name, held in absent.items())
        runs = hashes(*groups.values())
        if not there:
            return Finding(missing=missing, runs=runs)
        told = {what: found.only(there) for what, found in every.items()}
        known = [(several[what], found) for what, found in told.items()]
        p = [limit.against(values) for limit, found in known for values in found.values.values()]
        worst = {what: several[what].worst(found.level.values()) for what, found in told.items()}
        return Finding(
            passes=all(limit.holds(level) for limit, found in known for level in found.level.values()),
            opposite=min(holm(p) if adjust else p) < ALPHA,
            statistic=statistic(told) if statistic else worst,
            seeds=min(len(values) for found in told.values() for values in found.values.values()),
            why=says(told) if callable(says) else f"{says}: {_listed(several, told)}.",
            missing=missing,
            runs=runs,
        )


def _listed(several: Mapping[str, Limit], told: Mapping[str, Fitted]) -> str:
    """The levels by group."""
    names = next(iter(told.values())).level
    levels = {n: ", ".join(several[what].text(found.level[n]) for what, found in told.items()) for n in names}
    return "; ".join(f"{name} {text}" for name, text in levels.items())


def fit(
    claim_id: str,
    select: Select,
    value: Value,
    level: Callable[[list[float]], float],
    holds: Callable[[float], bool],
    against: Callable[[list[float]], float],
    says: Callable[[Fitted], str],
    statistic: Callable[[Fitted], dict[str, float]],
    *,
    adjust: bool = True,
) -> None:
    """One number of the runs of each group within limits, see `Limit`."""
    limits(
        claim_id,
        select,
        {"": Limit(value, level, holds, against)},
        lambda found: says(found[""]),
        lambda found: statistic(found[""]),
        adjust=adjust,
    )


def every_run(
    claim_id: str,
    select: Select,
    value: Value,
    holds: Callable[[float], bool],
    what: str,
    form: str,
) -> None:
    """A number of every run that finished, within limits: one run outside contradicts.

    what: the number in words. form: how it is written.
    """

    @judge(claim_id)
    def compare(_: Claim, page: Any) -> Finding:
        """Whether it holds in every run."""
        groups = _selected(select, page)
        records = [r for held in groups.values() for r in held if r.finished]
        if not records:
            return Finding()
        values = values_of(records, value)
        held = sum(map(holds, values))
        return Finding(
            passes=held == len(values),
            opposite=held < len(values),
            statistic={"least": min(values), "most": max(values), "share": held / len(values)},
            seeds=min(len(runs) for runs in groups.values() if runs),
            why=f"It holds in {held} of {len(values)} runs; {what} goes from {min(values):{form}} to "
            f"{max(values):{form}}.",
            missing=tuple(name for name, runs in groups.items() if not runs),
            runs=hashes(records),
        )


def common_seeds(page: Any, keys: Mapping[str, Key], value: Value) -> tuple[np.ndarray, Finding]:
    """A number of the runs, [seeds, groups], over the seeds that all groups have, and a finding without them.

    The finding says which groups are missing, none if there is a common seed, and names the runs.
    """
    found = {name: by_seed(page[key], value) for name, key in keys.items()}
    runs = hashes(*(page[key] for key in keys.values()))
    seeds = sorted(set.intersection(*(set(values) for values in found.values())))
    table = np.array([[values[seed] for values in found.values()] for seed in seeds])
    absent = tuple(name for name, values in found.items() if not values) or ("a seed that all have",)
    return table, Finding(missing=() if seeds else absent, runs=runs)


def _selected(select: Select, page: Any) -> dict[str, list[Record]]:
    return {name: page[key] for name, key in (select(page) if callable(select) else select).items()}


def share(
    claim_id: str,
    select: Mapping[str, Key],
    holds: Callable[[Any, Record, str], bool | None],
    what: str,
    least: float = 2 / 3,
) -> None:
    """A property that at least such a share of the runs of each group have.

    holds: of a page, a finished run and the second part of its group's key; None where it cannot be told.
    Contradicted where the upper 95 % bound of a share lies below `least`.
    """

    @judge(claim_id)
    def compare(_: Claim, page: Any) -> Finding:
        """In how many runs of each group it holds."""
        groups = {name: [r for r in page[key] if r.finished] for name, key in select.items()}
        told = {
            name: [x for r in held if (x := holds(page, r, str(select[name][1]))) is not None]
            for name, held in groups.items()
        }
        there = {name: share_of(sum(values), len(values)) for name, values in told.items() if values}
        missing = tuple(name for name in select if name not in there)
        if not there:
            return Finding(missing=missing, runs=hashes(*groups.values()))
        listed = ", ".join(f"{found.k} of {found.n} ({name})" for name, found in there.items())
        return Finding(
            passes=all(found.value >= least for found in there.values()),
            opposite=any(found.high < least for found in there.values()),
            statistic={"share": min(found.value for found in there.values())},
            seeds=min(found.n for found in there.values()),
            why=f"{what} in {listed} runs.",
            missing=missing,
            runs=hashes(*groups.values()),
        )
