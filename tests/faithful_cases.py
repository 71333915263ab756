"""Trainings whose gradient is the derivative, and trainings in which something stands between the two.

Each is a `make` for `al.hypergradcheck`, in float64, on a few random examples: what users do, and no more.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import mse_loss

Made = tuple[torch.optim.Optimizer, Callable[[int], Tensor], Callable[[], Tensor]]
Make = Callable[[], Made]

X = torch.randn(9, 6, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
Y = torch.randn(9, 6, 2, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
"""Eight training batches and an outer one."""


def sgd(weights: Any, **options: Any) -> torch.optim.Optimizer:
    return torch.optim.SGD(weights, **{"lr": 0.2, **options})


def perceptron(middle: Callable[[], nn.Module] = nn.Tanh, *more: Callable[[], nn.Module]) -> nn.Sequential:
    return nn.Sequential(nn.Linear(4, 5), middle(), *(each() for each in more), nn.Linear(5, 2)).double()


def case(
    change: Callable[[nn.Module, torch.optim.Optimizer], Any] = lambda net, optimizer: None,
    net: Callable[[], nn.Module] = perceptron,
    optimizer: Callable[..., torch.optim.Optimizer] = sgd,
    loss: Callable[[nn.Module, Tensor, Tensor], Tensor] = lambda net, x, y: mse_loss(net(x), y),
    outer: Callable[[nn.Module, Tensor, Tensor], Tensor] | None = None,
) -> Make:
    """A training of `net`; `change` is what its owner does to it beside."""

    def make() -> Made:
        torch.manual_seed(0)
        made = net()
        chosen = optimizer(made.parameters())
        change(made, chosen)
        return chosen, lambda t: loss(made, X[t % 8], Y[t % 8]), lambda: (outer or loss)(made, X[8], Y[8])

    return make


def momentum(weights: Any) -> torch.optim.Optimizer:
    return sgd(weights, momentum=0.9)


def decay(weights: Any) -> torch.optim.Optimizer:
    return sgd(weights, momentum=0.5, weight_decay=0.1, nesterov=True)


def adam(weights: Any) -> torch.optim.Optimizer:
    return torch.optim.Adam(weights, lr=0.03, eps=1e-3)


def adamw(weights: Any) -> torch.optim.Optimizer:
    return torch.optim.AdamW(weights, lr=0.03, weight_decay=0.1, eps=1e-3)


def rmsprop(weights: Any) -> torch.optim.Optimizer:
    return torch.optim.RMSprop(weights, lr=0.01, eps=1e-2)


def two_groups(weights: Any) -> torch.optim.Optimizer:
    weights = list(weights)
    return torch.optim.SGD([{"params": weights[:2], "lr": 0.05}, {"params": weights[2:]}], lr=0.2)


def image_loss(net: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    return mse_loss(net(x.reshape(6, 1, 2, 2)), y)


def evaluated(net: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    net.eval()
    found = mse_loss(net(x), y)
    net.train()
    return found


EXACT: dict[str, Make] = {
    "sgd": case(),
    "momentum": case(optimizer=momentum),
    "weight decay": case(optimizer=decay),
    "adam": case(optimizer=adam),
    "adamw": case(optimizer=adamw),
    "rmsprop": case(optimizer=rmsprop),
    "two groups": case(optimizer=two_groups),
    "relu": case(net=lambda: perceptron(nn.ReLU)),
    "batchnorm": case(net=lambda: perceptron(lambda: nn.BatchNorm1d(5), nn.Tanh)),
    "batchnorm in evaluation": case(net=lambda: perceptron(lambda: nn.BatchNorm1d(5)), outer=evaluated),
    "dropout": case(net=lambda: perceptron(nn.Tanh, lambda: nn.Dropout(0.4))),
}


def clamp_hooks(net: nn.Module, optimizer: Any) -> None:
    for w in net.parameters():
        w.register_hook(lambda g: g.clamp(-0.05, 0.05))


def scale_hook(net: Any, optimizer: Any) -> None:
    net[0].weight.register_hook(lambda g: 3 * g)


def module_hook(net: Any, optimizer: Any) -> None:
    net[2].register_full_backward_pre_hook(lambda module, grads: (3 * grads[0],))


def centralised(net: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    def hook(*_: Any) -> None:
        for w in net.parameters():
            if w.grad is not None and w.dim() > 1:
                w.grad -= w.grad.mean(1, keepdim=True)

    optimizer.register_step_pre_hook(hook)


def clamped_weights(net: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    @torch.no_grad()
    def hook(*_: Any) -> None:
        for w in net.parameters():
            w.clamp_(-0.3, 0.3)

    optimizer.register_step_post_hook(hook)


def mean_teacher() -> Made:
    """A target that follows the weights of the steps before, moved once in each step."""
    torch.manual_seed(0)
    student = perceptron()
    teacher = copy.deepcopy(student).requires_grad_(False)
    optimizer = sgd(student.parameters())
    last = [-1]

    def train_loss(t: int) -> Tensor:
        if t != last[0]:
            with torch.no_grad():
                for a, b in zip(teacher.parameters(), student.parameters(), strict=True):
                    a.lerp_(b, 0.3)
            last[0] = t
        return mse_loss(student(X[t]), Y[t]) + mse_loss(student(X[t]), teacher(X[t]))

    return optimizer, train_loss, lambda: mse_loss(student(X[8]), Y[8])


def spectral() -> nn.Module:
    net = perceptron()
    net[0] = nn.utils.parametrizations.spectral_norm(net[0])
    return net


def detached(net: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    return mse_loss(net(x), y) + mse_loss(net(x), net(x.flip(0)).detach())


class Reversed(torch.autograd.Function):
    """The identity, with its gradient reversed (domain-adversarial training)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.clone()

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Tensor:
        return -g


