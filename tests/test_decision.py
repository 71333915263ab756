"""The table for practice: what it counts, on the smoke profile of experiment 01."""

from __future__ import annotations

import pytest

from adatune_lite.experiments import decision
from adatune_lite.experiments import lrs_opt_vs_marthe as experiment
from adatune_lite.experiments.lrs_opt_vs_marthe.reading import Results
from adatune_lite.experiments.search import final_loss
from adatune_lite.runs.execute import complete
from adatune_lite.runs.store import Store


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Results:
    store = Store(tmp_path_factory.mktemp("store"))
    assert not complete(experiment, "smoke", store, progress=lambda state: None).failed
    return experiment.results("smoke", store)


def test_near_draws_are_those_within_a_tenth_of_the_best(results: Results) -> None:
    found = decision.search(results, "constant")
    assert found is not None
    losses = {}
    for specs in experiment.trials(results.scale, "constant"):
        losses[dict(specs[0].settings)["lr"]] = sum(map(final_loss, results.records(specs))) / len(specs)
    near = [lr for lr, loss in losses.items() if loss <= 1.1 * min(losses.values())]
    assert found.draws == len(losses)
    assert found.near == len(near)
    assert found.ranges == {"lr": (min(near), max(near))}


def test_the_table_has_a_line_for_each_method_and_costs_relative_to_the_constant_rate(
    results: Results,
) -> None:
    lines = decision.table(results).splitlines()[2:]
    assert len(lines) == len(experiment.CLASSICAL) + len(experiment.ONLINE) + 1
    assert "| 1 × |" in lines[0]
    marthe, constant = results.row("marthe"), results.row("constant")
    assert marthe is not None
    assert constant is not None
    cost = f"| {marthe.plain_steps / constant.plain_steps:,.0f} × |"
    assert any("MARTHE" in line and cost in line for line in lines)
    assert "has the smallest test loss" in decision.advice(results)


def test_without_records_nothing_is_claimed(tmp_path_factory: pytest.TempPathFactory) -> None:
    empty = experiment.results("smoke", Store(tmp_path_factory.mktemp("empty")))
    assert decision.chapter(empty) == "*No records yet.*"
