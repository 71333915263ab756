"""What every tuner promises when a loss is not finite or a closure breaks the rules.

Also BatchNorm, whose running statistics are a state beside the weights.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from oracles import FD_ATOL, FD_RTOL, central_difference, close, tangents
from test_curvature import Once
from torch import Tensor, nn
from tuner_registry import TUNERS

import adatune_lite as al

OPTIMIZERS: dict[str, Callable[[Any], torch.optim.Optimizer]] = {
    "momentum": lambda w: torch.optim.SGD(w, lr=0.05, momentum=0.9, weight_decay=0.01),
    "adam": lambda w: torch.optim.Adam(w, lr=0.01),
}
optimizers = pytest.mark.parametrize("optimizer", OPTIMIZERS)
tuners = pytest.mark.parametrize("kind", TUNERS)
with_outer = pytest.mark.parametrize("kind", ["marthe", "rtho", "hd_outer"])
Loss = Callable[["World"], Any]


class World:
    """A small network with BatchNorm, its data, optimizer and tuner."""

    def __init__(self, kind: str, optimizer: str) -> None:
        generator = torch.Generator().manual_seed(0)
        self.net = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Tanh(), nn.Linear(4, 1)).double()
        with torch.no_grad():
            for p in self.net.parameters():
                p.copy_(torch.randn(p.shape, generator=generator, dtype=torch.float64))
        self.x, self.held = torch.randn(2, 8, 3, generator=generator, dtype=torch.float64)
        self.weights = list(self.net.parameters())
        self.optimizer = OPTIMIZERS[optimizer](self.weights)
        self.tuner = TUNERS[kind](self.optimizer)
        self.outer_needed = TUNERS[kind].outer

    def train(self) -> Tensor:
        return (self.net(self.x) - self.x.sum(1, keepdim=True)).square().mean()

    def outer(self) -> Tensor:
        return (self.net(self.held) - self.held.sum(1, keepdim=True)).square().mean()

    def step(self, train: Loss | None = None, outer: Loss | None = None) -> Tensor:
        second = (lambda *_: (outer or World.outer)(self)) if self.outer_needed else None
        return self.tuner.step(lambda: (train or World.train)(self), second)

    def state(self) -> dict[str, Any]:
        """Everything that a refused step must leave alone (the count of failures aside)."""
        tuner = {k: v for k, v in self.tuner.state_dict().items() if k != "failures"}
        modes = [m.training for m in self.net.modules()]
        parts = {"net": self.net.state_dict(), "optimizer": self.optimizer.state_dict(), "tuner": tuner}
        return copy.deepcopy({**parts, "modes": modes})


def infinite_gradient(world: World) -> Tensor:
    """A finite loss whose gradient is not: the root at 0."""
    return World.train(world) + (world.weights[0].sum() * 0.0).sqrt()


def not_a_number(world: World) -> Tensor:
    return World.train(world) * math.nan


def same(a: dict[str, Any], b: dict[str, Any]) -> bool:
    return str(a) == str(b)


@pytest.fixture(autouse=True)
def _every_digit() -> Any:
    torch.set_printoptions(precision=17, threshold=10_000)
    yield
    torch.set_printoptions(profile="default")


@pytest.mark.parametrize("bad", [not_a_number, infinite_gradient])
@pytest.mark.parametrize("at", [0, 2])
@optimizers
@tuners
def test_training_loss_not_finite_changes_nothing(kind: str, optimizer: str, at: int, bad: Loss) -> None:
    """Neither now nor later: the run goes on as if the step had not been tried."""
    world, untroubled = World(kind, optimizer), World(kind, optimizer)
    for _ in range(at):
        world.step()
        untroubled.step()
    before = world.state()
    world.step(train=bad)
    assert same(world.state(), before)
    for _ in range(3):
        world.step()
        untroubled.step()
    assert same(world.state(), untroubled.state())


@optimizers
@with_outer
def test_outer_loss_not_finite_keeps_the_step_and_forgets_the_past(kind: str, optimizer: str) -> None:
    world, untroubled = World(kind, optimizer), World(kind, optimizer)
    for _ in range(2):
        world.step()
        untroubled.step()
    rate = world.tuner.lr
    world.step(outer=not_a_number)
    untroubled.step()
    assert world.tuner.lr == rate
    assert math.isnan(world.tuner.hypergradient)
    assert same(dict(world.net.state_dict()), dict(untroubled.net.state_dict()))
    assert not any(x.any() for x in tangents(world.tuner))
    greedy = World("hd_outer", optimizer)  # Z is 0: the next Delta is the one of mu = 0
    greedy.net.load_state_dict(world.net.state_dict())
    greedy.optimizer.load_state_dict(copy.deepcopy(world.optimizer.state_dict()))
    greedy.tuner._tuned[0].value = rate
    world.step()
    greedy.step()
    assert world.tuner.hypergradient == greedy.tuner.hypergradient


def test_what_is_not_finite_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    world = World("marthe", "momentum")
    world.step()
    assert not caplog.records
    world.step(outer=not_a_number)
    world.step()
    world.step(train=not_a_number)
    logged = [(r.name, r.levelname, r.getMessage().split(";")[0]) for r in caplog.records]
    assert logged == [
        ("adatune_lite", "WARNING", f"after {steps} steps: {what} was not finite")
        for steps, what in ((2, "outer_loss or the hypergradient"), (3, "train_loss or its gradient"))
    ]


@pytest.mark.parametrize("bad", ["train train", "outer outer", "train outer", "outer train"])
@optimizers
@with_outer
def test_two_failures_in_a_row_diverge(kind: str, optimizer: str, bad: str) -> None:
    world = World(kind, optimizer)
    first, second = ({part: not_a_number} for part in bad.split())
    world.step()
    world.step(**first)
    world.step()  # one good step between two bad ones clears the count
    world.step(**first)
    with pytest.raises(al.Diverged, match="not finite twice in a row"):
        world.step(**second)
    assert all(torch.isfinite(w).all() for w in world.weights)


def test_two_lost_looks_in_a_row_diverge_whatever_is_between() -> None:
    """Every third step looks at the outer loss; one good look clears the count, a saved state keeps it."""
    world = World("fixed", "momentum")
    world.outer_needed = True

    def three(last: Loss | None) -> None:
        for outer in (None, None, last):
            world.step(outer=outer)

    world.tuner = al.RTHO(world.optimizer, 1e-3, every=3)
    for last in (not_a_number, None, not_a_number):
        three(last)
    state = world.tuner.state_dict()
    world.tuner = al.RTHO(world.optimizer, 1e-3, every=3)
    world.tuner.load_state_dict(state)
    world.step()
    assert world.tuner.failures == 0
    world.step(train=not_a_number)  # one bad step between good ones is no second lost look
    world.step()
    with pytest.raises(al.Diverged, match=r"outer_loss .* not finite twice in a row"):
        world.step(outer=not_a_number)


@pytest.mark.parametrize("kind", ["hd", "fixed"])
def test_two_failures_in_a_row_diverge_without_outer_loss(kind: str) -> None:
    world = World(kind, "momentum")
    world.step(train=not_a_number)
    before = world.state()
    with pytest.raises(al.Diverged):
        world.step(train=infinite_gradient)
    assert same(world.state(), before)


def _changes_weights(world: World) -> Tensor:
    with torch.no_grad():
        world.weights[0].mul_(0.5)
    return World.train(world)


def _changes_data(world: World) -> Tensor:
    world.weights[0].data[0, 0] = 3.0
    return World.train(world)


def _goes_backward(world: World) -> Tensor:
    loss = World.train(world)
    loss.backward()
    return loss


def _steps_itself(world: World) -> Tensor:
    loss = _goes_backward(world)
    world.optimizer.step()
    return loss


BROKEN: dict[str, tuple[Loss, str]] = {
    "vector": (lambda world: world.net(world.x), r"must return a scalar .* shape \(8, 1\)"),
    "number": (lambda world: World.train(world).detach().item(), "must return a scalar"),
    "nothing": (lambda world: None, "NoneType"),
    "detached": (lambda world: World.train(world).detach(), "does not depend on the weights"),
    "other": (lambda world: torch.ones(1, requires_grad=True).sum(), "does not depend on any"),
    "in place": (_changes_weights, "changed the weights"),
    "data": (_changes_data, "changed the weights"),
    "backward": (_goes_backward, r"backward\(\)"),
    "own step": (_steps_itself, "changed the weights"),
}


@pytest.mark.parametrize("fault", BROKEN)
@pytest.mark.parametrize(
    ("kind", "where"), [*((k, "train") for k in TUNERS), ("marthe", "outer"), ("hd_outer", "outer")]
)
def test_broken_closure_is_refused_before_anything_changes(kind: str, where: str, fault: str) -> None:
    world, untroubled = World(kind, "momentum"), World(kind, "momentum")
    before = world.state()
    loss, words = BROKEN[fault]
    with pytest.raises(al.LossError, match=f"{where}_loss.*{words}"):
        world.step(**{where: loss})
    assert same(world.state(), before)
    for _ in range(2):
        world.step()
        untroubled.step()
    assert same(world.state(), untroubled.state())


@with_outer
def test_missing_closures_are_refused(kind: str) -> None:
    world = World(kind, "momentum")
    before = world.state()
    if kind != "hd_outer":
        with pytest.raises(al.LossError, match="needs outer_loss: a function without arguments"):
            world.tuner.step(world.train)
    with pytest.raises(al.LossError, match="train_loss must be a function"):
        world.tuner.step(None, world.outer)
    with pytest.raises(al.LossError, match="outer_loss must be a function"):
        world.tuner.step(world.train, world.outer())
    assert same(dict(world.optimizer.state_dict()), before["optimizer"])


@pytest.mark.parametrize("kind", ["marthe", "rtho"])
def test_no_second_derivative_is_refused_at_the_first_step(kind: str) -> None:
    world = World(kind, "momentum")
    before = world.state()
    for loss in (lambda w: Once.apply(w.net(w.x)).mean(), lambda w: Once.apply(w.weights[0]).sum()):
        with pytest.raises(al.LossError, match="no second derivative"):
            world.step(train=loss)
        assert same(world.state(), before)


@pytest.mark.parametrize("kind", ["hd", "hd_outer"])
def test_hd_needs_no_second_derivative(kind: str) -> None:
    world = World(kind, "momentum")
    for _ in range(2):
        assert math.isfinite(world.step(train=lambda w: Once.apply(w.net(w.x)).mean()))


@optimizers
@with_outer
def test_outer_loss_leaves_batchnorm_alone(kind: str, optimizer: str) -> None:
    """Buffers move by the training batches alone, modes stay, also under a closure that sets them itself."""
    world, alone = World(kind, optimizer), World("fixed", optimizer)

    def evaluated(world: World) -> Tensor:
        world.net.eval()
        loss = World.outer(world)
        world.net.train()
        return loss

    for _ in range(3):
        alone.tuner._lr = world.tuner.lr
        world.step(outer=evaluated)
        alone.step()
        assert all(m.training for m in world.net.modules())
        assert same(dict(world.net.state_dict()), dict(alone.net.state_dict()))
    assert int(world.net.state_dict()["1.num_batches_tracked"]) == 3


@pytest.mark.parametrize("outer_batchnorm", ["batch", "running"])
@pytest.mark.parametrize("training", [True, False])
def test_batchnorm_keeps_its_mode(training: bool, outer_batchnorm: str) -> None:
    """Frozen BatchNorm (evaluation mode in training) is the user's choice and stays; so is the other."""
    world = World("fixed", "momentum")
    world.tuner = al.MARTHE(world.optimizer, 0.5, 0.0, outer_batchnorm=outer_batchnorm)
    world.outer_needed = True
    world.net[1].train(training)
    for _ in range(2):
        world.step()
        assert world.net[1].training is training


