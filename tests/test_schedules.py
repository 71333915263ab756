"""Fixed schedules against their formulas."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.optim import lr_scheduler
from torch.optim.lr_scheduler import LRScheduler

import adatune_lite as al
from adatune_lite.schedules import ADATUNE, SCHEDULES, mirrored_momentum, schedule


def expect(found: Tensor, values: list[float]) -> None:
    assert found.dtype is torch.float64
    torch.testing.assert_close(found, torch.tensor(values, dtype=torch.float64), rtol=1e-9, atol=1e-15)


def test_constant() -> None:
    expect(schedule("constant", 7, 0.3), [0.3] * 7)


def test_exponential_ends_at_the_given_fraction() -> None:
    expect(schedule("exponential", 5, 0.2, final=0.01), [0.2 * 0.01 ** (t / 4) for t in range(5)])
    expect(schedule("exponential", 3, 0.2), [0.2, 0.2 * 0.1**0.5, 0.02])


def test_staircase_drops_at_its_milestones() -> None:
    expect(schedule("staircase", 6, 1.0), [1, 1, 0.1, 0.1, 0.01, 0.01])
    expect(schedule("staircase", 4, 1.0, factor=0.5, milestones=(0.75,)), [1, 1, 1, 0.5])


def test_cosine() -> None:
    expect(schedule("cosine", 8, 0.4), [0.2 * (1 + math.cos(math.pi * t / 8)) for t in range(8)])


def test_one_cycle() -> None:
    found = schedule("one_cycle", 101, 0.5)
    assert int(found.argmax()) in (29, 30)
    assert float(found.max()) == pytest.approx(0.5, rel=1e-2)
    expect(found[[0, -1]], [0.5 / 25, 0.5 / 250_000])
    peak = int(found.argmax())
    assert (found[: peak + 1].diff() > 0).all()
    assert (found[peak:].diff() < 0).all()


EPOCHS, BATCHES = 200, 7


def adatune(scheduler: Callable[[torch.optim.Optimizer], LRScheduler], every: str) -> Tensor:
    """The rates of 200 epochs from 0.1 on, the scheduler stepped after each epoch or after each batch."""
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=0.1)
    following = scheduler(optimizer)
    rates = []
    for epoch in range(EPOCHS):
        for i in range(BATCHES):
            rates.append(optimizer.param_groups[0]["lr"])
            optimizer.step()
            if every == "batch":
                following.step(epoch + (i + 1) / BATCHES)
        if every == "epoch":
            following.step()
    return torch.tensor(rates, dtype=torch.float64)


@pytest.mark.parametrize(
    ("name", "scheduler", "every", "bound"),
    [
        ("staircase", lambda o: lr_scheduler.StepLR(o, 60, 0.1), "epoch", 1e-12),
        ("sgdr", lambda o: lr_scheduler.CosineAnnealingWarmRestarts(o, 10, 2, 1e-5), "batch", 1e-9),
        ("exponential", lambda o: lr_scheduler.ExponentialLR(o, 0.9901), "epoch", 0.0101),
    ],
)
def test_schedules_of_adatune(
    name: str, scheduler: Callable[[Any], LRScheduler], every: str, bound: float
) -> None:
    """The exponential one within the 1 % that the published rate falls in an epoch."""
    kind, options = ADATUNE[name]
    rates = schedule(kind, EPOCHS * BATCHES, 0.1, **options)
    torch.testing.assert_close(rates, adatune(scheduler, every), rtol=bound, atol=0)


def rates_of(scheduler: Callable[[torch.optim.Optimizer], LRScheduler], steps: int, lr: float) -> Tensor:
    """What a training loop that steps the scheduler after each optimizer step uses."""
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=lr)
    following = scheduler(optimizer)
    rates = []
    for _ in range(steps):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        following.step()
    return torch.tensor(rates, dtype=torch.float64)


@pytest.mark.parametrize(
    ("name", "scheduler"),
    [
        ("exponential", lambda o: lr_scheduler.ExponentialLR(o, 0.1 ** (1 / 99))),
        ("staircase", lambda o: lr_scheduler.MultiStepLR(o, [33, 67], 0.1)),
        ("cosine", lambda o: lr_scheduler.CosineAnnealingLR(o, 100)),
        ("one_cycle", lambda o: lr_scheduler.OneCycleLR(o, 0.3, 101, cycle_momentum=False)),
    ],
)
def test_the_digits_are_torchs(name: str, scheduler: Callable[[Any], LRScheduler]) -> None:
    """Records hold trainings with these rates: to the last bit those of a plain loop."""
    steps = 101 if name == "one_cycle" else 100
    expected = rates_of(scheduler, 100, 0.3)
    assert torch.equal(schedule(name, steps, 0.3)[:100], expected)


def test_step() -> None:
    expect(schedule("step", 6, 1.0, period=1 / 3, factor=0.5), [1, 1, 0.5, 0.5, 0.25, 0.25])


def test_linear_and_polynomial() -> None:
    expect(schedule("linear", 8, 0.4), [0.4 * (1 - t / 8) for t in range(8)])
    expect(schedule("polynomial", 8, 0.4), [0.4 * (1 - t / 8) ** 2 for t in range(8)])
    expect(schedule("polynomial", 8, 0.4, power=0.5), [0.4 * (1 - t / 8) ** 0.5 for t in range(8)])


def test_sgdr_restarts_over_longer_periods() -> None:
    cosine = [[0.2 * (1 + math.cos(math.pi * t / n)) for t in range(n)] for n in (2, 4, 8)]
    expect(schedule("sgdr", 14, 0.4), [*cosine[0], *cosine[1], *cosine[2]])
    expect(schedule("sgdr", 8, 0.4, period=0.5, growth=1), [*cosine[1], *cosine[1]])
    raised = [0.1 + 0.75 * rate for rate in cosine[1]]
    expect(schedule("sgdr", 4, 0.4, period=1.0, floor=0.25), raised)


def test_cyclic_is_a_triangle() -> None:
    expect(schedule("cyclic", 8, 1.0, period=0.5, low=0.2), [0.2, 0.6, 1.0, 0.6, 0.2, 0.6, 1.0, 0.6])


def test_one_cycle_of_autolr() -> None:
    """45 % up, 45 % down, the last 10 % on to a tenth of the start: the implementation it names."""
    rates = schedule("one_cycle_linear", 200, 0.6)
    up = [0.06 + 0.54 * t / 90 for t in range(90)]
    down = [0.6 - 0.54 * t / 90 for t in range(90)]
    expect(rates, [*up, *down, *(0.06 * (1 - 0.9 * t / 20) for t in range(20))])


def test_momentum_mirrors_the_cycle() -> None:
    momentum = mirrored_momentum(schedule("one_cycle_linear", 200, 0.6), 0.06)
    down = [0.95 - 0.1 * t / 90 for t in range(90)]
    expect(momentum, [*down, *(0.85 + 0.1 * t / 90 for t in range(90)), *([0.95] * 20)])
    for bad in ({"low": 0.9, "high": 0.8}, {"high": 1.0}, {"low": -0.1}):
        with pytest.raises(ValueError, match="0 <= low <= high < 1"):
            mirrored_momentum(torch.tensor([0.1, 0.2]), 0.1, **bad)
    with pytest.raises(ValueError, match="base must lie between 0 and the highest rate"):
        mirrored_momentum(torch.tensor([0.1, 0.2], dtype=torch.float64), 0.2)


def test_trapezoid() -> None:
    ramp = [0.1, 0.55]
    expect(schedule("trapezoid", 20, 1.0), [*ramp, *([1.0] * 17), 0.55])
    expect(schedule("trapezoid", 8, 2.0, ramp=0.5, low=0.5), [1, 1.25, 1.5, 1.75, 2, 1.75, 1.5, 1.25])


def test_knee() -> None:
    """The paper's formula: eta (1 - (t - w - e) / (T - w - e)) after the peak."""
    expect(schedule("knee", 8, 0.4), [0.4] * 4 + [0.4 * (1 - t / 4) for t in range(4)])
    found = schedule("knee", 10, 0.4, warmup=0.2, peak=0.25)
    expect(found, [0.0, 0.2, 0.4, 0.4, *(0.4 * (1 - (t - 2 - 2) / (10 - 2 - 2)) for t in range(4, 10))])


