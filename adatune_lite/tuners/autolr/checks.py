"""Superbatch losses, and what AutoLR asks of an optimizer and of an outer loss before it trusts them."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor

from adatune_lite.checks import is_number, shown, truth
from adatune_lite.engine.closures import BufferGuard
from adatune_lite.engine.curvature import LossError
from adatune_lite.rules import UnsupportedOptimizer
from adatune_lite.tuners.snapshot import Snapshot, cuda_devices

WANTED = "outer_loss: a function of the superbatch index k that returns the mean loss over superbatch k"

_SEED = 1_000_003
"""Superbatch k runs under the random seed _SEED + k, far from the small numbers that people choose."""


def rounding(loss: float, weights: Sequence[Tensor]) -> float:
    """Differences of losses up to this one say nothing."""
    return 8 * torch.finfo(weights[0].dtype).eps * abs(loss)


def check_settings(
    lr: float,
    *,
    samples: int,
    saturation: float | None,
    epsilon_threshold: float | None,
    lr_min: float,
    reach: float,
    spread: float,
    rollback: bool,
) -> None:
    """Raises ValueError for what AutoLR cannot work with, by its name. lr: the seed rate."""
    if samples % 2 == 0:
        raise ValueError(f"samples must be odd, so that eps = 0 is one of them, not {samples}")
    if saturation is not None and not (is_number(saturation) and 1 <= saturation < math.inf):
        raise ValueError(f"saturation must be finite and at least 1 (or None), not {shown(saturation)}")
    r = epsilon_threshold
    if r is not None and not (is_number(r) and 0 < r < math.inf):
        raise ValueError(f"epsilon_threshold must be finite and above 0 (or None), not {shown(r)}")
    for name, value in (("reach", reach), ("spread", spread)):
        if not (is_number(value) and 0 < value < 1):
            raise ValueError(f"{name} is a part of the rate, above 0 and below 1, not {shown(value)}")
    truth("rollback", rollback)
    if not lr > 0:
        raise ValueError("AutoLR scales the optimizer's step, so the seed rate must be above 0")
    if not (is_number(lr_min) and 0 <= lr_min <= lr):
        raise ValueError(f"lr_min must lie between 0 and the seed rate {lr:g}, not {shown(lr_min)}")


def check_proportional(
    move: Callable[[float], None], weights: Sequence[Tensor], optimizer: torch.optim.Optimizer, lr: float
) -> None:
    """Raises UnsupportedOptimizer unless the step at lr is twice that at lr / 2 and leaves the same state.

    move: takes the optimizer's step at a rate. Weights and state end where they were.
    """
    start = Snapshot.take(weights, optimizer)
    ends = []
    for rate in (lr, lr / 2):
        move(rate)
        ends.append(Snapshot.take(weights, optimizer))
        start.restore(weights, optimizer)
    whole, half = ends
    proportional = whole.same_state(half)
    for x, y, z in zip(start.weights, whole.weights, half.weights, strict=True):
        # A hundredth of the step, or what rounding the weights leaves of it.
        slack = 0.01 * (y - x).abs() + 8 * torch.finfo(x.dtype).eps * x.abs()
        proportional &= bool(((2 * (z - x) - (y - x)).abs() <= slack).all())
    if not proportional:
        raise UnsupportedOptimizer(
            f"AutoLR needs an optimizer whose step is proportional to lr; that of {type(optimizer).__name__} "
            "is not: use SGD, Adam or one like them"
        )


def superbatch_loss(
    outer_loss: Any, k: int, weights: Sequence[Tensor], modules: Iterable[torch.nn.Module] = ()
) -> float:
    """The loss on superbatch k, without gradient, under the random seed of k; module buffers stay.

    modules: those that train; where the closure leaves one in another mode, it goes back to its own.
    Raises LossError for a closure without argument, one that returns no scalar, or changes the weights.
    """
    try:
        inspect.signature(outer_loss).bind(k)
    except TypeError as error:
        raise LossError(f"AutoLR needs {WANTED}, called as outer_loss({k})") from error
    except ValueError:  # a function of TorchScript has no signature to look at
        pass
    versions = [w._version for w in weights]
    devices = cuda_devices(weights)
    modes = [(module, module.training) for module in modules]
    try:
        with torch.no_grad(), BufferGuard() as guard, torch.random.fork_rng(devices):
            torch.manual_seed(_SEED + k)
            loss = outer_loss(k)
        guard.restore()
    finally:
        for module, training in modes:
            module.training = training
    if not isinstance(loss, Tensor) or loss.numel() != 1 or not loss.is_floating_point():
        kind = f"a tensor of shape {tuple(loss.shape)}" if isinstance(loss, Tensor) else type(loss).__name__
        raise LossError(f"outer_loss must return a scalar floating-point tensor, not {kind}")
    if versions != [w._version for w in weights]:
        raise LossError("outer_loss changed the weights; it may only read them")
    return float(loss)


def check_outer(outer_loss: Any, weights: Sequence[Tensor], modules: Iterable[torch.nn.Module] = ()) -> float:
    """The loss on superbatch 0 at the start. Two evaluations must agree and leave every weight as it was."""
    before = [w.detach().clone() for w in weights]
    first, second = (superbatch_loss(outer_loss, 0, weights, modules) for _ in range(2))
    if not all(torch.equal(w, x) for w, x in zip(weights, before, strict=True)):
        raise LossError("outer_loss changed the weights; it may only read them")
    if not math.isfinite(first + second):
        raise LossError(f"outer_loss(0) is {first:g} at the start; AutoLR needs a finite loss to start from")
    check_same(0, first, second, weights)
    return first


def check_same(k: int, first: float, second: float, weights: Sequence[Tensor]) -> None:
    """Raises LossError unless two losses on superbatch k at the same weights agree up to rounding."""
    if not abs(first - second) <= rounding(first, weights):
        raise LossError(
            f"outer_loss({k}) gave {first:.9g} and then {second:.9g} at the same weights under the same "
            "random seed; the usual cause is data augmentation outside torch's random state, or data drawn "
            "anew at each call: make it a function of k and of torch's random state"
        )
