"""`capturable=True`: the ordinary step's numbers without waiting for the device, and masks for exceptions.

What the CPU can show is shown here; the CUDA graph is untested wherever there is no CUDA device.
"""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from oracles import BY_NAME, Task, close, tangents
from test_scaling import same
from test_tuner_contract import OPTIMIZERS, World, infinite_gradient, not_a_number
from test_tuners import HYPER_LR, Run
from torch import Tensor, nn

import adatune_lite as al

optimizers = pytest.mark.parametrize("optimizer", OPTIMIZERS)
NAMES = [
    "sgd",
    "momentum_decay",
    "dampening_decay",
    "nesterov_decay",
    "adam",
    "adam_decay",
    "adamw",
    "rmsprop_all",
]
MAKE: dict[str, Callable[..., al.MARTHE]] = {
    "marthe": lambda o, h, **k: al.MARTHE(o, 0.9, h / 20, **k),
    "rtho": lambda o, h, **k: al.RTHO(o, h / 20, **k),
    "hd": lambda o, h, **k: al.HD(o, h, **k),
}
with_outer = pytest.mark.parametrize("kind", MAKE)


def fresh(optimizer: str) -> World:
    """Without the bias before BatchNorm: its gradient is rounding alone, which Adam blows up."""
    world = World("fixed", optimizer)
    world.net[0].bias.requires_grad_(False)
    return world


@pytest.mark.parametrize(
    ("kind", "name"), [*(("marthe", name) for name in NAMES), ("rtho", "adam"), ("hd", "nesterov_decay")]
)
def test_twenty_steps_equal_the_ordinary_ones(kind: str, name: str) -> None:
    """Two ways in float64: rounding alone, grown by at most a few digits in twenty steps."""
    setting = BY_NAME[name]
    h = HYPER_LR[setting.kind]
    runs = [Run(lambda o, c=c: MAKE[kind](o, h, capturable=c), setting, Task(seed=4)) for c in (False, True)]
    for _ in range(20):
        losses = [run.step() for run in runs]
        a, b = (run.tuner for run in runs)
        close(*losses)
        for x, y in ((a.lr, b.lr), (a.used_lr, b.used_lr), (a.hypergradient, b.hypergradient)):
            close(x, y)
    assert abs(a.lr / setting.lr - 1) > 0.003 and b.values == {(0, "lr"): b.lr} and b.failures == 0
    assert a.products == b.products
    for x, y in zip((*runs[0].w, *tangents(a)), (*runs[1].w, *tangents(b)), strict=True):
        close(x.detach(), y.detach(), atol=1e-12)
    moments = [[v for s in run.optimizer.state.values() for v in s.values()] for run in runs]
    for x, y in zip(*moments, strict=True):
        close(x, y)


@pytest.mark.parametrize(
    "options",
    [
        {"clip_grad_norm": 0.5},
        {"clip_grad_value": 0.3},
        {"clip_hypergradient": 0.05},
        {"lr_min": 0.045, "lr_max": 0.051},
        {"outer_batchnorm": "running"},
    ],
    ids=str,
)
@optimizers
def test_options_and_groups_equal_the_ordinary_ones(optimizer: str, options: dict[str, Any]) -> None:
    """Two groups with their own rates, BatchNorm, two closures, a weight that some losses leave out."""
    worlds = []
    for capturable in (False, True):
        world = fresh(optimizer)
        extra = nn.Parameter(torch.ones(2, dtype=torch.float64))
        world.optimizer.add_param_group({"params": [extra], "lr": 0.05})
        world.optimizer.param_groups[0]["lr"] = 0.05
        world.tuner = al.MARTHE(world.optimizer, 0.9, 1e-3, capturable=capturable, **options)
        for t in range(8):
            last = world.train if t % 3 else lambda w=world, e=extra: w.train() + (e * e).sum()
            world.tuner.step([world.train, last], lambda w=world, e=extra: w.outer() + e.prod())
        worlds.append(world)
    a, b = worlds
    for key, value in a.tuner.values.items():
        close(value, b.tuner.values[key])
        close(a.tuner.hypergradients[key], b.tuner.hypergradients[key])
        assert value != 0.05
    for x, y in zip(a.net.state_dict().values(), b.net.state_dict().values(), strict=True):
        close(x, y)