def reversed_gradient(net: Any, x: Tensor, y: Tensor) -> Tensor:
    return mse_loss(net(x), y) + 0.3 * Reversed.apply(net[1](net[0](x))).square().mean()


def straight_through(net: Any, x: Tensor, y: Tensor) -> Tensor:
    """Weights rounded in the forward pass, with the gradient of those that are not."""
    w = net[0].weight
    rounded = w + ((4 * w).round() / 4 - w).detach()
    return mse_loss(net[2](torch.tanh(torch.nn.functional.linear(x, rounded, net[0].bias))), y)


class Saved(torch.autograd.Function):
    """x^3, whose backward pass uses a number that it has kept aside."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.squared = x.detach() ** 2
        return x**3

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Tensor:
        return 3 * g * ctx.squared


def saved_aside(net: Any, x: Tensor, y: Tensor) -> Tensor:
    return mse_loss(Saved.apply(net(x)), y)


class CodeBook(nn.Module):
    """Vector quantisation: code vectors in a buffer follow what is assigned to them."""

    def __init__(self) -> None:
        super().__init__()
        self.net = perceptron()
        self.register_buffer("codes", torch.tensor([[-0.5, 0.2], [0.6, -0.1]], dtype=torch.float64))

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.net(x)
        nearest = torch.cdist(out, self.codes).argmin(1)
        with torch.no_grad():
            self.codes.index_add_(0, nearest, 0.05 * (out - self.codes[nearest]))
        return out + 0.5 * self.codes[nearest].detach()


WRONG: dict[str, tuple[Make, str]] = {
    "target behind detach": (case(loss=detached), r"train_loss\(0\): its gradient is not its derivative"),
    "moving average": (mean_teacher, "evaluated again"),
    "spectral_norm": (case(net=spectral), r"state: train_loss\(0\) is"),
    "codebook": (case(net=CodeBook), "state"),
    "reversed gradient": (case(loss=reversed_gradient), "its gradient is not its derivative"),
    "straight through": (case(loss=straight_through), "its gradient is not its derivative"),
    "number kept aside": (case(loss=saved_aside), "its gradient is right, and the derivative of that is not"),
    "outer loss behind detach": (
        case(outer=lambda net, x, y: detached(net, x, y)),
        "outer_loss: its gradient is not its derivative",
    ),
}
"""What nothing but a comparison finds, and how `hypergradcheck` names it."""
