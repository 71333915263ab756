"""AutoLR's rollback and the buffers of modules, wherever these keep them."""

from __future__ import annotations

import copy
from functools import partial

import pytest
import torch
from autolr_world import World, same, scripted
from torch import Tensor, nn

import adatune_lite as al


def test_rollback_covers_buffers_first_seen_after_the_change() -> None:
    world = World("momentum", lambda o: al.AutoLR(o, 0, window=2, saturation=None, epsilon_threshold=None))
    late = nn.BatchNorm1d(3)
    before = copy.deepcopy(late.state_dict())
    losses = iter([5.0, 5.0, 4.0, 3.9, 3.95, 4.2, 4.4, 3.95])

    def training(front: nn.Module, t: int) -> Tensor:
        return world.loss(front(world.x[t]))

    for t in range(4):
        front = late if t >= 2 else nn.Identity()
        world.tuner.step(partial(training, front, t), scripted(world, losses))
    assert world.tuner.log[-1].decision == "rollback"
    assert same(dict(late.state_dict()), dict(before))
    assert int(world.net.state_dict()["1.num_batches_tracked"]) == 2


class Reassigning(nn.Module):
    """A running mean whose tensor is another one after each step, and a buffer that comes and goes."""

    mean: Tensor
    odd: Tensor | None

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(3))
        self.register_buffer("odd", None)

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            self.mean = 0.9 * self.mean + 0.1 * x.detach().mean(0).to(self.mean)
            self.odd = self.mean.sum() if self.odd is None else None
        return x - self.mean.to(x)


@pytest.mark.parametrize("model", [False, True])
def test_rollback_covers_buffers_that_a_module_assigns_anew(model: bool) -> None:
    front = Reassigning()
    world = World(
        "momentum",
        lambda o: al.AutoLR(
            o, 0, window=3, saturation=None, epsilon_threshold=None, model=front if model else None
        ),
    )
    losses = iter([5.0, 5.0, 4.0, 3.9, 3.95, 4.2, 4.4, 3.95])
    before = []
    for t in range(6):
        world.tuner.step(partial(lambda t: world.loss(front(world.x[t])), t), scripted(world, losses))
        before.append((front.mean.clone(), front.odd))
    assert [d.decision for d in world.tuner.log] == ["lower", "rollback"]
    mean, odd = before[2]
    assert torch.equal(front.mean, mean) and mean.abs().sum() > 0
    assert (front.odd is None) == (odd is None) and (odd is None or torch.equal(front.odd, odd))


class Remembering(nn.Module):
    """A mask as long as the last batch, and the last mean beside the present one, under two names for one."""

    mask: Tensor
    last: Tensor
    mean: Tensor

    def __init__(self) -> None:
        super().__init__()
        for name in ("mask", "last", "mean"):
            self.register_buffer(name, torch.zeros(1))
        self.seen = 0

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            self.seen += 1
            self.mask = torch.ones(1 + self.seen % 3)
            self.last = self.mean
            if self.seen < 4:
                self.mean = x.detach().mean(0, keepdim=True)
        return x


def test_rollback_covers_buffers_that_change_their_shape_or_share_a_tensor() -> None:
    front = Remembering()
    world = World("momentum", lambda o: al.AutoLR(o, 0, window=3, saturation=None, epsilon_threshold=None))
    losses = iter([5.0, 5.0, 4.0, 3.9, 3.95, 4.2, 4.4, 3.95])
    before = {}
    for t in range(6):
        world.tuner.step(partial(lambda t: world.loss(front(world.x[t])), t), scripted(world, losses))
        if t == 2:
            before = copy.deepcopy(dict(front.named_buffers()))
    assert world.tuner.log[-1].decision == "rollback"
    assert same(dict(front.named_buffers()), before) and not torch.equal(front.last, front.mean)
