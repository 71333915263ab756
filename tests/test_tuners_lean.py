"""Cheaper products: of a part of the batch, and at every k-th step."""

from __future__ import annotations

import itertools
import math
from typing import Any

import pytest
import torch
from oracles import BY_NAME, Setting, Task, Unrolled, close, tangents
from torch import Tensor, nn
from torch.nn.functional import mse_loss

import adatune_lite as al

NAMES = ["sgd", "nesterov_decay", "adam_decay", "adamw", "rmsprop_all"]
names = pytest.mark.parametrize("name", NAMES)
T = 7


def part(task: Task, w: list[Tensor], t: int, rows: slice | list[int]) -> Tensor:
    """The training loss of some of the six examples of step t."""
    out = torch.tanh(task.x[t][rows] @ w[0] + w[1]) @ w[2] + w[3]
    return ((out - task.y[t][rows]) ** 2).mean()


class Lean(Unrolled):
    """Plain autograd through the loop, in which the gradient g(w) has the derivative of another one."""

    def step(self, rate: float, **tuned: float) -> None:
        exact, source = self.task.train, self.source(len(self.used))

        def surrogate(w: list[Tensor], t: int) -> Tensor:
            """Its gradient at w has the value of the batch's and the Hessian of `source`."""
            at = [x.detach().requires_grad_() for x in w]
            value = torch.autograd.grad(exact(at, t), at)
            if source is None:
                return sum((g * x).sum() for g, x in zip(value, w, strict=True))  # type: ignore[return-value]
            other = torch.autograd.grad(source(at), at)
            return source(w) + sum(((g - o) * x).sum() for g, o, x in zip(value, other, w, strict=True))  # type: ignore[return-value]

        self.task.train = surrogate  # type: ignore[method-assign]
        try:
            super().step(rate, **tuned)
        finally:
            self.task.train = exact  # type: ignore[method-assign]

    def source(self, t: int) -> Any:
        raise NotImplementedError


class EveryThird(Lean):
    def source(self, t: int) -> Any:
        return (lambda w: part(self.task, w, t, slice(None))) if t % 3 == 0 else None


class TwoOfSix(Lean):
    def source(self, t: int) -> Any:
        return lambda w: part(self.task, w, t, slice(0, 2))


def compare(setting: Setting, twin: type[Lean], partial: bool, **options: Any) -> al.MARTHE:
    """Delta of each step, of the rate and the weight decay, against the twin."""
    task, w = Task(), Task().weights()
    loop = twin(Task(), setting)
    other = "weight_decay"
    tuner = al.MARTHE(setting.optimizer(w), 0.9, 0.0, tune=("lr", other), **options)
    for t in range(T):
        train = lambda t=t: task.train(w, t)  # noqa: E731
        few = lambda t=t: part(task, w, t, slice(0, 2))  # noqa: E731
        tuner.step(al.PartialProduct(train, few, 1 / 3) if partial else train, lambda: task.outer(w))
        loop.step(setting.lr, **{other: setting.values[other]})
        close(tuner.hypergradients[0, "lr"], loop.discounted(0.9))
        close(tuner.hypergradients[0, other], loop.discounted(0.9, other), atol=1e-12)
    for ours, theirs in zip(w, loop.w, strict=True):
        close(ours.detach(), theirs.detach())
    return tuner


@names
def test_product_at_every_third_step_equals_autograd_with_the_gradient_held(name: str) -> None:
    tuner = compare(BY_NAME[name], EveryThird, partial=False, product_every=3)
    assert tuner.products == 1 + 2 * 2  # the first step asks for one, steps 3 and 6 for two


@names
def test_product_of_a_part_equals_autograd_with_the_hessian_of_that_part(name: str) -> None:
    tuner = compare(BY_NAME[name], TwoOfSix, partial=True)
    close(tuner.products, (1 + 0.5) / 3 + (T - 1) * (2 + 0.5) / 3)


@pytest.mark.parametrize("clip", [{}, {"clip_grad_norm": 0.5}], ids=str)
@names
def test_the_whole_batch_at_every_step_is_the_plain_tuner_bit_for_bit(
    name: str, clip: dict[str, Any]
) -> None:
    def run(partial: bool, **options: Any) -> tuple[list[Any], float]:
        task, w = Task(), Task().weights()
        tuner = al.RTHO(BY_NAME[name].optimizer(w), 1e-4, **clip, **options)
        digits: list[Any] = []
        for t in range(T):
            train = lambda t=t: task.train(w, t)  # noqa: E731
            tuner.step(al.PartialProduct(train, train, 1) if partial else train, lambda: task.outer(w))
            digits += [tuner.lr, tuner.hypergradient]
        return [*digits, *(x.tolist() for x in (*w, *tangents(tuner)))], tuner.products

    plain, cost = run(partial=False)
    assert run(partial=False, product_every=1) == (plain, cost)
    assert run(partial=True) == (plain, 1.5 * cost)


