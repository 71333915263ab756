"""`scaler=`: powers of two change no digit, an overflow is the scaler's business and no divergence.

An overflow needs no GPU: the gradient of `loss.half()` passes through float16, which ends at 65504.
"""

from __future__ import annotations

import copy
import io
import itertools
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from oracles import tangents
from test_tuner_contract import OPTIMIZERS, World, infinite_gradient, not_a_number
from torch import Tensor

import adatune_lite as al
from adatune_lite.tuners import Tuner

MAKE: dict[str, Callable[..., Tuner]] = {
    "marthe": lambda o, **k: al.MARTHE(o, 0.9, 1e-3, **k),
    "clipped": lambda o, **k: al.RTHO(o, 1e-4, tune=("lr", "weight_decay"), clip_grad_norm=0.5, **k),
    "adaptive": lambda o, **k: al.MARTHE(o, "adaptive", "adaptive", alpha=1e-6, **k),
    "hd_outer": lambda o, **k: al.HD(o, 1e-3, **k),
    "hd": lambda o, **k: al.HD(o, 1e-3, **k),
}
optimizers = pytest.mark.parametrize("optimizer", OPTIMIZERS)
tuners = pytest.mark.parametrize("kind", MAKE)
with_outer = pytest.mark.parametrize("kind", ["marthe", "clipped", "hd_outer"])


def scaled(init_scale: float, **options: Any) -> torch.amp.GradScaler:
    return torch.amp.GradScaler("cpu", init_scale=init_scale, **options)


def build(kind: str, optimizer: str, scaler: torch.amp.GradScaler | None = None) -> World:
    world = World("fixed", optimizer)
    world.tuner = MAKE[kind](world.optimizer, scaler=scaler)
    world.outer_needed = kind != "hd"
    return world


def state(world: World) -> dict[str, Any]:
    """All but the scaler and the count of failures."""
    found = world.state()
    found["tuner"].pop("scaler", None)
    return found


def same(a: object, b: object) -> bool:
    """Bit for bit, NaN equal to NaN."""
    if isinstance(a, Tensor) and isinstance(b, Tensor):
        return torch.equal(a.nan_to_num(), b.nan_to_num()) and torch.equal(a.isnan(), b.isnan())
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
    if isinstance(a, list | tuple) and isinstance(b, list | tuple):
        return len(a) == len(b) and all(same(x, y) for x, y in zip(a, b, strict=True))
    return str(a) == str(b)


def half(world: World) -> Tensor:
    return World.train(world).half()


def half_outer(world: World) -> Tensor:
    return World.outer(world).half()


@pytest.mark.parametrize("scale", [2.0**-3, 1.0, 2.0**16])
@optimizers
@tuners
def test_a_power_of_two_changes_no_digit(kind: str, optimizer: str, scale: float) -> None:
    """Also while the scale grows, and in the mean of two closures."""
    plain = build(kind, optimizer)
    other = build(kind, optimizer, scaled(scale, growth_interval=2))
    for t in range(6):
        for world in (plain, other):
            closures = [world.train] if t % 2 else [world.train, lambda w=world: 2 * w.outer()]
            world.tuner.step(closures, world.outer if world.outer_needed else None)
    assert same(state(plain), state(other))
    assert other.tuner.state_dict()["scaler"]["scale"] == 8 * scale
    assert plain.tuner.lr != plain.optimizer.defaults["lr"]


@pytest.mark.parametrize("at", [0, 2])
@optimizers
@tuners
def test_an_overflow_skips_the_step_and_the_next_goes_on(kind: str, optimizer: str, at: int) -> None:
    """Five in a row, from 2^20 to 2^15: no divergence, and no trace but the scale."""
    world, untroubled = build(kind, optimizer, scaled(2.0**20)), build(kind, optimizer)
    for _ in range(at):
        world.step()
        untroubled.step()
    before = state(world)
    for skipped in range(1, 6):
        loss = world.step(train=half)
        assert torch.isfinite(loss)
        assert same(state(world), before)
        assert world.tuner.state_dict()["scaler"]["scale"] == 2.0 ** (20 - skipped)
    for _ in range(3):
        world.step(train=half)
        untroubled.step(train=half)
    assert same(state(world), state(untroubled))


@optimizers
def test_scale_and_weights_follow_a_plain_loop_with_the_scaler(optimizer: str) -> None:
    """Growth, backoff and skipped steps, against the lines of torch's manual; the rate stays."""
    plain, scaler = World("fixed", optimizer), scaled(2.0**14, growth_interval=2)
    world = World("fixed", optimizer)
    own = scaled(2.0**14, growth_interval=2)
    world.tuner, world.outer_needed = al.MARTHE(world.optimizer, 0.9, 0.0, scaler=own), True
    buffers = copy.deepcopy(dict(plain.net.named_buffers()))
    seen = []
    for _ in range(9):
        plain.optimizer.zero_grad()
        scaler.scale(half(plain)).backward()
        scaler.step(plain.optimizer)
        scaler.update()
        world.step(train=half)
        seen.append(scaler.get_scale())
        assert own.state_dict() == scaler.state_dict()
        assert same(list(plain.net.parameters()), list(world.net.parameters()))
    steps = [b / a for a, b in itertools.pairwise(seen)]
    assert min(steps) < 1 < max(steps)
    assert not same(dict(world.net.named_buffers()), buffers)


