"""The largest Hessian eigenvalue against closed forms and the full Hessian; its cost and its refusals."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import pytest
import torch
from oracles import Task
from test_curvature import Once
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

import adatune_lite as al
from adatune_lite.engine.eigenvalue import NoEigenvalue, TopEigenvalue, top_eigenvalue


def leaf(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64, requires_grad=True)


def full_hessian(loss: Any, weights: list[Tensor]) -> Tensor:
    """[P, P] by plain autograd, row by row."""
    grads = torch.autograd.grad(loss(), weights, create_graph=True)
    flat = torch.cat([g.reshape(-1) for g in grads])
    rows = [torch.autograd.grad(g, weights, retain_graph=True, materialize_grads=True) for g in flat]
    return torch.stack([torch.cat([x.reshape(-1) for x in row]) for row in rows])


@pytest.mark.parametrize(
    ("curvatures", "expected"),
    [((3.0, 0.5, 1.0, -2.0), 3.0), ((1.0, -7.0, 0.25, 0.5), 1.0), ((-1.0, -4.0, -3.0), -1.0)],
    ids=["positive", "the largest in size is negative", "all negative"],
)
def test_quadratic(curvatures: tuple[float, ...], expected: float) -> None:
    """sum of c_i w_i^2 / 2 in two chunks of 1 and 3 images, of which the first is 4 times as steep."""
    w, c = leaf(*[0.3] * len(curvatures)), torch.tensor(curvatures, dtype=torch.float64)
    losses = [lambda: 2 * (c * w**2).sum(), lambda: 0 * w.sum()]
    found = top_eigenvalue(losses, [w], [1, 3], tolerance=1e-10)
    assert found.value == pytest.approx(expected, abs=1e-8)
    assert found.residual < 1e-8
    assert found.images == 4


@pytest.mark.parametrize("seed", [0, 1])
def test_equals_the_full_hessian(seed: int) -> None:
    task = Task(seed=seed)
    w = task.weights()
    values = torch.linalg.eigvalsh(full_hessian(lambda: task.train(w, 0), w))
    found = top_eigenvalue([lambda: task.train(w, 0)], w, [6], tolerance=1e-12)
    assert float(values[0]) < 0 < float(values[-1])
    assert found.value == pytest.approx(float(values[-1]), rel=1e-8)
    assert found.residual < 1e-8
    assert all(torch.equal(x, y) and x.grad is None for x, y in zip(w, task.start, strict=True))


class Network:
    """A network with BatchNorm in training mode, whose running statistics are not those of its images."""

    def __init__(self, dtype: torch.dtype = torch.float64) -> None:
        torch.manual_seed(0)
        layers = (nn.Linear(4, 5), nn.BatchNorm1d(5), nn.Tanh(), nn.Linear(5, 3))
        self.net = nn.Sequential(*layers).to(dtype)
        self.net(torch.randn(20, 4).to(dtype) * 2 + 1)
        self.x, self.y = torch.randn(12, 4).to(dtype), torch.randint(3, (12,))
        self.weights = list(self.net.parameters())

    def loss(self, begin: int = 0, end: int = 12) -> Tensor:
        return cross_entropy(self.net(self.x[begin:end]), self.y[begin:end])

    def find(self, cuts: tuple[int, ...] = (0, 12), **options: Any) -> TopEigenvalue:
        chunks = list(pairwise(cuts))
        losses = [lambda c=c: self.loss(*c) for c in chunks]
        return top_eigenvalue(losses, self.weights, [end - begin for begin, end in chunks], **options)


def test_chunks_are_weighted_and_batchnorm_is_in_evaluation_mode() -> None:
    """Chunks of 7, 4 and 1 images: with statistics of their own the last would have no spread at all."""
    network = Network()
    before = {k: v.clone() for k, v in network.net.state_dict().items()}
    network.net.eval()
    expected = float(torch.linalg.eigvalsh(full_hessian(network.loss, network.weights))[-1])
    network.net.train()
    for cuts in ((0, 12), (0, 7, 11, 12)):
        found = network.find(cuts, tolerance=1e-11)
        assert found.value == pytest.approx(expected, rel=1e-8)
        assert found.images == 12
    assert network.net.training and network.net[1].training
    assert all(torch.equal(v, before[k]) for k, v in network.net.state_dict().items())


def test_products_are_counted() -> None:
    network, calls = Network(), []
    inner = network.loss
    network.loss = lambda *chunk: calls.append(chunk) or inner(*chunk)
    found = network.find((0, 6, 12))
    assert found.products == calls.count((0, 6)) == calls.count((6, 12))
    assert 3 < found.products < 60


@pytest.mark.parametrize("tolerance", [1e-2, 1e-4, 1e-8])
def test_tolerance_is_reached_and_no_more(tolerance: float) -> None:
    """Eigenvalues 1/400, 2/400 ... 1 lie so close that the search restarts."""
    c = torch.linspace(0.0, 1.0, 401, dtype=torch.float64)[1:]
    w = leaf(*[0.1] * 400)
    found = top_eigenvalue([lambda: (c * w**2).sum() / 2], [w], [1], tolerance=tolerance)
    assert 1e-4 * tolerance < found.residual <= tolerance
    assert found.value == pytest.approx(1.0, abs=10 * tolerance)
    assert 10 < found.products < 500


def test_same_digits_twice_and_float32_is_near() -> None:
    one, other, single = Network().find(), Network().find(), Network(torch.float32).find()
    assert one == other
    assert single.value == pytest.approx(one.value, rel=1e-3)
    assert Network().find(seed=3).value == pytest.approx(one.value, rel=1e-3)


def test_one_weight_no_curvature_and_unused_weights() -> None:
    w, unused = leaf(2.0), leaf(1.0, 1.0)
    assert top_eigenvalue([lambda: (w**3).sum()], [w], [1]).value == pytest.approx(12.0)
    assert top_eigenvalue([lambda: unused.sum()], [unused], [1]) == TopEigenvalue(0.0, 0.0, 3, 1)
    found = top_eigenvalue([lambda: (w**3).sum()], [w, unused], [1])
    assert found.value == pytest.approx(12.0)


def test_search_that_fails_says_so() -> None:
    network = Network()
    with pytest.raises(NoEigenvalue, match="2 products did not reach the tolerance: allow more"):
        network.find(most_products=2)
    with pytest.raises(NoEigenvalue, match="not finite"):
        top_eigenvalue([lambda: network.loss() * math.inf], network.weights, [12])


def test_losses_that_cannot_be_used() -> None:
    network = Network()
    drop = nn.Dropout(0.5)
    wrong = {
        r"losses\[0\] gave .* and then .* at the same weights; the usual cause is dropout": lambda: drop(
            network.net(network.x)
        ).mean(),
        r"losses\[0\] must return a scalar": lambda: network.net(network.x),
        r"losses\[0\] must be a function": network.loss(),
        r"losses\[0\] does not depend on any of the weights": lambda: leaf(1.0).sum(),
        "no second derivative": lambda: Once.apply(network.net(network.x)).mean(),
    }
    for words, loss in wrong.items():
        with pytest.raises(al.LossError, match=words):
            top_eigenvalue([loss], network.weights, [12])


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"losses": []}, "as many, and at least one: 0 losses, 1 images"),
        ({"images": [6, 6]}, "as many, and at least one: 1 losses, 2 images"),
        ({"images": [0]}, "whole number of at least 1, not 0"),
        ({"images": [2.0]}, "whole number of at least 1, not 2.0"),
        ({"weights": []}, "weights must be"),
        ({"weights": [torch.zeros(2)]}, "weights must be"),
        ({"tolerance": 0.0}, "tolerance must be a finite number above 0, not 0.0"),
        ({"tolerance": math.nan}, "tolerance must be"),
        ({"most_products": 1}, "most_products must be a whole number of at least 2, not 1"),
    ],
)
def test_bad_arguments(options: dict[str, Any], words: str) -> None:
    w = leaf(1.0, 2.0)
    arguments: dict[str, Any] = {"losses": [lambda: (w**2).sum()], "weights": [w], "images": [1]}
    with pytest.raises(ValueError, match=words):
        top_eigenvalue(**{**arguments, **options})
