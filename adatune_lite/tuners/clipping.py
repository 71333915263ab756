"""Clipping of the training gradient as a stage before the rule, with its own derivative.

By value, c(g)_i = min(v, max(-v, g_i)):  c'(g) x = x where |g_i| <= v, else 0.

By norm, c(g) = s g with s = min(1, M / (|g| + 1e-6)), |g| the norm over all weights, as
`torch.nn.utils.clip_grad_norm_`:  c'(g) x = s x - s <g, x> / (|g| (|g| + 1e-6)) g where s < 1, else x.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor

from adatune_lite.checks import is_number, shown
from adatune_lite.engine.curvature import dot
from adatune_lite.rules.base import wide

Gradients = list[Tensor | None]
Clip = Callable[[Gradients, Sequence[Gradients]], tuple[Gradients, list[Gradients]]]
"""(gradient, tangents) to (clipped gradient, its tangents); None stays None, in all at the same places."""


def clipping(by_value: float | None, by_norm: float | None) -> Clip | None:
    """The stage, None where there is none; raises ValueError for bounds out of range or both kinds."""
    for name, bound in (("clip_grad_value", by_value), ("clip_grad_norm", by_norm)):
        if bound is not None and not (is_number(bound) and 0 < bound < math.inf):
            raise ValueError(f"{name} must be a finite number above 0, not {shown(bound)}")
    if by_value is not None and by_norm is not None:
        raise ValueError("give clip_grad_value or clip_grad_norm, not both")
    if by_value is not None:
        return partial(clip_value, bound=float(by_value))
    if by_norm is not None:
        return partial(clip_norm, bound=float(by_norm))
    return None


def clip_value(
    grads: Gradients, tangents: Sequence[Gradients], bound: float
) -> tuple[Gradients, list[Gradients]]:
    """Clip each entry to [-bound, bound]; of a sparse gradient each entry of the sum."""
    clipped = [None if g is None else _clamped(g, bound) for g in grads]
    moved: list[Gradients] = []
    for tangent in tangents:
        pairs = zip(grads, tangent, strict=True)
        moved.append(
            [None if g is None or x is None else x.masked_fill(g.abs() > bound, 0.0) for g, x in pairs]
        )
    return clipped, moved


def _clamped(g: Tensor, bound: float) -> Tensor:
    if g.layout is torch.strided:
        return g.clamp(-bound, bound)
    g = g.coalesce()  # rows that were used twice count with their sum
    return torch.sparse_coo_tensor(
        g.indices(), g.values().clamp(-bound, bound), g.shape, is_coalesced=True, check_invariants=False
    )


def clip_norm(
    grads: Gradients, tangents: Sequence[Gradients], bound: float
) -> tuple[Gradients, list[Gradients]]:
    """Scale the gradient of all weights together to a norm of at most `bound`."""
    used = [g for g in grads if g is not None]
    norm = torch.linalg.vector_norm(torch.stack(list(torch._foreach_norm(used))))
    norm = norm.to(wide(norm.device))
    scale = (bound / (norm + 1e-6)).clamp(max=1.0)  # a tensor: the host need not know
    moved: list[Gradients] = []
    for tangent in tangents:
        along = dot(used, [x for x in tangent if x is not None]).to(norm.dtype)
        fall = torch.where((scale < 1) & (norm > 0), -scale * along / (norm * (norm + 1e-6)), 0.0)
        pairs = zip(grads, tangent, strict=True)
        moved.append([None if g is None or x is None else scale * x + fall * g for g, x in pairs])
    return [None if g is None else g * scale for g in grads], moved
