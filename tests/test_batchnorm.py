"""BatchNorm's fast second derivative against torch's own."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

import adatune_lite as al
from adatune_lite.engine.fast import FastSecondDerivatives


def second(fast: bool, shape: tuple[int, ...], dtype: torch.dtype) -> list[Tensor]:
    """Values, buffers, gradient and product of a loss that bends in all it takes, one gamma being zero."""
    generator = torch.Generator().manual_seed(0)

    def draw(*size: int) -> Tensor:
        return torch.randn(*size, generator=generator, dtype=torch.float64).to(dtype)

    norm = (nn.BatchNorm1d if len(shape) < 4 else nn.BatchNorm2d)(shape[1]).to(dtype)
    x, scale = (draw(*shape) * 2 + 1).requires_grad_(), draw(*shape)
    with torch.no_grad():
        norm.weight.copy_(draw(shape[1])).index_fill_(0, torch.tensor([0]), 0.0)
        norm.bias.copy_(draw(shape[1]))
    leaves = [x, norm.weight, norm.bias]
    with FastSecondDerivatives() if fast else torch.enable_grad():
        y = norm(x)
    assert ("_BatchNormBackward" in str(y.grad_fn)) == fast
    loss = (torch.tanh(y) * scale + y**3 * 0.1).sum()
    grads = torch.autograd.grad(loss, leaves, create_graph=True)
    direction = [draw(*p.shape) for p in leaves]
    products = torch.autograd.grad(grads, leaves, direction)
    return [y.detach(), *norm.buffers(), *(g.detach() for g in grads), *products]


@pytest.mark.parametrize("shape", [(8, 3), (5, 3, 4), (4, 3, 2, 5)], ids=str)
def test_equals_torchs_own(shape: tuple[int, ...]) -> None:
    """Values, buffers and first derivative digit for digit, the product to rounding."""
    for dtype, bound in ((torch.float64, 1e-12), (torch.float32, 1e-4)):
        ours, theirs = second(True, shape, dtype), second(False, shape, dtype)
        assert all(torch.equal(a, b) for a, b in zip(ours[:-3], theirs[:-3], strict=True))
        for a, b in zip(ours[-3:], theirs[-3:], strict=True):
            torch.testing.assert_close(a, b, rtol=bound, atol=bound * float(b.abs().max()))


def test_leaves_other_statistics_and_types_to_torch() -> None:
    x = torch.randn(4, 3, requires_grad=True)
    for norm in (nn.BatchNorm1d(3).eval(), nn.BatchNorm1d(3, affine=False)):
        with FastSecondDerivatives():
            assert "NativeBatchNorm" in str(norm(x).grad_fn)
    norm = nn.BatchNorm1d(3)
    with FastSecondDerivatives():
        assert norm(x.bfloat16()).dtype is torch.bfloat16


def test_checkpointed_activations_change_no_digit() -> None:
    """torch recomputes them outside the block, where our BatchNorm is not at hand."""
    x = torch.randn(6, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)

    def delta(through: Callable[..., Tensor]) -> float:
        torch.manual_seed(0)
        net = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Tanh(), nn.Linear(4, 1)).double()
        tuner = al.RTHO(torch.optim.SGD(net.parameters(), lr=0.1), 0.0)
        for _ in range(3):
            tuner.step(lambda: through(net, x).square().mean(), lambda: through(net, -x).square().mean())
        return tuner.hypergradient

    plain = delta(lambda net, x: net(x))
    kept = delta(lambda net, x: checkpoint(net, x, use_reentrant=False))
    part = delta(lambda net, x: checkpoint(net[1:], net[0](x), use_reentrant=False))
    assert kept == part == pytest.approx(plain, rel=1e-12)
    with pytest.raises(al.LossError, match="use_reentrant=False"):
        delta(lambda net, x: checkpoint(net[1:], net[0](x), use_reentrant=True))
    with pytest.raises(al.LossError, match="use_reentrant=False"):
        delta(lambda net, x: checkpoint(net, x.clone().requires_grad_(), use_reentrant=True))


def test_refuses_a_third_derivative() -> None:
    """A loss with a gradient in it needs one for its product; torch's own BatchNorm has none either."""
    net, x = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3)), torch.randn(4, 3)

    def penalised() -> Tensor:
        loss = net(x).pow(3).sum()
        (g,) = torch.autograd.grad(loss, net[0].weight, create_graph=True)
        return loss + g.pow(2).sum()

    tuner = al.RTHO(torch.optim.SGD(net.parameters(), lr=0.1), 0.0)
    with pytest.raises(al.LossError, match="no second derivative"):
        tuner.step(penalised, lambda: net(x).sum())


def test_tuners_use_it(monkeypatch: Any) -> None:
    torch.manual_seed(0)
    x, y = torch.randn(2, 8, 3, dtype=torch.float64)
    start = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Tanh(), nn.Linear(4, 3)).double()

    def run() -> tuple[float, int]:
        net = copy.deepcopy(start)
        tuner = al.RTHO(torch.optim.SGD(net.parameters(), lr=0.1), 0.0)
        for _ in range(4):
            tuner.step(lambda: nn.functional.mse_loss(net(x), y), lambda: nn.functional.mse_loss(net(y), x))
        return tuner.hypergradient, int(net[1].num_batches_tracked)

    calls = []
    fast = torch.ops.aten.native_batch_norm_backward
    monkeypatch.setattr(
        "adatune_lite.engine.batchnorm._first",
        lambda *a: calls.append(1) or fast(*a[:3], None, None, *a[3:5], True, a[5], [True, True, True]),
    )
    ours = run()
    # in each step a backward pass and, in the product, its derivative and another; one product more is tested
    assert len(calls) == 4 * 3 + 2
    monkeypatch.setattr("adatune_lite.engine.batchnorm._serves", lambda *a, **k: False)
    theirs = run()
    assert len(calls) == 14
    assert ours == (pytest.approx(theirs[0], rel=1e-10), theirs[1])
