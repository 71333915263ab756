"""Fixed learning-rate schedules, computed by `torch.optim.lr_scheduler`."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.optim import Optimizer, lr_scheduler
from torch.optim.lr_scheduler import LRScheduler

SCHEDULES = ("constant", "exponential", "staircase", "cosine", "one_cycle")


def schedule(
    name: str,
    steps: int,
    lr: float,
    *,
    final: float | None = None,
    factor: float = 0.1,
    milestones: Sequence[float] = (1 / 3, 2 / 3),
) -> Tensor:
    """The rates of `steps` training steps: float64 tensor of shape [steps].

    constant: lr. exponential: lr gamma^t with gamma so that the last step has lr * final (default 0.1).
    staircase: times `factor` at each fraction of `milestones`. cosine: from lr to 0 (SGDR without restarts,
    arXiv 1608.03983). one_cycle: torch's default shape with maximum lr (arXiv 1803.09820), from lr / 25 over
    30 % of the steps up and down to lr / 250,000.

    Raises ValueError for an unknown name or values out of range.
    """
    if name not in SCHEDULES:
        raise ValueError(f"schedule must be one of {', '.join(SCHEDULES)}, not {name!r}")
    if isinstance(steps, bool) or not isinstance(steps, int) or steps < 1:
        raise ValueError(f"steps must be a whole number of at least 1, not {steps!r}")
    for label, value in (("lr", lr), ("factor", factor), ("final", 0.1 if final is None else final)):
        if not (math.isfinite(value) and value > 0):
            raise ValueError(f"{label} must be finite and above 0, not {value}")
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=lr)
    scheduler = _scheduler(name, optimizer, steps, lr, 0.1 if final is None else final, factor, milestones)
    rates = []
    for t in range(steps):
        rates.append(float(optimizer.param_groups[0]["lr"]))
        if t + 1 < steps:
            optimizer.step()
            scheduler.step()
    return torch.tensor(rates, dtype=torch.float64)


def _scheduler(
    name: str,
    optimizer: Optimizer,
    steps: int,
    lr: float,
    final: float,
    factor: float,
    milestones: Sequence[float],
) -> LRScheduler:
    kinds: dict[str, Callable[[], LRScheduler]] = {
        "constant": lambda: lr_scheduler.ConstantLR(optimizer, factor=1.0),
        "exponential": lambda: lr_scheduler.ExponentialLR(optimizer, final ** (1 / max(1, steps - 1))),
        "staircase": lambda: lr_scheduler.MultiStepLR(
            optimizer, sorted({max(1, round(m * steps)) for m in milestones}), factor
        ),
        "cosine": lambda: lr_scheduler.CosineAnnealingLR(optimizer, steps),
        "one_cycle": lambda: lr_scheduler.OneCycleLR(
            optimizer, max_lr=lr, total_steps=max(steps, 2), cycle_momentum=False
        ),
    }
    return kinds[name]()
