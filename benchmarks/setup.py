"""What is trained in the benchmarks of whole schedules, and three ways to its hypergradient."""

from __future__ import annotations

import torch
from torch import Tensor

import adatune_lite as al
from adatune_lite.tasks.models import build

BATCH = 100
LR = 0.01


class Setup:
    """Random pixels and labels in place of digits: the cost is the same."""

    def __init__(self, hidden: tuple[int, ...] = (500, 500)) -> None:
        self.hidden = hidden
        generator = torch.Generator().manual_seed(0)
        self.x = torch.rand(7000, 784, generator=generator)
        self.y = torch.randint(10, (7000,), generator=generator)
        self.net = build("mlp", seed=0, hidden=hidden)
        self.start = {k: v.detach().clone() for k, v in self.net.named_parameters()}

    def loss(self, weights: dict[str, Tensor], first: int, count: int = BATCH) -> Tensor:
        out = torch.func.functional_call(self.net, weights, (self.x[first : first + count],))
        return torch.nn.functional.cross_entropy(out, self.y[first : first + count])

    def train(self, weights: dict[str, Tensor], t: int) -> Tensor:
        return self.loss(weights, t % 70 * BATCH)

    def final(self, weights: dict[str, Tensor]) -> Tensor:
        return self.loss(weights, 0, 700)

    def plain(self, steps: int) -> None:
        """Plain training: zero_grad, forward, backward, step."""
        net = build("mlp", seed=0, hidden=self.hidden)
        optimizer = torch.optim.SGD(net.parameters(), lr=LR)
        for t in range(steps):
            first = t % 70 * BATCH
            optimizer.zero_grad()
            x, y = self.x[first : first + BATCH], self.y[first : first + BATCH]
            torch.nn.functional.cross_entropy(net(x), y).backward()
            optimizer.step()

    def hypergradient(self, steps: int, checkpoints: int | None = None, keep_graph: bool = False) -> Tensor:
        problem = al.Problem(self.start, self.train, self.final)
        return al.schedule_hypergradient(
            problem, [LR] * steps, al.rules.SGD(), checkpoints=checkpoints, keep_graph=keep_graph
        )[1]

    def unrolled(self, steps: int) -> Tensor:
        """What a user would write: plain autograd through the whole loop."""
        weights = {k: v.clone().requires_grad_() for k, v in self.start.items()}
        rates = [torch.tensor(LR, requires_grad=True) for _ in range(steps)]
        for t, rate in enumerate(rates):
            grads = torch.autograd.grad(self.train(weights, t), list(weights.values()), create_graph=True)
            weights = {k: w - rate * g for (k, w), g in zip(weights.items(), grads, strict=True)}
        return torch.stack(torch.autograd.grad(self.final(weights), rates)).double()
