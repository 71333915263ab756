"""HD: hypergradient descent (Baydin et al., arXiv 1703.04782), as published or with an outer loss."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from adatune_lite.engine.closures import Closure
from adatune_lite.engine.curvature import LossError
from adatune_lite.engine.graph import HookPolicy
from adatune_lite.rules import SGD, Tensors
from adatune_lite.rules.base import negated_
from adatune_lite.tuners.gathered import all_finite
from adatune_lite.tuners.hypergradient import MARTHE
from adatune_lite.tuners.products import Gradients, chosen, inner_product
from adatune_lite.tuners.tuned import PerName, Tuned

PLAIN = SGD()


class HD(MARTHE):
    """Hypergradient descent.

    Without `outer_loss` it is the published one (Baydin et al., equation 8 and its variants): before the
    step, lr <- lr - hyper_lr (g_t . B_{t-1}) with training gradients, so `lr` is then the rate used last.
    With `outer_loss` it is MARTHE with mu = 0. One run keeps to one of the two.

    The published one keeps the gradients for the next step: `grad` of the weights is None between steps.

    multiplicative: the relative form, lr <- lr (1 - hyper_lr g_t . B_{t-1} / (|g_t| |B_{t-1}|)); its
        hyper_lr has no unit, and bounds the step: there is no clip_hypergradient.
    """

    needs = ""

    def __init__(
        self,
        optimizer: torch.optim.Optimizer,
        hyper_lr: float | str | PerName = 1e-6,
        *,
        multiplicative: bool = False,
        **options: Any,
    ) -> None:
        if not isinstance(multiplicative, bool):
            raise ValueError(f"multiplicative must be True or False, not {multiplicative!r}")
        for name in ("capturable", "clip_hypergradient"):
            if multiplicative and options.get(name):
                raise ValueError(f"{name} is for the additive rule alone: leave out multiplicative=True")
        super().__init__(optimizer, 0.0, hyper_lr, **options)
        self.multiplicative = multiplicative
        self._settings["multiplicative"] = multiplicative
        self._plain_hooks = HookPolicy("look")
        """Of the published form, which multiplies gradients of the loss itself."""
        self._kept: Gradients | None = None
        """The last gradient of plain SGD, in place of Z = -g: that spares a pass over memory."""

    def step(self, train_loss: Closure | list[Closure], outer_loss: Closure | None = None) -> Tensor:
        if outer_loss is not None:
            self._settle()
            return super().step(train_loss, outer_loss)
        if self._device:
            raise LossError("capturable=True needs outer_loss: the published HD has no form without the host")
        weights = self._weights()
        self._follow()
        moves = self._moved and self._steps % self.every == 0
        slope: Gradients = []
        deltas: list[float] = []

        def finite(loss: Tensor, grads: Gradients) -> bool:
            """A finite inner product, which is needed anyway, proves a finite gradient."""
            slope[:] = self._regularised(weights, grads)
            deltas[:] = self._deltas(slope)
            return math.isfinite(deltas[0] + float(loss)) or all_finite(loss, grads)

        with self._refusable(weights):
            proof = finite if moves and not isinstance(train_loss, list) else None
            found = self._gathered(train_loss, weights, finite=proof, hooks=self._plain_hooks)
            if not found.finite:
                return found.loss
            if moves:
                slope = slope or self._regularised(weights, found.grads)
                self._move(slope, "the hypergradient", deltas=deltas)
            else:
                self._failures = 0
            grads = self._clip(found.grads, [])[0] if self._clip else found.grads
            keeps = self._keeps and all(g is not None for g in grads)
            self._kept, self._moved = (grads if keeps else None), True
            if not keeps:
                self._carry(weights, grads, [])
            self._optimizer_step(weights, grads)
            self._clear_gradients()
            self._steps += 1
            self._scaling.update(overflow=False)
        return found.loss

    def _deltas(self, outer: Gradients) -> list[float]:
        return super()._deltas(outer) if self._kept is None else [-inner_product(outer, self._kept)]

    @property
    def _keeps(self) -> bool:
        """Whether the step is plain SGD's, of whose rate Z = -g is all."""
        return [x.name for x in self._tuned] == ["lr"] and all(rule == PLAIN for rule in self._rules)

    @torch.no_grad()
    def _settle(self) -> None:
        """Write Z where it is kept as a gradient."""
        if self._kept is not None:
            negated_(self._tuned[0].direction, chosen(self._kept, 0, range(len(self._kept))))
            self._kept = None

    def _reset(self) -> None:
        self._kept = None
        super()._reset()

    def state_dict(self) -> dict[str, Any]:
        self._settle()
        return super().state_dict()

    def _take_state(self, state: dict[str, Any]) -> None:
        self._kept = None
        super()._take_state(state)

    @torch.no_grad()
    def _regularised(self, weights: Tensors, grads: Gradients) -> Gradients:
        """The training gradient with coupled weight decay."""
        if self._keeps:
            return grads
        out: Gradients = [None] * len(grads)
        begin = 0
        for k, (rule, _) in enumerate(self._present()):
            end = begin + len(self._tuned[0].z[k][0])
            used = [i for i in range(begin, end) if grads[i] is not None]
            found = rule.regularised(chosen(grads, 0, used), [weights[i] for i in used])
            for i, g in zip(used, found, strict=True):
                out[i] = g
            begin = end
        return out

    def _step_of(self, x: Tuned, outer: Gradients) -> float:
        if not self.multiplicative:
            return super()._step_of(x, outer)
        self._settle()
        pairs = [(g, z) for g, z in zip(outer, x.direction, strict=True) if g is not None]
        length = math.prod(
            float(torch.linalg.vector_norm(torch.stack(list(torch._foreach_norm(list(part))))))
            for part in zip(*pairs, strict=True)
        )
        return x.value * x.hypergradient / length if length else 0.0
