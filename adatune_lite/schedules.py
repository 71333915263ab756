"""Fixed learning-rate schedules, computed by `torch.optim.lr_scheduler`, and momentum that mirrors them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

import numpy as np
import torch
from torch import Tensor
from torch.optim import Optimizer, lr_scheduler
from torch.optim.lr_scheduler import LRScheduler

from adatune_lite.checks import is_number, one_of, shown, whole

Option = float | Sequence[float]

OPTIONS: Mapping[str, Mapping[str, Option]] = MappingProxyType(
    {
        "constant": {},
        "exponential": {"final": 0.1},
        "staircase": {"factor": 0.1, "milestones": (1 / 3, 2 / 3)},
        "cosine": {},
        "one_cycle": {},
        "step": {"factor": 0.1, "period": 0.25},
        "linear": {},
        "polynomial": {"power": 2.0},
        "sgdr": {"period": 1 / 7, "growth": 2, "floor": 0.0},
        "cyclic": {"period": 0.2, "low": 0.1},
        "one_cycle_linear": {"low": 0.1, "final": 0.1},
        "trapezoid": {"ramp": 0.1, "low": 0.1},
        "knee": {"peak": 0.5},
        "inverse_sqrt": {},
    }
)
"""The options of each schedule and their defaults."""

SCHEDULES = tuple(OPTIONS)

ADATUNE: Mapping[str, tuple[str, Mapping[str, float]]] = MappingProxyType(
    {
        "exponential": ("exponential", {"final": 0.9901**200}),
        "staircase": ("step", {"factor": 0.1, "period": 60 / 200}),
        "sgdr": ("sgdr", {"period": 10 / 200, "growth": 2, "floor": 1e-4}),
    }
)
"""The schedules that MARTHE is compared with, by its figures and AdaTune's code, as (name, options).

