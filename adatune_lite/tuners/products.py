"""Hessian-vector products of a training loss: of its whole batch, or of a part of it.

The recursion of MARTHE and RTHO, Z' = mu A Z + B, needs the Hessian H of the training batch only in A: for
SGD A = I - lr H. Any H^ with the mean H over how it is drawn leaves the mean of Z' as it is, given Z and the
weights; the batch's own gradient still makes the step. Cheaper by choice, in plain steps (a product of the
batch is 2, a forward and backward pass 1):

    a loss over a fraction f of the batch:   f (1 + 2 n) for n tuned values, in place of 2 n
    every k-th step (`product_every`):       2 n / k; between, H^ = 0, which is not unbiased
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from adatune_lite.engine.closures import BufferGuard, Closure, evaluate
from adatune_lite.engine.curvature import check_second_derivative, check_symmetric, dot, gradient, product

Gradients = list[Tensor | None]
"""One entry for each weight; None where a loss does not use it."""


def chosen(values: Gradients, begin: int, members: Sequence[int]) -> list[Tensor]:
    """Entries begin + i, without those that are None."""
    return [x for i in members if (x := values[begin + i]) is not None]


def copied(values: Gradients) -> Gradients:
    """Each in memory of its own."""
    return [None if x is None else x.clone() for x in values]


def inner_product(outer: Gradients, direction: Sequence[Tensor | None]) -> float:
    """Inner product over the weights that both have."""
    pairs = [(g, z) for g, z in zip(outer, direction, strict=True) if g is not None and z is not None]
    return float(dot([g for g, _ in pairs], [z for _, z in pairs])) if pairs else 0.0


@dataclass(frozen=True)
class PartialProduct:
    """A training loss, for `step`, whose Hessian-vector products come from another loss.

    train_loss: the loss of the training batch, as ever.
    product_loss: the same loss over some examples of the batch, drawn anew at each step: then its Hessian is
        unbiased, where the loss is a mean over examples (with BatchNorm it is not: these examples' statistics
        are used).
    fraction: how much of the batch these examples are; decides the count of products and nothing else.

    Raises ValueError for a fraction outside (0, 1] and for losses that are not functions.
    """

    train_loss: Closure
    product_loss: Closure
    fraction: float

    def __post_init__(self) -> None:
        if not (isinstance(self.fraction, int | float) and 0 < self.fraction <= 1):
            raise ValueError(
                f"fraction must be above 0 and at most 1, the part of the batch in product_loss, "
                f"not {self.fraction!r}"
            )
        for name in ("train_loss", "product_loss"):
            if not callable(getattr(self, name)):
                raise ValueError(
                    f"{name} of PartialProduct must be a function without arguments that returns the loss, "
                    f"not {getattr(self, name)!r}"
                )

    def __call__(self) -> Tensor:
        return self.train_loss()


def products(
    closure: Closure,
    loss: Tensor,
    grads: Gradients,
    weights: Sequence[Tensor],
    directions: Sequence[Sequence[Tensor]],
    name: str,
    scaled: Callable[[Tensor], Tensor],
    *,
    first: bool,
    symmetric: bool = False,
    model: torch.nn.Module | None = None,
) -> list[Gradients]:
    """Products with each direction, None where `grads` has it: the gradients of `loss`, with a graph.

    closure, name: what returned `loss`. scaled: what a loss is multiplied by before it is differentiated.
    symmetric: whether to test that they are products with a symmetric matrix, for one more, which is not
    counted. Buffers of modules are as `closure` left them. Raises LossError for a loss without a second
    derivative, and where that test fails.
    """
    if not directions:
        return []
    if not isinstance(closure, PartialProduct):
        return _products(loss, grads, weights, directions, name, symmetric)
    with BufferGuard(model=model) as guard:
        loss = evaluate(closure.product_loss, "product_loss", weights, first=first, twice=True)
        few = gradient(scaled(loss), weights, create_graph=True, what="product_loss")
        found = _products(loss, few, weights, directions, "product_loss", symmetric)
    guard.restore()
    return [
        [
            None if g is None else torch.zeros_like(g) if x is None else x
            for g, x in zip(grads, one, strict=True)
        ]
        for one in found
    ]


def count(closure: Closure, directions: int) -> float:
    """What `products` costs, in products of the whole batch."""
    if directions and isinstance(closure, PartialProduct):
        return closure.fraction * (directions + 0.5)
    return directions


def _products(
    loss: Tensor,
    grads: Gradients,
    weights: Sequence[Tensor],
    directions: Sequence[Sequence[Tensor]],
    name: str,
    symmetric: bool,
) -> list[Gradients]:
    check_second_derivative(grads, loss, name)
    used = [(i, g) for i, g in enumerate(grads) if g is not None]
    out: list[Gradients] = []
    slopes, of = [g for _, g in used], [weights[i] for i, _ in used]
    for k, direction in enumerate(directions):
        v = [direction[i] for i, _ in used]
        keep = symmetric or k < len(directions) - 1
        found = product(slopes, of, v, retain_graph=keep, what=name)
        if symmetric and k == len(directions) - 1:
            check_symmetric(loss, slopes, of, v, found, name)
        one: Gradients = [None] * len(grads)
        for (i, _), x in zip(used, found, strict=True):
            one[i] = x
        out.append(one)
    return out
