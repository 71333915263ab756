"""Loss scaling for half precision, as `torch.amp.GradScaler`, in a step that takes products too.

With scale s, the gradient of s L is taken in place of that of L. Gradient, Hessian-vector product and outer
gradient are divided by s as soon as they are there: clipping, the rule and Delta never see it, and a power of
two changes no digit short of overflow and underflow.

A gradient or product that is not finite, of a loss that is, is an overflow where s > 1: it is the scaler's
ordinary business and no failure. In training the step is skipped (weights, optimizer, tuner and buffers as
before); for an outer loss the step stands, Z too, and the values stay for want of a Delta. Either way s
shrinks. At s <= 1 the scale is not the reason, and everything is as without a scaler. `scaler.update()` runs
once in each step that is taken or skipped, after its outer gradient.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from adatune_lite.checks import is_count, is_number, shown

Gradients = list[Tensor | None]


class Scaling:
    """The scaler of a tuner; None, and a scaler that is not enabled, stand for s = 1 that never moves.

    Raises ValueError for weights in float16: their gradients would lose what the scale saved.
    """

    def __init__(self, scaler: torch.amp.GradScaler | None = None, weights: Sequence[Tensor] = ()) -> None:
        if scaler is not None and any(w.dtype is torch.float16 for w in weights):
            raise ValueError(
                "scaler needs weights in float32, and the optimizer holds float16: keep the model in float32 "
                "and run it under torch.autocast inside the closures"
            )
        self._scaler = scaler if scaler is not None and scaler.is_enabled() else None
        self._scale = 1.0
        self._device = torch.device("cpu")

    def scaled(self, loss: Tensor) -> Tensor:
        """s L."""
        if self._scaler is None:
            return loss
        found: Tensor = self._scaler.scale(loss)
        self._scale, self._device = self._scaler.get_scale(), loss.device
        return found

    def unscaled(self, grads: Gradients) -> Gradients:
        """Divided by s. Not in place: autograd may hand out one tensor for two weights."""
        if self._scaler is None:
            return grads
        return [None if g is None else g * (1 / self._scale) for g in grads]

    def overflow(self, loss: Tensor, *found: Gradients) -> bool:
        """Whether the scale may be why gradients or products of this loss are not finite."""
        if self._scale <= 1 or not math.isfinite(float(loss.detach())):
            return False
        norms = torch._foreach_norm([g.detach() for grads in found for g in grads if g is not None])
        return not math.isfinite(float(torch.stack(list(norms)).sum()))

    def update(self, overflow: bool) -> None:
        """The end of a step: the scaler's own rule of growth and backoff."""
        if self._scaler is None:
            return
        # unscaled gradients are no longer where the scaler looks: one number tells it what was found
        mark = torch.zeros((), device=self._device)
        mark.grad = torch.full_like(mark, math.inf if overflow else 0.0)
        self._scaler.unscale_(torch.optim.SGD([mark], lr=0.0))
        self._scaler.update()

    def state_dict(self) -> dict[str, Any]:
        """An entry "scaler", nothing without one."""
        return {"scaler": self._scaler.state_dict()} if self._scaler is not None else {}

    def check_state(self, state: dict[str, Any]) -> None:
        """Raises ValueError for an entry that no scaler of torch has saved."""
        if self._scaler is None:
            return
        saved = state["scaler"]
        if not isinstance(saved, dict) or set(saved) != set(self._scaler.state_dict()):
            raise ValueError(f"the scaler of this state is none that torch saved: {shown(saved)}")
        for name, x in saved.items():
            counts = name in ("growth_interval", "_growth_tracker")
            if not (is_count(x) if counts else is_number(x) and 0 < x < math.inf):
                raise ValueError(f"{name!r} of this state's scaler must be a number above 0, not {shown(x)}")

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take up the scaler's entry of a tuner's state."""
        if self._scaler is not None:
            self._scaler.load_state_dict(state["scaler"])