def test_inverse_square_root_with_warmup() -> None:
    """lr t / w, from start, then lr sqrt(w / t): the baseline of AutoLR's translation task."""
    found = schedule("inverse_sqrt", 40, 5e-4, warmup=0.1, start=2.5e-4)
    assert float(found[0]) == pytest.approx(1.25e-7)
    warm = [1.25e-7 + (5e-4 - 1.25e-7) * t / 4 for t in range(4)]
    expect(found, [*warm, *(5e-4 * math.sqrt(4 / t) for t in range(4, 40))])


@pytest.mark.parametrize("name", ["linear", "cosine"])
def test_warmup_comes_before_the_schedule(name: str) -> None:
    found = schedule(name, 12, 0.4, warmup=0.25)
    expect(found[:3], [0.0, 0.4 / 3, 0.8 / 3])
    assert torch.equal(found[3:], schedule(name, 9, 0.4))


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize("steps", [1, 2, 3, 512])
def test_any_length(name: str, steps: int) -> None:
    if name == "inverse_sqrt" and steps == 1:
        return
    found = schedule(name, steps, 0.1, warmup=0.4 if name == "inverse_sqrt" else 0.0)
    assert found.shape == (steps,)
    assert torch.isfinite(found).all()
    assert (found >= 0).all()
    assert float(found.max()) <= 0.1 * (1 + 1e-12)


