"""Independent oracles of the engine: formulas written once more, autograd through time, finite differences.

Nothing here calls the engine's derivatives. `SETTINGS` is the table of rules that every promise is tested on.
All networks are tiny and smooth (tanh, float64): on ReLU networks finite differences are dominated by kinks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from adatune_lite import rules

Weights = list[Tensor]
NOTHING: Mapping[str, Any] = {}


@dataclass(frozen=True)
class Setting:
    """One update rule: the torch optimizer with its options, and a rate at which it moves visibly."""

    name: str
    kind: str
    options: dict[str, Any] = field(default_factory=dict)
    lr: float = 0.1

    def optimizer(self, weights: Sequence[Tensor], lr: float | None = None) -> torch.optim.Optimizer:
        make = {"sgd": "SGD", "adam": "Adam", "adamw": "AdamW", "rmsprop": "RMSprop"}[self.kind]
        optimizer: torch.optim.Optimizer = getattr(torch.optim, make)(
            weights, lr=self.lr if lr is None else lr, **self.options
        )
        return optimizer

    @cached_property
    def values(self) -> dict[str, Any]:
        """Every option of the rule by its name, torch's defaults among them."""
        group = dict(self.optimizer([torch.zeros(1, requires_grad=True)]).param_groups[0])
        del group["params"]
        beta1, beta2 = group.get("betas", (0.0, 0.0))
        return {**group, "beta1": beta1, "beta2": beta2}

    @property
    def rule(self) -> rules.Rule:
        if self.kind == "sgd":
            return rules.SGD(**self.options)
        if self.kind == "rmsprop":
            return rules.RMSprop(**self.options)
        beta1, beta2 = self.options.get("betas", (0.9, 0.999))
        others = {k: v for k, v in self.options.items() if k != "betas"}
        return (rules.Adam if self.kind == "adam" else rules.AdamW)(beta1, beta2, **others)

    def direction(
        self, w: Tensor, buffers: list[Tensor], g: Tensor, t: int, tuned: Mapping[str, Any] = NOTHING
    ) -> tuple[Tensor, list[Tensor]]:
        """(d, new buffers) of w' = w - lr d, straight from FACTS 1.3 with torch's place of eps.

        tuned: values that replace the setting's own, numbers or tensors.
        """
        o = {**self.values, **tuned}
        g = -g if o["maximize"] else g
        if self.kind != "adamw":
            g = g + o["weight_decay"] * w
        if self.kind == "sgd":
            rho = o["momentum"]
            if not rho:
                return g, []
            u = g if not buffers else rho * buffers[0] + (1 - o["dampening"]) * g
            return (g + rho * u if o["nesterov"] else u), [u]
        eps = o["eps"]
        if self.kind == "rmsprop":
            v, u = buffers or [torch.zeros_like(w), torch.zeros_like(w)]
            v = o["alpha"] * v + (1 - o["alpha"]) * g**2
            u = o["momentum"] * u + self._ratio(g, v, 1.0, eps)
            return u, [v, u]
        b1, b2 = o["beta1"], o["beta2"]
        m, v = buffers or [torch.zeros_like(w), torch.zeros_like(w)]
        m, v = b1 * m + (1 - b1) * g, b2 * v + (1 - b2) * g**2
        d = self._ratio(m, v, (1 - b2**t) ** 0.5, eps) / (1 - b1**t)
        return (d + o["weight_decay"] * w if self.kind == "adamw" else d), [m, v]

    @staticmethod
    def _ratio(x: Tensor, v: Tensor, correction: Any, eps: Any) -> Tensor:
        """x / (sqrt(v) / correction + eps), a constant where v is 0: the root's slope is infinite there."""
        dead = v == 0
        sqrt = torch.where(dead, torch.ones_like(v), v).sqrt()
        still = (x / eps).detach() if eps else torch.zeros_like(x)
        return torch.where(dead, still, correction * x / (sqrt + eps * correction))


