"""Classical schedules that are more than rates: momentum that cycles, a rate that waits for losses."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor
from torch.optim.lr_scheduler import ReduceLROnPlateau

from adatune_lite.checks import function, is_count, is_number, numbers, one_of, plain, shown, whole
from adatune_lite.engine.closures import BufferGuard, Closure
from adatune_lite.engine.curvature import LossError
from adatune_lite.tuners.base import FixedSchedule, Tuner, check_one_rate, summary


class CycledMomentum(FixedSchedule):
    """A schedule of the rate and one of the momentum, as one-cycle has (arXiv 1803.09820).

    momentum: one value in [0, 1) for each step (`schedules.mirrored_momentum`); it becomes the momentum of
    SGD and RMSprop, and beta1 of Adam and its kin. Clipping as in FixedSchedule.

    Raises ValueError for series of different length, values out of range, an optimizer without momentum, and
    as FixedSchedule does.
    """

    def __init__(
        self,
        optimizer: torch.optim.Optimizer,
        schedule: Tensor | Sequence[float],
        momentum: Tensor | Sequence[float],
        *,
        clip_grad_value: float | None = None,
        clip_grad_norm: float | None = None,
    ) -> None:
        super().__init__(optimizer, schedule, clip_grad_value=clip_grad_value, clip_grad_norm=clip_grad_norm)
        self.momentum = numbers("momentum", momentum)
        if len(self.momentum) != len(self.schedule):
            raise ValueError(
                f"momentum has {len(self.momentum)} values and the schedule {len(self.schedule)} steps: "
                "give one for each"
            )
        if not all(0 <= m < 1 for m in self.momentum):
            raise ValueError("every momentum must be at least 0 and below 1")
        if not all("momentum" in group or "betas" in group for group in optimizer.param_groups):
            raise ValueError(f"{type(optimizer).__name__} has no momentum to cycle: use SGD or Adam")
        self._settings["momentum"] = summary(self.momentum)

    def _optimizer_step(self, weights: Sequence[Tensor], grads: Sequence[Tensor | None]) -> None:
        momentum = self.momentum[self._steps]
        for group in self.optimizer.param_groups:
            if "betas" in group:
                group["betas"] = (momentum, *group["betas"][1:])
            else:
                group["momentum"] = momentum
        super()._optimizer_step(weights, grads)


class ReduceOnPlateau(Tuner):
    """The rate falls where the loss has stopped falling: torch's `ReduceLROnPlateau`.

    every: steps between two looks at the loss: the outer loss where `step` takes one, evaluated without
        gradient at these steps alone; else the mean training loss since the last look.
    factor, patience (looks without improvement that are forgiven), threshold, threshold_mode, cooldown, mode,
        lr_min: torch's.
    Clipping as in FixedSchedule.

    A loss that is not finite counts as no improvement. Raises ValueError for arguments out of range and for
    parameter groups with different rates; LossError for a loss of 0 or less under a relative threshold, of
    which a part is no gain.
    """

    needs = "look"

    def __init__(
        self,
        optimizer: torch.optim.Optimizer,
        every: int,
        *,
        factor: float = 0.1,
        patience: int = 10,
        threshold: float = 1e-4,
        threshold_mode: Literal["rel", "abs"] = "rel",
        cooldown: int = 0,
        mode: Literal["min", "max"] = "min",
        lr_min: float = 0.0,
        clip_grad_value: float | None = None,
        clip_grad_norm: float | None = None,
    ) -> None:
        super().__init__(optimizer, clip_grad_value, clip_grad_norm)
        check_one_rate(optimizer, "ReduceOnPlateau")
        every, patience = whole("every", every, 1), whole("patience", patience, 0)
        cooldown = whole("cooldown", cooldown, 0)
        one_of("threshold_mode", threshold_mode, ("rel", "abs"))
        one_of("mode", mode, ("min", "max"))
        if not (is_number(factor) and 0 < factor < 1):
            raise ValueError(f"factor must lie between 0 and 1, not {shown(factor)}")
        if not is_number(threshold) or not 0 <= threshold < (1 if threshold_mode == "rel" else math.inf):
            below = "and below 1" if threshold_mode == "rel" else "and finite"
            raise ValueError(f"threshold must be at least 0 {below}, not {shown(threshold)}")
        if not (is_number(lr_min) and 0 <= lr_min <= self._lr):
            raise ValueError(
                f"lr_min must lie between 0 and the start rate {self._lr:g}, not {shown(lr_min)}"
            )
        self.every = every
        self._scheduler = ReduceLROnPlateau(
            optimizer,
            mode,
            factor=factor,
            patience=patience,
            threshold=threshold,
            threshold_mode=threshold_mode,
            cooldown=cooldown,
            min_lr=lr_min,
        )
        self._sum = 0.0
        self._settings.update(
            every=every,
            factor=plain(factor),
            patience=patience,
            threshold=plain(threshold),
            threshold_mode=threshold_mode,
            cooldown=cooldown,
            mode=mode,
            lr_min=plain(lr_min),
        )

    def step(self, train_loss: Closure | list[Closure], outer_loss: Closure | None = None) -> Tensor:
        found = self._plain_step(train_loss)
        if not found.finite:
            return found.loss
        if outer_loss is None:
            self._sum += float(found.loss)
        if self._steps % self.every == 0:
            self._scheduler.step(self._comparable(self._look(outer_loss)))
            self._lr = float(self.optimizer.param_groups[0]["lr"])
            self._sum = 0.0
        return found.loss

    def _look(self, outer_loss: Closure | None) -> float:
        if outer_loss is None:
            return self._sum / self.every
        function("outer_loss", outer_loss, wanted="a function without arguments that returns the loss")
        with torch.no_grad(), BufferGuard() as guard:
            loss = outer_loss()
        guard.restore()
        if not isinstance(loss, Tensor) or loss.numel() != 1 or loss.is_complex():
            raise LossError(f"outer_loss must return a scalar tensor, not {type(loss).__name__}")
        self.looks += 1
        return float(loss)

    def _comparable(self, loss: float) -> float:
        """What torch compares with the best loss: one that is not finite is worse than any."""
        if not math.isfinite(loss):
            return math.inf if self._settings["mode"] == "min" else -math.inf
        if loss <= 0 and self._settings["threshold_mode"] == "rel":
            raise LossError(
                f"ReduceOnPlateau met a loss of {loss:g}, and a threshold relative to a loss of 0 or less "
                'means nothing: give threshold_mode="abs"'
            )
        return loss

    def state_dict(self) -> dict[str, Any]:
        kept = {name: getattr(self._scheduler, name) for name in _KEPT}
        return {**super().state_dict(), "plateau": kept, "sum": self._sum}

    def _check_state(self, state: dict[str, Any]) -> None:
        super()._check_state(state)
        if set(state["plateau"]) != set(_KEPT):
            raise ValueError(
                f"the plateau of this state must hold {', '.join(_KEPT)}, not {state['plateau']}"
            )
        best, *counts = (state["plateau"][name] for name in _KEPT)
        if not is_number(best) or math.isnan(best) or not all(map(is_count, counts)):
            raise ValueError(
                f"the plateau of this state must hold the best loss and whole numbers, not {state['plateau']}"
            )
        if not (is_number(state["sum"]) and math.isfinite(state["sum"])):
            raise ValueError(f"'sum' of this state must be a finite number, not {shown(state['sum'])}")

    def _take_state(self, state: dict[str, Any]) -> None:
        super()._take_state(state)
        vars(self._scheduler).update(state["plateau"])
        self._sum = state["sum"]
        for group in self.optimizer.param_groups:
            group["lr"] = self._lr


_KEPT = ("best", "num_bad_epochs", "cooldown_counter", "last_epoch")
"""What the scheduler remembers; the rest are settings."""
