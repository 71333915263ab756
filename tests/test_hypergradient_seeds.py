"""Seeds in one sweep: each as if it were alone, whatever the others do."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from oracles import BY_NAME, SETTINGS, Setting, Task, close, rates
from test_curvature import Once
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.functional import cross_entropy

import adatune_lite as al
from adatune_lite.engine.hypergradient import Problem, final_loss, plain_training, schedule_hypergradient
from adatune_lite.engine.seeds import SeedProblem, check_schedules, lrs_opt_seeds, seed_hypergradients

S, T = 3, 20


def loss(w: Sequence[Tensor], t: int, data: tuple[Tensor, Tensor]) -> Tensor:
    """The loss of `oracles.Task`, of one seed."""
    x, y = data
    out = torch.tanh(x[t % 50] @ w[0] + w[1]) @ w[2] + w[3]
    return ((out - y[t % 50]) ** 2).mean()


def final(w: Sequence[Tensor], data: tuple[Tensor, Tensor]) -> Tensor:
    x, y = data
    return ((torch.tanh(x[50] @ w[0] + w[1]) @ w[2] + w[3] - y[50]) ** 2).mean()


def tasks(**options: Any) -> list[Task]:
    return [Task(seed=s, **options) for s in range(S)]


def together(found: list[Task]) -> SeedProblem:
    weights = tuple(torch.stack(parts) for parts in zip(*(task.start for task in found), strict=True))
    data = (torch.stack([task.x for task in found]), torch.stack([task.y for task in found]))
    return SeedProblem(weights, loss, final, data)


def alone(task: Task) -> Problem:
    return Problem(tuple(task.start), task.train, task.outer)


def schedules(setting: Setting, steps: int = T) -> Tensor:
    """Schedules that differ from seed to seed and from step to step."""
    rows = [rates(setting, steps, moving=True, seed=s) for s in range(S)]
    return torch.tensor(rows, dtype=torch.float64)


@pytest.mark.parametrize("setting", SETTINGS, ids=lambda s: s.name)
def test_equals_separate_runs(setting: Setting) -> None:
    found, given = tasks(), schedules(setting)
    value, slope = seed_hypergradients(together(found), given, setting.rule)
    assert value.dtype is slope.dtype is torch.float64
    assert (value.shape, slope.shape) == ((S,), (S, T))
    assert torch.equal(value, plain_training(together(found), list(given.T), setting.rule))
    for s, task in enumerate(found):
        one, its = schedule_hypergradient(alone(task), given[s], setting.rule)
        close(value[s], one, rtol=1e-12)
        close(slope[s], its, rtol=1e-10, atol=1e-12 * float(its.abs().max()))


@pytest.mark.parametrize("name", ["momentum_decay", "adam", "adam_decay"])
def test_zero_and_denormal_gradients(name: str) -> None:
    setting, found = BY_NAME[name], tasks(dead=True)
    given = schedules(setting, 8)
    _, slope = seed_hypergradients(together(found), given, setting.rule)
    for s, task in enumerate(found):
        close(slope[s], schedule_hypergradient(alone(task), given[s], setting.rule)[1], rtol=1e-10)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["f64", "f32"])
@pytest.mark.parametrize("name", ["sgd", "nesterov_decay", "adam"])
def test_checkpoints_and_kept_graphs_give_the_same_digits(name: str, dtype: torch.dtype) -> None:
    setting, p = BY_NAME[name], together(tasks(dtype=dtype))
    given = schedules(setting, 7)
    value, slope = seed_hypergradients(p, given, setting.rule)
    for options in ({"checkpoints": 3}, {"checkpoints": 1}, {"keep_graph": True}):
        other = seed_hypergradients(p, given, setting.rule, **options)
        assert torch.equal(other[0], value)
        assert torch.equal(other[1], slope)


def test_float32_stays_float32_and_is_near_float64() -> None:
    setting = BY_NAME["momentum"]
    given = schedules(setting, 8)
    seen: set[torch.dtype] = set()

    def watched(w: Sequence[Tensor], t: int, data: Any) -> Tensor:
        seen.update(x.dtype for x in w)
        return loss(w, t, data)

    single = together(tasks(dtype=torch.float32))
    single = SeedProblem(single.weights, watched, final, single.data)
    value, slope = seed_hypergradients(single, given, setting.rule)
    assert seen == {torch.float32}
    assert value.dtype is slope.dtype is torch.float64
    close(slope, seed_hypergradients(together(tasks()), given, setting.rule)[1], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["sgd", "adam"])
@pytest.mark.parametrize("where", ["start", "data"])
def test_a_seed_that_diverges_changes_no_digit_of_the_others(name: str, where: str) -> None:
    setting, found = BY_NAME[name], tasks()
    given = schedules(setting)
    value, slope = seed_hypergradients(together(found), given, setting.rule)
    if where == "start":
        found[1].start[0][0, 0] = math.nan
    else:
        found[1].y[50] = 1e200  # E is infinite, the training is sound
    ill, ill_slope = seed_hypergradients(together(found), given, setting.rule)
    assert not math.isfinite(ill[1])
    assert ill_slope[1].isnan().all()
    for s in (0, 2):
        assert ill[s] == value[s]
        assert torch.equal(ill_slope[s], slope[s])


def test_all_seeds_diverged() -> None:
    found = tasks()
    for task in found:
        task.y[50] = math.inf
    value, slope = seed_hypergradients(together(found), schedules(BY_NAME["sgd"]), al.rules.SGD())
    assert not value.isfinite().any()
    assert slope.shape == (S, T)
    assert slope.isnan().all()


def test_a_network_its_batches_chosen_by_index() -> None:
    """Named weights, ReLU, cross-entropy, a torch optimizer; the seeds share images, each has its order."""
    nets = [al.tasks.models.build("mlp", seed=s, classes=3, features=6, hidden=(7, 5)) for s in range(S)]
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(30, 6, generator=generator, dtype=torch.float64)
    y = torch.randint(3, (30,), generator=generator)
    orders = torch.stack([torch.randperm(30, generator=generator) for _ in range(S)]).reshape(S, 5, 6)
    starts = [{k: w.detach().double() for k, w in net.named_parameters()} for net in nets]

    def measure(w: dict[str, Tensor], index: Tensor) -> Tensor:
        return cross_entropy(functional_call(nets[0], w, (x[index],)), y[index])

    def whole(w: dict[str, Tensor], _: Tensor) -> Tensor:
        return cross_entropy(functional_call(nets[0], w, (x,)), y)

    def train(w: dict[str, Tensor], t: int, order: Tensor) -> Tensor:
        return measure(w, order[t])

    weights = {k: torch.stack([start[k] for start in starts]) for k in starts[0]}
    given = schedules(BY_NAME["momentum"], 5)
    optimizer = torch.optim.SGD(nets[0].parameters(), lr=0.1, momentum=0.9)
    value, slope = seed_hypergradients(SeedProblem(weights, train, whole, orders), given, optimizer)
    for s in range(S):
        one = Problem(starts[s], train, whole, orders[s])
        close(value[s], final_loss(one, given[s], al.rules.SGD(0.9)), rtol=1e-12)
        close(slope[s], schedule_hypergradient(one, given[s], optimizer)[1], rtol=1e-10, atol=1e-12)


def test_the_starts_are_not_changed() -> None:
    p = together(tasks())
    before = [w.clone() for w in p.tensors()]
    for options in ({}, {"checkpoints": 2}, {"keep_graph": True}):
        seed_hypergradients(p, schedules(BY_NAME["adam"], 4), BY_NAME["adam"].rule, **options)
    assert all(torch.equal(a, b) for a, b in zip(p.tensors(), before, strict=True))


def test_bad_weights() -> None:
    for weights in (
        (torch.ones(2, 3), torch.ones(3, 3)),
        (torch.ones(2), torch.ones(())),
        (torch.ones(0, 2),),
    ):
        with pytest.raises(ValueError, match="one leading axis with an entry for each seed"):
            SeedProblem(weights, loss, final, (torch.ones(2), torch.ones(2)))
    for data in (torch.ones(3, 2), [torch.ones(2), torch.ones(())], {"x": 1.0}):
        with pytest.raises(ValueError, match="an entry for each of its 2 seeds"):
            SeedProblem((torch.ones(2, 3),), loss, final, data)
    with pytest.raises(ValueError, match="floating-point"):
        SeedProblem((torch.ones(2, dtype=torch.long),), loss, final)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (0.1, "one row of T rates"),
        ([0.1, 0.1, 0.1], "one row of T rates for each of the 3 seeds"),
        (torch.full((4,), 0.1), "one row of T rates"),
        (torch.full((2, 4), 0.1), "one row of T rates"),
        ([[0.1], [0.1], [0.1, 0.2]], "one row of T rates"),
        ([], "one row of T rates"),
        ([[], [], []], "at least one rate"),
        ([[0.1], [math.nan], [0.1]], "finite"),
        ([[0.1], [-0.1], [0.1]], "not negative"),
    ],
)
def test_bad_schedules(given: Any, words: str) -> None:
    for call in (seed_hypergradients, lambda *a: lrs_opt_seeds(*a, outer_steps=1)):
        with pytest.raises(ValueError, match=words):
            call(together(tasks()), given, al.rules.SGD())


def test_schedules_of_numbers_or_tensor() -> None:
    given = torch.tensor([[0.5, 1.0], [0.25, 0.0]])
    assert torch.equal(check_schedules(given, 2), given.double())
    assert torch.equal(check_schedules(given.tolist(), 2), given.double())
    assert torch.equal(check_schedules(list(given), 2), given.double())


@pytest.mark.parametrize(
    ("train", "outer", "words"),
    [
        (lambda w, t: w[0], None, "train_loss must return a scalar"),
        (lambda w, t: torch.ones(()), None, "train_loss does not depend"),
        (lambda w, t: 1.0, None, "train_loss must return a scalar"),
        (lambda w, t: torch.rand(()) * w[0].sum(), None, "train_loss of step 0 was .* evaluated again"),
        (None, lambda w: w[0], "final_loss must return a scalar"),
        (None, lambda w: w[0] if w[0].sum() > 0 else 1.0, "final_loss must return a scalar"),
        (lambda w, t: Once.apply(w[0]).sum(), None, "no second derivative"),
    ],
)
def test_bad_losses(train: Callable[..., Any] | None, outer: Callable[..., Any] | None, words: str) -> None:
    def square(w: Sequence[Tensor], *_: int) -> Tensor:
        return (w[0] ** 2).sum()

    p = SeedProblem((torch.ones(2, 3),), train or square, outer or square)
    with pytest.raises(al.LossError, match=words):
        seed_hypergradients(p, torch.full((2, 2), 0.1), al.rules.SGD())


def test_an_error_of_the_loss_itself_comes_through() -> None:
    def wrong(w: Sequence[Tensor], t: int = 0) -> Tensor:
        raise ValueError("my own")

    with pytest.raises(ValueError, match=r"^my own$"):
        seed_hypergradients(
            SeedProblem((torch.ones(2, 3),), wrong, wrong), torch.full((2, 2), 0.1), al.rules.SGD()
        )


def test_functions_of_a_single_training_refuse_seeds() -> None:
    p = together(tasks())
    for call in (
        lambda: schedule_hypergradient(p, [0.1], al.rules.SGD()),
        lambda: final_loss(p, [0.1], al.rules.SGD()),
        lambda: al.lrs_opt(p, [0.1], al.rules.SGD(), outer_steps=0),
        lambda: al.lrs_opt(p, [0.1], al.rules.SGD(), outer_steps=1),
    ):
        with pytest.raises(ValueError, match="use seed_hypergradients and lrs_opt_seeds"):
            call()


@pytest.mark.parametrize("name", ["sgd", "nesterov_decay", "adam"])
def test_losses_that_vmap_cannot_map_run_in_a_loop(name: str) -> None:
    """Branches on values; each seed as if it were alone."""
    setting, found, given = BY_NAME[name], tasks(), schedules(BY_NAME[name])
    p = together(found)
    calls = []

    def branching(w: Sequence[Tensor], t: int, data: tuple[Tensor, Tensor]) -> Tensor:
        calls.append(t)
        return loss(w, t, data) * (2.0 if float(w[1].detach().sum()) > 0 else 0.5)

    def last(w: Sequence[Tensor], data: tuple[Tensor, Tensor]) -> Tensor:
        value = final(w, data)
        return value if value.item() < 1 else 2 * value

    several = SeedProblem(p.weights, branching, last, p.data)
    value, slope = seed_hypergradients(several, given, setting.rule)
    assert len(calls) == 1 + 2 * S * T  # vmap is tried once
    for s, task in enumerate(found):
        one = Problem(tuple(task.start), branching, last, (task.x, task.y))
        its_value, its = schedule_hypergradient(one, given[s], setting.rule)
        close(value[s], its_value, rtol=1e-12)
        close(slope[s], its, rtol=1e-10, atol=1e-12 * float(its.abs().max()))
    kept = seed_hypergradients(several, given, setting.rule, keep_graph=True)
    assert torch.equal(kept[1], slope)


def test_losses_may_not_change_the_weights() -> None:
    def halved(w: Sequence[Tensor], t: int = 0) -> Tensor:
        with torch.no_grad():
            w[0].mul_(0.5)
        return (w[0] ** 2).sum()

    for train in (halved, lambda w, t: halved(w) * (1.0 if w[0].sum() > 0 else 2.0)):
        start = torch.ones(2, 3)
        with pytest.raises(al.LossError, match="train_loss changed the weights at step 0"):
            seed_hypergradients(SeedProblem((start,), train, halved), torch.ones(2, 2), al.rules.SGD())
        assert torch.equal(start, torch.ones(2, 3))


def test_modules_with_fixed_buffers_are_mapped() -> None:
    """Layer normalisation, which a transformer would bring."""
    net = nn.Sequential(nn.Linear(4, 5), nn.LayerNorm(5), nn.Tanh(), nn.Linear(5, 1)).double()
    x = torch.rand(8, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)

    def measure(w: dict[str, Tensor], t: int = 0) -> Tensor:
        return (functional_call(net, w, (x[: 4 + t],)) ** 2).mean()

    start = {k: torch.stack([w.detach(), 2 * w.detach()]) for k, w in net.named_parameters()}
    given = torch.tensor([[0.1, 0.2, 0.1], [0.05, 0.1, 0.2]], dtype=torch.float64)
    _, slope = seed_hypergradients(SeedProblem(start, measure, measure), given, al.rules.SGD())
    for s in range(2):
        one = Problem({k: w[s] for k, w in start.items()}, measure, measure)
        close(slope[s], schedule_hypergradient(one, given[s], al.rules.SGD())[1], rtol=1e-10, atol=1e-12)
