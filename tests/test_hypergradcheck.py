"""`al.hypergradcheck`: passes what is exact, fails what is not, and names the part."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from faithful_cases import EXACT, WRONG, Made, X, Y, case, detached, momentum, perceptron, sgd
from test_right_or_refused import ASYMMETRIC, CHANGED, REFUSED
from torch import nn
from torch.nn.functional import mse_loss

import adatune_lite as al


@pytest.mark.parametrize("name", EXACT)
def test_what_is_exact_passes(name: str) -> None:
    state, kind = torch.get_rng_state(), torch.get_default_dtype()
    found = al.hypergradcheck(EXACT[name])
    assert found.ok and max(x.error for x in found.numbers) <= 1e-6
    assert len(found.numbers) == (4 if name == "two groups" else 6)
    assert str(found).startswith("the hypergradient is right\n  Delta of RTHO")
    assert torch.equal(torch.get_rng_state(), state) and torch.get_default_dtype() is kind


@pytest.mark.parametrize("name", WRONG)
def test_what_no_step_can_see_fails_and_the_part_is_named(name: str) -> None:
    make, words = WRONG[name]
    with pytest.raises(al.HypergradcheckError, match=words) as caught:
        al.hypergradcheck(make)
    assert re.search(r"Delta of RTHO: \S+, by differences \S+, relative error \d", str(caught.value))
    found = al.hypergradcheck(make, raise_exception=False)
    assert not found.ok and str(found) == str(caught.value)
    assert max(x.error for x in found.numbers) > 1e-4


@pytest.mark.parametrize("name", [*CHANGED, *ASYMMETRIC])
def test_what_the_tuners_refuse_it_refuses(name: str) -> None:
    make = CHANGED[name][0] if name in CHANGED else ASYMMETRIC[name]
    with pytest.raises(REFUSED):
        al.hypergradcheck(make)


def test_a_memory_that_no_part_shows_is_found_by_elimination() -> None:
    """A teacher that moves once a step, by a hook that leaves the student alone."""

    def make() -> Made:
        optimizer, _, _ = made = case(lambda net, optimizer: nets.append(net))()
        net, teacher = nets.pop(), perceptron().requires_grad_(False)
        teacher.load_state_dict(net.state_dict())

        @torch.no_grad()
        def follow(*_: Any) -> None:
            for a, b in zip(teacher.parameters(), net.parameters(), strict=True):
                a.lerp_(b, 0.5)

        optimizer.register_step_post_hook(follow)
        return optimizer, lambda t: made[1](t) + mse_loss(net(X[t]), teacher(X[t])), made[2]

    nets: list[nn.Module] = []
    with pytest.raises(al.HypergradcheckError, match="remembered from step to step"):
        al.hypergradcheck(make)


def test_it_says_by_how_much_e_is_another_in_evaluation_mode() -> None:
    assert (
        "in the modes that outer_loss sets itself" in al.hypergradcheck(EXACT["batchnorm in evaluation"]).note
    )
    assert not al.hypergradcheck(EXACT["batchnorm"]).note


def test_clipping_is_a_part_of_the_step() -> None:
    for clip in ({"clip_grad_norm": 0.3}, {"clip_grad_value": 0.05}):
        assert len(al.hypergradcheck(case(optimizer=momentum), **clip).numbers) == 2
    with pytest.raises(ValueError, match="clip_grad_norm"):
        al.hypergradcheck(case(), clip_grad_norm=-1.0)


def counted(factor: Callable[[int], float]) -> Callable[[], Made]:
    """A make of which each call is a little different."""
    calls: list[None] = []

    def make() -> Made:
        calls.append(None)
        optimizer, train_loss, outer_loss = case()()
        now = factor(len(calls))
        return optimizer, train_loss, lambda: now * outer_loss()

    return make


def unseeded() -> Made:
    net = perceptron()
    return sgd(net.parameters()), lambda t: mse_loss(net(X[t]), Y[t]), lambda: mse_loss(net(X[8]), Y[8])


def drawing() -> Made:
    optimizer, train_loss, outer_loss = case()()
    return optimizer, lambda t: train_loss(next(BATCHES)), outer_loss


BATCHES = iter(range(10**6))


def single(network: bool, batch: bool) -> Callable[[], Made]:
    """Weights, or a batch, in float32."""

    def make() -> Made:
        torch.manual_seed(0)
        net = perceptron().to(torch.float32 if network else torch.float64)
        x = X.float() if batch else X

        def loss(k: int) -> torch.Tensor:
            return mse_loss(net(x[k]), Y[k].to(x.dtype))

        return sgd(net.parameters()), loss, partial(loss, 8)

    return make


def rounded_loss() -> Made:
    optimizer, train_loss, outer_loss = case()()
    return optimizer, lambda t: train_loss(t).float(), outer_loss


def infinite() -> Made:
    return case(optimizer=lambda weights: sgd(weights, lr=1e200))()


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (unseeded, r"torch\.manual_seed\(0\) as its first line"),
        (counted(lambda calls: 1.0 + 0.01 * calls), "outer_loss is .* and, where make is called again"),
        (drawing, r"train_loss\(0\) is .*let the batch of a step be a function of t"),
        (single(True, True), r"is torch\.float32, .*model = model\.double\(\)"),
        (single(False, True), r"train_loss\(0\) .*x = x\.double\(\)"),
        (rounded_loss, r"train_loss\(0\) is torch\.float32"),
        (infinite, "is (nan|inf): differences need a training that is finite"),
        (lambda: 3, "make must return"),
        (lambda: case()()[:2], "make must return"),
        (None, "make must be a function"),
    ],
)
def test_a_make_that_cannot_be_checked_is_refused(make: Any, words: str) -> None:
    before = torch.get_default_dtype()
    with pytest.raises(ValueError, match=words):
        al.hypergradcheck(make)
    assert torch.get_default_dtype() is before


@pytest.mark.parametrize("options", [{"steps": 0}, {"steps": 2.5}, {"mu": 1.1}, {"mu": "x"}, {"rtol": -1.0}])
def test_arguments_out_of_range_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(options))):
        al.hypergradcheck(case(), **options)


def test_other_lengths_and_discounts() -> None:
    for steps in (1, 2, 7):
        assert al.hypergradcheck(case(), steps, mu=0.5).ok
    with pytest.raises(al.HypergradcheckError):
        al.hypergradcheck(case(loss=detached), 2, mu=0.0)


def test_default_type_of_tensors_made_in_it_is_float64() -> None:
    def make() -> Made:
        torch.manual_seed(0)
        net = nn.Linear(4, 2)  # no .double()
        x, y = torch.randn(5, 3, 4), torch.randn(5, 3, 2)
        return (
            sgd(net.parameters()),
            lambda t: mse_loss(net(x[t]), y[t]),
            lambda: mse_loss(net(x[4]), y[4]),
        )

    assert al.hypergradcheck(make).ok


def test_a_rate_of_0_and_a_small_one() -> None:
    for lr in (0.0, 1e-6):
        assert al.hypergradcheck(case(optimizer=partial(sgd, lr=lr))).ok
        with pytest.raises(al.HypergradcheckError):
            al.hypergradcheck(case(loss=detached, optimizer=partial(sgd, lr=lr)))
