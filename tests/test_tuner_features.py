"""What training loops bring along: autocast, channels_last, dropout, frozen weights, accumulation.

Also the name of the closure in every complaint about one.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from oracles import FD_ATOL, FD_RTOL, central_difference, close, tangents
from test_curvature import Once
from test_tuner_contract import OPTIMIZERS, World, not_a_number
from torch import Tensor, nn

import adatune_lite as al
from adatune_lite.engine.curvature import _flat

optimizers = pytest.mark.parametrize("optimizer", OPTIMIZERS)
MAKE: dict[str, Callable[[torch.optim.Optimizer], al.MARTHE]] = {
    "marthe": lambda o: al.MARTHE(o, 0.9, 1e-4),
    "rtho": lambda o: al.RTHO(o, 1e-4),
    "hd": lambda o: al.HD(o, 1e-4),
}
UNIT = 2.0**-9
"""Half a unit in the last place of bfloat16, relative."""


def bf16() -> torch.autocast:
    return torch.autocast("cpu", dtype=torch.bfloat16)


class Mixed:
    """A float32 network with BatchNorm whose closures run under bf16 autocast (or not)."""

    def __init__(self, autocast: bool = True) -> None:
        torch.manual_seed(0)
        self.net = nn.Sequential(nn.Linear(16, 32), nn.BatchNorm1d(32), nn.Tanh(), nn.Linear(32, 4))
        self.x = torch.randn(3, 24, 16)
        self.weights = list(self.net.parameters())
        self.optimizer = torch.optim.SGD(self.weights, lr=0.05)
        self.autocast = autocast

    def loss(self, k: int) -> Callable[[], Tensor]:
        def closure() -> Tensor:
            with torch.autocast("cpu", dtype=torch.bfloat16, enabled=self.autocast):
                return (self.net(self.x[k]) - self.x[k, :, :4]).square().mean()

        return closure

    def product(self, k: int, direction: list[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        """Gradient and product, by plain double backward."""
        grads = torch.autograd.grad(self.loss(k)(), self.weights, create_graph=True)
        return [g.detach() for g in grads], list(torch.autograd.grad(grads, self.weights, direction))


def vector(parts: list[Tensor]) -> Tensor:
    return torch.cat([p.detach().reshape(-1).double() for p in parts])


def test_product_is_that_of_the_autocast_graph() -> None:
    """Z' = mu (Z - lr HZ) - g with products averaged over two closures, at each of four steps."""
    mixed, twin = Mixed(), Mixed()
    tuner = al.MARTHE(mixed.optimizer, 0.9, 0.0)
    z = [torch.zeros_like(w) for w in twin.weights]
    for _ in range(4):
        tuner.step([mixed.loss(0), mixed.loss(1)], mixed.loss(2))
        (g0, h0), (g1, h1) = twin.product(0, z), twin.product(1, z)
        with torch.no_grad():
            for i, w in enumerate(twin.weights):
                g, h = (g0[i] + g1[i]) / 2, (h0[i] + h1[i]) / 2
                z[i] = 0.9 * (z[i] - 0.05 * h) - g
                w -= 0.05 * g
        # the order of sums in float32 moves a few of the roundings to bfloat16; float32 is 5e-3 away
        assert (vector(tangents(tuner)) - vector(z)).norm() < 3e-4 * vector(z).norm()
    buffers = dict(twin.net.named_buffers())  # moved by the two training closures of a step, in turn
    for name, buffer in mixed.net.named_buffers():
        torch.testing.assert_close(buffer, buffers[name], rtol=1e-4, atol=1e-6)


def test_product_under_autocast_is_near_that_of_float32() -> None:
    """A gradient goes through the two layers twice, a product four times.

    Each layer rounds its two operands and its result, by at most UNIT: 12 and 24 UNIT (0.023 and 0.047 of
    the norm) if all were to add up and no sum cancels. Measured: 0.0047 and 0.0081.
    """
    found = [Mixed(autocast) for autocast in (True, False)]
    direction = [torch.randn(w.shape, generator=torch.Generator().manual_seed(1)) for w in found[0].weights]
    low, full = ([vector(part) for part in mixed.product(0, direction)] for mixed in found)
    for a, b, bound in zip(low, full, (12 * UNIT, 24 * UNIT), strict=True):
        assert UNIT < (a - b).norm() / b.norm() < bound


