"""What AutoLR leaves alone, takes back and saves, bit for bit: weights, buffers, random numbers."""

from __future__ import annotations

import io
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from autolr_world import OPTIMIZERS, World, optimizers, plain, same, scripted
from torch import Tensor, nn

import adatune_lite as al
from adatune_lite.tuners import Tuner


@optimizers
@pytest.mark.parametrize("model", [False, True])
def test_extra_passes_leave_no_trace(optimizer: str, model: bool) -> None:
    """Explore on a loss that keeps the rate is plain training: weights, buffers, random numbers."""
    world, alone = World(optimizer, lambda o: al.AutoLR(o, 40, window=2)), plain(optimizer)
    if model:
        world.tuner = al.AutoLR(world.optimizer, 40, window=2, model=world.net)
    for _ in range(6):
        world.step(lambda k: world.outer(k) * 0 + 1)
    found = world.training()
    torch.manual_seed(11)
    for _ in range(6):
        alone.step()
    assert same(found, alone.training())
    assert [d.reason for d in world.tuner.log] == ["flat: the samples differ by rounding alone"] * 3
    assert int(world.net.state_dict()["1.num_batches_tracked"]) == 6
    assert all(m.training for m in world.net.modules())


def test_an_outer_loss_in_evaluation_mode_leaves_training_in_its_own() -> None:
    world, alone = World("momentum", lambda o: al.AutoLR(o, 40, window=2)), plain("momentum")

    def outer(k: int) -> Tensor:
        world.net.eval()
        return world.outer(k) * 0 + 1

    for _ in range(6):
        world.step(outer)
        assert all(m.training for m in world.net.modules())
    found = world.training()
    torch.manual_seed(11)
    for _ in range(6):
        alone.step()
    assert same(found, alone.training())


def test_samples_share_their_dropout() -> None:
    """One random seed for all evaluations of a superbatch, also windows apart, and another for the next."""
    world = World("momentum", lambda o: al.AutoLR(o, 2, window=1, saturation=None))
    drawn: dict[int, set[tuple[int, float]]] = {}

    def outer(k: int) -> Tensor:
        drawn.setdefault(k, set()).add((world.t, torch.rand(()).item()))
        return world.outer(k)

    for _ in range(4):
        world.step(outer)
    assert {t for t, _ in drawn[1]} == {1, 2}  # the fit, then as the held superbatch
    values = [{value for _, value in found} for found in drawn.values()]
    assert [len(found) for found in values] == [1] * len(drawn)
    assert len(set.union(*values)) == len(drawn) >= 3


@optimizers
def test_rollback_is_bit_for_bit(optimizer: str) -> None:
    """After it, everything is as if the change at step 3 had never been made, now and later."""
    world = World(optimizer, lambda o: al.AutoLR(o, 0, window=3, saturation=None, epsilon_threshold=None))
    alone = plain(optimizer)
    #        the check; held and middle; the other samples; worse a window later
    losses = iter([5.0, 5.0, 4.0, 3.9, 3.95, 4.2, 4.4, 3.95])
    for _ in range(6):
        world.step(scripted(world, losses))
    assert [d.decision for d in world.tuner.log] == ["lower", "rollback"]
    found = world.training()
    for _ in range(2):
        world.step()
    later = world.training()
    torch.manual_seed(11)
    for _ in range(3):
        alone.step()
    assert same(found, alone.training())
    alone.t = 6
    for _ in range(2):
        alone.step()
    assert same(later, alone.training())


@pytest.mark.parametrize("later", [None, 1], ids=["unfrozen", "another frozen"])
def test_a_change_before_other_weights_train_is_not_taken_back(later: int | None) -> None:
    """The frozen weight and bias are of one shape, so that shapes alone would not tell."""
    world = World("momentum", lambda o: al.AutoLR(o, 0, window=3, saturation=None, epsilon_threshold=None))
    parameters = list(world.net[1].parameters())
    losses = iter([5.0, 5.0, 4.0, 3.9, 3.95, 4.2, 4.4, *[3.95] * 9])
    for t in range(5):
        for i, p in enumerate(parameters):
            p.requires_grad_(i != (0 if t < 4 else later))
        world.step(scripted(world, losses))
    with pytest.raises(ValueError, match=r"other weights train .* set the tuner's `rollback` to False"):
        world.step(scripted(world, losses))
    world.tuner.rollback = False
    world.step(scripted(world, losses))
    assert [d.decision for d in world.tuner.log] == ["lower", "keep"]


def test_a_failure_at_the_end_of_a_window_leaves_batchnorm_alone() -> None:
    """The weights are tested with the refusals; the random state alone has moved on."""
    world = World("momentum", lambda o: al.AutoLR(o, 0, window=2, saturation=None))
    world.step()
    before = world.training()

    def fails(k: int) -> Tensor:
        world.outer(k)
        raise KeyError("no superbatch")

    with pytest.raises(KeyError):
        world.step(fails)
    assert same({**world.training(), "random": 0}, {**before, "random": 0})


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@optimizers
def test_rollback_is_bit_for_bit_on_cuda(optimizer: str) -> None:
    """Dropout draws from the device's random state: that of the rollback is plain training's."""

    def world(make: Callable[[torch.optim.Optimizer], Tuner]) -> World:
        made = World(optimizer, make)
        made.net.cuda()
        made.x = made.x.cuda()
        made.optimizer = OPTIMIZERS[optimizer](made.net.parameters())
        made.tuner = make(made.optimizer)
        torch.manual_seed(11)
        return made

    tested = world(lambda o: al.AutoLR(o, 0, window=3, saturation=None, epsilon_threshold=None))
    losses = iter([5.0, 5.0, 4.0, 3.9, 3.95, 4.2, 4.4, 3.95])
    for _ in range(6):
        tested.step(scripted(tested, losses))
    assert [d.decision for d in tested.tuner.log] == ["lower", "rollback"]
    found = tested.training(), torch.cuda.get_rng_state()
    alone = world(lambda o: al.FixedSchedule(o, [o.param_groups[0]["lr"]] * 40))
    for _ in range(3):
        alone.step()
    assert same(found, (alone.training(), torch.cuda.get_rng_state()))


