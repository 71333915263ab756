"""AutoLR with one open decision taken otherwise: what differs, and that nothing else does."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from autolr_line import START, Line, bowl, saturating, stairs
from torch import Tensor, nn

import adatune_lite as al
from adatune_lite.experiments.autolr_vs_schedules.groups import OPEN
from adatune_lite.tuners.autolr.variants import (
    FRESH,
    OTHERWISE,
    CountBeginsAnew,
    EvaluationMode,
    FreshSuperbatch,
    NextStep,
    RiseIsACrossing,
)


def test_reach_bounds_what_one_decision_changes() -> None:
    for reach in (0.2, 0.5, 0.9):
        line = Line({0: bowl(-5.0)}, epsilon_threshold=None, reach=reach)
        assert line.step().new_lr == pytest.approx((1 + reach) * START)
    falling = Line({0: bowl(5.0)}, explore_steps=0, saturation=None, epsilon_threshold=None, reach=0.9)
    assert falling.step().new_lr == pytest.approx(0.1 * START)


def test_spread_is_where_the_samples_lie() -> None:
    line = Line({0: bowl(-0.13)}, spread=0.05)
    assert line.step().eps == pytest.approx((-0.005, -0.0025, 0.0, 0.0025, 0.005))
    # A wide spread stays within the bound.
    line = Line({0: bowl(-0.13)}, spread=0.9, reach=0.3, epsilon_threshold=None)
    assert max(line.step().eps) == pytest.approx(0.03)


def test_the_new_rate_begins_with_the_next_step() -> None:
    line = Line({0: bowl(-0.13), 1: bowl(-9.0)}, NextStep, window=1)
    found = line.step()
    assert found.new_lr == pytest.approx(0.13) and line.w.item() == -0.1
    assert line.tuner.used_lr == START and line.tuner.lr == pytest.approx(0.13)
    line.step()
    assert line.w.item() == pytest.approx(-0.23) and line.tuner.used_lr == pytest.approx(0.13)


def test_the_held_loss_is_that_of_the_step_that_was_taken() -> None:
    """1e-4 at the new rate, which no step has taken yet; the drop of the next window counts from 0.0125."""
    line = Line({0: stairs(4, 3, 2.99), 1: bowl(-0.18)}, NextStep, saturation=50, epsilon_threshold=None)
    for _ in range(2):
        found = line.step()
    assert found.new_lr == pytest.approx(0.08)
    assert line.tuner.state_dict()["held"][1] == found.losses[2] == pytest.approx(bowl(-0.18)(-0.2))
    line.losses[1] = lambda w: 2.0
    assert line.step().drop_rate == pytest.approx(bowl(-0.18)(-0.2) - 2.0)


def test_a_rollback_of_a_change_that_began_later() -> None:
    line = Line({0: stairs(4, 3, 2.99), 1: bowl(-0.18)}, NextStep, saturation=50, epsilon_threshold=None)
    assert [line.step().decision for _ in range(2)] == ["keep", "lower"]
    assert line.w.item() == -0.2
    line.losses[1] = lambda w: 1e6
    assert line.step().decision == "rollback" and line.w.item() == -0.2
    assert line.tuner.lr == line.tuner.used_lr == START


def test_drop_rates_between_fresh_superbatches() -> None:
    """Explore measures as ever; then each window asks for a superbatch that nothing else asks for."""
    losses = {0: stairs(4, 3, 2), **{FRESH + k: stairs(9, 9, 2.5, 1.5, 1.4) for k in range(5)}}
    line = Line(losses, FreshSuperbatch, saturation=5, epsilon_threshold=None)
    line.losses[1] = bowl(-0.4)
    found = [line.step() for _ in range(4)]
    # Against the held loss 3 of the fit in explore, then window against window.
    assert [d.drop_rate for d in found] == pytest.approx([1.0, 0.5, 1.0, 0.1])
    assert found[3].superbatch == 1, "0.1 is below a fifth of 1"
    assert [k for k in line.calls if k >= FRESH] == [FRESH + 1, FRESH + 2, FRESH + 3]


def test_the_count_begins_anew_at_a_change() -> None:
    def raised(kind: type[al.AutoLR]) -> list[Any]:
        line = Line({0: bowl(-0.13)}, kind, saturation=5, epsilon_threshold=None)
        line.losses[0] = lambda w: 4 + w if w > -0.05 else 2 + (w + 0.13) ** 2
        found = [line.step()]
        line.losses[0] = lambda w: 1.9
        line.losses[1] = bowl(-1.0)
        return [*found, line.step()]

    before, after = raised(al.AutoLR)
    assert before.decision == "raise" and before.drop_rate == pytest.approx(2.0, abs=0.01)
    assert after.superbatch == 1, "saturated: 0.1 is below a fifth of 2"
    line = saturating(1.5, kind=CountBeginsAnew)
    for _ in range(2):
        line.step()
    first, absolute = line.tuner.state_dict()["thresholds"]
    assert first != first and absolute == pytest.approx(0.01), "the absolute threshold stays"
    again, later = raised(CountBeginsAnew)
    assert again == before and later.reason == "not saturated"
    assert later.threshold == pytest.approx(later.drop_rate / 5)


def test_a_rising_window_fixes_the_threshold_at_zero() -> None:
    def thresholds(kind: type[al.AutoLR]) -> tuple[list[float], int | None]:
        ends = {3: 1.5, 4: 1.4}
        line = Line(
            {
                0: stairs(4, 3, 3.5),
                1: lambda w: ends[round(-10 * w)] if w < -0.25 else bowl(-0.2)(w),
                2: bowl(-0.4),
            },
            kind,
            saturation=5,
            epsilon_threshold=None,
            rollback=False,
        )
        found = [line.step() for _ in range(4)]
        return line.tuner.state_dict()["thresholds"], found[3].superbatch

    assert thresholds(al.AutoLR) == (pytest.approx([1.0, 0.1]), 2)
    assert thresholds(RiseIsACrossing) == (pytest.approx([1.0, 0.0]), None)


def test_superbatches_in_evaluation_mode_leave_training_in_its_own() -> None:
    net = nn.Sequential(nn.BatchNorm1d(3), nn.Dropout(0.5), nn.Linear(3, 1))
    x, seen = torch.rand(4, 3), []

    def outer(k: int) -> Tensor:
        seen.append([m.training for m in net])
        return net(x).square().mean()

    def train() -> Tensor:
        assert all(m.training for m in net)
        return net(x).square().mean()

    tuner = EvaluationMode(torch.optim.SGD(net.parameters(), lr=0.1), 9, window=2, model=net)
    for _ in range(3):
        tuner.step(train, outer)
    assert len(seen) == 7 and not any(map(any, seen)) and all(m.training for m in net)


@pytest.mark.parametrize("kind", [k for k in OTHERWISE.values() if k is not EvaluationMode])
def test_a_state_of_one_kind_is_none_of_another(kind: type[al.AutoLR]) -> None:
    line, plain = saturating(kind=kind), saturating()
    line.step()
    with pytest.raises(ValueError, match=f"does not belong to a AutoLR|saved by {kind.__name__}"):
        plain.tuner.load_state_dict(line.tuner.state_dict())


def test_every_alternative_is_run() -> None:
    asked = {settings["otherwise"] for settings in OPEN.values() if "otherwise" in settings}
    assert asked | {"evaluation mode"} == set(OTHERWISE)
