"""Experiment 05 as a whole, at the smoke profile, on the embedded digits."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from adatune_lite.experiments import explore_exploit as experiment
from adatune_lite.experiments.explore_exploit import invariants
from adatune_lite.experiments.explore_exploit.reading import Results
from adatune_lite.experiments.invariants import InvariantError
from adatune_lite.experiments.superbatch import overhead
from adatune_lite.runs.execute import complete
from adatune_lite.runs.record import Record
from adatune_lite.runs.spec import RunSpec
from adatune_lite.runs.store import Store


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Results:
    store = Store(tmp_path_factory.mktemp("store"))
    summary = complete(experiment, "smoke", store, progress=lambda state: None)
    assert not summary.failed
    return experiment.results("smoke", store)


class Changed:
    """A store in which one record is replaced."""

    def __init__(self, store: Any, record: Record) -> None:
        self._store, self._record = store, record

    def get(self, spec: RunSpec) -> Record | None:
        found: Record | None = self._store.get(spec)
        return self._record if spec.hash == self._record.spec.hash else found


def test_every_planned_run_has_a_record_and_the_invariants_hold(results: Results) -> None:
    plan = experiment.plan("smoke", results.store)
    assert invariants.check(results) == len(plan) == len({p.spec.hash for p in plan})
    rows = results.table()
    assert [r.share for r in rows if r.method == "staircase"] == list(experiment.SHARES)
    assert [r.share for r in rows if r.method == "autolr"] == list(experiment.AUTOLR_SHARES)
    for row in rows:
        assert row.runs and not row.diverged and 0 < row.test_accuracy.mean <= 100
        assert (row.plain_steps > 80) == (row.method == "autolr")


def test_explore_is_the_steps_at_the_seed_rate(results: Results) -> None:
    for share in experiment.SHARES:
        steps, rates = results.staircase(share)[0].series("lr")
        assert set(rates[steps < share * 80]) == {0.1} and rates[-1] == pytest.approx(0.001)
    for share in experiment.AUTOLR_SHARES:
        assert results.autolr(share)[0].spec.get("explore_steps") == round(share * 80)


def test_widths_are_read_where_there_is_an_eigenvalue(results: Results) -> None:
    assert results.widths() == []
    record = results.staircase(experiment.SHORT)[0]
    wide = dataclasses.replace(record, metrics={**record.metrics, "top_eigenvalue": 3.0})
    (found,) = Results("smoke", Changed(results.store, wide)).widths()
    assert (found.seed, found.top_eigenvalue) == (record.spec.seed, 3.0)
    assert found.train_loss == record.metrics["train_loss"]


def test_the_claims_find_their_seeds_and_the_paper_its_cost() -> None:
    desk, paper = experiment.PROFILES["desk"], experiment.PROFILES["paper"]
    assert len(experiment.width_runs(desk)) == 40 and all(
        s.get("eigenvalue_images") for s in experiment.width_runs(desk)
    )
    assert len(experiment.staircase_runs(desk, experiment.LONG)) == 10
    for scale in (desk, paper):
        assert overhead(5, scale.superbatch, scale.window) <= 17.1
    assert 2 * desk.window == desk.task.train // desk.task.batch, "two decisions an epoch"


@pytest.mark.parametrize(
    ("method", "name", "value", "words"),
    [
        ("constant", "lr", 0.2, "its rates do not fall from 0.1"),
        ("autolr", "decision_new_lr", 0.01, "the rate fell at step 20, within explore"),
        ("autolr", "decision_lr", 0.3, "the rate changed between two decisions"),
        ("autolr", "decision", 1.0, "a decision to raise did something else"),
    ],
)
def test_check_raises_when_a_record_breaks_an_invariant(
    results: Results, method: str, name: str, value: float, words: str
) -> None:
    record = results.constant()[0] if method == "constant" else results.autolr(0.5)[0]
    values = [value] * len(record.series(name)[1])
    if name == "decision":
        assert (record.series("decision_lr")[1] >= record.series("decision_new_lr")[1]).any()
    stored = {**record.stored, name: {**record.stored[name], "values": values}}
    broken = dataclasses.replace(record, stored=stored)
    with pytest.raises(InvariantError, match=words):
        invariants.check(Results("smoke", Changed(results.store, broken)))