@pytest.mark.parametrize(
    ("arguments", "options", "words"),
    [
        (("quadratic", 5, 0.1), {}, "constant, exponential, staircase, cosine, one_cycle"),
        (("cosine", 0, 0.1), {}, "steps"),
        (("cosine", True, 0.1), {}, "steps"),
        (("cosine", 5, 0.0), {}, "lr must be finite and above 0"),
        (("cosine", 5, math.nan), {}, "lr"),
        (("exponential", 5, 0.1), {"final": -1.0}, "final"),
        (("staircase", 5, 0.1), {"factor": math.inf}, "factor"),
        (("staircase", 5, 0.1), {"milestones": (0.5, 1.5)}, "milestones must be shares between 0 and 1"),
        (("cosine", 5, 0.1), {"factor": 0.1}, "cosine has no option 'factor'; it has warmup, start"),
        (("knee", 5, 0.1), {"low": 0.1}, "knee has no option 'low'; it has peak, warmup, start"),
        (("step", 5, 0.1), {"period": 1.5}, "period must be at most 1"),
        (("sgdr", 5, 0.1), {"growth": 1.5}, "growth must be a whole number"),
        (("cosine", 5, "0.1"), {}, "lr must be finite and above 0, not '0.1'"),
        (("staircase", 5, 0.1), {"factor": 3.0}, "factor must be at most 1"),
        (("exponential", 5, 0.1), {"final": 5.0}, "final must be at most 1"),
        (("staircase", 5, 0.1), {"milestones": "ab"}, "milestones must be shares .* not 'ab'"),
        (("staircase", 5, 0.1), {"milestones": torch.tensor([0.5])}, "milestones must be shares"),
        (("step", 5, 0.1), {"period": (0.5,)}, "period must be finite and above 0"),
        (("linear", 5, 0.1), {"warmup": "x"}, "warmup must be at least 0 and below 1"),
        (("linear", 5, 0.1), {"warmup": 1.0}, "warmup must be at least 0 and below 1"),
        (("linear", 5, 0.1), {"start": -0.1}, "start"),
        (("inverse_sqrt", 5, 0.1), {}, "inverse_sqrt needs a warmup of at least one of its 5 steps"),
    ],
)
def test_bad_arguments(arguments: tuple[Any, ...], options: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        schedule(*arguments, **options)


def world(optimizer: Callable[[Any], torch.optim.Optimizer]) -> tuple[Tensor, torch.optim.Optimizer]:
    w = torch.tensor([1.0, -2.0], dtype=torch.float64, requires_grad=True)
    return w, optimizer([w])


def test_cycled_momentum_is_heavy_ball_with_these_numbers() -> None:
    """v <- m_t v + w, w <- w - lr_t v on L = |w|^2 / 2."""
    w, optimizer = world(lambda w: torch.optim.SGD(w, lr=0.1, momentum=0.5))
    rates = schedule("one_cycle_linear", 20, 0.4)
    momentum = mirrored_momentum(rates, 0.04)
    tuner = al.CycledMomentum(optimizer, rates, momentum)
    x, v = torch.tensor([1.0, -2.0], dtype=torch.float64), torch.zeros(2, dtype=torch.float64)
    for lr, m in zip(rates.tolist(), momentum.tolist(), strict=True):
        tuner.step(lambda: w.square().sum() / 2)
        v = m * v + x
        x = x - lr * v
    torch.testing.assert_close(w.detach(), x, rtol=1e-12, atol=1e-12)


def test_cycled_momentum_is_adams_beta1() -> None:
    w, optimizer = world(lambda w: torch.optim.Adam(w, lr=0.1))
    tuner = al.CycledMomentum(optimizer, [0.1, 0.1], [0.8, 0.7])
    for beta1 in (0.8, 0.7):
        tuner.step(lambda: w.square().sum())
        assert optimizer.param_groups[0]["betas"] == (beta1, 0.999)


@pytest.mark.parametrize(
    ("optimizer", "momentum", "words"),
    [
        (torch.optim.SGD, [0.9], "momentum has 1 values and the schedule 2 steps"),
        (torch.optim.SGD, [0.9, 1.0], "every momentum must be at least 0 and below 1"),
        (torch.optim.Adagrad, [0.9, 0.9], "Adagrad has no momentum to cycle"),
    ],
)
def test_bad_momentum(optimizer: Callable[..., Any], momentum: list[float], words: str) -> None:
    _, made = world(lambda w: optimizer(w, lr=0.1))
    with pytest.raises(ValueError, match=words):
        al.CycledMomentum(made, [0.1, 0.1], momentum)


LOSSES = [5.0, 4.0, 4.0, math.nan, 3.9, 3.9, 3.9, 3.9, 3.9, 3.9]


@pytest.mark.parametrize(
    "make",
    [
        lambda o: al.FixedSchedule(o, [0.05] * 3),
        lambda o: al.CycledMomentum(o, [0.05] * 3, [0.9] * 3),
        lambda o: al.ReduceOnPlateau(o, 2),
    ],
    ids=["fixed", "cycled", "plateau"],
)
def test_groups_with_different_rates_are_refused(make: Callable[..., Any]) -> None:
    a, b = torch.ones(2, requires_grad=True), torch.ones(3, requires_grad=True)
    make(torch.optim.SGD([{"params": [a]}, {"params": [b]}], lr=0.1))
    unequal = torch.optim.SGD([{"params": [a], "lr": 0.001}, {"params": [b]}], lr=0.1)
    with pytest.raises(ValueError, match=r"sets one learning rate, and the groups have 0\.001, 0\.1"):
        make(unequal)


def plateau(w: Tensor, optimizer: torch.optim.Optimizer) -> al.ReduceOnPlateau:
    return al.ReduceOnPlateau(optimizer, 2, factor=0.5, patience=1, threshold=0.01, lr_min=0.03)


def test_the_rate_falls_on_plateaus_of_the_outer_loss() -> None:
    """Two looks without improvement (4, nan) halve it; 3.9 is better, but not again and again."""
    w, optimizer = world(lambda w: torch.optim.SGD(w, lr=0.1))
    tuner = plateau(w, optimizer)
    looks = iter(LOSSES)
    used = []
    for _ in range(2 * len(LOSSES)):
        tuner.step(lambda: w.square().sum(), lambda: torch.tensor(next(looks)))
        used.append(tuner.lr)
    expected = [0.1, 0.1, 0.1, 0.05, 0.05, 0.05, 0.03, 0.03, 0.03, 0.03]
    assert used[1::2] == pytest.approx(expected)
    assert used[2::2] == pytest.approx(expected[:-1])  # between two looks the rate stays
    assert tuner.used_lr == optimizer.param_groups[0]["lr"] == 0.03


def test_without_outer_loss_the_mean_training_loss_counts_and_the_state_continues() -> None:
    def valued(w: Tensor, value: float) -> Tensor:
        return value + 0.01 * (w - w.detach()).sum()

    def run(save_at: int | None) -> tuple[list[float], list[float]]:
        w, optimizer = world(lambda w: torch.optim.SGD(w, lr=0.1))
        tuner = plateau(w, optimizer)
        used = []
        for t, value in enumerate((4.0, 6.0, 4.9, 5.1, 5.0, 5.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0)):
            if t == save_at:
                state = copy.deepcopy((w.detach(), optimizer.state_dict(), tuner.state_dict()))
                w, optimizer = world(lambda w: torch.optim.SGD(w, lr=0.1))
                tuner = plateau(w, optimizer)
                with torch.no_grad():
                    w.copy_(state[0])
                optimizer.load_state_dict(state[1])
                tuner.load_state_dict(state[2])
            tuner.step(partial(valued, w, value))
            used.append(tuner.lr)
        return used, w.tolist()

    whole = run(None)
    assert whole[0] == [0.1] * 5 + [0.05] * 6 + [0.03]
    assert all(run(at) == whole for at in range(12))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"every": 0}, "every must be a whole number of at least 1"),
        ({"patience": -1}, "patience"),
        ({"factor": 1.0}, "factor must lie between 0 and 1"),
        ({"threshold": 1.0}, "threshold"),
        ({"lr_min": 0.2}, "lr_min must lie between 0 and the start rate 0.1"),
    ],
)
def test_bad_plateaus(options: dict[str, Any], words: str) -> None:
    _, optimizer = world(lambda w: torch.optim.SGD(w, lr=0.1))
    with pytest.raises(ValueError, match=words):
        al.ReduceOnPlateau(optimizer, **{"every": 2, **options})


