"""Convolution's fast second derivative against torch's own."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

import adatune_lite as al
from adatune_lite.engine import fast
from adatune_lite.engine.fast import FastSecondDerivatives
from adatune_lite.tasks.models import build

KINDS: dict[str, dict[str, Any]] = {
    "3x3": {"kernel_size": 3, "padding": 1},
    "strided": {"kernel_size": 3, "padding": 1, "stride": 2},
    "strided 1x1": {"kernel_size": 1, "stride": 2, "bias": False},
    "uneven": {"kernel_size": (2, 3), "padding": (1, 0), "stride": (1, 2), "dilation": (2, 1)},
    "groups": {"kernel_size": 3, "groups": 2, "bias": False},
}


def made(quick: bool, net: nn.Conv2d, x: Tensor, autocast: bool = False) -> tuple[list[Tensor], list[Tensor]]:
    """(value and gradients, products) of a loss that bends in all it takes."""
    generator = torch.Generator().manual_seed(1)
    leaves = [v for v in (x, *net.parameters()) if v.requires_grad]
    with FastSecondDerivatives() if quick else nullcontext(), torch.autocast("cpu", enabled=autocast):
        y = net(x)
    assert ("_ConvolutionBackward" in str(y.grad_fn)) == quick
    loss = (torch.tanh(y.to(x.dtype)) * torch.rand(y.shape, generator=generator)).sum()
    loss = loss + sum(v.pow(3).sum() for v in leaves)
    grads = torch.autograd.grad(loss, leaves, create_graph=True)
    direction = [torch.rand(v.shape, generator=generator).to(v.dtype) for v in leaves]
    return [y.detach(), *(g.detach() for g in grads)], list(torch.autograd.grad(grads, leaves, direction))


def case(kind: str, dtype: torch.dtype = torch.float64) -> tuple[nn.Conv2d, Tensor]:
    torch.manual_seed(0)
    return nn.Conv2d(4, 6, **KINDS[kind]).to(dtype), torch.randn(3, 4, 7, 8, dtype=dtype)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last], ids=str)
@pytest.mark.parametrize("kind", KINDS)
def test_equals_torchs_own(kind: str, layout: torch.memory_format) -> None:
    """Value and first derivative digit for digit, the product to rounding."""
    for dtype, bound in ((torch.float64, 1e-12), (torch.float32, 1e-4)):
        net, x = case(kind, dtype)
        # oneDNN writes past its memory in thin strided 1x1 convolutions of float32 in channels_last
        net, x = (v if kind == "strided 1x1" else v.to(memory_format=layout) for v in (net, x))
        ours, theirs = (made(quick, net, x.requires_grad_()) for quick in (True, False))
        assert all(torch.equal(a, b) for a, b in zip(ours[0], theirs[0], strict=True))
        for a, b in zip(ours[1], theirs[1], strict=True):
            torch.testing.assert_close(a, b, rtol=bound, atol=bound * float(b.abs().max()))


@pytest.mark.parametrize("kind", KINDS)
def test_product_is_the_derivative_of_the_gradient(kind: str) -> None:
    """By central differences, in every direction alone: also where only one of the operands moves."""
    net, x = case(kind)
    x = x[:1, :, :4, :5].contiguous()
    with FastSecondDerivatives():
        torch.autograd.gradgradcheck(net, x.requires_grad_())
        function = partial(torch.func.functional_call, net)
        names, values = zip(*net.named_parameters(), strict=True)
        torch.autograd.gradgradcheck(
            lambda *w: function(dict(zip(names, w, strict=True)), (x.detach(),)).tanh(), values
        )


@pytest.mark.parametrize("frozen", ["weight", "bias", "images"])
def test_operands_without_gradient(frozen: str) -> None:
    net, x = case("3x3")
    x.requires_grad_(frozen != "images")
    for name in {"weight", "bias"} & {frozen}:
        getattr(net, name).requires_grad_(False)
    ours, theirs = (made(quick, net, x) for quick in (True, False))
    for a, b in zip([*ours[0], *ours[1]], [*theirs[0], *theirs[1]], strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)


def test_autocast_casts_as_ever() -> None:
    net, x = case("strided", torch.float32)
    ours, theirs = (made(quick, net, x.requires_grad_(), autocast=True) for quick in (True, False))
    assert ours[0][0].dtype is torch.bfloat16
    assert all(torch.equal(a, b) for a, b in zip(ours[0], theirs[0], strict=True))
    for a, b in zip(ours[1], theirs[1], strict=True):
        assert a.dtype is torch.float32
        torch.testing.assert_close(a, b, rtol=0.02, atol=0.02 * float(b.abs().max()))


def test_leaves_the_rest_to_torch() -> None:
    """Padding by name, images without a batch, types that differ (which torch refuses)."""
    x = torch.randn(2, 3, 5, 5)
    with FastSecondDerivatives():
        assert "_Convolution" not in str(nn.Conv2d(3, 2, 3, padding="same")(x).grad_fn)
        assert nn.Conv2d(3, 2, 3)(x[0]).shape == (2, 3, 3)
        with pytest.raises(RuntimeError, match="type"):
            nn.Conv2d(3, 2, 3)(x.double())


def hypergradient(through: Callable[[nn.Module, Tensor], Tensor] = lambda net, x: net(x)) -> float:
    net = build("resnet18", seed=0, width=0.03).double()
    x, y = torch.randn(4, 3, 32, 32, dtype=torch.float64), torch.arange(4)
    tuner = al.RTHO(torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9), 0.0)
    for _ in range(3):
        tuner.step(
            lambda: nn.functional.cross_entropy(through(net, x), y),
            lambda: nn.functional.cross_entropy(through(net, -x), y),
        )
    return tuner.hypergradient


def test_tuners_use_it(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    monkeypatch.setitem(fast.FAST, torch.conv2d, lambda *a, f=fast.conv2d: calls.append(1) or f(*a))
    torch.manual_seed(0)
    ours = hypergradient()
    assert len(calls) == 3 * 20, "the convolutions of ResNet-18, in the training loss of each step"
    monkeypatch.delitem(fast.FAST, torch.conv2d)
    torch.manual_seed(0)
    assert ours == pytest.approx(hypergradient(), rel=1e-9)


def test_checkpointed_activations_change_no_digit() -> None:
    """torch recomputes them outside the block, where our convolution is not at hand."""
    torch.manual_seed(0)
    plain = hypergradient()
    torch.manual_seed(0)
    kept = hypergradient(lambda net, x: checkpoint(net, x, use_reentrant=False))
    assert kept == pytest.approx(plain, rel=1e-9)
