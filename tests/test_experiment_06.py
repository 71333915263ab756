"""Experiment 06 as a whole, at the smoke profile, on the embedded digits."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from adatune_lite.experiments import autolr_vs_schedules as experiment
from adatune_lite.experiments.autolr_tasks import OPTIMIZERS
from adatune_lite.experiments.autolr_vs_schedules import canary, invariants
from adatune_lite.experiments.autolr_vs_schedules.reading import Results, compared
from adatune_lite.experiments.superbatch import overhead
from adatune_lite.runs.execute import complete
from adatune_lite.runs.spec import RunSpec
from adatune_lite.runs.store import Store


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Results:
    store = Store(tmp_path_factory.mktemp("store"))
    summary = complete(experiment, "smoke", store, progress=lambda state: None)
    assert not summary.failed
    return experiment.results("smoke", store)


def test_every_planned_run_has_a_record_and_the_invariants_hold(results: Results) -> None:
    plan = experiment.plan("smoke", results.store)
    assert invariants.check(results) == len(plan)
    assert {p.role for p in plan} == set(experiment._PRIORITY)
    assert set(results.tuned()) == set(experiment.TUNED)
    assert all(results.safeguards().values()) and all(results.seed_rates().values())


def test_every_method_gets_the_same_rates_on_the_same_seeds() -> None:
    for profile, scale in experiment.PROFILES.items():
        rates = {
            m: [[s.get("lr") for s in trial] for trial in experiment.trials(scale, m)]
            for m in experiment.TUNED
        }
        assert all(found == rates["constant"] for found in rates.values()), profile
        assert not set(scale.tuning_seeds) & set(scale.report_seeds)


def test_equal_cost_is_that_of_autolr_in_explore(results: Results) -> None:
    (longer,) = results.equal_cost()
    scale = results.scale
    steps = scale.epochs * 80
    extra = overhead(5, scale.superbatch, scale.window) / 100
    assert longer.spec.steps == round(steps * (1 + extra))
    for record in results.paper(scale.main, "momentum", "autolr"):
        assert record.cost["plain_steps"] <= longer.cost["plain_steps"] * 1.2


def test_a_safeguard_is_the_only_difference(results: Results) -> None:
    (whole,) = results.paper(results.scale.main, "momentum", "autolr")
    for name, (record,) in results.safeguards().items():
        settings, plain = dict(record.spec.settings), dict(whole.spec.settings)
        changed = {k for k in settings if settings[k] != plain.get(k)}
        assert changed == set(experiment.SAFEGUARDS[name])


def test_compared_pairs_the_seeds_on_which_both_finished(results: Results) -> None:
    (ours,) = results.paper(results.scale.main, "sgd", "autolr")
    (theirs,) = results.paper(results.scale.main, "sgd", "baseline")
    other = dataclasses.replace(ours, status="diverged at step 3", metrics={})
    found = compared([ours], [theirs])
    assert found is not None
    assert found.differences == (ours.metrics["test_accuracy"] - theirs.metrics["test_accuracy"],)
    assert compared([other], [theirs]) is None


def test_the_canary_has_every_kind_of_run(results: Results) -> None:
    def kinds(specs: list[RunSpec]) -> set[Any]:
        return {
            (
                s.method,
                s.optimizer,
                tuple(n for n, _ in s.settings),
                tuple(n for n, v in s.settings if v is False),
            )
            for s in specs
        }

    for profile in ("desk", "paper"):
        planned = [p.spec for p in experiment.plan(profile, results.store)]
        assert kinds(planned) <= kinds(list(canary.runs().values()))
        assert {s.optimizer for s in planned} == {b.optimizer for b in OPTIMIZERS.values()}
