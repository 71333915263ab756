"""Gradient and Hessian-vector product of a loss, by double backward: the one expensive kernel."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

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
            "outside torch.no_grad(), do not detach it, and give torch.utils.checkpoint use_reentrant=False"
        )
    return loss.reshape(()) if loss.dim() else loss


def same_values(a: Tensor, b: Tensor) -> bool:
    """Whether all entries are equal, NaN with NaN: a training may have lost its weights already."""
    # `equal` needs no memory and is nearly always enough
    return torch.equal(a, b) or bool(((a == b) | (a.isnan() & b.isnan())).all())


def gradient(
    loss: Tensor,
    weights: Sequence[Tensor],
    *,
    create_graph: bool = False,
    sparse: bool = False,
    what: str = "the loss",
) -> list[Tensor | None]:
    """d loss / d weights; None for weights that the loss does not use. sparse: sparse ones are welcome.

    Raises LossError when it uses none of them, when its graph is gone, where reentrant checkpointing hides a
    part of it, and for a sparse gradient.
    """
    # a seed with a graph marks functions without a second derivative even where the gradient that reaches
    # them is constant (`check_second_derivative`)
    seed = torch.ones_like(loss, requires_grad=True) if create_graph else None
    try:
        found = torch.autograd.grad(loss, weights, seed, create_graph=create_graph, allow_unused=True)
    except RuntimeError as error:
        if "second time" in str(error):
            raise LossError(f"{what} must not call backward(): return the loss with its graph") from error
        if "use_reentrant" in str(error):
            raise _reentrant(what) from error
        raise
    grads: list[Tensor | None] = list(found)
    # weights used inside such a checkpoint alone are not in the graph, and look unused
    unused = any(g is None for g in grads)
    if unused and any(node.name() == "CheckpointFunctionBackward" for node in _graph([loss])):
        raise _reentrant(what)
    if all(g is None for g in grads):
        raise LossError(f"{what} does not depend on any of the weights")
    if not sparse:
        _check_dense(grads, what)
    return grads


def _reentrant(what: str) -> LossError:
    return LossError(
        f"{what} uses torch.utils.checkpoint in a way that hides weights: give it use_reentrant=False"
    )


def _check_dense(grads: Sequence[Tensor | None], what: str) -> None:
    if any(g is not None and g.layout is not torch.strided for g in grads):
        raise LossError(f"{what} has a sparse gradient: set sparse=False in nn.Embedding and its kin")


def check_second_derivative(
    grads: Sequence[Tensor | None], loss: Tensor | None = None, what: str = "the training loss"
) -> None:
    """Raises LossError where a function marked `once_differentiable` took part in gradients with a graph.

    Its node in the graph raises only when it is reached, and a product taken for the weights never reaches
    it: autograd would silently leave its part out. With the loss, the message names such functions.
    """
    if any(node.name() == "torch::autograd::Error" for node in _graph(grads)):
        classes = {node._forward_cls for node in _graph([loss]) if hasattr(node, "_forward_cls")}
        # the mark is a wrapper of `backward`, and only its globals tell it from one of the user
        marked = {
            c.__name__
            for c in classes
            if c.backward.__globals__["__name__"] == torch.autograd.function.__name__
        }
        names = " and ".join(sorted(marked)) or "a function in it"
        raise _no_second_derivative(what, f"{names} is marked once_differentiable")


def _graph(ends: Sequence[Tensor | None]) -> Iterator[Any]:
    """All nodes behind the tensors."""
    ahead: list[Any] = [x.grad_fn for x in ends if x is not None]
    seen = set()
    while ahead:
        node = ahead.pop()
        if node is not None and node not in seen:
            seen.add(node)
            yield node
            ahead += [following for following, _ in node.next_functions]


def _no_second_derivative(what: str, reason: object) -> LossError:
    attention = "attention" in str(reason)
    return LossError(
        f"{what} has no second derivative ({reason}): mu > 0 and schedules need one; use mu = 0 (HD) or "
        + ("torch.nn.attention.sdpa_kernel(SDPBackend.MATH)" if attention else "write it in other functions")
    )


def product(
    grads: Sequence[Tensor],
    weights: Sequence[Tensor],
    direction: Sequence[Tensor],
    *,
    retain_graph: bool = False,
    what: str = "the training loss",
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
            raise _no_second_derivative(what, error) from error
        raise


def dot(a: Sequence[Tensor], b: Sequence[Tensor]) -> Tensor:
    """Inner product of two lists of tensors: a 0-dim tensor. Raises LossError for sparse gradients."""
    _check_dense([*a, *b], "train_loss")
    return torch.stack([torch.dot(*_flat(x, y)) for x, y in zip(a, b, strict=True)]).sum()


def _flat(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Both as vectors, in the order of memory where both are channels_last: views then, not copies."""
    if x.dim() == 4 and all(v.is_contiguous(memory_format=torch.channels_last) for v in (x, y)):
        x, y = x.permute(0, 2, 3, 1), y.permute(0, 2, 3, 1)
    return x.reshape(-1), y.reshape(-1)
