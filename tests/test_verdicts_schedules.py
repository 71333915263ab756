"""The judges of other schedules and of the course of a training (experiment 06), on made-up records."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from made_up import Made, judged, without_sgd_on_cifar10, wobble

from adatune_lite.experiments import autolr_vs_schedules as six
from adatune_lite.experiments.autolr_vs_schedules.verdicts.printed import TABLE_7
from adatune_lite.runs.record import Record
from adatune_lite.training.spec import RunSpec

LOWEST = 0.09


def is_default(spec: RunSpec) -> bool:
    return spec.method == "one_cycle_linear" and spec.get("lr") == pytest.approx(LOWEST / 10)


def world(accuracy: dict[str, float], loss: dict[str, float] | None = None, **metrics: float) -> Made:
    """Accuracies and training losses by method; "default" is one-cycle at a tenth of the minimum."""

    def of(values: dict[str, float], spec: RunSpec) -> float:
        return values.get("default" if is_default(spec) else spec.method, values["other"])

    return Made(
        lambda s: of(accuracy, s) + wobble(s.seed, len(s.method)),
        lambda s: of(loss or {"other": 0.1}, s),
        minimum=lambda s: metrics.get("minimum", LOWEST),
        validation_loss=lambda s: metrics.get("default_loss", 0.4) if is_default(s) else 0.3 + s.get("lr", 0),
    )


PRINTED = {
    **{"staircase": 94.81, "autolr": 94.79, "trapezoid": 94.69, "one_cycle_linear": 94.59, "cosine": 94.52},
    **{"linear": 94.24, "default": 93.38, "other": 90.0},
}


def test_the_order_of_table_7_is_that_of_cifar() -> None:
    store = world({k: 10 * v for k, v in PRINTED.items()})  # Apart by more than the seeds.
    assert judged("t7.rank_cifar", store).outcome == "not run", "desk tunes on Fashion-MNIST"
    found = judged("t7.rank_cifar", store, "paper")
    assert found.outcome == "supported" and found.statistic["tau"] == 1 and "none" in found.why
    assert len(TABLE_7) == 7
    against = world({k: -10 * v for k, v in PRINTED.items()})
    assert judged("t7.rank_cifar", against, "paper").outcome == "contradicted"
    other = dict(PRINTED, cosine=95.9)
    found = judged("t7.rank_cifar", world({k: 10 * v for k, v in other.items()}), "paper")
    flips = ("trapezoid", "one_cycle_linear"), ("autolr", "staircase")
    listed = [f"{a} and cosine" for a in flips[0]] + [f"cosine and {b}" for b in flips[1]]
    assert found.why.endswith(f"in the other order: {', '.join(listed)}.")


def test_one_cycle_with_its_default_and_tuned() -> None:
    name = "t7.onecycle_tuning.cifar10"
    assert judged(name, world(PRINTED), "paper").outcome == "supported"
    assert judged(name, world(dict(PRINTED, default=99.0)), "paper").outcome == "contradicted"
    assert judged(name, world(PRINTED)).outcome == "not run"
    assert judged("t9.onecycle_default", world(PRINTED), "paper").outcome == "reproduced"
    assert judged("t9.linear", world(PRINTED), "paper").outcome == "reproduced"
    assert judged("t9.linear", world(PRINTED)).outcome == "not run at the printed scale"


def test_table_9_is_judged_at_its_printed_rates() -> None:
    """Another rate of the same schedule, found by the search, does not count."""

    def accuracy(spec: RunSpec) -> float:
        return 94.24 + wobble(spec.seed) if spec.get("lr", 0) == 0.1 else 50.0

    found = judged("t9.linear", Made(accuracy, minimum=lambda s: LOWEST), "paper")
    assert found.outcome == "reproduced" and found.seeds == 7
    searched = Made(lambda s: None if s.get("lr", 0) == 0.1 else 94.24, minimum=lambda s: LOWEST)
    assert judged("t9.linear", searched, "paper").outcome == "not run"


def test_table_7_is_one_family() -> None:
    """The tuned one-cycle better with 0.025 < p < 0.05, and an order that says nothing."""
    ends = (0.6, 0.1, 0.4, 0.9, 0.05)
    mixed = {"staircase": 1.0, "autolr": 6.0, "trapezoid": 3.0, "cosine": 7.0, "linear": 2.0}

    def accuracy(spec: RunSpec) -> float | None:
        if spec.seed in (5, 6):
            return None
        rise = ends[spec.seed] if spec.method == "one_cycle_linear" and spec.seed < 5 else 0.0
        return 90 + mixed.get(spec.method, 0.0) + (0.0 if is_default(spec) else rise)

    found = judged("t7.onecycle_tuning.cifar10", Made(accuracy, minimum=lambda s: LOWEST), "paper")
    assert found.outcome == "undecided" and found.statistic["p"] == pytest.approx(2 * 0.0304, rel=0.01)


def test_losses_against_accuracies_is_a_claim_about_a_sign() -> None:
    losses = dict(
        zip(
            ("linear", "cosine", "default", "one_cycle_linear", "autolr", "trapezoid"),
            range(1, 7),
            strict=True,
        )
    )
    rising = {k: 90.0 + v for k, v in losses.items()} | {"other": 90.0}
    of = {k: 0.01 * v for k, v in losses.items()} | {"other": 0.1}
    found = judged("t9.trainloss_vs_acc", world(rising, of))
    assert found.outcome == "supported" and found.statistic["p"] == pytest.approx(1 / 720)
    falling = {k: 90.0 - v for k, v in losses.items()} | {"other": 90.0}
    assert judged("t9.trainloss_vs_acc", world(falling, of)).outcome == "contradicted"
    nearly = dict(falling, linear=88.3, cosine=89.0, default=86.0, autolr=88.5)
    assert judged("t9.trainloss_vs_acc", world(nearly, of)).outcome == "undecided"


def test_near_the_minimum_has_to_be_better_on_both_kinds_of_seeds() -> None:
    name = "fig8.near_minimum_better"
    found = judged(name, world(PRINTED))
    assert found.outcome == "supported" and found.statistic["fraction"] == pytest.approx(0.2)
    assert judged(name, world(PRINTED, default_loss=0.2)).outcome == "undecided"
    assert judged(name, world(dict(PRINTED, default=99.0))).outcome == "contradicted"


def test_the_lowest_loss_of_the_range_test_within_a_factor() -> None:
    name = "fig8.lr_range_cifar10"
    assert judged(name, world(PRINTED, minimum=0.17), "paper").outcome == "reproduced"
    assert judged(name, world(PRINTED, minimum=0.19), "paper").outcome == "contradicted"
    assert judged(name, world(PRINTED)).outcome == "not run at the printed scale"


class Course(Made):
    """Made-up courses: validation accuracy and training loss over the share of the run."""

    def __init__(
        self,
        decided: Callable[[RunSpec], dict[int, float]],
        value: Callable[[RunSpec, np.ndarray], np.ndarray],
        name: str,
    ) -> None:
        super().__init__(lambda s: 90 + wobble(s.seed), decided=decided)
        self.value, self.name = value, name

    def get(self, spec: RunSpec) -> Record | None:
        record = super().get(spec)
        assert record is not None
        if spec.function == "generalisation":
            x = np.linspace(0, 1, 64)
            steps = np.round(x * spec.steps).astype(int).tolist()
            record.stored[self.name] = {"steps": steps, "values": self.value(spec, x).tolist()}
        return record


def falls(spec: RunSpec) -> dict[int, float]:
    """The rate falls after six tenths of the steps."""
    return {round(0.6 * spec.steps): 0.1 * float(spec.get("lr"))}


def test_the_gain_comes_with_the_fall_in_every_cell() -> None:
    def course(soon: Callable[[RunSpec], float]) -> Course:
        def value(spec: RunSpec, x: np.ndarray) -> np.ndarray:
            part = soon(spec)
            return np.interp(x, (0, 0.6, 0.7, 1), (50, 60, 60 + 10 * part, 70))

        return Course(falls, value, "validation_accuracy")

    name = "fig4.gain_after_drop"
    found = judged(name, course(lambda s: 0.8))
    # Explore ends at a fifth or a half: what is gained before the fall counts against it.
    assert found.outcome == "contradicted", found.why

    def late(spec: RunSpec, x: np.ndarray) -> np.ndarray:
        return np.interp(x, (0, 0.1, 0.6, 0.7, 1), (50, 60, 60, 68, 70))

    assert judged(name, Course(falls, late, "validation_accuracy")).outcome == "supported"
    never = Course(lambda s: {round(0.6 * s.steps): s.get("lr")}, late, "validation_accuracy")
    assert judged(name, never).outcome == "contradicted"


def test_the_loss_halves_after_the_fall_with_every_optimizer() -> None:
    def course(after: float, decided: Callable[[RunSpec], dict[int, float]] = falls) -> Course:
        return Course(decided, lambda s, x: np.where(x < 0.63, 1.0, after), "train_loss")

    name = "fig10_12.loss_drop"
    assert judged(name, course(0.4), "paper").outcome == "supported"
    assert judged(name, course(0.6), "paper").outcome == "contradicted"
    assert judged(name, course(0.4, lambda s: {}), "paper").outcome == "contradicted"
    found = judged(name, without_sgd_on_cifar10(course(0.4)))
    assert found.outcome == "undecided" and "records are missing of sgd" in found.why


def test_a_rollback_helps_where_more_runs_fail_without_it() -> None:
    def failing(without: int, with_it: int) -> Made:
        def loss(spec: RunSpec) -> float:
            off = dict(spec.settings).get("rollback") is False
            return 1.0 if spec.seed < (without if off else with_it) else 0.1

        return Made(lambda s: 90.0, loss)

    name = "s22.rollback_helps"
    assert judged(name, failing(4, 0)).outcome == "supported"
    assert judged(name, failing(0, 4)).outcome == "contradicted"
    assert judged(name, failing(2, 0)).outcome == "undecided"
    assert "Its superbatches have 5" in judged(name, failing(4, 0), "paper").why


def test_the_range_test_of_a_profile_has_its_seeds() -> None:
    for profile in ("desk", "paper"):
        page = six.results(profile, Made(lambda s: None))
        scale = page.scale
        runs = page.groups["range", "t14" if profile == "desk" else "t4"].specs
        assert len(runs) == (3 if profile == "desk" else 5)
        assert not {r.seed for r in runs} & set(scale.report_seeds)
