"""Gradient and Hessian-vector product of a loss, by double backward: the one expensive kernel."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from adatune_lite.engine.graph import Hooks, check_visible, in_half, nodes, weight_hooks
from adatune_lite.engine.graph import LossError as LossError


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


def gradient(
    loss: Tensor,
    weights: Sequence[Tensor],
    *,
    create_graph: bool = False,
    sparse: bool = False,
    what: str = "the loss",
    hooks: Hooks | None = None,
) -> list[Tensor | None]:
    """d loss / d weights; None for weights that the loss does not use. sparse: sparse ones are welcome.

    hooks: what those on weights may do, see `engine.graph`; None is "look" with a graph and "run" without.

    Raises LossError when it uses none of them, when its graph is gone, where reentrant checkpointing or a
    function written without autograd hides a part of it, for a hook that changes it, and for a sparse
    gradient.
    """
    hooks = hooks or ("look" if create_graph else "run")
    # a seed with a graph marks functions without a second derivative even where the gradient that reaches
    # them is constant (`check_second_derivative`)
    seed = torch.ones_like(loss, requires_grad=True) if create_graph else None
    try:
        with weight_hooks(weights, hooks, what):
            found = torch.autograd.grad(loss, weights, seed, create_graph=create_graph, allow_unused=True)
    except RuntimeError as error:
        if "second time" in str(error):
            raise LossError(f"{what} must not call backward(): return the loss with its graph") from error
        if "use_reentrant" in str(error):
            raise _reentrant(what) from error
        if create_graph and "support automatic differentiation" in str(error):  # in a backward pass
            raise _no_second_derivative(what, error) from error
        if "_will_engine_execute_node" in str(error):
            raise LossError(
                f"{what}: register_multi_grad_hook on weights waits for backward(), which is not called: "
                "register a hook on each of them"
            ) from error
        raise
    grads: list[Tensor | None] = list(found)
    # weights used inside such a checkpoint alone are not in the graph, and look unused
    unused = any(g is None for g in grads)
    if unused and any(node.name() == "CheckpointFunctionBackward" for node in nodes([loss])):
        raise _reentrant(what)
    if all(g is None for g in grads):
        raise LossError(f"{what} does not depend on any of the weights")
    if not sparse:
        _check_dense(grads, what)
    if create_graph:
        check_visible(grads, what)
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
    if any(node.name() == "torch::autograd::Error" for node in nodes(grads)):
        classes = {node._forward_cls for node in nodes([loss]) if hasattr(node, "_forward_cls")}
        # the mark is a wrapper of `backward`, and only its globals tell it from one of the user
        marked = {
            c.__name__
            for c in classes
            if c.backward.__globals__["__name__"] == torch.autograd.function.__name__
        }
        names = " and ".join(sorted(marked)) or "a function in it"
        raise _no_second_derivative(what, f"{names} is marked once_differentiable")


_NO_DERIVATIVE = ("derivative", "differentiate", "double backward", "no autograd formula")
"""What torch says where there is none."""


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
        with weight_hooks(weights, "skip", what):
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
        if any(words in str(error).lower() for words in _NO_DERIVATIVE):
            raise _no_second_derivative(what, error) from error
        raise


SYMMETRIC = {torch.float32: 3e-4, torch.float64: 1e-8}
"""How far u . H z and z . H u may differ, in units of |u| |H z| / sqrt(n) or |z| |H u| / sqrt(n).

On a trained ResNet-18 rounding alone made 1e-5 of it in float32 and 1e-14 in float64. Other types have too
few digits."""
ASYMMETRIC = {torch.float32: 2e-3, torch.float64: 1e-8}
"""How far they differ, as the root mean square over DRAWS vectors u, where a first one raised the suspicion.

Where channels hardly vary, BatchNorm enlarges the rounding of float32: on a ResNet-18 with a sixteenth of the
channels, at its second step, to 5e-4 for one u and 3e-4 in the mean, with torch's own BatchNorm as well."""
DRAWS = 8


def check_symmetric(
    loss: Tensor,
    grads: Sequence[Tensor],
    weights: Sequence[Tensor],
    direction: Sequence[Tensor],
    found: Sequence[Tensor],
    what: str = "the training loss",
) -> None:
    """Raises LossError unless u . H z = z . H u for a random u: a derivative of a gradient is symmetric.

    found: H z, the product of the gradients with `direction` z. It takes one more product, and the graph;
    a suspicion takes DRAWS - 1 others, so that rounding alone is not refused.
    What is wrong and symmetric passes: a detached target, a scaled or reversed gradient. Nothing is tested
    where rounding is coarser than float32's.
    """
    bound = max(SYMMETRIC.get(w.dtype, math.inf) for w in weights)
    if not bound < math.inf or in_half(loss) or _coarse(loss):
        return
    drawing = torch.Generator("cpu").manual_seed(0)
    size = math.sqrt(sum(w.numel() for w in weights))

    def asymmetry() -> float:
        u = [
            torch.randn(w.shape, generator=drawing, dtype=w.dtype, device="cpu").to(w.device) for w in weights
        ]
        other = product(grads, weights, u, what=what, retain_graph=True)
        apart = abs(float(dot(u, found)) - float(dot(direction, other)))
        largest = max(_length(u) * _length(found), _length(direction) * _length(other))
        return size * apart / largest if largest else 0.0

    first = asymmetry()
    if not first > bound:
        return
    mean = math.sqrt((first**2 + sum(asymmetry() ** 2 for _ in range(DRAWS - 1))) / DRAWS)
    if mean > max(ASYMMETRIC[w.dtype] for w in weights):
        raise LossError(
            f"{what}: the derivative of its gradient is not symmetric (u.Hz and z.Hu differ by {mean:.2g} of "
            "what they are), so that a function in it has a wrong second derivative, as torch's weight_norm "
            "has, or a kernel without one: write it in other functions of torch, or use mu = 0 (HD); "
            "al.hypergradcheck tells more, and check_symmetry=False tests nothing"
        )


def _length(values: Sequence[Tensor]) -> float:
    return math.sqrt(sum(float(torch.linalg.vector_norm(x)) ** 2 for x in values))


def _coarse(loss: Tensor) -> bool:
    """Whether products of float32 matrices may be rounded to fewer digits than it has."""
    there: Any = torch.backends
    kinds = [there.mkldnn.matmul, there.mkldnn.conv, there.mkldnn.rnn]
    if loss.is_cuda:
        kinds = [there.cuda.matmul, there.cudnn.conv, there.cudnn.rnn]
    return loss.dtype is torch.float32 and any(x.fp32_precision in ("tf32", "bf16") for x in kinds)


def dot(a: Sequence[Tensor], b: Sequence[Tensor]) -> Tensor:
    """Inner product of two lists of tensors: a 0-dim tensor. Raises LossError for sparse gradients."""
    _check_dense([*a, *b], "train_loss")
    return torch.stack([torch.dot(*_flat(x, y)) for x, y in zip(a, b, strict=True)]).sum()


def _flat(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Both as vectors, in the order of memory where both are channels_last: views then, not copies."""
    if x.dim() == 4 and all(v.is_contiguous(memory_format=torch.channels_last) for v in (x, y)):
        x, y = x.permute(0, 2, 3, 1), y.permute(0, 2, 3, 1)
    return x.reshape(-1), y.reshape(-1)
