"""Experiment 09: the readings of a run, the differences between protocols, and what the script does."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from made_up import registered
from smoke_runs import Changed, Smoke

from adatune_lite.checkpoint import Checkpoint
from adatune_lite.claims.verdict import judges_of
from adatune_lite.experiments import as_published_on_cifar as experiment
from adatune_lite.experiments.as_published_on_cifar import canary, invariants, tables
from adatune_lite.experiments.as_published_on_cifar.groups import INGREDIENTS, NAMES, PUBLISHED_FAULTS
from adatune_lite.experiments.as_published_on_cifar.reading import (
    Results,
    best_test,
    best_validation,
    last,
    lost,
)
from adatune_lite.experiments.invariants import InvariantError
from adatune_lite.runs.record import Record
from adatune_lite.runs.store import Store
from adatune_lite.tasks.data import ImageTask
from adatune_lite.tasks.spec import SpecError, pairs
from adatune_lite.training.context import Context
from adatune_lite.training.derivatives import PUBLISHED, published
from adatune_lite.training.functions import training
from adatune_lite.training.spec import RunSpec

CLAIM = "adatune.code.test_as_validation"


def record(
    spec: RunSpec, test: list[float], held: list[float], status: str = "finished", loss: float = 1.0
) -> Record:
    steps = list(range(len(test)))
    series: Any = {
        "test_accuracy": {"steps": steps, "values": test},
        "validation_accuracy": {"steps": steps, "values": held},
        "lr": {"steps": [0], "values": [0.1]},
    }
    metrics = {"test_accuracy": test[-1], "validation_loss": loss} if status == "finished" else {}
    cost = {"plain_steps": 1.0}
    return Record(spec, "made up", "cpu", {}, status, series, metrics, cost, {"data_source": "torchvision"})


class Made:
    """A store of desk runs: accuracies after two epochs are those of their arm, plus something by seed."""

    def __init__(self, arms: Mapping[str, tuple[float, float]]) -> None:
        groups = experiment.results("desk", self).under("arm")
        self.arms = {spec.hash: arms[arm] for arm, group in groups.items() for spec in group.specs}

    def get(self, spec: RunSpec) -> Record | None:
        if not hasattr(self, "arms") or spec.hash not in self.arms:
            return None
        best, end = self.arms[spec.hash]
        wobble = (0.0, 0.3, 0.1, 0.4, 0.2)[spec.seed]
        return record(spec, [best + wobble, end + wobble], [50.0, 60.0])


LEVEL = {"clean": (71.0, 70.0), "test": (71.0, 70.0), "statistics": (71.0, 71.0), "code": (72.0, 69.0)}
PAGE = {**LEVEL, "published": (75.0, 73.0), "exponential": (70.0, 69.5)}


@pytest.fixture(scope="module")
def spec() -> RunSpec:
    return canary.runs()["clean"]


def test_a_run_is_read_in_three_ways(spec: RunSpec) -> None:
    found = record(spec, [60.0, 75.0, 70.0, 65.0], [50.0, 55.0, 58.0, 58.0])
    assert (last(found), best_validation(found), best_test(found)) == (65.0, 70.0, 75.0)
    assert not lost(found)


def test_a_lost_run_counts_as_guessing_but_in_what_the_script_reports(spec: RunSpec) -> None:
    found = record(spec, [60.0, 30.0], [50.0, 20.0], status="diverged at step 20")
    assert (last(found), best_validation(found), best_test(found)) == (10.0, 10.0, 60.0)
    assert lost(found) and lost(record(spec, [12.0], [10.0], loss=2.31))
    early = dataclasses.replace(found, stored={**found.stored, "test_accuracy": {"steps": [], "values": []}})
    assert best_test(early) == 10.0


def test_the_protocol_is_what_the_gains_differ_by() -> None:
    page = experiment.results("desk", Made(PAGE))
    rows = {row.name: row.gap.pair.difference.mean for row in tables.gains(page).rows}
    assert rows["as published, best test epoch of both"] == pytest.approx(5.0)
    assert rows["clean, last step of both: the method"] == pytest.approx(0.5)
    assert rows["as published minus clean: the protocol"] == pytest.approx(4.5)
    rows = {row.name: row.gap.pair.difference.mean for row in tables.ingredients(page).rows}
    assert rows[NAMES["statistics"]] == pytest.approx(1.0) and rows[NAMES["code"]] == pytest.approx(-1.0)
    assert rows["best test epoch in place of the last step"] == pytest.approx(1.0)
    assert rows["all four: as published"] == pytest.approx(5.0)


def test_a_cell_with_a_lost_run_has_no_mean() -> None:
    made = Made(PAGE)
    spec = experiment.results("desk", made).groups["arm", "code"].specs[0]
    gone = Changed(made, {spec.hash: record(spec, [60.0], [50.0], status="diverged at step 90")})
    page = experiment.results("desk", gone)
    text = str(tables.ingredients(page))
    row = next(line for line in text.splitlines() if NAMES["code"] in line)
    assert "median -1.00, runs lost: 1" in row and "interval" not in row
    assert "(1 of 5 lost)" in str(tables.arms(page))
    gap = page.gap((1, "code", last), (-1, "clean", last))
    assert gap is not None and gap.p == 2 / 32, "by sign flips: all five are below"


@pytest.mark.parametrize(
    ("shift", "outcome"),
    [((2.0, 2.1), "supported"), ((-2.0, -2.1), "contradicted"), ((0.0, 0.0), "undecided")],
)
def test_the_claim_is_judged_on_the_outer_gradient_alone(shift: tuple[float, float], outcome: str) -> None:
    level = {**PAGE, "test": (90.0, 70.0 + shift[0])}
    judge = judges_of(experiment)[CLAIM]
    verdict = judge(registered()[CLAIM], experiment.results("desk", Made(level)))
    assert verdict.outcome == outcome and verdict.seeds == 5


def outcome(spec: RunSpec, tmp_path: Path, run: Callable[..., Any] = published) -> Any:
    return run(spec, Context("cpu", Store(tmp_path), Checkpoint(tmp_path / "c.pt", "c")))


def with_faults(spec: RunSpec, *faults: str) -> RunSpec:
    settings = pairs({**dict(spec.settings), "faults": ",".join(faults)})
    return dataclasses.replace(spec, function="published", method=PUBLISHED, settings=settings)


def test_without_faults_the_published_run_is_the_clean_one(spec: RunSpec, tmp_path: Path) -> None:
    one, other = outcome(spec, tmp_path, training), outcome(with_faults(spec), tmp_path)
    assert one.metrics == other.metrics and one.series["lr"] == other.series["lr"]


def test_the_script_goes_through_all_test_images(
    spec: RunSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the labels of the batches that the outer loss is given."""
    from adatune_lite.training import derivatives

    task = dataclasses.replace(spec.task, validation=20, test=50)
    seen: list[list[int]] = []
    monkeypatch.setattr(
        derivatives, "trained", lambda *a: seen.extend(a[-1](t)[1].tolist() for t in range(6)) or "done"
    )
    labels: list[int] = []
    test_part = ImageTask.test

    def noted(self: ImageTask) -> Any:
        found = test_part(self)
        labels[:] = found[1].tolist()
        return found

    monkeypatch.setattr(ImageTask, "test", noted)
    for fault, batches in (("outer_on_all_test", 5), ("outer_on_test", 2)):
        seen.clear()
        assert outcome(dataclasses.replace(with_faults(spec, fault), task=task), tmp_path) == "done"
        expected = [labels[k % batches * 10 : k % batches * 10 + 10] for k in range(6)]
        assert seen == expected
    with pytest.raises(SpecError, match="not both"):
        outcome(with_faults(spec, "outer_on_test", "outer_on_all_test"), tmp_path)


def test_each_ingredient_is_part_of_what_is_published() -> None:
    alone = [fault for faults in INGREDIENTS.values() for fault in faults]
    assert sorted(alone) == sorted(PUBLISHED_FAULTS) and len(set(alone)) == len(alone)


@pytest.mark.parametrize(
    ("name", "words"), [("test_accuracy", "its last look saw"), ("train_loss", "begins at the loss")]
)
def test_impossible_records_are_refused(name: str, words: str, smoke: Smoke) -> None:
    results: Results = smoke(experiment)
    found = next(r for r in results["arm", "published"] if r.finished)
    held = found.stored[name]
    place = -1 if name == "test_accuracy" else 0
    values = list(held["values"])
    values[place] = float(values[place]) + 1.0
    wrong = dataclasses.replace(found, stored={**found.stored, name: {**held, "values": values}})
    store = Changed(results.store, {found.spec.hash: wrong})
    with pytest.raises(InvariantError, match=words):
        invariants.check(experiment.results("smoke", store))
