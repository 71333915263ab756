"""What 07 and 08 promise besides: independent searches, incumbents, early stopping, the published axis."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from made_cifar import MADE, Made, end, page
from smoke_runs import Empty

from adatune_lite.checkpoint import Checkpoint
from adatune_lite.experiments import cifar_learning_curves as seven
from adatune_lite.experiments import cifar_rates as shapes
from adatune_lite.experiments import random_search as eight
from adatune_lite.experiments.cifar import DESK10
from adatune_lite.experiments.cifar_invariants import observed
from adatune_lite.experiments.cifar_published import decay_of_printed, published
from adatune_lite.experiments.cifar_records import accuracy_at, curve
from adatune_lite.experiments.cifar_search import BUDGETS, PUBLISHED, TUNED, found, lost
from adatune_lite.experiments.random_search.reading import Course, of_n_draws
from adatune_lite.experiments.random_search.verdicts import larger_range, log_ratios, signed_rank
from adatune_lite.report.association import sooner, tau_of_order
from adatune_lite.runs.canary import seeded
from adatune_lite.runs.record import Record
from adatune_lite.runs.store import Store
from adatune_lite.tasks.spec import SpecError, TaskSpec, pairs
from adatune_lite.training.context import Context
from adatune_lite.training.functions import training
from adatune_lite.training.spec import RunSpec

each_profile = pytest.mark.parametrize("profile", BUDGETS)


def results(number: int, profile: str = "desk", store: Any = None) -> Any:
    return page(seven if number == 7 else eight, profile, store or MADE)


# The plan.


@each_profile
def test_searches_are_independent_and_alike_for_all_methods(profile: str) -> None:
    page = eight.results(profile, Empty())
    for task, budget in page.scale.items():
        for methods, count in ((PUBLISHED, budget.searches), (TUNED, budget.tuned_searches)):
            for method in methods:
                groups = [g.specs for g in page.under("search", task, method).values() if g.specs]
                assert [len(specs) for specs in groups] == [budget.draws] * count
                seeds = [{spec.seed for spec in specs} for specs in groups]
                assert all(len(own) == 1 for own in seeds) and len(set.union(*seeds)) == count
                drawn = [spec.settings for specs in groups for spec in specs]
                assert len(set(drawn)) == len(drawn), "a draw of one search is in another"
        hyper = [
            [dict(s.settings)["hyper_lr"] for g in page.under("search", task, m).values() for s in g.specs]
            for m in ("marthe", "rtho", "hd")
        ]
        assert hyper[0] == hyper[1] == hyper[2], "the same draws for all three"


def test_draws_lie_in_the_published_spaces() -> None:
    for run in eight.plan("paper", Empty()):
        settings, epochs = dict(run.spec.settings), 200
        if run.spec.method in PUBLISHED:
            assert settings["lr"] in (0.1, 3e-4)
            assert 1e-6 <= settings.get("hyper_lr", 1e-5) <= 1e-3
            assert 0.9 <= settings.get("mu", 0.9) <= 0.999
            assert 0.9 <= settings.get("final", 1.0) ** (1 / epochs) <= 1
            assert settings["stop_after"] == 10 * (45_000 // 128)
        else:
            assert "stop_after" not in settings


@each_profile
def test_07_plans_the_searches_of_08_and_reports_on_other_seeds(profile: str) -> None:
    searches = {run.spec.hash: run for run in eight.plan(profile, Empty())}
    runs = seven.plan(profile, MADE)
    own = [run for run in runs if run.spec.hash not in searches]
    assert searches.keys() <= {run.spec.hash for run in runs}
    assert not {run.spec.seed for run in own} & {run.spec.seed for run in searches.values()}
    assert not any("stop_after" in dict(run.spec.settings) for run in own)
    both = {run.spec.hash: run.priority for run in runs}
    assert all(both[name] == run.priority for name, run in searches.items())


def test_the_order_of_the_runs() -> None:
    runs = sorted(seven.plan("desk", MADE), key=lambda run: -run.priority)
    order = list(dict.fromkeys(run.role for run in runs))
    assert order == [
        *("search cifar10", "curves cifar10", "search cifar100", "curves cifar100"),
        *("rates cifar10", "rates cifar100", "besides cifar10", "besides cifar100"),
    ]
    first = [run.spec.seed for run in runs if run.role == "search cifar10"]
    assert first == sorted(first), "a search of all methods before the next one"


def test_settings_come_from_the_best_draw_that_is_not_lost() -> None:
    page = results(7)
    best = found(page, "cifar10", "hd")
    assert best is not None
    drawn = {r.spec.hash: end(r.spec) for r in page["search", "cifar10", "hd"]}
    assert drawn[best.spec.hash] == max(drawn.values())
    (spec, *_) = page.groups["curve", "cifar10", "hd"].specs
    assert dict(spec.settings)["hyper_lr"] == dict(best.spec.settings)["hyper_lr"]
    worse = results(7, store=Made(diverges=lambda spec: spec == best.spec))
    other = found(worse, "cifar10", "hd")
    assert other is not None and other.spec != best.spec and not lost(other)
    less = results(7, store=Made(there=lambda spec: spec != best.spec))
    assert found(less, "cifar10", "hd") is None and not less.groups["curve", "cifar10", "hd"].specs


def test_adaptive_mu_takes_marthes_hyper_rate_and_a_searched_decay_is_one_an_epoch() -> None:
    page = results(7)
    first = {row: dict(page.groups["curve", "cifar10", row].specs[0].settings) for row in seven_rows()}
    assert first["marthe_adaptive"] == {**first["marthe"], "mu": "adaptive"}
    best = found(page, "cifar10", "exponential")
    assert best is not None
    assert first["exponential_searched"]["final"] == pytest.approx(best.spec.get("final") ** 2, rel=1e-5)
    assert first["exponential"]["final"] == pytest.approx(0.9901**200)


def seven_rows() -> list[str]:
    return [key[2] for key in results(7).groups if key[:2] == ("curve", "cifar10")]


# Early stopping.


def quickly(**settings: Any) -> Record:
    """A small training at a rate at which no accuracy ever changes."""
    task = TaskSpec("mnist5k", train=100, validation=50, test=50, hidden=(4,), batch=10)
    spec = RunSpec(
        "training",
        task,
        "constant",
        40,
        seed=0,
        settings=pairs({"lr": 1e-12, **settings}),
        observations=20,
        keep=("validation_accuracy", "test_accuracy"),
        test_images=10,
    )

    class Nowhere:
        def load(self) -> None:
            return None

        def save(self, state: Any) -> None:
            pass

    with seeded(spec, "cpu"):
        outcome = training(spec, Context("cpu", None, Nowhere()))  # type: ignore[arg-type]
    return Record.of(spec, outcome, code="0" * 64, device="cpu")


@pytest.mark.parametrize(("patience", "last"), [(1, 4), (6, 8), (7, 10), (38, 40), (100, 40)])
def test_a_training_ends_at_the_look_at_which_its_patience_is_over(patience: int, last: int) -> None:
    record = quickly(stop_after=patience)
    assert record.finished and record.series("test_accuracy")[0][-1] == last
    assert len(record.series("lr")[1]) == last == record.cost["plain_steps"]
    assert not list(observed(record, "it"))


def test_without_patience_it_goes_on_and_its_spec_is_what_it_was() -> None:
    record = quickly()
    assert record.series("lr")[0][-1] == 39
    assert "stop_after" not in record.spec.canonical()["settings"]
    with pytest.raises(SpecError, match="stop_after of constant in training must be a whole number of at"):
        quickly(stop_after=0)


def test_an_invariant_sees_a_training_that_went_on_or_ended_early() -> None:
    whole = quickly()
    patient = dataclasses.replace(whole.spec, settings=pairs({"lr": 1e-12, "stop_after": 6}))
    assert any("went on" in text for text in observed(dataclasses.replace(whole, spec=patient), "it"))
    short = dataclasses.replace(quickly(stop_after=6), spec=whole.spec)
    assert any("ended at step 8 of 40" in text for text in observed(short, "it"))


# Incumbents.


def draw(validation: list[float], test: list[float], plain: float = 10.0, **changed: Any) -> Record:
    """A run of 10 steps with looks at the end of equal parts."""
    steps = [10 * (k + 1) // len(validation) for k in range(len(validation))]
    spec = DESK10.runs("hd", {"lr": 0.1}, 1, [0])[0]
    stored: dict[str, Any] = {
        "lr": {"values": [0.1] * 10},
        "validation_accuracy": {"steps": steps, "values": validation},
        "test_accuracy": {"steps": steps, "values": test},
    }
    cost = {"plain_steps": plain, "training_seconds": plain / 10}
    record = Record(spec, "0" * 64, "cpu", {}, "finished", stored, {}, cost, {})
    return dataclasses.replace(record, **changed)


def test_the_incumbent_of_a_search_is_chosen_by_validation_over_all_its_draws() -> None:
    course = Course.of(
        [draw([50, 70], [60, 40]), draw([60, 65], [90, 95]), draw([60, 80], [9, 55], plain=40)]
    )
    assert course.shown.tolist() == [60, 40, 40, 40, 40, 55]
    assert course.plain.tolist() == [5, 10, 15, 20, 40, 60] and course.spent == 60
    assert course.seconds.tolist() == pytest.approx([0.5, 1, 1.5, 2, 4, 6])
    assert course.final == 55 and course.reaches(55) == 5 and course.reaches(61) is None
    at = course.at(np.array([0.0, 5.0, 12.0, 1e9]), "plain")
    assert math.isnan(at[0]) and at[1:].tolist() == [60, 40, 55]


def test_a_draw_that_diverged_before_a_look_costs_its_steps() -> None:
    blown = draw([], [], plain=7.0, status="diverged at step 7", metrics={})
    assert Course.of([blown]).final is None
    course = Course.of([blown, draw([50], [60])])
    assert course.plain.tolist() == [17] and course.final == 60


def test_a_search_counts_once_it_is_complete() -> None:
    page = results(8)
    assert len(page.finals("cifar10", "marthe")) == 6 and len(page.finals("cifar100", "marthe")) == 5
    first = page.groups["search", "cifar10", "marthe", 0].specs[0]
    less = results(8, store=Made(there=lambda spec: spec != first))
    assert len(less.finals("cifar10", "marthe")) == 5


def test_orders_of_the_draws_are_a_picture_that_ends_at_the_best_of_all() -> None:
    draws = [draw([v], [v + 1]) for v in (10.0, 30.0, 20.0)]
    spent, shown = of_n_draws(draws)
    assert spent.tolist() == pytest.approx([10, 20, 30]) and shown[-1] == 31
    assert shown[0] == pytest.approx(21, abs=1.5) and (np.diff(shown) > 0).all()


# The published curves.


def test_published_curves_are_on_the_axis_of_the_trainings_share() -> None:
    for shares, values in published().values():
        # Stretches behind other curves are absent, at the end of some.
        assert 0 < shares[0] and 0.8 < shares[-1] <= 1 and (np.diff(shares) > 0).all()
        assert np.isfinite(values).all()
    assert published()["cifar10", "marthe_adaptive", "accuracy"][1][-1] == pytest.approx(92.8, abs=0.15)
    assert published()["cifar10", "hd", "loss"][1][-1] == pytest.approx(0.370, abs=0.003)
    assert published()["cifar10", "rtho", "lr"][1][0] == pytest.approx(0.099, abs=0.003)
    for task in ("cifar10", "cifar100"):
        gamma, r2 = decay_of_printed(task)
        assert gamma == pytest.approx(0.9901, abs=6e-4) and r2 > 0.999


def test_ours_are_on_the_same_axis_whatever_their_length() -> None:
    for task in ("cifar10", "cifar100"):
        record = results(7)["curve", task, "sgdr"][0]
        shares = curve(record, "accuracy")[0]
        assert shares == pytest.approx(np.arange(1, 41) / 40, abs=1e-3)
        assert accuracy_at(record, 0.125) == curve(record, "accuracy")[1][4]
        assert accuracy_at(record, 0.001) is None
        blown = Made(diverges=lambda spec: True).made(record.spec)
        assert accuracy_at(blown, 0.25) is not None and accuracy_at(blown, 0.75) is None


# What judges rest on.


def with_rates(values: list[float], method: str = "hd") -> Record:
    record = draw([50.0], [50.0])
    spec = dataclasses.replace(record.spec, steps=len(values), observations=1)
    return dataclasses.replace(record, spec=spec, stored={"lr": {"values": values}})


def test_shapes_of_rates() -> None:
    falling = np.linspace(0.13, 0.01, 98).tolist()
    assert shapes.rises_then_decays(with_rates([0.1, 0.12, *falling]))
    assert not shapes.rises_then_decays(with_rates([0.1, *falling[::-1], 0.1]))
    assert not shapes.rises_then_decays(with_rates([0.1] * 100))
    assert shapes.never_rises(with_rates([0.1, 0.06, 0.05, 0.05, 0.05, 0.05, 0.05, 0.05]))
    assert not shapes.never_rises(with_rates([0.1, 0.102, 0.1, 0.1]))
    assert not shapes.never_rises(with_rates([0.1, 0.09, 0.08, 0.07, 0.06, 0.05, 0.04, 0.03]))
    assert shapes.diverged_or_frozen(with_rates([0.1, 0.00009, 0.1, 0.1, 0.1, 0.1]))
    assert not shapes.diverged_or_frozen(with_rates([0.1, 0.1, 0.1, 0.1, 0.1, 0.00009]))
    two = [with_rates([0.1, 0.1]), with_rates([0.1, 0.1 * math.e**2])]
    assert shapes.spread_of_rates(two) == pytest.approx(math.sqrt(2) / 2)
    assert shapes.spread_of_rates(two[:1]) is None


def test_times_and_orders() -> None:
    assert (
        sooner([0.1, 0.2, 0.1], [0.8, math.inf, 0.9]) < 0.05 < sooner([0.8, math.inf, 0.9], [0.1, 0.2, 0.1])
    )
    assert sooner([math.inf], [math.inf]) == 1
    assert tau_of_order(np.array([[4.0, 3, 2, 1], [1, 2, 3, 4], [4, 3, 1, 2]])).tolist() == pytest.approx(
        [1, -1, 2 / 3]
    )
    wide = np.column_stack([[70.0, 80, 75, 90, 60, 72], [75.0, 75.1, 75, 75.2, 75.1, 75]])
    assert larger_range(wide) < 0.05 < larger_range(wide[:, ::-1])
    assert signed_rank([-1.0, -2, -3, -1.5, -0.5, -0.1]) < 0.05 and signed_rank([0.0, 0.0]) == 1


def test_a_search_that_never_gets_there_counts_with_all_that_it_spent() -> None:
    page = results(8)
    fast = log_ratios(page, "cifar10", "hd")
    assert len(fast) == 6 and all(math.isfinite(ratio) for ratio in fast)
    behind = results(8, store=Made(end=lambda spec: 20.0 if spec.method == "marthe" else end(spec)))
    course = behind.every_course["cifar10", "marthe"][100]
    own = behind.every_course["cifar10", "hd"][100]
    goal = own.final
    assert goal is not None and course.reaches(goal) is None
    assert log_ratios(behind, "cifar10", "hd")[0] == pytest.approx(math.log(course.spent / own.reaches(goal)))


def test_rounding_that_batchnorm_enlarges_is_not_taken_for_a_wrong_derivative(tmp_path: Path) -> None:
    """A narrow ResNet whose channels hardly vary: in float32 its products are symmetric to few digits."""
    planned = (run.spec for run in eight.plan("quick", Empty()))
    spec = next(s for s in planned if s.method == "rtho" and s.task.model == "resnet18")
    context = Context("cpu", Store(tmp_path), Checkpoint(tmp_path / "kept.pt", "test"))
    outcome = training(dataclasses.replace(spec, steps=spec.get("stop_after")), context)
    assert outcome.status == "finished"
