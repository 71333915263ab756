"""Convolution with a second derivative made of the operations of training.

For y = w * x the backward pass is gx = D(g, w), gw = W(g, x), both linear in g and in the other operand. The
derivatives of S = <v, gx> + <v_w, gw> are then convolutions of the same kinds:

    S_g = w * v + v_w * x        S_x = D(g, v_w)        S_w = W(g, v)

torch computes S_w as a convolution of transposed tensors, with a kernel as large as the image, which no
library has a fast way for. Here D and W are those of the backward pass: with it a narrow ResNet-18 pays 3.5
plain steps for gradient and Hessian-vector product instead of 4.5, where the arithmetic says 3.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

Pair = tuple[int, ...] | list[int] | int


def conv2d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Pair = 1,
    padding: Pair | str = 0,
    dilation: Pair = 1,
    groups: int = 1,
) -> Tensor:
    """torch.conv2d with the second derivative above, on CPU and CUDA; value and first derivative are torch's.

    Under autocast for what autocast casts. torch's own where activations are checkpointed, as in `batchnorm`,
    for padding by name and for images without a batch.
    """
    operands = input, weight, bias
    if isinstance(padding, str) or not _serves(input, weight, bias):
        return torch.conv2d(*operands, stride, padding, dilation, groups)
    if torch.is_autocast_enabled(input.device.type):
        low = torch.get_autocast_dtype(input.device.type)
        operands = input.to(low), weight.to(low), None if bias is None else bias.to(low)
    found: Tensor = _Convolution.apply(*operands, (_pair(stride), _pair(padding), _pair(dilation)), groups)
    return found


def _serves(x: Tensor, weight: Tensor, bias: Tensor | None) -> bool:
    operands = [x, weight] if bias is None else [x, weight, bias]
    if torch._C._autograd._top_saved_tensors_default_hooks(True) is not None:  # as checkpointing sets
        return False
    if x.dim() != 4 or x.device.type not in ("cpu", "cuda") or any(v.device != x.device for v in operands):
        return False
    if torch.is_autocast_enabled(x.device.type):
        return all(v.is_floating_point() and v.dtype is not torch.float64 for v in operands)
    return x.is_floating_point() and all(v.dtype is x.dtype for v in operands)


def _pair(value: Pair) -> list[int]:
    return [value, value] if isinstance(value, int) else list(value) * (2 // len(value))


class _Convolution(torch.autograd.Function):
    """(x, w, bias, (stride, padding, dilation), groups) -> y."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, w: Tensor, bias: Tensor | None, shape: Any, groups: int) -> Tensor:
        ctx.save_for_backward(x, w)
        ctx.shape, ctx.groups = shape, groups
        return _convolved(x, w, bias, shape, groups)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        found = _Backward.apply(*grads, *ctx.saved_tensors, ctx.shape, ctx.groups, ctx.needs_input_grad[:3])
        return (*found, None, None)


class _Backward(torch.autograd.Function):
    """(g, x, w, (stride, padding, dilation), groups, which of the three are wanted) -> (gx, gw, g_bias)."""

    @staticmethod
    def forward(ctx: Any, g: Tensor, x: Tensor, w: Tensor, shape: Any, groups: int, wanted: Any) -> Any:
        ctx.save_for_backward(g, x, w)
        ctx.shape, ctx.groups = shape, groups
        ctx.set_materialize_grads(False)
        return _first(g, x, w, shape, groups, wanted)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, v: Tensor | None, v_w: Tensor | None, v_bias: Tensor | None) -> Any:
        g, x, w = ctx.saved_tensors
        rest = ctx.shape, ctx.groups
        _, x_wanted, w_wanted, *_ = ctx.needs_input_grad
        s_g = s_x = s_w = None
        if v_w is not None:
            s_g = _convolved(x, v_w, None, *rest)
            s_x = _first(g, x, v_w, *rest, (True, False, False))[0] if x_wanted else None
        if v is not None:
            across = _convolved(v, w, None, *rest)
            s_g = across if s_g is None else s_g.add_(across)
            s_w = _first(g, v, w, *rest, (False, True, False))[1] if w_wanted else None
        if v_bias is not None:
            s_g = (torch.zeros_like(g) if s_g is None else s_g).add_(v_bias.view(-1, 1, 1))
        return s_g, s_x, s_w, None, None, None


def _convolved(x: Tensor, w: Tensor, bias: Tensor | None, shape: Any, groups: int) -> Tensor:
    stride, padding, dilation = shape
    return torch.conv2d(x, w, bias, stride, padding, dilation, groups)


def _first(g: Tensor, x: Tensor, w: Tensor, shape: Any, groups: int, wanted: Any) -> Any:
    bias = [w.shape[0]] if wanted[2] else None
    return torch.ops.aten.convolution_backward(g, x, w, bias, *shape, False, [0, 0], groups, wanted)
