"""Independent oracles of the engine: formulas written once more, autograd through time, finite differences.

Nothing here calls the engine's derivatives. `SETTINGS` is the table of rules that every promise is tested on.
All networks are tiny and smooth (tanh, float64): on ReLU networks finite differences are dominated by kinks.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from adatune_lite import rules

Weights = list[Tensor]


@dataclass(frozen=True)
class Setting:
    """One update rule: the torch optimizer with its options, and a rate at which it moves visibly."""

    name: str
    kind: str
    options: dict[str, Any] = field(default_factory=dict)
    lr: float = 0.1

    def optimizer(self, weights: Sequence[Tensor], lr: float | None = None) -> torch.optim.Optimizer:
        rate = self.lr if lr is None else lr
        if self.kind == "sgd":
            return torch.optim.SGD(weights, lr=rate, **self.options)
        return torch.optim.Adam(weights, lr=rate, **self.options)

    @property
    def rule(self) -> rules.Rule:
        if self.kind == "sgd":
            return rules.SGD(**self.options)
        beta1, beta2 = self.options.get("betas", (0.9, 0.999))
        return rules.Adam(beta1, beta2, **{k: v for k, v in self.options.items() if k != "betas"})

    def direction(self, w: Tensor, buffers: list[Tensor], g: Tensor, t: int) -> tuple[Tensor, list[Tensor]]:
        """(d, new buffers) of w' = w - lr d, straight from FACTS 1.3 with torch's place of eps."""
        o = self.options
        g = g + o.get("weight_decay", 0.0) * w
        if self.kind == "sgd":
            rho = o.get("momentum", 0.0)
            if not rho:
                return g, []
            u = g if not buffers else rho * buffers[0] + (1 - o.get("dampening", 0.0)) * g
            return (g + rho * u if o.get("nesterov") else u), [u]
        b1, b2 = o.get("betas", (0.9, 0.999))
        m, v = buffers or [torch.zeros_like(w), torch.zeros_like(w)]
        m, v = b1 * m + (1 - b1) * g, b2 * v + (1 - b2) * g**2
        correction = (1 - b2**t) ** 0.5
        eps = o.get("eps", 1e-8)
        # the root's slope at 0 is infinite: such a weight's direction is a constant by definition
        dead = v == 0
        root = torch.where(dead, torch.ones_like(v), v).sqrt()
        still = m.detach() / eps / correction if eps else torch.zeros_like(m)
        return correction / (1 - b1**t) * torch.where(dead, still, m / (root + eps * correction)), [m, v]


SETTINGS = [
    Setting("sgd", "sgd"),
    Setting("sgd_decay", "sgd", {"weight_decay": 0.1}),
    Setting("momentum", "sgd", {"momentum": 0.9}, 0.05),
    Setting("momentum_decay", "sgd", {"momentum": 0.9, "weight_decay": 0.1}, 0.05),
    Setting("dampening", "sgd", {"momentum": 0.8, "dampening": 0.4}),
    Setting("dampening_decay", "sgd", {"momentum": 0.8, "dampening": 0.4, "weight_decay": 0.1}),
    Setting("nesterov", "sgd", {"momentum": 0.9, "nesterov": True}, 0.05),
    Setting("nesterov_decay", "sgd", {"momentum": 0.9, "nesterov": True, "weight_decay": 0.1}, 0.05),
    Setting("adam", "adam", lr=0.03),
    Setting("adam_decay", "adam", {"weight_decay": 0.1, "betas": (0.8, 0.95)}, 0.03),
    Setting("adam_eps0", "adam", {"eps": 0.0}, 0.03),
]
BY_NAME = {s.name: s for s in SETTINGS}


class Task:
    """Regression with a tanh network of 37 weights; step t has its own batch, the outer loss its own data.

    dead: input 0 is exactly zero in training, inputs 1 and 2 so small that the square of their gradient is
    denormal and underflows: three columns of weights with a vanishing second moment of Adam.
    """

    def __init__(self, seed: int = 0, dtype: torch.dtype = torch.float64, dead: bool = False) -> None:
        generator = torch.Generator().manual_seed(seed)

        def draw(*shape: int) -> Tensor:
            return torch.randn(*shape, generator=generator, dtype=torch.float64).to(dtype)

        self.x, self.y = draw(51, 6, 4), draw(51, 6, 2)
        if dead:
            tiny = 1.0 if dtype is torch.float64 else 1e138  # the float32 thresholds are 1e-20 and 1e-32
            for column, value in enumerate((0.0, 1e-158 * tiny, 1e-170 * tiny)):
                self.x[:-1, :, column] = value
        self.start = [draw(4, 5) * 0.6, draw(5) * 0.1, draw(5, 2) * 0.6, draw(2) * 0.1]

    def weights(self) -> Weights:
        return [w.clone().requires_grad_() for w in self.start]

    def _loss(self, w: Sequence[Tensor], index: int) -> Tensor:
        out = torch.tanh(self.x[index] @ w[0] + w[1]) @ w[2] + w[3]
        return ((out - self.y[index]) ** 2).mean()

    def train(self, w: Sequence[Tensor], t: int) -> Tensor:
        return self._loss(w, t % 50)

    def outer(self, w: Sequence[Tensor]) -> Tensor:
        return self._loss(w, 50)


class Unrolled:
    """Training by the formulas with the graph kept: d E(w_t) / d lr_i comes from plain autograd."""

    def __init__(self, task: Task, setting: Setting) -> None:
        self.task, self.setting = task, setting
        self.w: Weights = task.weights()
        self.buffers: list[list[Tensor]] = [[] for _ in self.w]
        self.rates: list[Tensor] = []

    def step(self, rate: float) -> None:
        t = len(self.rates)
        self.rates.append(torch.tensor(rate, dtype=torch.float64, requires_grad=True))
        grads = torch.autograd.grad(self.task.train(self.w, t), self.w, create_graph=True)
        for i, (w, g) in enumerate(zip(self.w, grads, strict=True)):
            d, self.buffers[i] = self.setting.direction(w, self.buffers[i], g, t + 1)
            self.w[i] = w - self.rates[-1] * d

    def slopes(self) -> Tensor:
        """d E(w_t) / d lr_i = grad E(w_t)^T P_{i+1}^{t-1} B_i for all i < t."""
        found = torch.autograd.grad(self.task.outer(self.w), self.rates, retain_graph=True)
        return torch.stack(found)

    def discounted(self, mu: float) -> float:
        """Delta_t of FACTS 1.4: sum over i of mu^(t-1-i) grad E(w_t)^T P_{i+1}^{t-1} B_i."""
        slopes = self.slopes()
        return float(sum(mu ** (len(slopes) - 1 - i) * s for i, s in enumerate(slopes)))


def unrolled_slopes(task: Task, setting: Setting, rates: Sequence[float]) -> Tensor:
    """d E(w_T) / d lr_i for a whole schedule, by plain autograd through the loop."""
    loop = Unrolled(task, setting)
    for rate in rates:
        loop.step(rate)
    return loop.slopes()


def torch_training(task: Task, setting: Setting, rates: Sequence[float]) -> Weights:
    """The weights after training with the real torch optimizer."""
    weights = task.weights()
    optimizer = setting.optimizer(weights)
    for t, rate in enumerate(rates):
        optimizer.param_groups[0]["lr"] = rate
        optimizer.zero_grad()
        task.train(weights, t).backward()
        optimizer.step()
    return weights


def torch_outer(task: Task, setting: Setting, rates: Sequence[float]) -> float:
    """E after training with the real torch optimizer."""
    return float(task.outer(torch_training(task, setting, rates)).detach())


# Central differences of fourth order: truncation h^4 f^(5) / 30 and rounding 1.5 eps |f| / h. With h = 1e-4
# and E of order 1 both stay below 1e-11; FD_ATOL leaves two orders for fifth derivatives up to 1e6 times f.
FD_STEP, FD_RTOL, FD_ATOL = 1e-4, 1e-6, 1e-9


def central_difference(f: Callable[[float], float], h: float = FD_STEP) -> float:
    """f'(0)."""
    return (8 * (f(h) - f(-h)) - (f(2 * h) - f(-2 * h))) / (12 * h)


def rates(setting: Setting, steps: int, moving: bool, seed: int = 3) -> list[float]:
    """A schedule around the setting's rate: constant, or drawn anew for each step."""
    generator = torch.Generator().manual_seed(seed)
    factors = 0.3 + 1.4 * torch.rand(steps, generator=generator, dtype=torch.float64)
    return [setting.lr * float(f) if moving else setting.lr for f in factors]


def close(a: float | Tensor, b: float | Tensor, rtol: float = 1e-9, atol: float = 1e-13) -> None:
    """Two exact paths in float64 agree to rounding; the floor covers sums that cancel."""
    torch.testing.assert_close(
        torch.as_tensor(a, dtype=torch.float64), torch.as_tensor(b, dtype=torch.float64), rtol=rtol, atol=atol
    )