def build(kind: str, optimizer: str, capturable: bool = True) -> World:
    world = fresh(optimizer)
    world.tuner, world.outer_needed = MAKE[kind](world.optimizer, 1e-3, capturable=capturable), True
    return world


@pytest.mark.parametrize("bad", [not_a_number, infinite_gradient])
@optimizers
@with_outer
def test_a_training_loss_that_is_not_finite_is_masked(kind: str, optimizer: str, bad: Any) -> None:
    """Three in a row, no exception, no trace but the count; then the run goes on."""
    world, untroubled = build(kind, optimizer), build(kind, optimizer)
    for w in (world, untroubled):
        w.step()
        w.step()
    before = world.state()
    for count in range(1, 4):
        world.step(train=bad)
        assert same(world.state(), before) and world.tuner.failures == count
    for _ in range(3):
        world.step()
        untroubled.step()
    assert same(world.state(), untroubled.state()) and world.tuner.failures == 0


@optimizers
@with_outer
def test_an_outer_loss_that_is_not_finite_keeps_the_step_and_forgets_the_past(
    kind: str, optimizer: str
) -> None:
    """As the ordinary step does, which raises at the second one in a row."""
    world, ordinary = build(kind, optimizer), build(kind, optimizer, capturable=False)
    for w in (world, ordinary):
        w.step()
        w.step()
        w.step(outer=not_a_number)
        assert math.isnan(w.tuner.hypergradient) and w.tuner.failures == 1
        assert not any(x.any() for x in tangents(w.tuner))
    close(world.tuner.lr, ordinary.tuner.lr)
    for w in (world, ordinary):
        w.step()
    close(world.tuner.hypergradient, ordinary.tuner.hypergradient)
    for x, y in zip(world.net.state_dict().values(), ordinary.net.state_dict().values(), strict=True):
        close(x, y)


ATEN = torch.ops.aten
VALUES = {ATEN._local_scalar_dense, ATEN.allclose, ATEN.equal, ATEN.nonzero, ATEN.masked_select}
"""Operations whose result, or its shape, the host must wait for."""
MASKED = {ATEN.index, ATEN.index_put, ATEN.index_put_}
"""The same where an index is a mask, whose true entries are counted."""
METHODS = {"item", "tolist", "cpu", "numpy", "__array__", "__bool__", "__float__", "__int__", "__index__"}
"""What a CPU tensor does without an operation."""


class NoOperation(torch.utils._python_dispatch.TorchDispatchMode):
    """Raises at operations that wait for values."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.overloadpacket
        masks = name in MASKED and any(i is not None and i.dtype is torch.bool for i in args[1])
        if name in VALUES or masks:
            raise AssertionError(f"{func} waits for the device")
        return func(*args, **(kwargs or {}))


class NoMethod(torch.overrides.TorchFunctionMode):
    """Raises at methods that hand values to the host."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if getattr(func, "__name__", "") in METHODS:
            raise AssertionError(f"{func} waits for the device")
        return func(*args, **(kwargs or {}))


@contextmanager
def no_host() -> Iterator[None]:
    """Raises where a tensor's value is asked for."""
    with NoMethod(), NoOperation():
        yield


@pytest.mark.parametrize(
    "ask",
    [
        lambda x: x[0].item(),
        lambda x: x.tolist(),
        lambda x: x.cpu(),
        lambda x: x.numpy(),
        lambda x: float(x[0]),
        lambda x: bool(x[0] > 0),
        lambda x: torch.equal(x, x),
        lambda x: torch.allclose(x, x),
        lambda x: x.nonzero(),
        lambda x: torch.where(x > 0),
        lambda x: x[x > 0],
        lambda x: x.masked_select(x > 0),
        lambda x: x.__setitem__(x > 0, x[:1]),
    ],
)
def test_asking_for_a_value_is_noticed(ask: Callable[[Tensor], object]) -> None:
    """However it is asked: else the test below would show nothing."""
    with no_host(), pytest.raises(AssertionError, match="waits for the device"):
        ask(torch.ones(2))


