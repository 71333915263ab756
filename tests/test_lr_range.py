"""The range test: its readings, where it stops, and that it leaves no trace."""

from __future__ import annotations

import copy
import math
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt
import pytest
import torch
from torch import Tensor, nn

import adatune_lite as al
from adatune_lite.tuning.lr_range import LRRange

mpl.use("Agg")


def test_losses_are_those_of_training_at_growing_rates() -> None:
    """L = w^2 / 2 under gradient descent: w <- (1 - lr) w, smoothed by the formula, until it explodes."""
    w = torch.ones(1, dtype=torch.float64, requires_grad=True)
    found = al.lr_range_test(
        torch.optim.SGD([w], lr=0.5), lambda t: w.square().sum() / 2, lr_min=2e-3, lr_max=2e3, steps=61
    )
    x, mean = 1.0, 0.0
    lrs: list[float] = []
    losses: list[float] = []
    for t in range(61):
        mean = 0.9 * mean + 0.1 * x**2 / 2
        smoothed = mean / (1 - 0.9 ** (t + 1))
        if losses and smoothed > 4 * min(losses):
            break
        lrs.append(2e-3 * 10 ** (t / 10))
        losses.append(smoothed)
        x *= 1 - lrs[-1]
    assert len(losses) < 61
    assert found.lr == pytest.approx(lrs) and found.loss == pytest.approx(losses)
    best = losses.index(min(losses))
    assert found.minimum == pytest.approx(lrs[best]) and found.tenth == pytest.approx(lrs[best] / 10)
    assert 0 < best and found.exploded and not found.at_edge


def test_a_loss_that_never_turns_is_told() -> None:
    w = torch.ones(1, dtype=torch.float64, requires_grad=True)
    found = al.lr_range_test(torch.optim.SGD([w], lr=0.5), lambda t: w.exp().sum(), lr_max=0.1, steps=20)
    assert found.at_edge and not found.exploded and len(found.lr) == 20
    assert LRRange((0.1, 0.2, 0.3), (3.0, 1.0, 2.0), exploded=False).minimum == 0.2


def test_the_plot_has_both_readings() -> None:
    for exploded, words in ((True, "lowest loss: 0.2"), (False, "lowest loss: 0.2")):
        figure = LRRange((0.1, 0.2, 0.3), (3.0, 1.0, 2.0), exploded).plot()
        assert readings(figure) == [words, "a tenth of it: 0.02"]
    figure = LRRange((0.1, 0.2), (3.0, 1.0), exploded=False).plot()
    assert readings(figure)[0] == "the largest rate: no minimum yet: 0.2"
    plt.close("all")


def readings(figure: Any) -> list[str]:
    """What the legend says, where the line is there that it is about."""
    (axes,) = figure.axes
    figure.canvas.draw()
    curve, *lines = axes.lines
    assert list(curve.get_xdata())[:2] == [0.1, 0.2] and [x.get_xdata()[0] for x in lines] == [0.2, 0.02]
    return [text.get_text() for text in axes.get_legend().get_texts()]


def test_it_leaves_no_trace() -> None:
    """Weights, gradients, momentum, rate, BatchNorm and random numbers, also where the closure fails."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Dropout(0.5), nn.Linear(4, 1))
    optimizer = torch.optim.Adam(net.parameters(), lr=0.01)
    x = torch.randn(6, 8, 3)

    def loss(t: int) -> Tensor:
        return net(x[t % 6]).square().mean()

    loss(0).backward()
    optimizer.step()

    def state() -> Any:
        grads = [p.grad for p in net.parameters()]
        return copy.deepcopy(
            (net.state_dict(), optimizer.state_dict(), torch.get_rng_state().tolist(), grads)
        )

    def fails(t: int) -> Tensor:
        if t == 3:
            raise KeyError("no batch")
        return loss(t)

    torch.set_printoptions(precision=17)
    before = str(state())
    found = al.lr_range_test(optimizer, loss, steps=30)
    assert len(set(found.loss)) > 10
    assert str(state()) == before
    with pytest.raises(KeyError):
        al.lr_range_test(optimizer, fails, steps=30)
    assert str(state()) == before
    torch.set_printoptions(profile="default")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"lr_min": 0.0}, "0 < lr_min < lr_max"),
        ({"lr_min": 1.0, "lr_max": 0.1}, "0 < lr_min < lr_max"),
        ({"lr_max": math.inf}, "lr_max"),
        ({"steps": 1}, "steps must be a whole number of at least 2"),
        ({"steps": 2.5}, "steps"),
        ({"smoothing": 1.0}, "smoothing"),
        ({"stop": 1.0}, "stop must be above 1"),
    ],
)
def test_bad_arguments(options: dict[str, Any], words: str) -> None:
    w = torch.ones(1, requires_grad=True)
    with pytest.raises(ValueError, match=words):
        al.lr_range_test(torch.optim.SGD([w], lr=0.5), lambda t: w.sum(), **options)


def test_bad_losses() -> None:
    w = torch.ones(1, requires_grad=True)
    optimizer = torch.optim.SGD([w], lr=0.5)
    with pytest.raises(ValueError, match="not finite at the start"):
        al.lr_range_test(optimizer, lambda t: w.sum() * math.nan)
    with pytest.raises(al.LossError, match="train_loss does not depend on the weights"):
        al.lr_range_test(optimizer, lambda t: w.detach().sum())


def valued(losses: list[float], **options: Any) -> al.tuning.lr_range.LRRange:
    """The test of a loss that has these values one after the other, unsmoothed."""
    w = torch.zeros(1, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.SGD([w], lr=0.1)
    return al.lr_range_test(
        optimizer,
        lambda t: losses[t] + (w - w.detach()).sum(),
        **{"steps": len(losses), "smoothing": 0.0, "stop": 2.0, **options},
    )


@pytest.mark.parametrize(
    ("losses", "taken", "lowest"),
    [
        ([-1.0, -2.0, -3.0, -2.5, -1.5, 0.5, 9.0], 5, 2),  # fell by 2 and rose by more than 2 at the sixth
        ([4.0, 1.0, -1.0, 3.0, 4.5, 5.0], 4, 2),  # across 0: fell by 5
        ([-1.0, -1.0, -1.0, -1.0], 4, 0),  # has not fallen: nothing to compare a rise with
        ([-3.0, -2.0, -1.0, 0.0], 4, 0),
        ([2.0, 1.0, 0.0, 1.5, 2.5], 4, 2),
        ([4.0, 2.0, 3.9, 4.1], 3, 1),  # above 0 a multiple of the lowest, as ever
    ],
)
def test_a_loss_that_may_be_negative_turns_too(losses: list[float], taken: int, lowest: int) -> None:
    found = valued(losses)
    assert len(found.lr) == taken and found.exploded == (taken < len(losses))
    assert found.minimum == found.lr[lowest]
