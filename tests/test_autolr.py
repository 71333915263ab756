"""AutoLR's decisions, each reached by a loss made for it, and its parabola against a closed form."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from autolr_line import START, Line, bowl, saturating, stairs
from torch import Tensor

import adatune_lite as al
from adatune_lite.tuners.autolr.log import Decision

OPTIMIZERS: dict[str, Callable[[Any], torch.optim.Optimizer]] = {
    "sgd": lambda w: torch.optim.SGD(w, lr=0.1),
    "nesterov": lambda w: torch.optim.SGD(w, lr=0.02, momentum=0.9, nesterov=True, weight_decay=0.01),
    "adam": lambda w: torch.optim.Adam(w, lr=0.05),
    "adamw": lambda w: torch.optim.AdamW(w, lr=0.05, amsgrad=True),
    "nadam": lambda w: torch.optim.NAdam(w, lr=0.05),
    "rmsprop": lambda w: torch.optim.RMSprop(w, lr=0.01, momentum=0.5),
    "adagrad": lambda w: torch.optim.Adagrad(w, lr=0.1, lr_decay=0.1),
    "adadelta": lambda w: torch.optim.Adadelta(w, lr=1.0),
}


@pytest.mark.parametrize("samples", [3, 5])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_quadratic_bowl_is_solved_exactly(name: str, samples: int) -> None:
    """L(eps) = 1/2 x^T H x at x = w - (lr + eps) d: eps_min = d.Hx / d.Hd at eps = 0, for any optimizer."""
    generator = torch.Generator().manual_seed(3)
    root = torch.randn(4, 4, generator=generator, dtype=torch.float64)
    h = root @ root.T + torch.eye(4, dtype=torch.float64)
    start = torch.randn(2, 2, generator=generator, dtype=torch.float64)
    halves = [start[0].clone().requires_grad_(), start[1].clone().requires_grad_()]

    def height(k: int) -> Tensor:
        x = torch.cat(halves)
        return 0.5 * x @ h @ x + 1.0

    optimizer = OPTIMIZERS[name](halves)
    tuner = al.AutoLR(optimizer, 0, window=3, samples=samples, saturation=None, epsilon_threshold=None)
    for _ in range(2):
        tuner.step(lambda: height(0), height)
    w = torch.cat(halves).detach().clone()
    twin = [p.detach().clone().requires_grad_() for p in halves]
    mirror = OPTIMIZERS[name](twin)
    mirror.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    for p, g in zip(twin, torch.autograd.grad(height(0), halves), strict=True):
        p.grad = g
    mirror.step()
    lr = tuner.lr
    x = torch.cat(twin).detach()
    d = (w - x) / lr
    tuner.step(lambda: height(0), height)
    (found,) = tuner.log
    assert found.fit is not None
    expected = (0.5 * x @ h @ x + 1.0, -d @ h @ x, 0.5 * d @ h @ d)
    assert found.fit == pytest.approx([float(v) for v in expected], rel=1e-6)
    best = float(d @ h @ x / (d @ h @ d))
    move = min(0.5 * lr, max(-0.5 * lr, best))
    assert found.new_lr == tuner.lr == tuner.used_lr == pytest.approx(lr + move, rel=1e-6)
    torch.testing.assert_close(torch.cat(halves).detach(), w - tuner.lr * d, rtol=1e-9, atol=1e-9)
    assert optimizer.param_groups[0]["lr"] == tuner.lr


def test_explore_raises() -> None:
    line = Line({0: bowl(-0.13)})
    found = line.step()
    assert (found.phase, found.decision, found.reason) == ("explore", "raise", "minimum beyond the samples")
    assert found.new_lr == pytest.approx(0.13)
    assert line.w.item() == pytest.approx(-0.13)  # the deciding step is taken at the new rate
    assert found.eps == pytest.approx((-0.02, -0.01, 0.0, 0.01, 0.02))
    assert found.losses == pytest.approx([2 + (0.03 - e) ** 2 for e in found.eps])


def test_explore_never_lowers() -> None:
    line = Line({0: bowl(-0.07)})
    found = line.step()
    assert (found.decision, found.new_lr) == ("keep", START)
    assert found.reason == "explore only raises (minimum beyond the samples is below)"
    assert line.w.item() == -0.1


def test_raises_in_explore_are_not_judged() -> None:
    """The loss rises after it: no rollback, but a saturated rate and the next fit."""
    line = Line({0: bowl(-0.13), 1: bowl(-0.26)})
    assert line.step().decision == "raise"
    found = line.step()
    assert found.drop_rate == pytest.approx(-(0.13**2)) and found.superbatch == 1


def test_explore_lasts_for_its_steps_and_a_window_decides_at_its_end() -> None:
    line = Line({k: stairs(*range(9, 0, -1)) for k in range(9)}, explore_steps=5, window=2)
    for _ in range(8):
        line.tuner.step(line.w.sum, line.outer)
    assert [(d.step, d.phase) for d in line.tuner.log] == [
        (2, "explore"),
        (4, "explore"),
        (6, "exploit"),
        (8, "exploit"),
    ]


def test_superbatches_rise_and_explore_pays_for_its_samples_alone() -> None:
    """One superbatch per fit, the drop rate of explore shares its first sample: 500 / 3000 = 1/6."""
    line = Line({k: stairs(*range(199, 0, -1)) for k in range(9)}, explore_steps=80, window=20, superbatch=2)
    for _ in range(80):
        line.tuner.step(line.w.sum, line.outer)
    assert line.calls == [0, 0, *(k for k in range(4) for _ in range(5 + (k == 1)))]  # one check each
    assert line.tuner.extra_passes == pytest.approx(80 / 6)
    assert [d.superbatch for d in line.tuner.log] == [0, 1, 2, 3]
    assert [d.drop_rate for d in line.tuner.log] == [pytest.approx(1.0), None, None, None]
    for _ in range(20):
        line.tuner.step(line.w.sum, line.outer)
    assert line.calls[23:] == [3]  # held: the superbatch of the last fit, over the window since
    assert line.tuner.log[-1].drop_rate == pytest.approx(1.0)


def test_cost_of_the_lean_setting() -> None:
    line = Line(
        {k: stairs(*range(99, 0, -1)) for k in range(9)}, explore_steps=80, window=20, superbatch=1, samples=3
    )
    for _ in range(80):
        line.tuner.step(line.w.sum, line.outer)
    assert line.tuner.extra_passes / 80 == pytest.approx(0.05)


def test_saturation_is_relative_then_absolute() -> None:
    """Held 0 falls by 1 at first; 0.3 is no less than a fifth of it, 0.15 is, and is then the threshold."""
    ends = {4: 1.81, 5: 1.69}
    line = Line(
        {
            0: stairs(4, 3, 2.7, 2.55),
            1: lambda w: ends[round(-10 * w)] if w < -0.35 else bowl(-0.3)(w),
            2: bowl(-0.5),
        },
        saturation=5,
        epsilon_threshold=None,
        rollback=False,
    )
    found = [line.step() for _ in range(5)]
    assert [d.drop_rate for d in found] == pytest.approx([1.0, 0.3, 0.15, 0.19, 0.12])
    # 0.19 is below a fifth of 1 as well, but no longer judged by that.
    assert [d.superbatch for d in found] == [0, None, 1, None, 2]
    assert [d.reason for d in found][1::2] == ["not saturated"] * 2
    assert found[0].threshold is None  # explore
    assert [d.threshold for d in found[1:]] == pytest.approx([0.2, 0.2, 0.15, 0.15])
    assert [d.phase for d in found] == ["explore"] + ["exploit"] * 4
    assert all(d.new_lr == pytest.approx(START) for d in found)


def test_a_saturated_rate_falls_to_the_minimum() -> None:
    line = saturating()
    line.step()
    found = line.step()
    assert (found.phase, found.decision, found.superbatch) == ("exploit", "lower", 1)
    assert found.drop_rate == pytest.approx(0.01)
    assert found.new_lr == pytest.approx(0.08)
    assert line.w.item() == pytest.approx(-0.18)


def test_a_change_with_a_better_drop_rate_stays_and_the_threshold_is_absolute() -> None:
    """The fit predicts 2 at the new rate: drops 0.05, then 0.02 (not saturated), 0.01 (saturated: a fit)."""
    line = saturating(1.95, 1.93, 1.9200001)
    line.losses[2] = bowl(-5.0)
    for _ in range(2):
        line.step()
    reasons = []
    for _ in range(3):
        found = line.step()
        reasons.append((found.decision, found.reason, round(found.drop_rate or 0, 6)))
    assert reasons == [
        ("keep", "not saturated", 0.05),
        ("keep", "not saturated", 0.02),
        ("raise", "minimum out of bounds: the bound", 0.01),
    ]
    assert found.new_lr == pytest.approx(1.5 * 0.08)


def test_a_rising_loss_is_saturated_and_fixes_no_threshold() -> None:
    """Held 1, from 2.0: 0.5 is no less than a fifth of 1, 0.1 is and becomes the threshold: 0.15 is above."""
    ends = {3: 1.5, 4: 1.4, 5: 0.0}
    line = Line(
        {
            0: stairs(4, 3, 3.5),
            1: lambda w: ends[round(-10 * w)] if w < -0.25 else bowl(-0.2)(w),
            2: lambda w: 1.85 if w < -0.45 else bowl(-0.4)(w),
        },
        saturation=5,
        epsilon_threshold=None,
        rollback=False,
    )
    found = [line.step() for _ in range(5)]
    assert [d.drop_rate for d in found] == pytest.approx([1.0, -0.5, 0.5, 0.1, 0.15])
    assert [d.superbatch for d in found] == [0, 1, None, 2, None]
    assert line.tuner.state_dict()["thresholds"] == pytest.approx([1.0, 0.1])


def test_the_threshold_is_relative_to_the_first_window_that_fell() -> None:
    line = Line({0: stairs(4, 5, 3, 2.9), 1: bowl(-0.3)}, saturation=5, epsilon_threshold=None)
    found = [line.step() for _ in range(3)]
    assert [d.drop_rate for d in found] == pytest.approx([-1.0, 2.0, 0.1])
    assert [d.superbatch for d in found] == [0, None, 1]
    assert line.tuner.state_dict()["thresholds"] == pytest.approx([2.0, 0.1])


@pytest.mark.parametrize(("after", "words"), [(1.995, "the drop rate fell"), (math.nan, "no longer finite")])
def test_rollback_goes_to_where_the_old_rate_leads(after: float, words: str) -> None:
    line = saturating(after)
    for _ in range(2):
        line.step()
    found = line.step()
    assert found.decision == "rollback" and words in found.reason
    assert found.lr == pytest.approx(0.08) and found.new_lr == START
    assert line.tuner.lr == line.optimizer.param_groups[0]["lr"] == START
    assert line.w.item() == -0.2  # two steps at 0.1: the change never was
    # The held superbatch counts from there: 2.0004 at the eps = 0 of the fit, one step at the old rate.
    line.losses[1] = lambda w: 1.9
    line.losses[2] = stairs(9, 9, 9, 9)
    assert line.step().drop_rate == pytest.approx(2.0004 - 1.9)
    assert line.w.item() == pytest.approx(-0.3)


def test_without_rollback_a_change_is_not_judged() -> None:
    line = saturating(1.995, rollback=False)
    line.losses[2] = bowl(-5.0)
    for _ in range(2):
        line.step()
    found = line.step()
    assert found.decision == "raise" and found.drop_rate == pytest.approx(0.005)


def test_without_saturation_every_window_may_lower() -> None:
    line = Line({0: bowl(-0.08), 1: bowl(-0.15, height=1.0)}, explore_steps=0, saturation=None)
    assert line.step().new_lr == pytest.approx(0.08)
    assert line.calls == [0] * 7  # two of the check, five samples: held and fit are superbatch 0


def test_the_held_loss_is_measured_where_the_new_rate_is_a_sample() -> None:
    """No minimum: the new rate is the last sample (bound by trust), whose loss the fit misses by much."""

    def wavy(w: float) -> float:
        return 1e-3 * (1 - 0.5 * round(-1000 * w - 100) / 10 * (1 if w > -0.1099 else 0.9))

    line = Line({0: wavy, 1: wavy}, epsilon_threshold=1e-3, explore_steps=0, saturation=None)
    found = line.step()
    assert found.new_lr == found.lr + found.eps[-1]
    assert line.tuner.state_dict()["held"][1] == found.losses[-1]


def test_trust_bound_holds_and_can_be_taken_away() -> None:
    for threshold, expected in ((1e-6, 0.1 + 2e-6 ** (1 / 3)), (None, 0.15)):
        line = Line({0: bowl(-9.0, height=2.0 - 8.9**2)}, epsilon_threshold=threshold)
        found = line.step()
        assert found.new_lr == pytest.approx(expected)
        if threshold:
            assert (found.new_lr - START) ** 3 < threshold * found.losses[2]


def test_rate_stays_positive_and_above_lr_min() -> None:
    for lr_min, expected in ((0.0, 0.05), (0.07, 0.07), (0.1, 0.1)):
        line = Line({0: bowl(9.0)}, explore_steps=0, saturation=None, epsilon_threshold=None, lr_min=lr_min)
        assert line.step().new_lr == pytest.approx(expected)
        assert line.tuner.lr >= lr_min
        assert line.tuner.state_dict()["held"][1] == pytest.approx(bowl(9.0)(-expected))


def test_a_concave_fit_goes_to_the_lower_end() -> None:
    line = Line({0: lambda w: 2 - (w + 0.09) ** 2}, explore_steps=0, saturation=None, epsilon_threshold=None)
    found = line.step()
    assert (found.decision, found.reason) == ("raise", "no minimum: the lower end")
    assert found.new_lr == pytest.approx(0.15)


def kept(line: Line, reason: str) -> Decision:
    found = line.step()
    assert (found.decision, found.new_lr, line.tuner.lr) == ("keep", START, START)
    assert reason in found.reason
    assert line.w.item() == -0.1  # the step stands
    return found


def test_a_flat_fit_keeps_the_rate() -> None:
    found = kept(Line({0: lambda w: 2.0 + 1e-16 * w}), "flat: the samples differ by rounding alone")
    assert found.fit is None and len(found.losses) == 5


@pytest.mark.parametrize("loss", [0.0, -1.0])
def test_a_loss_that_is_not_positive_leaves_no_room(loss: float) -> None:
    found = kept(Line({0: lambda w: 5.0 if w == 0 else loss}), "the loss is not positive")
    assert found.eps == ()


def test_a_sample_that_is_not_finite_keeps_the_rate() -> None:
    line = Line({0: lambda w: math.inf if w < -0.115 else 2.0, 1: bowl(0.0)}, explore_steps=9)
    assert math.inf in kept(line, "a loss is not finite among the samples").losses
    assert line.step().superbatch == 1


def test_a_held_loss_that_is_not_finite_keeps_the_rate() -> None:
    line = Line({0: lambda w: math.nan if w == -0.1 else 2.0 - w})
    kept(line, "a loss is not finite on the held superbatch")
    assert line.step().superbatch == 0  # measured anew a window later, over both
    assert line.tuner.log[-1].drop_rate == pytest.approx(-0.1)


def test_a_middle_that_is_not_finite_keeps_the_rate() -> None:
    line = Line({0: stairs(4, 3, 2), 1: lambda w: math.nan, 2: stairs(9, 9, 9, 9)}, explore_steps=9)
    line.step()
    assert "a loss is not finite at eps = 0" in line.step().reason
    assert line.step().superbatch == 2


def test_two_losses_that_are_not_finite_in_a_row_diverge() -> None:
    line = Line({0: lambda w: 2.0 if w == 0 else math.nan})
    line.step()
    with pytest.raises(al.Diverged, match="a superbatch loss was not finite twice in a row"):
        line.step()


def test_an_empty_direction_keeps_the_rate() -> None:
    line = Line({0: stairs(2.0)})
    line.tuner.step(lambda: 0.0 * line.w.sum(), line.outer)
    (found,) = line.tuner.log
    assert (found.decision, found.reason) == ("keep", "empty direction")
    assert line.w.item() == 0.0 and len(line.calls) == 3


def test_all_groups_share_the_rate() -> None:
    a, b = (torch.zeros(1, dtype=torch.float64, requires_grad=True) for _ in range(2))
    groups: list[dict[str, Any]] = [{"params": [a], "weight_decay": 0.1}, {"params": [b]}]
    optimizer = torch.optim.SGD(groups, lr=0.1)
    tuner = al.AutoLR(optimizer, 5, window=1)
    tuner.step(lambda: (a + b).sum(), lambda k: 2 + ((a + b) + 0.26).square().sum())
    assert tuner.lr == pytest.approx(0.13)
    assert [g["lr"] for g in optimizer.param_groups] == [tuner.lr] * 2
    assert a.item() == b.item() == -tuner.lr
