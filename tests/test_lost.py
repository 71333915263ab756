"""The one rule of lost runs: which they are, what they count as, and that verdicts say where it matters."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from small_page import SEEDS, Made, Small, runs

from adatune_lite import claims
from adatune_lite.claims import Claim, Finding, kinds
from adatune_lite.claims.verdict import Judge
from adatune_lite.report.lost import (
    Lost,
    cannot_tell,
    count,
    diverged_as_guessing,
    is_lost,
    kept,
    metric,
    ranked,
)
from adatune_lite.report.search import choose
from adatune_lite.report.tables import Mean, against, averaged, tuning_loss
from adatune_lite.runs.record import Record
from adatune_lite.tasks.spec import TaskSpec
from adatune_lite.training.spec import RunSpec

TEN, HUNDRED = math.log(10), math.log(100)


def run(loss: float | None, accuracy: float = 90.0, classes: int = 10, seed: int = 0) -> Record:
    """A run with this E and a test loss a little above it; None: it diverged."""
    spec = runs(0.1, (seed,))[0]
    if classes == 100:
        task = TaskSpec("cifar100", train=100, validation=10, test=10, batch=10, model="lenet5")
        spec = replace(spec, task=task)
    if loss is None:
        return Record(spec, "made up", "cpu", {}, "diverged at step 2", {}, {}, {}, {})
    metrics = {"validation_loss": loss, "test_loss": loss + 0.01, "test_accuracy": accuracy}
    return Record(spec, "made up", "cpu", {}, "finished", {}, metrics, {}, {})


@pytest.mark.parametrize(
    ("record", "lost"),
    [
        (run(0.3), False),
        (run(math.nextafter(TEN, 0)), False),
        (run(TEN), True),
        (run(50.0), True),
        (run(1e26), True),
        (run(math.inf), True),
        (run(math.nan), True),
        (run(None), True),
        (run(4.0, classes=100), False),
        (run(HUNDRED, classes=100), True),
        (run(None, classes=100), True),
    ],
)
def test_a_run_is_lost_that_diverged_or_is_no_better_than_guessing(record: Record, lost: bool) -> None:
    assert is_lost(record) is lost and count([record]) == lost and kept([record]) == [record] * (not lost)
    (counts,) = ranked([record])
    assert isinstance(counts, Lost) is lost and (counts is record) is not lost
    assert not lost or (counts.diverged and not counts.finished and is_lost(counts))
    assert ranked([counts]) == [counts] and counts.spec == record.spec


def test_a_run_without_a_validation_loss_is_lost_if_it_diverged() -> None:
    measured = replace(run(0.3), metrics={"relative_error": 1e-9})
    assert not is_lost(measured) and is_lost(replace(measured, status="diverged at step 1", metrics={}))


@pytest.mark.parametrize("classes", [10, 100])
def test_lost_runs_are_ranked_as_guessing_with_the_accuracy_that_they_have(classes: int) -> None:
    finished, diverged = run(50.0, 9.8, classes), run(None, classes=classes)
    for name in ("validation_loss", "test_loss", "train_loss"):
        assert metric(name)(finished) == metric(name)(diverged) == math.log(classes)
    assert metric("test_accuracy")(finished) == 9.8 and metric("test_accuracy")(diverged) == 100 / classes
    assert metric("test_loss")(run(0.3, classes=classes)) == 0.31
    before = diverged_as_guessing("validation_loss")
    assert before(finished) == 50 and before(diverged) == math.log(classes), "as claims were first judged"
    assert [before(r) for r in ranked([finished, diverged])] == [math.log(classes)] * 2


def cell(losses: Sequence[float | None]) -> list[Record]:
    return [run(loss, seed=seed) for seed, loss in enumerate(losses)]


def test_a_cell_shows_its_runs_their_median_and_how_many_are_lost() -> None:
    column, e = averaged("E", metric("validation_loss"), 2), metric("validation_loss")

    def text(*losses: float | None) -> str:
        return column.form(Mean.of(cell(losses), e)) if callable(column.form) else ""

    assert text(0.1, 0.2, 0.3) == "0.20\N{NO-BREAK SPACE}±\N{NO-BREAK SPACE}0.25"
    assert text(0.1, 0.2, 0.15, None, 0.3) == "median 0.20 (0.10, 0.20, 0.15, lost, 0.30); 1 of 5 lost"
    assert text(0.1, 50.0, TEN) == "median 2.30 (0.10, lost, lost); 2 of 3 lost"
    assert text(None, 50.0, math.nan) == "3 of 3 lost"
    mean = Mean.of(cell([0.1, None]), e)
    assert mean is not None and mean.interval is mean.bars is None
    assert mean.rank == mean.middle == pytest.approx((0.1 + TEN) / 2)


def test_what_a_lost_run_does_not_have_stays_out_of_the_median() -> None:
    rate = Mean.of(cell([0.1, None, 0.3]), lambda record: 1.0 if record.finished else None)
    assert rate is not None and rate.text(1) == "median 1.0 (1.0, lost, 1.0); 1 of 3 lost"


def test_cells_with_lost_runs_are_compared_exactly() -> None:
    better, worse, e = cell([0.1, 0.2, 0.1, 0.2, 0.1]), cell([0.3, 50.0, None, TEN, 0.4]), metric("test_loss")
    pair = against(better, worse, e)
    assert pair is not None and pair.exact and pair.less == 1 / 32 and pair.greater == 1
    assert pair.differences[1] == pytest.approx(0.21 - TEN) and pair.median == pytest.approx(0.21 - TEN)
    assert pair.below(1.0) == 1 / 32 and pair.above(-1.0) > 0.05 and pair.within(5.0) == 1 / 32
    whole = against(better, cell([0.3, 0.3, 0.3, 0.3, 0.4]), e)
    assert whole is not None and not whole.exact and whole.less < 1 / 32
    elsewhere = against(better[:2], [run(0.3), run(0.3, seed=1), run(None, seed=9)], e)
    assert elsewhere is not None and not elsewhere.exact, "the lost seed is not compared"


def test_five_seeds_cannot_tell_and_six_can() -> None:
    assert cannot_tell([]) == cannot_tell([6, 10]) == ""
    found = cannot_tell([5, 10, 3])
    assert found.endswith("with 5 seeds its p cannot go below 0.062, so that 5 seeds cannot tell.")


def test_a_search_takes_any_whole_draw_before_one_that_is_lost() -> None:
    held = {0.1: [50.0, 0.1], 0.2: [None, 0.1], 0.3: [1.0, 1.1], 0.4: [TEN, TEN]}
    trials = [runs(lr, (0, 1)) for lr in held]

    class Store:
        def get(self, spec: RunSpec) -> Record | None:
            return replace(run(held[float(spec.get("lr"))][spec.seed]), spec=spec)

    found = choose(trials, Store(), {})
    assert found is not None and dict(found.settings) == {"lr": 0.3} and found.lost == 3
    assert found.losses == (1.0, 1.1) and found.gone == (False, False)
    assert [loss for loss, _ in found.scored] == pytest.approx([(TEN + 0.1) / 2] * 2 + [1.05, TEN])


def test_the_loss_of_a_choice_that_is_lost_is_no_mean() -> None:
    class Store:
        def get(self, spec: RunSpec) -> Record | None:
            return replace(run(50.0 if spec.seed else 0.1), spec=spec)

    column = tuning_loss(lambda choice: choice)
    lost = choose([runs(0.1, (0, 1))], Store(), {})
    assert column.text(lost) == "median 1.2013 (0.1000, lost); 1 of 2 lost"
    assert column.text(choose([runs(0.1, (0,))], Store(), {})) == "0.1000"


# Verdicts: the reading under which a claim was first judged, and a word where the rule says otherwise.

CLAIM = claims.claim_of("marthe.mnist.lrsopt_beats_constant")


def judged(made: Made, value: kinds.Value) -> claims.Verdict:
    """Whether the rates 0.02 are above the reference."""

    def find(claim: Claim, page: Any) -> Finding:
        pair = kinds.paired(*(kinds.by_seed(page[key], value) for key in (("rates", 0.02), "reference")))
        assert pair is not None
        used = kinds.hashes(page["rates", 0.02], page["reference"])
        return Finding(pair.greater < 0.05, pair.less < 0.05, seeds=10, why="Compared.", runs=used)

    claim = replace(CLAIM, scale_needed="any")
    return Judge(claim.id, {"__name__": "here"}, 1, find)(claim, Small("desk", made))


def accuracy(record: Record) -> float:
    return record.metrics.get("test_accuracy", 10.0)


def test_a_verdict_without_lost_runs_says_nothing_of_the_rule() -> None:
    found = judged(Made(lambda spec: 90 + spec.get("lr") + 0.001 * spec.seed * spec.get("lr")), accuracy)
    assert (found.outcome, found.why) == ("supported", "Compared.")


def test_a_verdict_says_where_the_rule_gives_another_outcome() -> None:
    """By t-test one lost reference hides that the rate is better on every seed."""
    lost = Made(
        lambda spec: math.nan if (spec.get("lr"), spec.seed) == (0.01, 0) else 50 + 100 * spec.get("lr")
    )
    found = judged(lost, accuracy)
    assert found.outcome == "undecided" and found.why == "Compared. By the one rule of lost runs: supported."
    level = Made(lambda spec: math.nan if (spec.get("lr"), spec.seed) == (0.01, 0) else 50 + spec.seed)
    same = judged(level, accuracy)
    assert (same.outcome, same.why) == ("undecided", "Compared."), "the same by both"


def test_lost_runs_that_a_claim_does_not_read_do_not_concern_it() -> None:
    elsewhere = Made(lambda spec: math.nan if spec.get("lr") == 0.03 else 90 + 100 * spec.get("lr"))
    assert judged(elsewhere, accuracy).why == "Compared."
    page = Small("desk", elsewhere)
    assert count(page["rates", 0.03]) == len(SEEDS) and not any(isinstance(r, Lost) for r in page["rates"])
    assert [isinstance(r, Lost) for r in page.by_the_rule["rates"]] == [False] * 5 + [True] * 5