@optimizers
def test_batchnorm_hypergradient_is_exact(optimizer: str) -> None:
    """With the outer batch's own statistics E depends on the weights alone: finite differences agree."""
    steps = 5

    def replay(h: float) -> float:
        world = World("fixed", optimizer)
        for group in world.optimizer.param_groups:
            group["lr"] += h
        for _ in range(steps):
            world.optimizer.zero_grad()
            world.train().backward()
            world.optimizer.step()
        return float(world.outer().detach())

    world = World("fixed", optimizer)
    world.tuner, world.outer_needed = al.RTHO(world.optimizer, 0.0), True
    for _ in range(steps):
        world.step()
    close(world.tuner.hypergradient, central_difference(replay), FD_RTOL, FD_ATOL)


def test_batchnorm_with_running_statistics_is_offered() -> None:
    world = World("fixed", "momentum")
    world.tuner, world.outer_needed = al.MARTHE(world.optimizer, 0.0, 0.0, outer_batchnorm="running"), True
    before = [w.detach().clone() for w in world.weights]
    world.step()
    world.net.eval()
    grads = torch.autograd.grad(world.outer(), world.weights)
    moved = [(w.detach() - b) / 0.05 for w, b in zip(world.weights, before, strict=True)]
    close(world.tuner.hypergradient, sum(float((g * m).sum()) for g, m in zip(grads, moved, strict=True)))


@tuners
def test_step_returns_the_detached_loss_before_the_step(kind: str) -> None:
    world, fresh = World(kind, "adam"), World(kind, "adam")
    loss = world.step()
    assert not loss.requires_grad
    assert float(loss) == float(fresh.train().detach())


@pytest.mark.parametrize("capturable", [False, True])
def test_a_rate_beyond_the_weights_precision_is_a_failure_and_not_a_crash(capturable: bool) -> None:
    """One huge but finite hypergradient: in float32 no rate above 3e38 could be multiplied with anything."""
    weight = torch.ones(2, requires_grad=True)
    tuner = al.MARTHE(torch.optim.SGD([weight], lr=0.1), 0.9, 1e38, capturable=capturable)
    tuner.step(lambda: weight.square().sum() * 0.0, lambda: weight.sum())
    before = tuner.lr
    tuner.step(lambda: weight.sum(), lambda: 1e3 * weight.sum())
    assert tuner.lr == before
    assert tuner.failures == 1
    if not capturable:
        with pytest.raises(al.Diverged):
            tuner.step(lambda: weight.sum(), lambda: 1e3 * weight.sum())
