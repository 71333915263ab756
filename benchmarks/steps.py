"""One training step of the tuners in plain steps (forward, backward, update) of the same precision.

The outer batch is as large as the training batch. Networks at full width: the 500-unit MLP, batch 100, and
VGG-11 with BatchNorm, batch 128. A step of MARTHE is at least 4 by arithmetic: forward and backward (1), the
product's double backward (2), the gradient of the outer loss (1). "Bare double backward" is what a user would
write for the first three, with an outer gradient and without an update: nothing of ours is in it. "Bare inner
product" is the same for HD as published: gradient, its inner product with the last one, update. The inner
product reads both gradients from memory; where the processor multiplies fast, that is most of what HD costs.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor

import adatune_lite as al
from adatune_lite.tasks.models import build
from benchmarks.measure import Row, median_interval, ratios

LR = 0.01
FEW = 6
BATCH = {"mlp": 100, "vgg11": 128}
TARGETS = {("mlp", "MARTHE"): 4.6, ("mlp", "HD"): 1.1, ("vgg11", "MARTHE"): 4.4, ("vgg11", "HD"): 1.05}


def has_bfloat16() -> bool:
    """Whether this CPU multiplies bfloat16 itself; without, torch emulates it and no target is set."""
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())


class Steps:
    """One network with random images and labels in place of real ones: the cost is the same."""

    def __init__(self, network: str, bfloat16: bool) -> None:
        generator = torch.Generator().manual_seed(0)
        shape = (784,) if network == "mlp" else (3, 32, 32)
        self.network, self.bfloat16 = network, bfloat16
        self.x = torch.rand(BATCH[network], *shape, generator=generator)
        self.y = torch.randint(10, (BATCH[network],), generator=generator)

    def _make(self) -> tuple[torch.optim.Optimizer, Callable[[], Tensor]]:
        net = build(self.network, seed=0)

        def loss() -> Tensor:
            precision: AbstractContextManager[object] = nullcontext()
            if self.bfloat16:
                precision = torch.autocast("cpu", torch.bfloat16)
            with precision:
                return torch.nn.functional.cross_entropy(net(self.x), self.y)

        return torch.optim.SGD(net.parameters(), lr=LR), loss

    def plain(self) -> Callable[[], object]:
        optimizer, loss = self._make()

        def step() -> None:
            optimizer.zero_grad()
            loss().backward()
            optimizer.step()

        return step

    def marthe(self) -> Callable[[], object]:
        optimizer, loss = self._make()
        tuner = al.MARTHE(optimizer, 0.99, 1e-6)
        return lambda: tuner.step(loss, loss)

    def hd(self) -> Callable[[], object]:
        optimizer, loss = self._make()
        tuner = al.HD(optimizer, 1e-6)
        return lambda: tuner.step(loss)

    def bare(self) -> Callable[[], object]:
        optimizer, loss = self._make()
        weights = optimizer.param_groups[0]["params"]
        direction = [torch.randn_like(w) for w in weights]

        def step() -> None:
            grads = torch.autograd.grad(loss(), weights, create_graph=True)
            torch.autograd.grad(grads, weights, direction)
            torch.autograd.grad(loss(), weights)

        return step

    def inner(self) -> Callable[[], object]:
        optimizer, loss = self._make()
        weights = optimizer.param_groups[0]["params"]
        last = [torch.zeros_like(w) for w in weights]

        def step() -> None:
            nonlocal last
            grads = list(torch.autograd.grad(loss(), weights))
            float(
                torch.stack([torch.dot(g.ravel(), x.ravel()) for g, x in zip(grads, last, strict=True)]).sum()
            )
            for w, g in zip(weights, grads, strict=True):
                w.grad = g
            optimizer.step()
            last = grads

        return step


def step_rows(network: str, pairs: int, judged: bool, bfloat16: bool = False) -> list[Row]:
    """MARTHE and a bare double backward, HD and a bare inner product, over a plain step.

    Of the MLP five steps in a row; of VGG-11, whose plain step takes seconds, few pairs of the bare one.
    """
    steps = Steps(network, bfloat16)
    threads = torch.get_num_threads()
    precision = "bfloat16 autocast" if bfloat16 else "float32"
    rows = []
    for name, work in (
        ("MARTHE", steps.marthe()),
        ("bare double backward", steps.bare()),
        ("HD", steps.hd()),
        ("bare inner product", steps.inner()),
    ):
        target = TARGETS.get((network, name)) if judged else None
        count = min(pairs, FEW) if network == "vgg11" and target is None else pairs
        found = ratios(steps.plain(), work, count, repeats=5 if network == "mlp" else 1)
        note = f"{precision}, {threads} thread{'s' * (threads > 1)}, {count} pairs"
        rows.append(Row(f"{name} step, {network}", *median_interval(found), target, "plain steps", note))
    return rows