@pytest.mark.parametrize(
    ("make", "other"),
    [
        (lambda o: al.FixedSchedule(o, [0.05] * 3), lambda o: al.FixedSchedule(o, [0.05] * 2 + [0.04])),
        (
            lambda o: al.CycledMomentum(o, [0.05] * 3, [0.9] * 3),
            lambda o: al.CycledMomentum(o, [0.05] * 3, [0.9, 0.8, 0.9]),
        ),
        (lambda o: al.ReduceOnPlateau(o, 2), lambda o: al.ReduceOnPlateau(o, 2, patience=3)),
        (lambda o: al.ReduceOnPlateau(o, 2), lambda o: al.ReduceOnPlateau(o, 2, mode="max")),
    ],
    ids=["fixed", "cycled", "plateau's patience", "plateau's mode"],
)
def test_a_state_goes_into_the_same_settings_alone(
    make: Callable[..., Any], other: Callable[..., Any]
) -> None:
    optimizer = torch.optim.SGD([torch.ones(2, requires_grad=True)], lr=0.1, momentum=0.9)
    state = make(optimizer).state_dict()
    make(optimizer).load_state_dict(state)
    with pytest.raises(ValueError, match=r"this state was saved with .* make it with the same settings"):
        other(optimizer).load_state_dict(state)