SETTINGS = [
    Setting("sgd", "sgd"),
    Setting("sgd_decay", "sgd", {"weight_decay": 0.1}),
    Setting("momentum", "sgd", {"momentum": 0.9}, 0.05),
    Setting("momentum_decay", "sgd", {"momentum": 0.9, "weight_decay": 0.1}, 0.05),
    Setting("dampening", "sgd", {"momentum": 0.8, "dampening": 0.4}),
    Setting("dampening_decay", "sgd", {"momentum": 0.8, "dampening": 0.4, "weight_decay": 0.1}),
    Setting("nesterov", "sgd", {"momentum": 0.9, "nesterov": True}, 0.05),
    Setting("nesterov_decay", "sgd", {"momentum": 0.9, "nesterov": True, "weight_decay": 0.1}, 0.05),
    Setting("maximize", "sgd", {"maximize": True}, 0.02),
    Setting(
        "maximize_all",
        "sgd",
        {"momentum": 0.8, "dampening": 0.4, "weight_decay": 0.1, "maximize": True},
        0.02,
    ),
    Setting("maximize_nesterov", "sgd", {"momentum": 0.5, "nesterov": True, "maximize": True}, 0.01),
    Setting("adam", "adam", lr=0.03),
    Setting("adam_decay", "adam", {"weight_decay": 0.1, "betas": (0.8, 0.95)}, 0.03),
    Setting("adam_eps0", "adam", {"eps": 0.0}, 0.03),
    Setting("adamw", "adamw", {"weight_decay": 0.1, "betas": (0.8, 0.95), "eps": 0.01}, 0.03),
    Setting("rmsprop", "rmsprop", {"eps": 1e-3}, 0.01),
    Setting("rmsprop_decay", "rmsprop", {"weight_decay": 0.1, "alpha": 0.9, "eps": 0.01}, 0.01),
    Setting("rmsprop_momentum", "rmsprop", {"momentum": 0.8, "alpha": 0.9}, 0.005),
    Setting(
        "rmsprop_all", "rmsprop", {"momentum": 0.8, "alpha": 0.9, "eps": 0.01, "weight_decay": 0.1}, 0.005
    ),
    Setting("rmsprop_eps0", "rmsprop", {"eps": 0.0, "alpha": 0.9}, 0.01),
]
BY_NAME = {s.name: s for s in SETTINGS}
HYPERS = [(s, name) for s in SETTINGS for name in s.rule.hypers]


def tiny(dtype: torch.dtype) -> list[float]:
    """Exactly zero, a denormal number, one whose square is denormal, and one whose square underflows."""
    if dtype is torch.float64:
        return [0.0, 5e-324, 1e-310, 3e-159, -1e-170]
    return [0.0, 1e-45, 1e-40, 3e-20, -1e-30]


def draw(generator: torch.Generator, dtype: torch.dtype) -> list[Tensor]:
    return [torch.randn(*s, generator=generator, dtype=torch.float64).to(dtype) for s in ((4, 3), (5,), (1,))]


def draw_gradient(generator: torch.Generator, dtype: torch.dtype, setting: Setting) -> list[Tensor]:
    """Random gradients, many entries of them zero or nearly so (not without eps: torch divides 0 by 0)."""
    g = draw(generator, dtype)
    if setting.options.get("eps") != 0.0:
        g[1] = torch.tensor(tiny(dtype), dtype=dtype)
        g[0].view(-1)[:5] = torch.tensor(tiny(dtype), dtype=dtype)
    return g