@pytest.mark.parametrize("name", ["sgd", "nesterov_decay", "adam_decay", "rmsprop_all"])
@pytest.mark.parametrize("kind", ["marthe", "hd"])
def test_no_step_after_the_first_asks_for_a_value(kind: str, name: str) -> None:
    run = Run(lambda o: MAKE[kind](o, 1e-3, capturable=True, clip_grad_norm=1.0), BY_NAME[name], Task())
    run.step()
    with no_host():
        for _ in range(2):
            run.step()
    ordinary = Run(lambda o: MAKE[kind](o, 1e-3), BY_NAME[name], Task())
    ordinary.step()
    with no_host(), pytest.raises(AssertionError, match="waits for the device"):
        ordinary.step()


@optimizers
@with_outer
def test_saved_state_continues_bit_for_bit(kind: str, optimizer: str) -> None:
    whole, first, second = (build(kind, optimizer) for _ in range(3))
    for _ in range(8):
        whole.step()
    for _ in range(3):
        first.step()
    file = io.BytesIO()
    torch.save([first.net.state_dict(), first.optimizer.state_dict(), first.tuner.state_dict()], file)
    file.seek(0)
    net, state, tuner = torch.load(file, weights_only=True)
    assert all(type(tuner[name]) is float for name in ("lr", "used_lr", "hypergradient"))
    assert tuner["steps"] == 3
    second.step()  # what it has on the device already is overwritten
    second.step()
    second.net.load_state_dict(net)
    second.optimizer.load_state_dict(state)
    second.tuner.load_state_dict(tuner)
    for _ in range(5):
        second.step()
    assert same(whole.state(), second.state())


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda o: al.MARTHE(o, capturable=True, every=2), "at every step"),
        (lambda o: al.MARTHE(o, capturable=True, tune=("lr", "momentum")), "tunes rates alone"),
        (lambda o: al.MARTHE(o, "adaptive", capturable=True), 'no "adaptive"'),
        (lambda o: al.HD(o, multiplicative=True, capturable=True), "leave out multiplicative"),
        (lambda o: al.RTHO(o, capturable=True, scaler=torch.amp.GradScaler("cpu")), "has no scaler"),
    ],
)
def test_options_that_need_the_host_are_refused(make: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        make(torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.1, momentum=0.9))


def test_closures_that_need_the_host_are_refused() -> None:
    world = build("hd", "adam")
    with pytest.raises(al.LossError, match="the published HD"):
        world.tuner.step(world.train)
    late = nn.Parameter(torch.ones(2, dtype=torch.float64))
    world.optimizer.add_param_group({"params": [late]})
    tuner = al.MARTHE(world.optimizer, capturable=True)
    tuner.step(world.train, world.outer)
    with pytest.raises(al.LossError, match="uses in its first step all weights"):
        tuner.step(lambda: world.train() + late.sum(), world.outer)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@optimizers
def test_a_captured_step_replays_as_the_ordinary_one(optimizer: str) -> None:
    """Three steps outside, then one captured and replayed. Untested on CUDA: no GPU was at hand."""
    worlds = [fresh(optimizer) for _ in range(2)]
    for capturable, world in enumerate(worlds):
        world.net.cuda()
        world.x, world.held = world.x.cuda(), world.held.cuda()
        world.optimizer = OPTIMIZERS[optimizer](world.weights)
        world.tuner = al.MARTHE(world.optimizer, 0.9, 1e-4, capturable=bool(capturable))
        world.outer_needed = True
    ordinary, world = worlds
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            world.step()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        loss: Tensor = world.step()
    for _ in range(5):
        graph.replay()
    for _ in range(8):
        expected = ordinary.step()
    close(loss.cpu(), expected.cpu())
    close(world.tuner.lr, ordinary.tuner.lr)
    close(world.tuner.hypergradient, ordinary.tuner.hypergradient)
    for x, y in zip(world.net.state_dict().values(), ordinary.net.state_dict().values(), strict=True):
        close(x.cpu(), y.cpu())
