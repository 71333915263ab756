"""Gradient and Hessian-vector product of a loss, by double backward: the one expensive kernel."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


class LossError(ValueError):
    """A loss closure returned something that cannot be differentiated as needed."""


def check_scalar(loss: object, what: str) -> Tensor:
    """The loss as a 0-dim tensor that has a graph; raises LossError with the closure's name otherwise."""
    if not isinstance(loss, Tensor) or loss.numel() != 1 or not loss.is_floating_point():
        kind = f"a tensor of shape {tuple(loss.shape)}" if isinstance(loss, Tensor) else type(loss).__name__
        raise LossError(f"{what} must return a scalar floating-point tensor, not {kind}")
    if not loss.requires_grad:
        raise LossError(
            f"{what} does not depend on the weights: compute it from the weights that the optimizer holds, "
            "outside torch.no_grad(), and do not detach it"
        )
    return loss.reshape(()) if loss.dim() else loss


def gradient(
    loss: Tensor, weights: Sequence[Tensor], *, create_graph: bool = False, what: str = "the loss"
) -> list[Tensor | None]:
    """d loss / d weights; None for weights that the loss does not use.

    Raises LossError when it uses none of them, or when its graph is gone.
    """
    # a seed with a graph marks functions without a second derivative even where the gradient that reaches
    # them is constant (`check_second_derivative`)
    seed = torch.ones_like(loss, requires_grad=True) if create_graph else None
    try:
        found = torch.autograd.grad(loss, weights, seed, create_graph=create_graph, allow_unused=True)
    except RuntimeError as error:
        if "second time" in str(error):
            raise LossError(f"{what} must not call backward(): return the loss with its graph") from error
        raise
    grads: list[Tensor | None] = list(found)
    if all(g is None for g in grads):
        raise LossError(f"{what} does not depend on any of the weights")
    return grads


def check_second_derivative(grads: Sequence[Tensor | None]) -> None:
    """Raises LossError where a function marked `once_differentiable` took part in gradients with a graph.

    Its node in the graph raises only when it is reached, and a product taken for the weights never reaches
    it: autograd would silently leave its part out.
    """
    ahead = [g.grad_fn for g in grads if g is not None]
    seen = set()
    while ahead:
        node = ahead.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        if node.name() == "torch::autograd::Error":
            raise LossError(
                "the training loss has no second derivative (a function in it is marked "
                "once_differentiable); mu > 0 and schedules need one"
            )
        ahead += [following for following, _ in node.next_functions]


def product(
    grads: Sequence[Tensor],
    weights: Sequence[Tensor],
    direction: Sequence[Tensor],
    *,
    retain_graph: bool = False,
) -> list[Tensor]:
    """Hessian-vector product: d <grads, direction> / d weights, for gradients taken with a graph.

    Weights on which the gradient does not depend (a loss linear in them) get exact zeros. Raises LossError
    when a module on the way has no second derivative.
    """
    pairs = [(g, v) for g, v in zip(grads, direction, strict=True) if g.requires_grad]
    if not pairs:
        return [torch.zeros_like(w) for w in weights]
    try:
        return list(
            torch.autograd.grad(
                [g for g, _ in pairs],
                weights,
                grad_outputs=[v for _, v in pairs],
                materialize_grads=True,
                retain_graph=retain_graph,
            )
        )
    except RuntimeError as error:
        if any(words in str(error).lower() for words in ("derivative", "differentiate", "double backward")):
            raise LossError(
                f"the training loss has no second derivative ({error}); mu > 0 and schedules need one"
            ) from error
        raise


def dot(a: Sequence[Tensor], b: Sequence[Tensor]) -> Tensor:
    """Inner product of two lists of tensors: a 0-dim tensor."""
    return torch.stack([torch.dot(x.reshape(-1), y.reshape(-1)) for x, y in zip(a, b, strict=True)]).sum()