def falling(tuner: al.ReduceOnPlateau, w: Tensor, losses: list[float]) -> list[float]:
    """The rates after each look."""
    looks = iter(losses)
    rates = []
    for _ in losses:
        tuner.step(lambda: w.square().sum(), lambda: torch.tensor(next(looks), dtype=torch.float64))
        rates.append(tuner.lr)
    return rates


@pytest.mark.parametrize(
    "losses", [[-1.0] * 6, [1.0, 0.0, -1.0, -1.0, -1.0, -1.0], [math.nan, -2.0, -2.0, -3.0, 2.0, 1.0]]
)
@pytest.mark.parametrize("mode", ["min", "max"])
def test_an_absolute_threshold_is_torchs(losses: list[float], mode: str) -> None:
    w, optimizer = world(lambda w: torch.optim.SGD(w, lr=0.1))
    options: dict[str, Any] = {
        "patience": 0,
        "factor": 0.5,
        "threshold_mode": "abs",
        "cooldown": 1,
        "mode": mode,
    }
    tuner = al.ReduceOnPlateau(optimizer, 1, **options)
    _, theirs = world(lambda w: torch.optim.SGD(w, lr=0.1))
    scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(theirs, **options)
    expected = []
    for loss in losses:
        scheduler.step(loss if math.isfinite(loss) else {"min": math.inf, "max": -math.inf}[mode])
        expected.append(theirs.param_groups[0]["lr"])
    assert falling(tuner, w, losses) == expected and expected[-1] < 0.1


@pytest.mark.parametrize("loss", [-1.0, 0.0])
def test_a_relative_threshold_refuses_what_it_is_no_part_of(loss: float) -> None:
    w, optimizer = world(lambda w: torch.optim.SGD(w, lr=0.1))
    with pytest.raises(al.LossError, match=r'met a loss of .* give threshold_mode="abs"'):
        falling(al.ReduceOnPlateau(optimizer, 1), w, [1.0, loss])


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"threshold_mode": "absolute"}, "threshold_mode must be one of rel, abs, not 'absolute'"),
        ({"mode": "auto"}, "mode must be one of min, max"),
        ({"cooldown": -1}, "cooldown must be a whole number"),
        ({"threshold_mode": "abs", "threshold": math.inf}, "threshold must be at least 0 and finite"),
    ],
)
def test_what_a_plateau_does_not_have(options: dict[str, Any], words: str) -> None:
    _, optimizer = world(lambda w: torch.optim.SGD(w, lr=0.1))
    with pytest.raises(ValueError, match=words):
        al.ReduceOnPlateau(optimizer, 1, **options)