@pytest.mark.parametrize("name", ["sgd", "momentum", "adam"])
def test_a_part_of_the_batch_is_unbiased(name: str) -> None:
    """Z after a product, averaged over all twenty halves of a batch of six, is Z of the whole batch."""

    def z(rows: list[int]) -> list[Tensor]:
        task, w = Task(), Task().weights()
        tuner = al.RTHO(BY_NAME[name].optimizer(w), 0.0)
        for t in (0, 1):
            train, few = (lambda t=t: task.train(w, t)), (lambda t=t: part(task, w, t, rows))
            tuner.step(train if t == 0 else al.PartialProduct(train, few, 0.5), lambda: task.outer(w))
        return tangents(tuner)

    halves = [z(list(rows)) for rows in itertools.combinations(range(6), 3)]
    for whole, *parts in zip(z(list(range(6))), *halves, strict=True):
        close(torch.stack(parts).mean(0), whole, rtol=1e-12, atol=1e-14)
        assert float((parts[0] - whole).abs().max()) > 1e-6 or not whole.any()


def test_state_carries_the_place_between_two_products() -> None:
    def run(breaks: int) -> tuple[Any, float]:
        task, w = Task(), Task().weights()
        make = lambda: al.MARTHE(BY_NAME["sgd"].optimizer(w), 0.9, 1e-3, product_every=3)  # noqa: E731
        tuner = make()
        for t in range(8):
            if t == breaks:
                state, tuner = tuner.state_dict(), make()
                tuner.load_state_dict(state)
            tuner.step(lambda t=t: task.train(w, t), lambda: task.outer(w))
        return [x.tolist() for x in w], tuner.products

    whole = run(-1)
    assert [run(t) for t in (1, 4, 6)] == [whole] * 3
    assert whole[1] == 1 + 2


def test_a_part_counts_in_a_list_and_is_the_plain_loss_elsewhere() -> None:
    """One half of an accumulated batch gives whole products, the other a third of its examples."""
    task, w = Task(), Task().weights()
    tuner = al.MARTHE(BY_NAME["sgd"].optimizer(w), 0.9, 0.0)
    train = lambda: task.train(w, 0)  # noqa: E731
    few = al.PartialProduct(train, lambda: part(task, w, 0, [0, 1]), 1 / 3)
    for _ in range(2):
        tuner.step([train, few], lambda: task.outer(w))
    close(tuner.products, 2 * (1 + 1.5 / 3) / 2)
    hd = al.HD(BY_NAME["sgd"].optimizer(w), 0.0)
    before = float(train().detach())
    assert float(hd.step(few)) == before
    assert hd.products == 0


def test_a_part_leaves_batchnorm_buffers_to_the_batch() -> None:
    torch.manual_seed(0)
    x, y = torch.randn(2, 6, 3)
    nets = [nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3)) for _ in range(2)]
    nets[1].load_state_dict(nets[0].state_dict())
    for net, partial in zip(nets, (True, False), strict=True):
        tuner = al.MARTHE(torch.optim.SGD(net.parameters(), lr=0.1), 0.9, 0.0)
        for _ in range(3):
            whole = lambda net=net: mse_loss(net(x), y)  # noqa: E731
            few = lambda net=net: mse_loss(net(x[:3]), y[:3])  # noqa: E731
            tuner.step(al.PartialProduct(whole, few, 0.5) if partial else whole, whole)
    for a, b in zip(nets[0].state_dict().values(), nets[1].state_dict().values(), strict=True):
        assert torch.equal(a, b)


def test_a_part_may_leave_out_weights() -> None:
    """Its Hessian is then 0 there; a weight that the batch leaves out keeps its Z."""
    w = [torch.ones(2, dtype=torch.float64, requires_grad=True) for _ in range(3)]
    tuner = al.RTHO(torch.optim.SGD(w, lr=0.1), 0.0, clip_grad_norm=0.5)
    loss = al.PartialProduct(lambda: (w[0] * w[1]).square().sum(), lambda: (w[1] * w[2]).square().sum(), 1.0)
    for _ in range(3):
        tuner.step(loss, lambda: (w[0] + w[1] + w[2]).sum())
    assert math.isfinite(tuner.hypergradient)
    assert not tangents(tuner)[2].any()


@pytest.mark.parametrize("value", [0, 1.5, True])
def test_refuses_product_every(value: Any) -> None:
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.1)
    with pytest.raises(ValueError, match="product_every must be a whole number of at least 1"):
        al.MARTHE(optimizer, 0.9, product_every=value)
    with pytest.raises(ValueError, match="product_every has no use with mu = 0"):
        al.HD(optimizer, product_every=2)


def test_refuses_bad_parts() -> None:
    w = [torch.ones(1, requires_grad=True)]
    loss = lambda: w[0].square().sum()  # noqa: E731
    for fraction in (0, -0.5, 1.5, "a half", math.nan):
        with pytest.raises(ValueError, match=r"fraction must be above 0 and at most 1"):
            al.PartialProduct(loss, loss, fraction)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="product_loss of PartialProduct must be a function"):
        al.PartialProduct(loss, loss(), 0.5)  # type: ignore[arg-type]
    for bad, words in (
        (lambda: torch.zeros(1), "product_loss does not depend on the weights"),
        (lambda: w[0] * torch.ones(2), "product_loss must return a scalar"),
        (lambda: w[0].detach().add_(1) * 0 + w[0], "product_loss changed the weights"),
    ):
        tuner = al.RTHO(torch.optim.SGD(w, lr=0.1), 0.0)
        with pytest.raises(al.LossError, match=words):
            tuner.step(al.PartialProduct(loss, bad, 0.5), loss)
        assert w[0].item() == 1
