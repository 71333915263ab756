"""What a step needs of the training loss: value, gradient and products, of one closure or of several."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from adatune_lite.engine.closures import Closure, evaluate
from adatune_lite.engine.curvature import LossError, gradient
from adatune_lite.engine.graph import HookPolicy
from adatune_lite.tuners.products import Gradients, PartialProduct, count, products
from adatune_lite.tuners.scaling import Scaling


@dataclass
class Gathered:
    """What a step needs of the training loss, without graph; means over the closures of a list."""

    loss: Tensor
    grads: Gradients
    products: list[Gradients]
    """Hessian-vector products with each direction."""
    cost: float = 0
    """How many products of the whole batch they are worth."""
    finite: bool = True
    """Whether the loss and gradient of each closure are; if not, the first that are not are here alone."""
    name: str = "train_loss"
    """The closure whose loss or gradient is not finite."""
    overflow: bool = False
    """Whether a loss scale may be the reason."""


def training_gradient(
    train_loss: Closure | list[Closure],
    weights: Sequence[Tensor],
    directions: Sequence[Sequence[Tensor]] = (),
    *,
    first: bool = False,
    dense: bool = False,
    scaling: Scaling | None = None,
    finite: Callable[[Tensor, Gradients], bool] | None = None,
    model: torch.nn.Module | None = None,
    hooks: HookPolicy | None = None,
    symmetric: bool = False,
) -> Gathered:
    """Loss, gradient and products of one closure or of the mean of several, one graph at a time.

    first: closures are checked for changes of the weights by value. dense: sparse gradients are refused.
    scaling: what scales losses, so that a product can overflow too. finite: what tells whether all of a loss
    and its gradient is, `all_finite` if not given. model: see `BufferGuard`. hooks: what backward hooks may
    do, see `engine.graph`; None leaves them alone. symmetric: see `products`; of the first closure. Raises
    LossError with the name of the closure.
    """
    scaling = scaling or Scaling()
    if isinstance(train_loss, list) and not train_loss:
        raise LossError("train_loss must hold at least one closure, not an empty list")
    closures = train_loss if isinstance(train_loss, list) else [train_loss]
    total: Gathered | None = None
    for i, closure in enumerate(closures):
        name = f"train_loss[{i}]" if isinstance(train_loss, list) else "train_loss"
        graph = bool(directions) and not isinstance(closure, PartialProduct)
        may = hooks.hooks if hooks else None
        loss = evaluate(closure, name, weights, first=first, twice=graph, hooks=hooks)
        sparse = not (graph or dense)
        grads = gradient(
            scaling.scaled(loss), weights, create_graph=graph, sparse=sparse, what=name, hooks=may
        )
        value, plain = loss.detach(), scaling.unscaled([None if g is None else g.detach() for g in grads])
        if not (finite or all_finite)(value, plain):
            return Gathered(
                value, plain, [], finite=False, name=name, overflow=scaling.overflow(value, plain)
            )
        scaled = products(
            closure,
            loss,
            grads,
            weights,
            directions,
            name,
            scaling.scaled,
            first=first,
            symmetric=symmetric and i == 0,
            model=model,
        )
        found, cost = [scaling.unscaled(x) for x in scaled], count(closure, len(directions))
        if found and scaling.overflow(value, *found):
            return Gathered(value, plain, [], finite=False, name=name, overflow=True)
        del loss, grads  # the graph, before the next one is built
        if total is None:
            total = Gathered(value, plain, found, cost)
        else:
            total.cost += cost
            total.loss = total.loss + value
            total.grads = _sum(total.grads, plain)
            total.products = [_sum(x, y) for x, y in zip(total.products, found, strict=True)]
    assert total is not None
    if len(closures) == 1:
        return total
    return Gathered(
        total.loss / len(closures),
        _divided(total.grads, len(closures)),
        [_divided(x, len(closures)) for x in total.products],
        total.cost / len(closures),
    )


def _divided(x: Gradients, count: int) -> Gradients:
    return [None if g is None else g / count for g in x]


def _sum(a: Gradients, b: Gradients) -> Gradients:
    return [y if x is None else x if y is None else x + y for x, y in zip(a, b, strict=True)]


def all_finite(loss: Tensor, grads: Sequence[Tensor | None]) -> bool:
    """Whether the loss and all gradients are finite, with one synchronisation."""
    return bool(finite(loss, grads))


def finite(loss: Tensor, grads: Sequence[Tensor | None]) -> Tensor:
    """The same as a 0-dim tensor, without one."""
    norms = torch._foreach_norm([g.detach() for g in grads if g is not None])
    return torch.isfinite(loss.detach() + torch.stack(list(norms)).sum())
