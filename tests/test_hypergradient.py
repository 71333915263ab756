"""The exact gradient of a schedule: reverse, forward, plain autograd and finite differences must agree."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import pytest
import torch
from oracles import (
    BY_NAME,
    FD_ATOL,
    FD_RTOL,
    SETTINGS,
    Setting,
    Task,
    central_difference,
    close,
    rates,
    torch_outer,
    unrolled_slopes,
)
from test_curvature import Once
from torch import Tensor

import adatune_lite as al
from adatune_lite.engine.hypergradient import Problem, check_schedule, final_loss, schedule_hypergradient

settings = pytest.mark.parametrize("setting", SETTINGS, ids=lambda s: s.name)
moving = pytest.mark.parametrize("moving", [False, True], ids=["fixed", "moving"])
T = 8


def problem(task: Task) -> Problem:
    return Problem(tuple(task.start), task.train, task.outer)


def differences(task: Task, setting: Setting, schedule: Sequence[float]) -> Tensor:
    """d E / d lr_t through the real torch optimizer, one rate after the other."""

    def shifted(t: int) -> float:
        return central_difference(
            lambda h: torch_outer(task, setting, [r + h * (i == t) for i, r in enumerate(schedule)])
        )

    return torch.tensor([shifted(t) for t in range(len(schedule))], dtype=torch.float64)


@moving
@settings
def test_reverse_forward_autograd_and_differences_agree(setting: Setting, moving: bool) -> None:
    task, schedule = Task(), rates(setting, T, moving)
    value, reverse = schedule_hypergradient(problem(task), schedule, setting.rule)
    same, forward = schedule_hypergradient(problem(task), schedule, setting.rule, method="forward")
    assert reverse.dtype is torch.float64
    assert reverse.shape == (T,)
    assert value == same == final_loss(problem(task), schedule, setting.rule)
    assert value == pytest.approx(torch_outer(task, setting, schedule), rel=1e-12)
    scale = float(reverse.abs().max())
    close(reverse, forward, atol=1e-12 * scale)
    close(reverse, unrolled_slopes(task, setting, schedule), atol=1e-12 * scale)
    if moving:  # the dearest oracle, on the harder case
        close(reverse, differences(task, setting, schedule), FD_RTOL, FD_ATOL)


@pytest.mark.parametrize("name", ["sgd", "momentum_decay", "adam", "adam_decay"])
def test_zero_and_denormal_gradients(name: str) -> None:
    """Dead inputs: zero, denormal and underflowing second moments neither poison nor change the sweeps."""
    task, setting = Task(dead=True), BY_NAME[name]
    schedule = rates(setting, T, moving=True)
    _, reverse = schedule_hypergradient(problem(task), schedule, setting.rule)
    _, forward = schedule_hypergradient(problem(task), schedule, setting.rule, method="forward")
    assert torch.isfinite(reverse).all()
    close(reverse, forward)
    close(reverse, unrolled_slopes(task, setting, schedule))
    close(reverse, differences(task, setting, schedule), FD_RTOL, FD_ATOL)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["f64", "f32"])
@pytest.mark.parametrize("name", ["sgd", "nesterov_decay", "adam"])
def test_checkpoints_and_kept_graphs_give_the_same_digits(name: str, dtype: torch.dtype) -> None:
    """Rows of odd length: where a row of the tape is not aligned, the rounding of sums differs."""
    task, setting = Task(dtype=dtype), BY_NAME[name]
    schedule = rates(setting, 7, moving=True)
    stored = schedule_hypergradient(problem(task), schedule, setting.rule)
    ways: list[dict[str, Any]] = [{"checkpoints": k} for k in range(1, 8)]
    for options in [*ways, {"keep_graph": True}]:
        value, slope = schedule_hypergradient(problem(task), schedule, setting.rule, **options)
        assert value == stored[0]
        assert torch.equal(slope, stored[1])


@pytest.mark.parametrize(("checkpoints", "states"), [(None, 65), (8, 9 + 7), (1, 2 + 63)])
def test_states_share_as_many_rows_as_promised(checkpoints: int | None, states: int) -> None:
    """Counted by their addresses; stored ones lie side by side in one block."""
    places = set()

    def train(w: Sequence[Tensor], t: int) -> Tensor:
        places.add(w[0].data_ptr())
        return (w[0] ** 2).sum()

    p = Problem((torch.ones(16),), train, lambda w: train(w, 0))
    schedule_hypergradient(p, [0.1] * 64, al.rules.SGD(), checkpoints=checkpoints)
    assert len(places) == states
    if checkpoints is None:
        assert max(places) - min(places) == 64 * 16 * 4


@pytest.mark.parametrize("keep_graph", [False, True])
def test_forward_training_is_counted_once(keep_graph: bool) -> None:
    """T gradients forward, T backward unless their graphs were kept; each checkpointed stretch once more."""
    task, calls = Task(), []

    def train(w: Sequence[Tensor], t: int) -> Tensor:
        calls.append(t)
        return task.train(w, t)

    p = Problem(tuple(task.start), train, task.outer)
    schedule_hypergradient(p, [0.1] * 4, al.rules.SGD(), keep_graph=keep_graph)
    assert calls == [0, 1, 2, 3] if keep_graph else [0, 1, 2, 3, 3, 2, 1, 0]
    calls.clear()
    if not keep_graph:
        schedule_hypergradient(p, [0.1] * 6, al.rules.SGD(), checkpoints=2)
        assert calls == [0, 1, 2, 3, 4, 5, 5, 4, 3, 0, 1, 2, 1, 0]


@pytest.mark.parametrize(
    "outer",
    [lambda w: w[0].sum() + w[1].sum(), lambda w: torch.sin(w[0] + w[1]).sum()],
    ids=["expanded", "shared"],
)
def test_final_gradients_that_share_memory(outer: Callable[[Sequence[Tensor]], Tensor]) -> None:
    """Autograd gives both weights of a sum the same tensor, and to a whole weight one stretched number."""
    c = torch.randn(5, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    weights = tuple(torch.ones(2, 3, dtype=torch.float64))

    def train(w: Sequence[Tensor], t: int) -> Tensor:
        return (torch.tanh(w[0] * c[t]) ** 2).sum() + torch.sin(w[1] + c[t]).sum()

    p = Problem(weights, train, outer)
    _, reverse = schedule_hypergradient(p, [0.1, 0.3, 0.2, 0.1, 0.2], al.rules.SGD())
    _, forward = schedule_hypergradient(p, [0.1, 0.3, 0.2, 0.1, 0.2], al.rules.SGD(), method="forward")
    close(reverse, forward)


def test_float32_is_near_float64() -> None:
    setting = BY_NAME["momentum"]
    schedule = rates(setting, T, moving=True)
    single = schedule_hypergradient(problem(Task(dtype=torch.float32)), schedule, setting.rule)[1]
    double = schedule_hypergradient(problem(Task()), schedule, setting.rule)[1]
    close(single, double, rtol=1e-4, atol=1e-5)


def test_weights_as_mapping_and_data_are_passed_on() -> None:
    task, setting = Task(), BY_NAME["adam"]
    schedule = rates(setting, T, moving=True)
    names = ["W1", "b1", "W2", "b2"]
    plain = schedule_hypergradient(problem(task), schedule, setting.rule)

    def train(w: dict[str, Tensor], t: int, data: Task) -> Tensor:
        assert list(w) == names
        return data.train(list(w.values()), t)

    def outer(w: dict[str, Tensor], data: Task) -> Tensor:
        return data.outer(list(w.values()))

    named = Problem(dict(zip(names, task.start, strict=True)), train, outer, data=task)
    optimizer = setting.optimizer(task.weights())
    value, slope = al.schedule_hypergradient(named, torch.tensor(schedule, dtype=torch.float64), optimizer)
    assert value == plain[0]
    assert torch.equal(slope, plain[1])


def test_the_start_is_not_changed() -> None:
    task = Task()
    before = [w.clone() for w in task.start]
    schedule_hypergradient(problem(task), [0.1] * 4, BY_NAME["momentum"].rule)
    assert all(torch.equal(a, b) for a, b in zip(task.start, before, strict=True))


@pytest.mark.parametrize(
    "sweep",
    [
        schedule_hypergradient,
        partial(schedule_hypergradient, checkpoints=2),
        partial(schedule_hypergradient, keep_graph=True),
        partial(schedule_hypergradient, method="forward"),
        final_loss,
    ],
    ids=["stored", "checkpoints", "keep_graph", "forward", "plain"],
)
def test_losses_may_not_change_the_weights(sweep: Callable[..., Any]) -> None:
    task = Task()

    def halved(w: Sequence[Tensor]) -> Sequence[Tensor]:
        with torch.no_grad():
            w[0].mul_(0.5)
        return w

    def behind(w: Sequence[Tensor]) -> Sequence[Tensor]:
        w[0].data.mul_(0.5)
        return w

    def late(w: Sequence[Tensor], t: int) -> Tensor:
        return task.train(halved(w) if t == 2 else w, t)

    for train, outer, words in (
        (lambda w, t: task.train(halved(w), t), task.outer, "train_loss changed the weights at step 0"),
        (late, task.outer, "train_loss changed the weights at step 2"),
        (task.train, lambda w: task.outer(halved(w)), "final_loss changed the weights; it may only read"),
        (lambda w, t: task.train(behind(w), t), task.outer, "train_loss changed the weights at step 0"),
        (task.train, lambda w: task.outer(behind(w)), "final_loss changed the weights"),
    ):
        start = [w.clone() for w in task.start]
        p = Problem(tuple(start), train, outer)
        with pytest.raises(al.LossError, match=words):
            sweep(p, [0.1] * 4, al.rules.SGD())
        assert all(torch.equal(a, b) for a, b in zip(start, task.start, strict=True))


@pytest.mark.parametrize("options", [{}, {"checkpoints": 2}], ids=str)
def test_a_training_loss_that_is_another_one_each_time_is_refused(options: dict[str, Any]) -> None:
    """Noise at one step alone; what rounding does to a loss is let through."""
    task = Task()

    def noisy(size: float) -> Problem:
        generator = torch.Generator().manual_seed(0)

        def train(w: Sequence[Tensor], t: int) -> Tensor:
            noise = torch.randn((), generator=generator, dtype=torch.float64)
            return task.train(w, t) * (1 + size * noise * (t == 1))

        return Problem(tuple(task.start), train, task.outer)

    with pytest.raises(al.LossError, match=r"train_loss of step 1 was .* evaluated again"):
        schedule_hypergradient(noisy(0.1), [0.1] * 4, al.rules.SGD(), **options)
    schedule_hypergradient(noisy(1e-6), [0.1] * 4, al.rules.SGD(), **options)
    schedule_hypergradient(noisy(0.1), [0.1] * 4, al.rules.SGD(), keep_graph=True)


@pytest.mark.parametrize("name", ["sgd", "momentum_decay", "adam"])
def test_weight_that_the_training_loss_leaves_out(name: str) -> None:
    """It counts as a weight with gradient 0: decay moves it, and E feels that."""
    task, setting = Task(), BY_NAME[name]
    extra = torch.tensor([0.7, -1.2], dtype=torch.float64)

    def outer(w: Sequence[Tensor]) -> Tensor:
        return task.outer(w[:4]) + (w[4] ** 2).sum() * task.outer(w[:4])

    def train(w: Sequence[Tensor], t: int) -> Tensor:
        return task.train(w[:4], t)

    p = Problem((*task.start, extra), train, outer)
    schedule = rates(setting, 6, moving=True)
    _, reverse = schedule_hypergradient(p, schedule, setting.rule)
    _, forward = schedule_hypergradient(p, schedule, setting.rule, method="forward")
    close(reverse, forward)
    for t in range(6):

        def shifted(h: float, t: int = t) -> float:
            return final_loss(p, [r + h * (i == t) for i, r in enumerate(schedule)], setting.rule)

        close(reverse[t], central_difference(shifted), FD_RTOL, FD_ATOL)


def test_training_loss_linear_in_the_weights() -> None:
    """No curvature: w_T = w_0 - sum of lr c, so that dE / d lr_t = -grad E(w_T) . c_t in closed form."""
    w0 = torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64)
    c = torch.randn(5, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    schedule = torch.tensor([0.1, 0.2, 0.05, 0.3, 0.1], dtype=torch.float64)
    p = Problem((w0,), lambda w, t: w[0] @ c[t], lambda w: (w[0] ** 2).sum())
    value, reverse = schedule_hypergradient(p, schedule, al.rules.SGD())
    end = w0 - schedule @ c
    assert value == pytest.approx(float((end**2).sum()), rel=1e-14)
    close(reverse, -2 * c @ end, rtol=1e-13)
    close(schedule_hypergradient(p, schedule, al.rules.SGD(), method="forward")[1], reverse, rtol=1e-13)


def test_non_finite_final_loss_comes_back() -> None:
    task = Task()
    p = Problem(tuple(task.start), task.train, lambda w: task.outer(w) * math.inf)
    value, slope = schedule_hypergradient(p, [0.1] * 3, al.rules.SGD())
    assert not math.isfinite(value)
    assert slope.shape == (3,)
    assert not torch.isfinite(slope).any()


@pytest.mark.parametrize(
    ("schedule", "options", "words"),
    [
        ([], {}, "at least one rate"),
        ([0.1, -0.1], {}, "not negative; the schedule has -0.1 at step 1"),
        ([0.1, math.nan], {}, "finite"),
        ([math.inf], {}, "finite"),
        (torch.zeros(2, 2), {}, "one-dimensional"),
        ([0.1], {"method": "sideways"}, "method must be one of reverse, forward"),
        (0.1, {}, "a sequence of rates, one for each step, not 0.1"),
        ("fast", {}, "a sequence of rates, one for each step, not 'fast'"),
        ([0.1] * 4, {"checkpoints": "3"}, "checkpoints must be a whole number of at least 1, not '3'"),
        ([0.1] * 4, {"checkpoints": 2.5}, "a whole number of at least 1, not 2.5"),
        ([0.1] * 4, {"checkpoints": True}, "a whole number of at least 1, not True"),
        ([0.1], {"rule": al.rules.SGD}, "rule must be one like"),
        ([0.1], {"rule": "sgd"}, "rule must be one like .* not 'sgd'"),
        ([0.1], {"checkpoints": 0}, "a whole number of at least 1, not 0"),
        ([0.1], {"checkpoints": 2}, "between 1 and T = 1"),
        ([0.1], {"checkpoints": 1, "keep_graph": True}, "keep_graph recomputes nothing"),
        ([0.1], {"method": "forward", "keep_graph": True}, 'belong to method="reverse"'),
        ([0.1], {"method": "forward", "checkpoints": 1}, 'belong to method="reverse"'),
    ],
)
def test_bad_arguments(schedule: Any, options: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        schedule_hypergradient(problem(Task()), schedule, **{"rule": al.rules.SGD(), **options})


def test_bad_problems_and_losses() -> None:
    for name in ("train_loss", "final_loss"):
        given: Any = {"train_loss": lambda w, t: w[0].sum(), "final_loss": lambda w: w[0].sum(), name: 3}
        with pytest.raises(ValueError, match=f"{name} of a Problem must be a function, not 3"):
            Problem((torch.ones(2),), **given)
    task = Task()
    wrong: list[Any] = [(), (torch.tensor([1, 2]),), ([1.0],)]
    for weights in wrong:
        with pytest.raises(ValueError, match="weight"):
            Problem(weights, task.train, task.outer)
    w0 = (torch.ones(2),)
    square = lambda w, *_: (w[0] ** 2).sum()  # noqa: E731
    for train, outer, words in (
        (lambda w, t: w[0], square, "train_loss must return a scalar"),
        (lambda w, t: torch.ones(()), square, "train_loss does not depend"),
        (square, lambda w: w[0], "final_loss must return a scalar"),
        (square, lambda w: torch.ones(()), "final_loss does not depend"),
        (lambda w, t: Once.apply(w[0]).sum(), square, "no second derivative"),
    ):
        with pytest.raises(al.LossError, match=words):
            schedule_hypergradient(Problem(w0, train, outer), [0.1, 0.1], al.rules.SGD())


def test_schedule_of_numbers_or_tensor() -> None:
    assert check_schedule((0.5, 1)) == check_schedule(torch.tensor([0.5, 1.0])) == [0.5, 1.0]


@pytest.mark.parametrize("name", ["sgd", "momentum", "adam"])
def test_claim_marthe_s2_hypergradient_exact(name: str) -> None:
    """Against finite differences and automatic differentiation at 20 steps of a random schedule, <= 1e-5."""
    task, setting = Task(seed=7), BY_NAME[name]
    schedule = rates(setting, 20, moving=True, seed=11)
    _, found = schedule_hypergradient(problem(task), schedule, setting.rule)
    for oracle in (differences(task, setting, schedule), unrolled_slopes(task, setting, schedule)):
        assert float(((found - oracle) / oracle).abs().max()) <= 1e-5


@pytest.mark.parametrize("name", ["sgd", "momentum", "nesterov_decay", "adam"])
def test_claim_marthe_s2_early_stopping_contained(name: str) -> None:
    """First half of the claim: rates 0 from T1 on give f_T1 to machine precision, here to the last bit."""
    task, setting = Task(), BY_NAME[name]
    short = rates(setting, 6, moving=True)
    assert final_loss(problem(task), short + [0.0] * 3, setting.rule) == final_loss(
        problem(task), short, setting.rule
    )
    _, stopped = schedule_hypergradient(problem(task), short, setting.rule)
    _, padded = schedule_hypergradient(problem(task), short + [0.0] * 3, setting.rule)
    close(padded[:6], stopped)
    close(padded[6:], differences(task, setting, short + [0.0] * 3)[6:], FD_RTOL, FD_ATOL)


@pytest.mark.parametrize("name", ["sgd", "momentum", "adam"])
def test_claim_rtho_forward_equals_reverse(name: str) -> None:
    """Horizon 50, relative difference <= 1e-8."""
    task, setting = Task(seed=2), BY_NAME[name]
    schedule = rates(setting, 50, moving=False)
    _, reverse = schedule_hypergradient(problem(task), schedule, setting.rule)
    _, forward = schedule_hypergradient(problem(task), schedule, setting.rule, method="forward")
    assert float(((reverse - forward) / forward).abs().max()) <= 1e-8