@pytest.mark.parametrize("kind", MAKE)
def test_tuners_run_under_autocast(kind: str) -> None:
    """Delta stays near that of float32, the rate is a double, weights and Z are float32."""
    deltas = []
    for autocast in (True, False):
        mixed = Mixed(autocast)
        tuner = MAKE[kind](mixed.optimizer)
        for _ in range(5):
            tuner.step(mixed.loss(0), mixed.loss(1))
        deltas.append(tuner.hypergradient)
        assert type(tuner.lr) is float and tuner.lr != float(torch.tensor(tuner.lr))
        assert all(x.dtype is torch.float32 for x in (*tangents(tuner), *mixed.weights))
    assert 0 < abs(deltas[0] / deltas[1] - 1) < 24 * UNIT


@pytest.mark.parametrize("kind", MAKE)
def test_a_step_inside_one_autocast_block_uses_the_weights_as_they_are(kind: str) -> None:
    """Autocast keeps its casts until the block ends: those of w_t must not serve at w_{t+1}."""
    inside, outside = Mixed(), Mixed()
    tuners = [MAKE[kind](mixed.optimizer) for mixed in (inside, outside)]
    for _ in range(3):
        with bf16():
            tuners[0].step(inside.loss(0), inside.loss(1))
        tuners[1].step(outside.loss(0), outside.loss(1))
        assert tuners[0].hypergradient == tuners[1].hypergradient


class Images:
    """Convolution with BatchNorm in float64, in one memory format.

    No bias before BatchNorm: its gradient is rounding alone, which Adam would blow up.
    """

    def __init__(self, memory_format: torch.memory_format, optimizer: str) -> None:
        torch.manual_seed(0)
        net = nn.Sequential(
            nn.Conv2d(3, 4, 3, bias=False),
            nn.BatchNorm2d(4),
            nn.Tanh(),
            nn.Conv2d(4, 2, 3),
            nn.Flatten(),
            nn.Linear(8, 1),
        )
        self.net = net.double().to(memory_format=memory_format)
        self.x = torch.randn(2, 6, 3, 6, 6, dtype=torch.float64)
        self.format = memory_format
        self.tuner = al.MARTHE(OPTIMIZERS[optimizer](self.net.parameters()), 0.9, 1e-4)

    def step(self) -> None:
        train, held = (
            (lambda x=x: self.net(x.to(memory_format=self.format)).square().mean()) for x in self.x
        )
        self.tuner.step(train, held)


@optimizers
def test_channels_last_equals_contiguous_and_keeps_its_layout(optimizer: str) -> None:
    plain, last = (Images(f, optimizer) for f in (torch.contiguous_format, torch.channels_last))
    places = [x.data_ptr() for x in tangents_in_place(last.tuner)]
    for _ in range(5):
        plain.step()
        last.step()
        close(last.tuner.hypergradient, plain.tuner.hypergradient)
    assert last.tuner.lr != last.tuner.optimizer.defaults["lr"]
    carried = tangents_in_place(last.tuner)
    assert places == [x.data_ptr() for x in carried]
    images = [x for x in (*carried, *last.net.parameters()) if x.dim() == 4]
    assert len(images) == 2 * len(carried) // len(list(last.net.parameters())) + 2
    for x in images:
        assert x.is_contiguous(memory_format=torch.channels_last) and not x.is_contiguous()
        assert all(v.data_ptr() == x.data_ptr() for v in _flat(x, x))
    for a, b in zip(carried, tangents_in_place(plain.tuner), strict=True):
        close(a, b)


def tangents_in_place(tuner: al.MARTHE) -> list[Tensor]:
    return [z for x in tuner._tuned for parts in x.z for part in parts for z in part]


@optimizers
def test_dropout_takes_the_product_through_the_mask_of_its_gradient(optimizer: str) -> None:
    """Finite differences through time that draw the same random numbers: one forward pass per closure."""
    generator = torch.Generator().manual_seed(0)
    x, held = torch.randn(2, 8, 3, generator=generator, dtype=torch.float64)

    def build() -> nn.Sequential:
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(3, 16), nn.Dropout(0.4), nn.Tanh(), nn.Linear(16, 1)).double()

    def loss(net: nn.Module, x: Tensor) -> Tensor:
        return (net(x) - x.sum(1, keepdim=True)).square().mean()

    def replay(h: float) -> float:
        net = build()
        made = OPTIMIZERS[optimizer](net.parameters())
        made.param_groups[0]["lr"] += h
        for _ in range(5):
            made.zero_grad()
            loss(net, x).backward()
            made.step()
            outer = float(loss(net, held).detach())
        return outer

    net = build()
    tuner = al.RTHO(OPTIMIZERS[optimizer](net.parameters()), 0.0)
    for _ in range(5):
        tuner.step(lambda: loss(net, x), lambda: loss(net, held))
    close(tuner.hypergradient, central_difference(replay), FD_RTOL, FD_ATOL)