@optimizers
@with_outer
def test_an_overflow_of_the_outer_gradient_keeps_rate_and_past(kind: str, optimizer: str) -> None:
    scaler = scaled(2.0**18)
    world, untroubled = build(kind, optimizer, scaler), build(kind, optimizer)
    for w in (world, untroubled):
        w.step()
    values = world.tuner.values
    for step in (1, 2, 3):  # no count of failures either
        world.step(outer=half_outer)
        untroubled.step()
        assert world.tuner.values == values and math.isnan(world.tuner.hypergradient)
        assert scaler.get_scale() == 2.0 ** (18 - step)
        if step == 1:
            assert same(tangents(world.tuner), tangents(untroubled.tuner))
            assert same(world.net.state_dict(), untroubled.net.state_dict())
    world.step(outer=half_outer)
    assert math.isfinite(world.tuner.hypergradient) and world.tuner.values != values


def test_an_overflow_of_the_product_alone_skips_the_step() -> None:
    """u^2 at a tiny u: its gradient 2 s u fits into float16, its second derivative 2 s does not."""
    world = build("marthe", "momentum", scaled(2.0**15))
    for _ in range(2):
        world.step()

    def flat(world: World) -> Tensor:
        p = 10 * sum(w.sum() for w in world.weights)
        u = (p - p.detach() + 1e-3).half()
        return World.train(world) + (u * u).double()

    before, loss = state(world), flat(world)
    grads = torch.autograd.grad(2.0**15 * loss, world.weights, create_graph=True)
    assert all(torch.isfinite(g).all() for g in grads)
    assert not all(
        torch.isfinite(x).all()
        for x in torch.autograd.grad(grads, world.weights, world.tuner._tuned[0].direction)
    )
    before = state(world)
    world.step(train=flat)
    assert same(state(world), before)
    assert world.tuner.state_dict()["scaler"]["scale"] == 2.0**14


@tuners
def test_a_gradient_that_no_scale_makes_finite_diverges(kind: str) -> None:
    """At scales 4 and 2 the scaler shrinks; at 1 the failures count, and nothing has moved."""
    world = build(kind, "momentum", scaled(4.0))
    world.step()
    before = state(world)
    for _ in range(3):
        world.step(train=infinite_gradient)
        assert same(state(world), before)
    with pytest.raises(al.Diverged, match="train_loss or its gradient was not finite twice in a row"):
        world.step(train=infinite_gradient)
    assert same(state(world), before)


@tuners
def test_a_loss_that_is_not_finite_is_a_failure_at_any_scale(kind: str) -> None:
    world = build(kind, "momentum", scaled(2.0**16))
    world.step()
    before = world.state()
    world.step(train=not_a_number)
    assert same(world.state(), before)
    with pytest.raises(al.Diverged):
        world.step(train=not_a_number)


@tuners
def test_saved_state_continues_bit_for_bit(kind: str) -> None:
    def fresh() -> World:
        return build(kind, "momentum", scaled(2.0**14, growth_interval=3))

    whole, first, second = fresh(), fresh(), fresh()
    for _ in range(10):
        whole.step(train=half)
    for _ in range(4):
        first.step(train=half)
    file = io.BytesIO()
    torch.save([first.net.state_dict(), first.optimizer.state_dict(), first.tuner.state_dict()], file)
    file.seek(0)
    net, optimizer, tuner = torch.load(file, weights_only=True)
    second.net.load_state_dict(net)
    second.optimizer.load_state_dict(optimizer)
    second.tuner.load_state_dict(tuner)
    for _ in range(6):
        second.step(train=half)
    assert same(whole.state(), second.state())
    with pytest.raises(ValueError, match="'scaler' is missing or unknown"):
        build(kind, "momentum").tuner.load_state_dict(tuner)


def test_a_scaler_that_is_not_enabled_is_none() -> None:
    world = build("marthe", "adam", torch.amp.GradScaler("cpu", enabled=False))
    plain = build("marthe", "adam")
    for w in (world, plain):
        w.step()
    assert same(world.state(), plain.state())


def test_weights_in_float16_are_refused() -> None:
    w = torch.zeros(2, dtype=torch.float16, requires_grad=True)
    with pytest.raises(ValueError, match=r"float16: keep the model in float32"):
        al.MARTHE(torch.optim.SGD([w], lr=0.1), scaler=scaled(2.0))
