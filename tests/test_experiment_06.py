"""Experiment 06 as a whole, at the smoke profile, on the embedded digits."""

from __future__ import annotations

import dataclasses
from typing import Any

import matplotlib as mpl
import pytest

from adatune_lite.experiments import autolr_vs_schedules as experiment
from adatune_lite.experiments.autolr_tasks import OPTIMIZERS
from adatune_lite.experiments.autolr_vs_schedules import canary, invariants, plots, tables
from adatune_lite.experiments.autolr_vs_schedules.reading import Results
from adatune_lite.experiments.superbatch import overhead
from adatune_lite.runs.execute import complete
from adatune_lite.runs.spec import RunSpec
from adatune_lite.runs.store import Store

FIGURES = ("tuned", "safeguards", "seed_rates")
TABLES = ("setting", "finding", "tuned", "safeguards", "seed_rates", "equal_cost", "not_run")


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Results:
    mpl.use("Agg")
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


def test_a_cell_pairs_its_seeds_and_counts_divergence_as_guessing(results: Results) -> None:
    cell = results.cell("t13", "sgd")
    assert cell is not None and cell.accuracy is not None and results.cell("t14", "sgd") is None
    ours, theirs = cell.autolr[0].metrics, cell.baseline[0].metrics
    assert cell.accuracy.differences == (ours["test_accuracy"] - theirs["test_accuracy"],)
    lost = dataclasses.replace(cell.autolr[0], status="diverged at step 3", metrics={})
    broken = dataclasses.replace(cell, autolr=[lost])
    assert broken.accuracy is not None and broken.log_loss is None
    assert broken.accuracy.differences == (10.0 - theirs["test_accuracy"],)


@pytest.mark.parametrize("name", FIGURES)
def test_figures(results: Results, name: str) -> None:
    figure = getattr(plots, name)(results)
    assert any(panel.lines for panel in figure.axes)
    assert all(panel.get_xlabel() for panel in figure.axes)


def test_curves_are_split_where_explore_ends(results: Results) -> None:
    figure = plots.curves(results, "t13", "momentum")
    left, right = figure.axes[-2:]
    assert left.get_xlim() == (0.0, 0.2) and right.get_xlim() == (0.2, 1.0)
    assert left.get_xlabel() == "epoch" and figure.axes[4].get_ylabel() == "learning rate"
    assert not any(p.lines for p in plots.curves(results, "t4", "adam").axes)


@pytest.mark.parametrize("name", TABLES)
def test_tables(results: Results, name: str) -> None:
    text = getattr(tables, name)(results)
    assert text and "nan" not in text
    assert "99.32" in tables.paper(results, "t13") and "94.79" in tables.tuned(results)
    assert tables.paper(results, "t14") == "*Not run: no records of this data set.*"


def test_an_empty_store_has_pages_without_numbers(tmp_path_factory: pytest.TempPathFactory) -> None:
    empty = experiment.results("smoke", Store(tmp_path_factory.mktemp("empty")))
    for name in FIGURES:
        getattr(plots, name)(empty)
    for name in TABLES:
        assert getattr(tables, name)(empty)
    assert tables.finding(empty) == tables.tuned(empty) == tables.equal_cost(empty) == tables.NONE
    plots.curves(empty, "t13", "sgd")
    assert invariants.check(empty) == 0


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