@optimizers
@pytest.mark.parametrize("kind", MAKE)
def test_frozen_weights_are_as_if_not_in_the_group(kind: str, optimizer: str) -> None:
    tuners = []
    for listed in (True, False):
        world = World("fixed", optimizer)
        frozen = [w.requires_grad_(False) for w in world.net[0].parameters()]
        before = [w.clone() for w in frozen]
        weights = [w for w in world.weights if listed or w.requires_grad]
        world.tuner, world.outer_needed = MAKE[kind](OPTIMIZERS[optimizer](weights)), True
        for _ in range(4):
            world.step()
        assert all(torch.equal(w, x) and w.grad is None for w, x in zip(frozen, before, strict=True))
        tuners.append(world.tuner)
    a, b = tuners
    assert a.lr == b.lr and a.hypergradient == b.hypergradient
    assert all(torch.equal(x, y) for x, y in zip(tangents(a), tangents(b), strict=True))


@pytest.mark.parametrize("kind", MAKE)
def test_weights_frozen_later_are_refused(kind: str) -> None:
    world = World("fixed", "momentum")
    world.tuner, world.outer_needed = MAKE[kind](world.optimizer), True
    world.step()
    world.weights[0].requires_grad_(False)
    with pytest.raises(ValueError, match=r"weights that require .* make a new tuner"):
        world.step()


@optimizers
def test_accumulation_with_batchnorm_equals_finite_differences_through_time(optimizer: str) -> None:
    """Each closure has its own batch statistics; the loss is the mean of two."""

    def replay(h: float) -> float:
        world = World("fixed", optimizer)
        world.optimizer.param_groups[0]["lr"] += h
        for _ in range(4):
            world.optimizer.zero_grad()
            (0.5 * world.train()).backward()
            (0.5 * world.outer().log1p()).backward()
            world.optimizer.step()
        return float(world.outer().detach())

    world = World("fixed", optimizer)
    tuner = al.RTHO(world.optimizer, 0.0)
    for _ in range(4):
        tuner.step([world.train, lambda: world.outer().log1p()], world.outer)
    close(tuner.hypergradient, central_difference(replay), FD_RTOL, FD_ATOL)
    assert int(world.net.state_dict()["1.num_batches_tracked"]) == 8


def changes_weights(world: World) -> Tensor:
    with torch.no_grad():
        world.weights[0].add_(1.0)
    return World.train(world)


@pytest.mark.parametrize("at", [0, 2])
def test_the_message_names_the_closure(at: int) -> None:
    """The third of a list, one alone, the outer one; at the first step and later."""
    for name, train, outer in (
        (r"train_loss\[2\]", [None, None, 0], None),
        ("train_loss", 0, None),
        ("outer_loss", None, 0),
    ):
        for bad, error, words in (
            (changes_weights, al.LossError, " changed the weights"),
            (not_a_number, al.Diverged, " or .* not finite twice in a row"),
        ):
            world = World("marthe", "momentum")
            for _ in range(at):
                world.step()

            def closure(mark: object, bad: Any = bad, world: World = world) -> Callable[[], Tensor]:
                return world.train if mark is None else lambda: bad(world)

            closures = [closure(m) for m in train] if isinstance(train, list) else closure(train)
            steps = (world.tuner.step(closures, closure(outer)) for _ in range(2))
            with pytest.raises(error, match=f"^{name}{words}"):
                list(steps)


def attends(world: World) -> Tensor:
    x = world.net(world.x).reshape(1, 1, 4, 2)
    return nn.functional.scaled_dot_product_attention(x, x, x).square().sum()


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        (lambda w: Once.apply(w.net(w.x)).mean(), r"Once is marked once_differentiable\): mu > 0"),
        (attends, r"scaled_dot_product.*not implemented\).*sdpa_kernel\(SDPBackend.MATH\)"),
    ],
)
def test_what_has_no_second_derivative_is_named(bad: Callable[[World], Tensor], words: str) -> None:
    world = World("marthe", "momentum")
    before = str(world.state())
    with pytest.raises(al.LossError, match=rf"^train_loss\[1\] has no second derivative \(.*{words}"):
        world.tuner.step([world.train, lambda: bad(world)], world.outer)
    assert str(world.state()) == before


def test_the_remedy_for_attention_works() -> None:
    world = World("marthe", "momentum")

    def train(world: World) -> Tensor:
        with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
            return attends(world)

    for _ in range(3):
        world.step(train=train)
    assert math.isfinite(world.tuner.hypergradient)
