"""Judges by kind of test, on groups of a made-up page."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from statistics import fmean
from typing import Any

import pytest
from small_page import SEEDS, Made, Small, accuracy

from adatune_lite import claims, experiments
from adatune_lite.__main__ import main
from adatune_lite.claims import ClaimError, Verdict, claim_of, kinds, verdict
from adatune_lite.claims.verdict import judges_of
from adatune_lite.report.statistics import holm, mean_less, paired
from adatune_lite.report.tables import by_seed
from adatune_lite.runs.record import Record
from adatune_lite.training.spec import RunSpec

CLAIM = "autolr.t14.adam.diff"
"""Its margin is half a point, and it needs five seeds."""
OTHER = "autolr.t14.sgd.diff"
NOISE = (0.01, -0.02, 0.0, 0.02, -0.01)


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """No other judges, and none left behind."""
    monkeypatch.setattr(verdict, "_JUDGES", {})


def page(at: dict[float, float], fewer: int = 0) -> Small:
    """Accuracies by rate, with a little noise that differs by rate."""

    def value(spec: RunSpec) -> float | None:
        if spec.seed not in SEEDS[fewer:]:
            return None
        lr = spec.get("lr")
        return 90 + at.get(lr, 0.0) + NOISE[(spec.seed * (1 + round(100 * lr))) % 5]

    return Small("desk", Made(value))


def judged(found: Small, claim_id: str = CLAIM) -> Verdict:
    return verdict._JUDGES[claim_id](claim_of(claim_id), found)


def difference(claim_id: str = CLAIM, test: str = "above", **more: Any) -> None:
    kinds.difference(
        claim_id, ("rates", 0.02), ("reference",), accuracy, what="Two minus one", test=test, **more
    )


@pytest.mark.parametrize(
    ("test", "gaps"),
    [
        ("above", {1.0: "supported", 0.0: "equivalent", -1.0: "contradicted"}),
        ("below", {1.0: "contradicted", 0.0: "equivalent", -1.0: "supported"}),
        ("not worse", {1.0: "supported", 0.0: "supported", -1.0: "contradicted"}),
        ("same", {1.0: "contradicted", 0.0: "supported", -1.0: "contradicted"}),
    ],
)
def test_a_difference_by_every_test(test: str, gaps: dict[float, str]) -> None:
    difference(test=test)
    for gap, outcome in gaps.items():
        found = judged(page({0.02: gap}))
        assert (found.outcome, found.seeds) == (outcome, 5)
        assert found.statistic["difference"] == pytest.approx(gap, abs=0.05)
        assert found.why.startswith("Two minus one, points: ") and len(found.runs) == 10


def test_a_difference_says_what_is_missing() -> None:
    difference(where=lambda page: page.scale != SEEDS[:1])
    assert judged(Small("desk", Made(lambda spec: None))).outcome == "not run"
    half = judged(Small("desk", Made(lambda spec: 90.0 if spec.get("lr") == 0.02 else None)))
    assert half.outcome == "undecided" and "missing of the reference" in half.why
    few = judged(page({0.02: 1.0}, fewer=1))
    assert few.outcome == "undecided" and "4 of the 5 seeds" in few.why
    elsewhere = Small("smoke", Made(lambda spec: 90.0))
    assert judged(elsewhere).outcome == "not run"


def test_a_family_is_corrected_over_those_that_can_be_made() -> None:
    family = kinds.Family()
    difference(family=family)
    kinds.difference(OTHER, ("rates", 0.03), ("reference",), accuracy, what="Three minus one", family=family)
    both = page({0.02: 0.02})
    one = Small("desk", Made(lambda spec: None if spec.get("lr") == 0.03 else 90.0))
    reference = by_seed(both["reference"], accuracy)
    pairs = [paired(by_seed(records, accuracy), reference) for records in both.by("rates").values()]
    expected = holm([pair.greater for pair in pairs if pair])
    found = judged(both)
    assert found.statistic["p"] == pytest.approx(expected[0]) and "after Holm" in found.why
    assert set(family.adjusted(both)) == {CLAIM, OTHER} and set(family.adjusted(one)) == {CLAIM}


def test_an_absolute_claim_never_on_a_copy() -> None:
    name = "autolr.t14.adam.autolr"
    printed = claim_of(name).value
    assert isinstance(printed, float)
    kinds.absolute(name, ("reference",), accuracy)
    kinds.absolute("autolr.s21.best_run", ("reference",), accuracy, take=lambda v: [max(v)], least=20)

    def at(offset: float, source: str = "published") -> Small:
        found = Small("desk", Made(lambda s: printed + offset + NOISE[s.seed % 5], source=source))
        found.profile = "paper"
        return found

    assert judged(at(0), name).outcome == "reproduced"
    assert judged(at(3), name).outcome == "contradicted"
    assert judged(at(0, "Parquet (JPEG copy)"), name).outcome == "undecided"
    assert "15 of 20 runs" in judged(at(0), "autolr.s21.best_run").why


SIDES = {lr: (("rates", lr), ("reference",)) for lr in (0.02, 0.03)}
NAMED = {f"{lr:g}": sides for lr, sides in SIDES.items()}


def ordering(**more: Any) -> None:
    kinds.ordering(CLAIM, NAMED, accuracy, lambda _, w: f"{len(w.pairs)} pairs.", **{"test": "above", **more})


def test_an_ordering_needs_all_of_its_differences() -> None:
    ordering()
    assert judged(page({0.02: 1, 0.03: 1})).outcome == "supported"
    assert judged(page({0.02: 1, 0.03: 0})).outcome == "undecided"
    assert judged(page({0.02: 1, 0.03: -1})).outcome == "contradicted"
    half = judged(Small("desk", Made(lambda s: None if s.get("lr") == 0.03 else 90.0)))
    assert half.outcome == "undecided" and "missing of 0.03" in half.why


def test_each_of_them_by_its_own_test() -> None:
    ordering(test={"0.02": "above", "0.03": "below"})
    assert judged(page({0.02: 1, 0.03: -1})).outcome == "supported"
    assert judged(page({0.02: 1, 0.03: 1})).outcome == "contradicted"


def test_a_trend_rises_with_the_level() -> None:
    levels = {0.01: ("reference",), 0.02: ("rates", 0.02), 0.03: ("rates", 0.03)}
    kinds.trend(
        "autolr.t1.trend", levels, accuracy, lambda level: f"rate {level:g}", per=0.01, per_words="hundredth"
    )
    rising = judged(page({0.02: 1, 0.03: 2}), "autolr.t1.trend")
    assert rising.outcome == "supported" and rising.statistic["slope"] == pytest.approx(1, abs=0.05)
    assert judged(page({0.02: -1, 0.03: -2}), "autolr.t1.trend").outcome == "contradicted"
    part = judged(Small("desk", Made(lambda s: None if s.get("lr") == 0.02 else 90.0)), "autolr.t1.trend")
    assert part.outcome == "undecided" and "missing of rate 0.02" in part.why


def fit(holds: Callable[[float], bool], **more: Any) -> None:
    kinds.fit(
        CLAIM,
        {"one": ("reference",), "two": ("rates", 0.02)},
        accuracy,
        level=fmean,
        holds=holds,
        against=lambda values: mean_less(values, 90),
        says=lambda found: found.listed(".1f"),
        statistic=lambda found: {"least": min(found.level.values())},
        **more,
    )


def test_a_fit_holds_in_every_group() -> None:
    fit(lambda level: level > 89.9)
    found = judged(page({}))
    assert found.outcome == "supported" and found.why == "one 90.0, two 90.0"
    below = judged(page({0.02: -1}))
    assert below.outcome == "contradicted" and below.statistic["least"] == pytest.approx(89, abs=0.1)
    assert judged(page({0.02: 0.0, 0.01: -0.15})).outcome == "contradicted", "a group alone"


def test_several_numbers_each_within_its_limit() -> None:
    """Accuracies, and a number of looks that some runs have not."""

    def rate(record: Record) -> list[float] | None:
        lr = float(record.spec.get("lr"))
        return [lr, 2 * lr] if lr > least else None

    least = 0.0
    kinds.limits(
        CLAIM,
        {"one": ("reference",), "two": ("rates", 0.02)},
        {
            "accuracy": kinds.bounded(accuracy, fmean, float, least=89.9, form="{:.0f}"),
            "rate": kinds.bounded(rate, lambda runs: max(map(max, runs)), max, most=0.05, form="{:g}"),
        },
        "Mean accuracy and largest rate",
        lacks="a rate",
    )
    found = judged(page({}))
    assert (
        found.outcome == "supported"
        and found.why == "Mean accuracy and largest rate: one 90, 0.02; two 90, 0.04."
    )
    assert found.statistic == pytest.approx({"accuracy": 90, "rate": 0.04}, rel=1e-3)
    assert judged(page({0.02: -1})).outcome == "contradicted", "a number alone, below"
    least = 0.015
    short = judged(page({}))
    assert (
        short.outcome == "undecided"
        and "missing of a rate of one" in short.why
        and "two 90, 0.04" in short.why
    )
    least = 0.05
    none = judged(page({}))
    assert none.outcome == "undecided" and "a rate of one, a rate of two" in none.why and not none.statistic
    assert judged(page({}, fewer=5)).outcome == "not run"


def test_a_fit_of_every_run() -> None:
    kinds.every_run(CLAIM, {"one": ("reference",)}, accuracy, lambda x: x < 90.015, "the accuracy", ".2f")
    assert judged(page({0.01: -1})).outcome == "supported"
    one = judged(page({}))
    assert one.outcome == "contradicted" and one.why == (
        "It holds in 4 of 5 runs; the accuracy goes from 89.98 to 90.02."
    )


def test_what_cannot_be_is_refused_in_a_sentence() -> None:
    with pytest.raises(ClaimError) as error:
        difference(test="abvoe")
    assert str(error.value) == "unknown kind of test 'abvoe'; there are: above, below, not worse, same"
    with pytest.raises(ClaimError, match="unknown kind of test 'up'"):
        ordering(test={"0.02": "above", "0.03": "up"})
    with pytest.raises(ClaimError, match="did you mean autolr"):
        claim_of("autolr.t14.adm.diff")
    difference()
    with pytest.raises(ClaimError, match=r"autolr\.t14\.adam\.diff has two judges, in .*test_kinds\.py:"):
        difference(test="below")
    with pytest.raises(ClaimError, match=r"the margin of autolr\.fig8\.lr_range_cifar10 is 'factor 2'"):
        kinds.margin_of(claim_of("autolr.fig8.lr_range_cifar10"))


def test_the_scorecard_of_one_claim(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()
    assert main(["scorecard", CLAIM]) == 0
    lines = dict(line.split(":", 1) for line in capsys.readouterr().out.splitlines())
    assert lines["claim"].split()[0] == CLAIM and lines["kind"].strip() == "difference"
    assert lines["test"].strip().startswith("Paired difference AutoLR minus constant LR")
    assert re.fullmatch(r" +difference \S+, p \S+", lines["statistic"])
    place, line = lines["judge"].strip().split(":")
    source = Path(__file__).parents[1] / place
    assert f'"{CLAIM}"' in source.read_text().splitlines()[int(line) - 1]
    assert all(re.fullmatch("[0-9a-f]{16}", run) for run in lines["runs"].split()) and lines["runs"].split()
    assert main(["scorecard", "autolr.t14.adam.dif"]) == 2
    assert "did you mean autolr.t14.adam.diff" in capsys.readouterr().err


def test_ids_of_converted_experiments_stand_in_their_source(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    for name in ("01", "03", "04", "05", "06"):
        for claim_id, judge in judges_of(experiments.find(name)).items():
            place, line = judge.place.split(":")
            source = (Path(__file__).parents[1] / place).read_text().splitlines()
            assert f'"{claim_id}"' in source[int(line) - 1]
    assert len(claims.load()) == 250
