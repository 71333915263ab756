"""Gradient and Hessian-vector product against the full Hessian, and their refusals."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from oracles import Task, close
from torch import Tensor

from adatune_lite.engine.curvature import (
    LossError,
    check_scalar,
    check_second_derivative,
    dot,
    gradient,
    product,
)


class Once(torch.autograd.Function):
    """x^2 whose author forbade a second derivative."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x * x

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, g: Tensor) -> Tensor:
        return 2 * g * ctx.saved_tensors[0]


def test_product_equals_the_full_hessian() -> None:
    task = Task()
    w = task.weights()
    shapes = [x.shape for x in w]
    sizes = [x.numel() for x in w]

    def flat_loss(flat: Tensor) -> Tensor:
        parts = [p.view(s) for p, s in zip(flat.split(sizes), shapes, strict=True)]
        return task.train(parts, 0)

    flat = torch.cat([x.detach().view(-1) for x in w])
    hessian = torch.autograd.functional.hessian(flat_loss, flat)
    v = torch.randn(len(flat), generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    direction = [p.view(s) for p, s in zip(v.split(sizes), shapes, strict=True)]
    grads = gradient(task.train(w, 0), w, create_graph=True)
    found = product([g for g in grads if g is not None], w, direction)
    close(torch.cat([x.reshape(-1) for x in found]), hessian @ v, rtol=1e-11)


def test_product_is_zero_for_a_linear_loss_and_for_linear_weights() -> None:
    a, b = (torch.randn(3, dtype=torch.float64, requires_grad=True) for _ in range(2))
    ones = [torch.ones_like(a), torch.ones_like(b)]
    for loss, expected in (((2 * a + b).sum(), torch.zeros(3)), ((a**2 + b).sum(), 2 * torch.ones(3))):
        grads = [g for g in gradient(loss, [a, b], create_graph=True) if g is not None]
        found = product(grads, [a, b], ones)
        assert torch.equal(found[0], expected.double())
        assert torch.equal(found[1], torch.zeros(3, dtype=torch.float64))


def test_gradient_marks_unused_weights() -> None:
    a, b = torch.ones(2, requires_grad=True), torch.ones(3, requires_grad=True)
    found = gradient((a**2).sum(), [a, b])
    assert found[1] is None
    assert torch.equal(found[0], torch.tensor([2.0, 2.0]))
    with pytest.raises(LossError, match="train_loss does not depend on any of the weights"):
        gradient((a**2).sum(), [b], what="train_loss")


def test_a_loss_that_went_backward_already_is_refused() -> None:
    a = torch.ones(2, requires_grad=True)
    loss = (a**2).sum()
    loss.backward()
    with pytest.raises(LossError, match=r"must not call backward\(\)"):
        gradient(loss, [a])


@pytest.mark.parametrize(
    "loss",
    [
        lambda a: Once.apply(a).sum(),
        lambda a: (Once.apply(a) ** 2).sum(),
        lambda a: (Once.apply(a) + a**3).sum(),
    ],
    ids=["constant", "nonlinear", "mixed"],
)
def test_missing_second_derivative_is_noticed(loss: Any) -> None:
    """autograd itself returns a product without the function's part here, silently."""
    a = torch.ones(2, requires_grad=True)
    grads = gradient(loss(a), [a], create_graph=True)
    with pytest.raises(LossError, match="no second derivative"):
        check_second_derivative(grads)


def test_check_scalar() -> None:
    w = torch.ones(2, requires_grad=True)
    assert check_scalar((w**2).sum().reshape(1), "loss").shape == ()
    for bad, words in (
        (w**2, r"shape \(2,\)"),
        (None, "NoneType"),
        (1.0, "float"),
        (torch.tensor(1), "scalar floating-point"),
        (torch.tensor(1.0), "does not depend on the weights"),
    ):
        with pytest.raises(LossError, match=words):
            check_scalar(bad, "outer_loss")


def test_sparse_gradients_are_refused_where_they_are_of_no_use() -> None:
    a = torch.ones(3, 2, requires_grad=True)

    def loss() -> Tensor:
        return torch.nn.functional.embedding(torch.tensor([0, 2]), a, sparse=True).square().sum()

    for graph in (False, True):
        with pytest.raises(LossError, match="outer_loss has a sparse gradient: set sparse=False"):
            gradient(loss(), [a], create_graph=graph, what="outer_loss")
    found = gradient(loss(), [a], sparse=True)
    assert found[0] is not None
    assert found[0].is_sparse
    with pytest.raises(LossError, match="train_loss has a sparse gradient"):
        dot([found[0]], [a])


def test_dot() -> None:
    a = [torch.tensor([1.0, 2.0]), torch.tensor([[3.0]])]
    assert float(dot(a, a)) == 14.0