def draw_state(
    setting: Setting, dtype: torch.dtype, t: int
) -> tuple[list[Tensor], list[list[Tensor]], list[Tensor]]:
    """Weights, buffers and gradient before step t; where the gradient is tiny, so are the buffers."""
    generator = torch.Generator().manual_seed(t)
    w, g = draw(generator, dtype), draw_gradient(generator, dtype, setting)
    buffers = [draw(generator, dtype) for _ in setting.rule.buffers]
    for name, part in zip(setting.rule.buffers, buffers, strict=True):
        for x in part:
            if name.endswith(("_sq", "square_avg")):
                x.square_()
            if t == 1:
                x.zero_()
        if setting.kind != "sgd" and setting.options.get("eps") != 0.0:
            part[1].zero_()
    return w, buffers, g


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
    """Training by the formulas with the graph kept: d E(w_t) / d h_i comes from plain autograd.

    h_i is the value that a hyper-parameter had in step i: the rate, or another one named in `step`.
    """

    def __init__(self, task: Task, setting: Setting) -> None:
        self.task, self.setting = task, setting
        self.w: Weights = task.weights()
        self.buffers: list[list[Tensor]] = [[] for _ in self.w]
        self.used: list[dict[str, Tensor]] = []

    def step(self, rate: float, **tuned: float) -> None:
        t = len(self.used)
        h = {k: torch.tensor(v, dtype=torch.float64, requires_grad=True) for k, v in tuned.items()}
        lr = torch.tensor(rate, dtype=torch.float64, requires_grad=True)
        grads = torch.autograd.grad(self.task.train(self.w, t), self.w, create_graph=True)
        for i, (w, g) in enumerate(zip(self.w, grads, strict=True)):
            d, self.buffers[i] = self.setting.direction(w, self.buffers[i], g, t + 1, h)
            self.w[i] = w - lr * d
        self.used.append({"lr": lr, **h})

    def slopes(self, name: str = "lr") -> Tensor:
        """d E(w_t) / d h_i = grad E(w_t)^T P_{i+1}^{t-1} B_i for all i < t."""
        leaves = [h[name] for h in self.used]
        found = torch.autograd.grad(
            self.task.outer(self.w), leaves, retain_graph=True, materialize_grads=True
        )
        return torch.stack(found)

    def discounted(self, mu: float, name: str = "lr") -> float:
        """Delta_t of FACTS 1.4: sum over i of mu^(t-1-i) grad E(w_t)^T P_{i+1}^{t-1} B_i."""
        slopes = self.slopes(name)
        return float(sum(mu ** (len(slopes) - 1 - i) * s for i, s in enumerate(slopes)))


def unrolled_slopes(task: Task, setting: Setting, rates: Sequence[float]) -> Tensor:
    """d E(w_T) / d lr_i for a whole schedule, by plain autograd through the loop."""
    loop = Unrolled(task, setting)
    for rate in rates:
        loop.step(rate)
    return loop.slopes()


def rate_recursion(task: Task, setting: Setting, mu: float, hyper_lr: float, steps: int) -> Iterator[float]:
    """The rates of Z <- mu A Z + B, which is one jvp of the whole step by the formulas, gradient included."""

    def step(w: list[Tensor], buffers: list[list[Tensor]], lr: Tensor, t: int) -> Any:
        grads = torch.func.grad(task.train)(w, t)
        moved = [setting.direction(x, b, g, t + 1) for x, b, g in zip(w, buffers, grads, strict=True)]
        return [x - lr * d for x, (d, _) in zip(w, moved, strict=True)], [b for _, b in moved]

    w, lr = [x.clone() for x in task.start], setting.lr
    buffers: list[list[Tensor]] = [[] for _ in w]
    z, z_buffers = [torch.zeros_like(x) for x in w], buffers
    for t in range(steps):
        yield lr
        past = [mu * x for x in z], [[mu * x for x in part] for part in z_buffers]
        rate = torch.tensor(lr, dtype=torch.float64)
        (w, buffers), (z, z_buffers) = torch.func.jvp(
            lambda *state, t=t: step(*state, t), (w, buffers, rate), (*past, torch.ones_like(rate))
        )
        slope = torch.func.grad(task.outer)(w)
        lr = max(0.0, lr - hyper_lr * sum(float((g * x).sum()) for g, x in zip(slope, z, strict=True)))


def torch_training(
    task: Task,
    setting: Setting,
    rates: Sequence[float],
    tuned: Mapping[str, float] = NOTHING,
    at: int | None = None,
) -> Weights:
    """The weights after training with the real torch optimizer.

    tuned: values that replace settings, in any range. at: the only step in which they do; None: in all.
    """
    weights = task.weights()
    optimizer = setting.optimizer(weights)
    group = optimizer.param_groups[0]
    for t, rate in enumerate(rates):
        values = {**setting.values, **(tuned if at in (None, t) else NOTHING), "lr": rate}
        group.update({name: value for name, value in values.items() if name in group})
        if "betas" in group:
            group["betas"] = (values["beta1"], values["beta2"])
        optimizer.zero_grad()
        task.train(weights, t).backward()
        optimizer.step()
    return weights


def torch_outer(
    task: Task, setting: Setting, rates: Sequence[float], tuned: Mapping[str, float] = NOTHING
) -> float:
    """E after training with the real torch optimizer."""
    return float(task.outer(torch_training(task, setting, rates, tuned)).detach())


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


def tangents(tuner: Any) -> list[Tensor]:
    """All that a tuner carries from step to step, in one list."""
    carried = [z for *_, z in tuner.state_dict()["tuned"]]
    return [x for z in carried for parts in z for part in parts for x in part]
