"""Experiment 02 as a whole, at the smoke profile, on the embedded digits."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
from smoke_runs import Smoke

from adatune_lite.claims import Claim, load
from adatune_lite.experiments import decision
from adatune_lite.experiments import is_the_hypergradient_right as experiment
from adatune_lite.experiments.invariants import InvariantError
from adatune_lite.experiments.is_the_hypergradient_right import invariants, plots, tables, verdicts
from adatune_lite.experiments.is_the_hypergradient_right.reading import ALL, GUESS, Results, error, probes
from adatune_lite.experiments.is_the_hypergradient_right.scale import CALM, FAULTS
from adatune_lite.runs.record import Record
from adatune_lite.runs.store import Store
from adatune_lite.training.derivatives import OUTER_ON_TEST, RATE_PER_TENSOR
from adatune_lite.training.outcome import Outcome
from adatune_lite.tuners.as_published import ADAM, STEP, TANGENT

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def results(smoke: Smoke) -> Results:
    found: Results = smoke(experiment)
    return found


def claim(name: str) -> Claim:
    return next(c for c in load() if c.id == name)


def changed(records: list[Record], **metrics: float) -> list[Record]:
    return [dataclasses.replace(r, metrics={**r.metrics, **metrics}) for r in records]


def test_the_library_is_exact_and_the_faults_are_not(results: Results) -> None:
    assert max(map(error, results.exact.values())) < 1e-7
    assert error(results.faulty["momentum", ""]) < 1e-7
    for optimizer, fault in results.faulty:
        if fault and fault != "outer_statistics":
            assert error(results.faulty[optimizer, fault]) > 1e-5, (optimizer, fault)
    assert error(results.faulty["momentum", "outer_statistics"]) < 1e-7, "E does not use what is taken up"
    assert error(results.faulty["adam", ALL]) > 1
    for rule, kind in results.batchnorm:
        assert (error(results.batchnorm[rule, kind]) < 1e-7) == (kind == "batch")


def test_a_wrong_record_is_refused(results: Results) -> None:
    key = ("Adam", "marthe")
    right = results.exact[key]
    results.exact[key] = changed(right, relative_error=1e-3)
    try:
        with pytest.raises(InvariantError, match="marthe with Adam is off"):
            invariants.check(results)
    finally:
        results.exact[key] = right


def test_the_product_sees_the_change_of_a_smooth_gradient(results: Results) -> None:
    tenth = probes(results.locality["tanh", "momentum", 0.01], "cosine_0.1")[1]
    assert tenth.min() > 0.99


def test_cheaper_products_cost_what_the_table_says(results: Results) -> None:
    rows = {row.kind: row for row in results.lean_rows()}
    outer = 50 / 100
    # the first step's product is a question whether there is a second derivative
    assert rows["full"].cost == pytest.approx(1 + outer + 2)
    assert rows["full"].cosine == pytest.approx(1.0)
    assert rows["every 2nd"].cost == pytest.approx(1 + outer + 2 / 2)
    assert rows["half of the batch"].cost == pytest.approx(1 + outer + 0.5 * (1 + 2))
    assert rows["every 2nd"].cosine < 1


def test_every_deviation_of_the_tangent_and_the_step_is_trained_or_has_an_error(results: Results) -> None:
    assert {("momentum", "outer_statistics"), ("adam", RATE_PER_TENSOR)} <= set(results.faulty)
    assert set(FAULTS["adam"]) == {*TANGENT, *ADAM, *STEP, OUTER_ON_TEST} - {"outer_statistics"}
    assert set(FAULTS["momentum"]) == set(FAULTS["adam"]) - set(ADAM)


def test_the_table_of_faults_has_a_line_for_each_kind(results: Results) -> None:
    assert tables.faults(results, "momentum").count("\n") == len(results.kinds("momentum")) + 1


def test_the_table_for_practice_has_each_optimizer(results: Results, tmp_path: Path) -> None:
    constant, marthe, calm = decision.lines(results)
    assert (constant.method, marthe.method, calm.method) == (decision.CONSTANT, "MARTHE", decision.CALMED)
    for line, kind in ((constant, "constant"), (marthe, "exact")):
        row = results.row("momentum", kind)
        assert row is not None
        assert (line.runs, line.lost, line.test_loss) == (row.runs, row.lost, row.test_loss)
    # A product costs two steps, an outer batch of half the size half a step.
    assert constant.cost == 1 and marthe.cost == calm.cost == 3.5
    assert decision.optimizers(results).count("\n| SGD with momentum | ") == 3
    assert decision.optimizers(Results("smoke", Store(tmp_path))) == "*No records yet.*"


def test_lost_runs_are_told_and_counted_as_guessing(results: Results) -> None:
    given = Results("smoke", results.store)
    given.trained["momentum", "exact"] = changed(given.trained["momentum", "exact"], validation_loss=9.0)
    assert decision.lines(given)[1].test_loss.mean == pytest.approx(GUESS)
    text = decision.optimizers(given)
    assert "MARTHE is lost on 2 of 2 seeds and the tuned constant rate on 0 of 2." in text
    assert "Of the 2 tuned settings" in text and "1 tuning seeds, 1 lose a seed" in text


def test_the_chapter_for_practice_says_what_the_committed_records_say() -> None:
    """Its words in book/which_method.md: Adam the other way round, the cliff, what a third does."""
    committed = experiment.results("desk", Store(ROOT / "data" / "runs"))
    found = {(x.optimizer, x.method): x for x in decision.lines(committed)}
    assert found["Adam", "MARTHE"].verdict.startswith("better") and not found["Adam", "MARTHE"].lost
    assert not found["Adam", decision.CONSTANT].lost
    assert found["Adam", "MARTHE"].cost > 3, "several times the cost of a run"
    assert found["SGD", decision.CONSTANT].lost and found["SGD with momentum", "MARTHE"].lost
    calm = found["SGD with momentum", decision.CALMED]
    assert not calm.lost and calm.verdict == "cannot be told apart" and CALM == 3


def test_frozen_lr_needs_both_optimizers_and_then_weighs_accuracies(results: Results) -> None:
    frozen = claim("adatune.code.frozen_lr")
    assert "missing of SGD" in verdicts.frozen_lr(frozen, results).why
    seeds = range(5)
    exact = results.trained["momentum", "exact"][0]

    def runs(shift: float) -> list[Record]:
        return [
            dataclasses.replace(
                exact,
                spec=dataclasses.replace(exact.spec, seed=s),
                metrics={**exact.metrics, "test_accuracy": 90 + s + shift * (1 + 0.01 * s)},
            )
            for s in seeds
        ]

    both = Results("smoke", results.store)
    for optimizer in ("sgd", "momentum"):
        both.trained[optimizer, "exact"] = runs(0.0)
        both.trained[optimizer, "frozen_lr"] = runs(-2.0)
    assert verdicts.frozen_lr(frozen, both).outcome == "supported"
    for optimizer in ("sgd", "momentum"):
        both.trained[optimizer, "frozen_lr"] = runs(0.1)
    assert verdicts.frozen_lr(frozen, both).outcome == "equivalent"


def test_negative_rates_count_over_the_whole_grid(results: Results) -> None:
    negative = claim("adatune.issue3.negative_lr")
    assert verdicts.negative_lr(negative, results).outcome == "not run"
    spec = results.trained["momentum", "exact"][0].spec

    def run(status: str, lowest: float) -> list[Record]:
        outcome = Outcome(status, {"lr": [0.1, lowest]}, {"validation_loss": 0.5})
        specs = [dataclasses.replace(spec, seed=seed) for seed in range(5)]
        return [Record.of(s, outcome, code="written down", device="cpu") for s in specs]

    given = Results("smoke", results.store)
    given.projection[1e-6, True] = run("finished", 0.0)
    given.projection[1e-5, True] = run("finished", 0.1)
    given.projection[1e-6, False] = run("finished", 0.1)
    given.projection[1e-5, False] = run("diverged at step 1", -0.1)
    found = verdicts.negative_lr(negative, given)
    assert found.outcome == "supported"
    assert found.statistic == {"negative": 0.5, "diverged": 0.5, "diverged_projected": 0.0}
    assert "diverge" in tables.projection(given)
    given.projection[1e-6, True] = run("finished", -0.1)
    assert verdicts.negative_lr(negative, given).outcome == "contradicted"


def test_growth_is_read_from_the_committed_measurement() -> None:
    measured = json.loads((ROOT / "benchmarks" / "linear.json").read_text())
    assert len(plots.growth(measured).axes) == 2
    ratio = measured["by_steps"][0]["hypergradient_seconds"] / measured["by_steps"][0]["training_seconds"]
    text = tables.growth(measured)
    assert "T = 32 to 512" in text
    low, high = (float(x) for x in text.split("costs ")[1].split(" plain")[0].split(" to "))
    assert low - 0.05 <= ratio <= high + 0.05