Shares are of 200 epochs, so that they stretch to any number of steps. There the exponential schedule falls
once an epoch, here at every step.
"""


def schedule(
    name: str, steps: int, lr: float, *, warmup: float = 0.0, start: float = 0.0, **options: Option
) -> Tensor:
    """The rates of `steps` training steps: float64 tensor of shape [steps].

    With T the steps, t = 0 ... T - 1, and lr the highest rate; shares are of T, other options of lr.

    constant: lr.
    exponential: lr gamma^t, with gamma so that the last step has lr * final.
    staircase: times `factor` at each share of `milestones`. AutoLR's baseline on CIFAR-10 has (1/2, 3/4).
    step: times `factor` after every share `period`.
    cosine: lr (1 + cos(pi t / T)) / 2 (SGDR without restarts, arXiv 1608.03983).
    sgdr: cosine from lr to lr * floor over the first share `period`, and anew over periods `growth` times as
        long each.
    linear: lr (1 - t / T). polynomial: lr (1 - t / T)^power.
    cyclic: up from lr * low and down again, linearly, once in every share `period` (arXiv 1506.01186).
    one_cycle: torch's default shape (arXiv 1803.09820), by cosines from lr / 25 over 30 % of the steps up
        and down to lr / 250,000.
    one_cycle_linear: AutoLR's (ICLR 2020 submission, appendix E, and the implementation it names): linearly
        from lr * low up over 45 % of the steps, down over 45 %, then on to lr * low * final. Its "default"
        has a tenth of the range test's minimum as lr, its "tuned" the best of several (CIFAR-10: 0.06).
    trapezoid: linearly from lr * low up over the share `ramp`, flat, and down over the last `ramp`
        (arXiv 1802.08770; AutoLR: 10 %, 80 %, 10 %).
    knee: lr for the share `peak`, then linearly to 0 (arXiv 2003.03977).
    inverse_sqrt: lr sqrt(w / t) from the end of a warm-up of w steps on, which it needs (arXiv 1706.03762).

    warmup: the share in which the rate first rises linearly from lr * start to lr; the schedule has the
    steps that are left, and its shares are of those. AutoLR's translation baseline: 4,000 steps and
    start = 2.5e-4.

    A training of one step has the rate that the schedule starts with: lr * low for cyclic, one_cycle_linear
    and trapezoid.

    Raises ValueError for an unknown name, an option that the schedule does not have, or values out of range.
    """
    one_of("schedule", name, SCHEDULES)
    steps = whole("steps", steps, 1)
    for option, value in (("lr", lr), *options.items()):
        if option != "lr" and option not in OPTIONS[name]:
            known = ", ".join((*OPTIONS[name], "warmup", "start"))
            raise ValueError(f"{name} has no option {option!r}; it has {known}")
        if option == "milestones":
            shares = value if isinstance(value, Sequence) else (value,)
            if not shares or not all(is_number(share) and 0 <= share <= 1 for share in shares):
                raise ValueError(f"milestones must be shares between 0 and 1, not {shown(value)}")
        elif isinstance(value, Sequence) or not (is_number(value) and math.isfinite(value) and value > 0):
            raise ValueError(f"{option} must be finite and above 0, not {shown(value)}")
        elif option in ("factor", "final", "period", "ramp", "peak", "low", "floor") and value > 1:
            raise ValueError(f"{option} must be at most 1, not {value}")
        elif option == "growth" and value != int(value):
            raise ValueError(f"growth must be a whole number, not {value}")
    for option, value in (("warmup", warmup), ("start", start)):
        if not (is_number(value) and 0 <= value < 1):
            raise ValueError(f"{option} must be at least 0 and below 1, not {shown(value)}")
    warm = min(round(warmup * steps), steps - 1)
    if name == "inverse_sqrt" and warm == 0:
        raise ValueError(f"inverse_sqrt needs a warmup of at least one of its {steps} steps")
    optimizer = torch.optim.SGD([torch.zeros(1, device="cpu")], lr=lr)
    scheduler = _scheduler(name, optimizer, steps - warm, warm, lr, {**OPTIONS[name], **options})
    rates = [lr * (start + (1 - start) * t / warm) for t in range(warm)]
    for t in range(steps - warm):
        rates.append(float(optimizer.param_groups[0]["lr"]))
        if t + 1 < steps - warm:
            optimizer.step()
            scheduler.step()
    return torch.tensor(rates, dtype=torch.float64, device="cpu")


def _scheduler(
    name: str, optimizer: Optimizer, steps: int, warm: int, lr: float, options: Mapping[str, Option]
) -> LRScheduler:
    def o(option: str) -> float:
        value = options[option]
        assert not isinstance(value, Sequence)
        return value

    def share(option: str) -> int:
        return max(1, round(o(option) * steps))

    def through(*points: tuple[float, float]) -> LRScheduler:
        return lr_scheduler.LambdaLR(optimizer, lambda t: _interpolate(t, points))

    kinds: dict[str, Callable[[], LRScheduler]] = {
        "constant": lambda: lr_scheduler.ConstantLR(optimizer, factor=1.0),
        "exponential": lambda: lr_scheduler.ExponentialLR(optimizer, o("final") ** (1 / max(1, steps - 1))),
        "staircase": lambda: lr_scheduler.MultiStepLR(
            optimizer, sorted({max(1, round(m * steps)) for m in _shares(options)}), o("factor")
        ),
        "cosine": lambda: lr_scheduler.CosineAnnealingLR(optimizer, steps),
        "one_cycle": lambda: lr_scheduler.OneCycleLR(
            optimizer, max_lr=lr, total_steps=max(steps, 2), cycle_momentum=False
        ),
        "step": lambda: lr_scheduler.StepLR(optimizer, share("period"), o("factor")),
        "linear": lambda: lr_scheduler.LinearLR(optimizer, 1.0, 0.0, steps),
        "polynomial": lambda: lr_scheduler.PolynomialLR(optimizer, steps, o("power")),
        "sgdr": lambda: lr_scheduler.CosineAnnealingWarmRestarts(
            optimizer, share("period"), int(o("growth")), lr * o("floor")
        ),
        "cyclic": lambda: lr_scheduler.CyclicLR(
            optimizer, lr * o("low"), lr, max(1, round(o("period") * steps / 2)), cycle_momentum=False
        ),
        "one_cycle_linear": lambda: through(
            (0, o("low")),
            (half := max(1, int(0.45 * steps)), 1.0),
            (2 * half, o("low")),
            (max(steps, 2 * half + 1), o("low") * o("final")),
        ),
        "trapezoid": lambda: through(
            (0, o("low")),
            (ramp := max(1, min(share("ramp"), steps // 2)), 1.0),
            (max(ramp, steps - ramp), 1.0),
            (max(steps, ramp + 1), o("low")),
        ),
        "knee": lambda: through((share("peak"), 1.0), (max(steps, share("peak") + 1), 0.0)),
        "inverse_sqrt": lambda: lr_scheduler.LambdaLR(optimizer, lambda t: math.sqrt(warm / (warm + t))),
    }
    return kinds[name]()


def _shares(options: Mapping[str, Option]) -> Sequence[float]:
    milestones = options["milestones"]
    return milestones if isinstance(milestones, Sequence) else (milestones,)


def _interpolate(t: float, points: Sequence[tuple[float, float]]) -> float:
    """The value at t of straight lines through (time, value), constant before the first."""
    times, values = zip(*points, strict=True)
    return float(np.interp(t, times, values))


def mirrored_momentum(rates: Tensor, base: float, *, low: float = 0.85, high: float = 0.95) -> Tensor:
    """The momentum of a cycle: `high` at rates up to `base`, `low` at the highest rate, linear between.

    arXiv 1803.09820: momentum falls as the rate rises; low and high as in the implementation that AutoLR
    names. Float64 tensor [steps], for `CycledMomentum`; base is the rate at the start of the cycle, of
    `one_cycle_linear` lr * low.

    Raises ValueError unless 0 <= low <= high < 1 and base is below the highest rate.
    """
    if not isinstance(rates, Tensor) or rates.dim() != 1 or not len(rates) or not rates.is_floating_point():
        raise ValueError(f"rates must be a floating-point tensor of shape [steps], not {shown(rates)}")
    peak = float(rates.max())
    if not (is_number(low) and is_number(high) and 0 <= low <= high < 1):
        raise ValueError(
            f"momentum must obey 0 <= low <= high < 1, not low = {shown(low)}, high = {shown(high)}"
        )
    if not (is_number(base) and 0 <= base < peak):
        raise ValueError(f"base must lie between 0 and the highest rate {peak:g}, not {shown(base)}")
    height = ((rates.to("cpu").to(torch.float64) - base) / (peak - base)).clamp(0, 1)
    return high - (high - low) * height