STEPS = 20


def noisy(o: torch.optim.Optimizer) -> al.AutoLR:
    """Small superbatches and windows, so that all kinds of decisions come up."""
    return al.AutoLR(o, 6, window=2, saturation=1.0, epsilon_threshold=None, superbatch=1)


@cache
def whole(optimizer: str) -> tuple[dict[str, Any], list[bytes]]:
    """(final state, the file saved before each step) of a run that nothing stopped."""
    world = World(optimizer, noisy)
    files = []
    for _ in range(STEPS):
        file = io.BytesIO()
        torch.save(saved(world), file)
        files.append(file.getvalue())
        world.step()
    found = {d.decision for d in world.tuner.log}
    assert found == {"raise", "lower", "keep", "rollback"}, found
    return saved(world), files


def saved(world: World) -> dict[str, Any]:
    return {
        "net": world.net.state_dict(),
        "optimizer": world.optimizer.state_dict(),
        "tuner": world.tuner.state_dict(),
        "random": torch.get_rng_state(),
    }


@pytest.mark.parametrize(
    ("optimizer", "at"),
    [*(("momentum", at) for at in range(STEPS)), *(("adam", at) for at in range(3, STEPS, 5))],
)
def test_saved_state_continues_bit_for_bit(optimizer: str, at: int) -> None:
    """From every step: in explore, at the ends of windows, with a change to be judged, after a rollback."""
    expected, files = whole(optimizer)
    state = torch.load(io.BytesIO(files[at]), weights_only=True)
    world = World(optimizer, noisy)
    world.net.load_state_dict(state["net"])
    world.optimizer.load_state_dict(state["optimizer"])
    world.tuner.load_state_dict(state["tuner"])
    torch.set_rng_state(state["random"])
    world.t = at
    for _ in range(STEPS - at):
        world.step()
    assert same(saved(world), expected)
    assert same(state["tuner"], torch.load(io.BytesIO(files[at]), weights_only=True)["tuner"])


def settings_of(tuner: al.AutoLR) -> dict[str, Any]:
    found = tuner.state_dict()["settings"]
    return {name: value for name, value in found.items() if not name.startswith("clip")}


def test_settings_of_numpy_leave_a_state_that_can_be_read() -> None:
    optimizer = torch.optim.SGD([torch.zeros(2, requires_grad=True)], lr=0.1)
    numbers: dict[str, Any] = {"saturation": np.float64(100), "epsilon_threshold": np.float32(1e-3)}
    tuner = al.AutoLR(optimizer, np.int64(5), window=np.int32(2), lr_min=np.float64(0.0), **numbers)
    file = io.BytesIO()
    torch.save(tuner.state_dict(), file)
    file.seek(0)
    tuner.load_state_dict(torch.load(file, weights_only=True))


def test_state_of_another_training_is_refused() -> None:
    world = World("momentum", noisy)
    world.step()
    with pytest.raises(ValueError, match="does not belong to a AutoLR"):
        world.tuner.load_state_dict(plain("momentum").tuner.state_dict())
    state = world.tuner.state_dict()
    while state["change"] is None:
        world.step()
        state = world.tuner.state_dict()
    small = noisy(torch.optim.SGD([torch.zeros(2, requires_grad=True)], lr=0.1, momentum=0.9))
    before = small.state_dict()
    with pytest.raises(ValueError, match="other weights"):
        small.load_state_dict(state)
    assert same(small.state_dict(), before)
    given = {**settings_of(world.tuner), "reach": 0.6}
    wider = al.AutoLR(OPTIMIZERS["momentum"](world.net.parameters()), **given)
    with pytest.raises(ValueError, match=r"saved with reach=0.5, and this AutoLR has 0.6: make it with the"):
        wider.load_state_dict(state)
    clipped = al.AutoLR(
        OPTIMIZERS["momentum"](world.net.parameters()), **settings_of(world.tuner), clip_grad_norm=1.0
    )
    with pytest.raises(ValueError, match=r"saved with clip_grad_norm=None, and this AutoLR has 1.0"):
        clipped.load_state_dict(state)
    other = World("momentum", noisy)
    other.net.load_state_dict(world.net.state_dict())
    other.tuner.load_state_dict(state)
    other.net = nn.Sequential(*[m for m in other.net if not isinstance(m, nn.BatchNorm1d)])
    other.t = other.tuner.state_dict()["steps"]
    if other.t % 2 == 0:
        other.step()
    with pytest.raises(ValueError, match="buffers are not those of the saved state"):
        other.step(lambda k: other.outer(k) * 0 + 1e6)
