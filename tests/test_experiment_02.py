"""Experiment 02 as a whole, at the smoke profile, on the embedded digits."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from smoke_runs import Changed, Everything, Smoke

from adatune_lite.claims import Claim, load
from adatune_lite.experiments import decision
from adatune_lite.experiments import is_the_hypergradient_right as experiment
from adatune_lite.experiments.invariants import InvariantError
from adatune_lite.experiments.is_the_hypergradient_right import invariants, plots, tables, verdicts
from adatune_lite.experiments.is_the_hypergradient_right.groups import ALL, EXACT
from adatune_lite.experiments.is_the_hypergradient_right.reading import Results, cost, error, probes
from adatune_lite.experiments.is_the_hypergradient_right.scale import CALM, FAULTS, GRID
from adatune_lite.report.tables import NONE
from adatune_lite.runs.record import Record
from adatune_lite.runs.store import Store
from adatune_lite.training.derivatives import OUTER_ON_TEST, PUBLISHED, RATE_PER_TENSOR
from adatune_lite.training.outcome import Outcome
from adatune_lite.training.spec import RunSpec
from adatune_lite.tuners.as_published import ADAM, STEP, TANGENT

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def results(smoke: Smoke) -> Results:
    found: Results = smoke(experiment)
    return found


def claim(name: str) -> Claim:
    return next(c for c in load() if c.id == name)


def changed(records: list[Record], **metrics: float) -> dict[str, Record]:
    """By the hash of their spec, with other metrics."""
    return {r.spec.hash: dataclasses.replace(r, metrics={**r.metrics, **metrics}) for r in records}


def with_records(results: Results, change: Mapping[str, Record]) -> Results:
    """The same page with some records replaced."""
    return Results(results.profile, Changed(results.store, change))


def test_the_library_is_exact_and_the_faults_are_not(results: Results) -> None:
    held = {key: records for key, records in results.by("fault").items() if records}
    assert max(error(records) for records in results.by("exact").values() if records) < 1e-7
    for (optimizer, kind), records in held.items():
        exact = kind in (EXACT, "outer_statistics")  # E does not use what is taken up
        assert (error(records) < 1e-7) == exact and (error(records) > 1e-5) != exact, (optimizer, kind)
    assert error(held["adam", ALL]) > 1
    for (_, kind), records in results.by("batchnorm").items():
        assert (error(records) < 1e-7) == (kind == "batch")


def test_a_wrong_record_is_refused(results: Results) -> None:
    wrong = with_records(results, changed(results["exact", "Adam", "marthe"], relative_error=1e-3))
    with pytest.raises(InvariantError, match="marthe with Adam is off"):
        invariants.check(wrong)


def test_the_product_sees_the_change_of_a_smooth_gradient(results: Results) -> None:
    tenth = probes(results["locality", "tanh", "momentum", 0.01], "cosine_0.1")[1]
    assert tenth.min() > 0.99


def test_cheaper_products_cost_what_the_table_says(results: Results) -> None:
    full, second, half = (
        results["lean", "frozen", kind] for kind in ("full", "every 2nd", "half of the batch")
    )
    outer = 50 / 100
    # the first step's product is a question whether there is a second derivative
    assert cost(full) == pytest.approx(1 + outer + 2)
    assert cost(second) == pytest.approx(1 + outer + 2 / 2)
    assert cost(half) == pytest.approx(1 + outer + 0.5 * (1 + 2))
    assert results.cosine("full") == pytest.approx(1.0) and results.cosine("every 2nd") < 1
    table = tables.lean(results)
    assert table["products"] == ["full", "half of the batch", "every 2nd"]
    assert table["plain steps a step"] == sorted(map(cost, (full, second, half)), reverse=True)


def test_every_deviation_of_the_tangent_and_the_step_is_trained_or_has_an_error(results: Results) -> None:
    assert results["fault", "momentum", "outer_statistics"] and results["fault", "adam", RATE_PER_TENSOR]
    assert set(FAULTS["adam"]) == {*TANGENT, *ADAM, *STEP, OUTER_ON_TEST} - {"outer_statistics"}
    assert set(FAULTS["momentum"]) == set(FAULTS["adam"]) - set(ADAM)


def test_the_table_of_faults_has_a_line_for_each_kind(results: Results) -> None:
    kinds = [EXACT, *FAULTS["momentum"], ALL, "constant", "published"]
    assert [row.key for row in tables.faults(results, "momentum").shown] == kinds
    assert str(tables.faults(results, "adam")) == NONE


def test_the_table_for_practice_has_each_optimizer(results: Results, tmp_path: Path) -> None:
    constant, marthe, calm = decision.lines(results)
    assert (constant.method, marthe.method, calm.method) == (decision.CONSTANT, "MARTHE", decision.CALMED)
    table = tables.faults(results, "momentum")
    shown = {row.key: mean for row, mean in zip(table.shown, table["test loss"], strict=True)}
    assert [decision.LOSS.of(line) for line in (constant, marthe)] == [shown["constant"], shown[EXACT]]
    # A product costs two steps, an outer batch of half the size half a step.
    assert [cost(line.records) for line in (constant, marthe, calm)] == [1, 3.5, 3.5]
    assert decision.optimizers(results).count("\n| SGD with momentum | ") == 3
    assert decision.optimizers(Results("smoke", Store(tmp_path))) == NONE


def test_lost_runs_are_told_and_counted_as_guessing(results: Results) -> None:
    given = with_records(results, changed(results["trained", "momentum", EXACT], validation_loss=9.0))
    assert decision.LOSS.text(decision.lines(given)[1]) == "2 of 2 lost"
    text = decision.optimizers(given)
    assert "MARTHE is lost on 2 of 2 seeds and the tuned constant rate on 0 of 2." in text
    assert "Of the 2 tuned settings" in text and "1 tuning seeds, 1 lose a seed" in text


def test_the_chapter_for_practice_says_what_the_committed_records_say() -> None:
    """Its words in book/which_method.md: Adam the other way round, the cliff, what a third does."""
    committed = experiment.results("desk", Store(ROOT / "data" / "runs"))
    found = {(x.optimizer, x.method): x for x in decision.lines(committed)}
    assert found["Adam", "MARTHE"].verdict.startswith("better") and not found["Adam", "MARTHE"].lost
    assert not found["Adam", decision.CONSTANT].lost
    assert cost(found["Adam", "MARTHE"].records) > 3, "several times the cost of a run"
    assert found["SGD", decision.CONSTANT].lost and found["SGD with momentum", "MARTHE"].lost
    calm = found["SGD with momentum", decision.CALMED]
    assert not calm.lost and calm.verdict == "cannot be told apart" and CALM == 3


def all_of(results: Results, of: Callable[[RunSpec], Record | None]) -> Results:
    """The desk page on records that are made up: of the search those of the smoke profile, else by `of`."""
    smoke = Everything(results.all_records())

    class Made:
        def get(self, spec: RunSpec) -> Record | None:
            return smoke.get(spec) if spec.seed in experiment.PROFILES["desk"].tuning_seeds else of(spec)

    return Results("desk", Made())


def test_frozen_lr_needs_both_optimizers_and_then_weighs_accuracies(results: Results) -> None:
    frozen = claim("adatune.code.frozen_lr")
    assert "missing of SGD" in verdicts.frozen_lr(frozen, results).why
    exact = results["trained", "momentum", EXACT][0]

    def runs(shift: float) -> Results:
        def of(spec: RunSpec) -> Record:
            there = shift if dict(spec.settings).get("faults") == "frozen_lr" else 0.0
            value = 90 + spec.seed + there * (1 + 0.01 * spec.seed)
            metrics = {**exact.metrics, "validation_loss": 0.3, "test_accuracy": value}
            return dataclasses.replace(exact, spec=spec, metrics=metrics)

        return all_of(results, of)

    assert verdicts.frozen_lr(frozen, runs(-2.0)).outcome == "supported"
    assert verdicts.frozen_lr(frozen, runs(0.1)).outcome == "equivalent"
    assert verdicts.frozen_lr(frozen, runs(2.0)).outcome == "contradicted"


def test_negative_rates_count_over_the_whole_grid(results: Results) -> None:
    negative = claim("adatune.issue3.negative_lr")
    assert verdicts.negative_lr(negative, results).outcome == "not run"

    def run(spec: RunSpec, status: str, lowest: float) -> Record:
        outcome = Outcome(status, {"lr": [0.1, lowest]}, {"validation_loss": 0.5})
        return Record.of(spec, outcome, code="written down", device="cpu")

    def given(with_projection: float) -> Results:
        """Without projection the largest hyper-rate diverges below 0; with it the smallest ends there."""

        def of(spec: RunSpec) -> Record | None:
            hyper_lr, faults = (dict(spec.settings).get(name) for name in ("hyper_lr", "faults"))
            if spec.method != PUBLISHED or spec.optimizer != "adam" or hyper_lr not in GRID:
                return None
            if faults == "no_projection" and hyper_lr == max(GRID):
                return run(spec, "diverged at step 1", -0.1)
            return run(spec, "finished", with_projection if hyper_lr == min(GRID) and not faults else 0.1)

        return all_of(results, of)

    found = verdicts.negative_lr(negative, given(0.0))
    assert found.outcome == "supported"
    assert found.statistic == {"negative": 0.2, "diverged": 0.2, "diverged_projected": 0.0}
    text = str(tables.projection(given(0.0)))
    assert "\n| 1e-05 | no | 5 | 5 | 5 | 5 |  |" in text
    assert "\n| 1e-05 | yes | 5 | 0 | 0 | 0 | 0.500 |" in text
    assert verdicts.negative_lr(negative, given(-0.1)).outcome == "contradicted"


def test_growth_is_read_from_the_committed_measurement() -> None:
    measured = json.loads((ROOT / "benchmarks" / "linear.json").read_text())
    assert len(plots.growth(measured).axes) == 2
    ratio = measured["by_steps"][0]["hypergradient_seconds"] / measured["by_steps"][0]["training_seconds"]
    text = tables.growth(measured)
    assert "T = 32 to 512" in text
    low, high = (float(x) for x in text.split("costs ")[1].split(" plain")[0].split(" to "))
    assert low - 0.05 <= ratio <= high + 0.05
