"""find_hyper_lr: near the best by brute force, within its budget, without a trace; bad input."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from typing import Any

import matplotlib as mpl
import pytest
import torch
from torch import Tensor, nn

import adatune_lite as al
from adatune_lite.tuners import products as kernel
from adatune_lite.tuning.hyper_lr import HyperLR, Trial, _next

mpl.use("Agg")

CURVATURES = (1.0, 20.0)
LR = 0.002


def quadratic(mu: float = 0.0, lr: float = LR, **options: Any) -> tuple[al.MARTHE, Callable[..., Tensor]]:
    """L = E = (w_1^2 + 20 w_2^2) / 2 from (1, 1), under gradient descent."""
    a = torch.tensor(CURVATURES, dtype=torch.float64)
    w = torch.ones(2, dtype=torch.float64, requires_grad=True)
    return al.MARTHE(torch.optim.SGD([w], lr=lr), mu, 1.0, **options), lambda *_: (a * w * w).sum() / 2


def search(*closures: Any, steps: int = 10, **options: Any) -> HyperLR:
    """The search for a training as long as its trials."""
    return al.find_hyper_lr(*closures, **{"steps": steps, "total_steps": steps, **options})


def by_hand(hyper_lr: float, steps: int) -> tuple[float, float]:
    """(loss, sum |Delta|) of HD on the quadratic; the loss is inf where the rate reaches 0."""
    w, lr, total = [1.0, 1.0], LR, 0.0
    for _ in range(steps):
        g = [a * x for a, x in zip(CURVATURES, w, strict=True)]
        w = [x - lr * y for x, y in zip(w, g, strict=True)]
        delta = -sum(a * x * y for a, x, y in zip(CURVATURES, w, g, strict=True))
        lr, total = lr - hyper_lr * delta, total + abs(delta)
        if lr <= 0:
            return math.inf, total
    return sum(a * x * x for a, x in zip(CURVATURES, w, strict=True)) / 2, total


@pytest.mark.parametrize("steps", [10, 20])
def test_it_finds_what_brute_force_finds(steps: int) -> None:
    tuner, loss = quadratic()
    found = search(tuner, loss, loss, loss, steps=steps)
    scale = LR / by_hand(0.0, steps)[1]
    grid = [scale * 10 ** (i / 50) for i in range(-200, 200)]
    best = min(grid, key=lambda h: by_hand(h, steps)[0])
    assert best / 2 < found.value < 2 * best and found.at_edge is None and found.beats_constant
    assert [t.hyper_lr for t in found.tried[:5]] == pytest.approx([scale * 10**k for k in range(-1, 4)])
    assert len(found.tried) == 8 and any(t.status != "finished" for t in found.tried)
    for trial in (found.constant, *found.tried):
        expected = by_hand(trial.hyper_lr, steps)[0]
        assert (trial.status == "finished") == math.isfinite(expected)
        if trial.status == "finished":
            assert trial.loss == pytest.approx(expected, rel=1e-9) and len(trial.path) == steps
    assert found.constant.path == (LR,) * steps
    longer = search(tuner, loss, loss, loss, steps=steps, total_steps=4 * steps)
    assert longer.value == found.value / 4 and longer.best == found.best


def network(tune: tuple[str, ...] = ("lr",), mu: float = 0.9, **options: Any) -> tuple[Any, ...]:
    """BatchNorm, dropout, a frozen weight and Adam with two groups, some steps into training."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Tanh(), nn.Dropout(0.5), nn.Linear(4, 1))
    net[0].bias.requires_grad_(False)
    groups = [{"params": net[:2].parameters(), "lr": 0.02}, {"params": net[2:].parameters()}]
    tuner = al.MARTHE(torch.optim.Adam(groups, lr=0.01), mu, 1e-5, tune=tune, **options)
    x = torch.randn(40, 8, 3)

    def loss(t: int) -> Tensor:
        return net(x[t]).square().mean()

    for t in range(3):
        tuner.step(lambda t=t: loss(t), lambda: loss(9))
    return net, tuner, loss


def everything(net: nn.Module, tuner: al.MARTHE) -> list[Any]:
    settings = [{k: v for k, v in g.items() if k != "params"} for g in tuner.optimizer.param_groups]
    return copy.deepcopy(
        [
            net.state_dict(),
            [p.grad for p in net.parameters()],
            tuner.optimizer.state_dict(),
            settings,
            tuner.state_dict(),
            [x.hyper_lr for x in tuner._tuned],
            tuner.values,
            torch.get_rng_state(),
        ]
    )


def same(a: Any, b: Any) -> bool:
    if isinstance(a, Tensor):
        return torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(same, a, b))
    return bool(a == b) or (a != a and b != b)


@pytest.mark.parametrize("broken", [None, "train", "outer", "held"])
def test_it_leaves_no_trace_and_repeats(broken: str | None) -> None:
    """Also where a closure fails in the third trial; what follows is what would have followed."""
    net, tuner, loss = network(("lr", "beta1"))
    before = everything(net, tuner)
    assert same(before, everything(net, tuner))
    calls = {"train": 0, "outer": 0, "held": 0}

    def closure(which: str, shift: int) -> Callable[..., Tensor]:
        def at(t: int = 0) -> Tensor:
            calls[which] += 1
            if which == broken and calls[which] == (3 if which == "held" else 15):
                raise KeyError("no batch")
            return loss(shift + t)

        return at

    def again() -> HyperLR:
        losses = closure("train", 0), closure("outer", 12), closure("held", 30)
        return search(tuner, *losses, steps=6, trials=7)

    if broken:
        with pytest.raises(KeyError):
            again()
    else:
        found = again()
        assert len({t.loss for t in found.tried}) > 3
        assert repr(again()) == repr(found)
    assert same(everything(net, tuner), before)
    go_on(tuner, loss)
    twin, other, twin_loss = network(("lr", "beta1"))
    go_on(other, twin_loss)
    assert tuner.values == other.values and tuner.values[0, "lr"] != 0.02
    assert same(net.state_dict(), twin.state_dict())


def go_on(tuner: al.MARTHE, loss: Callable[[int], Tensor]) -> None:
    for t in range(4, 9):
        tuner.step(lambda t=t: loss(t), lambda: loss(9))


@pytest.mark.parametrize(
    ("mu", "every", "with_outer", "price"),
    [(0.9, 1, True, 4.0), (0.0, 1, True, 2.0), (0.0, 2, True, 1.5), (0.0, 1, False, 1.0)],
)
def test_cost_counts_what_is_done(
    mu: float, every: int, with_outer: bool, price: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    tuner, loss = quadratic(mu, every=every)
    if not with_outer:
        tuner = al.HD(tuner.optimizer, 1.0)
    steps: list[int] = []
    outer: list[int] = []
    products: list[int] = []
    product = kernel.product
    monkeypatch.setattr(kernel, "product", lambda *a, **b: products.append(1) or product(*a, **b))

    def train(t: int) -> Tensor:
        steps.append(t)
        return loss()

    def held_out(t: int) -> Tensor:
        outer.append(t)
        return loss()

    found = search(tuner, train, held_out if with_outer else None, loss, trials=6, around=1e-5)
    assert min(len(t.path) for t in found.tried) < 10
    assert len(steps) == sum(len(t.path) for t in (found.constant, *found.tried))
    alone = price - 2 * (mu > 0)
    assert found.cost == pytest.approx(alone * len(steps) + 2 * len(products) + 6 / 3)
    assert bool(products) == (mu > 0)
    assert found.cost < 6 * (10 * price + 1 / 3) + 1e-9 and max(steps) == 9
    looks = sum(len(t.path) // every for t in (found.constant, *found.tried)) * with_outer
    wild = sum(t.status.startswith("diverged") for t in found.tried)
    check = with_outer and every > 1  # at the very first step, where no look is due
    assert looks - 2 * wild <= len(outer) - check <= looks  # none where the training loss is not finite


def test_edges_and_a_constant_that_is_best_are_told() -> None:
    tuner, loss = quadratic(lr=1e-9)
    found = search(tuner, loss, loss, loss, steps=5, trials=6)
    assert found.at_edge == "high" and found.beats_constant
    w = tuner.optimizer.param_groups[0]["params"][0]
    back = search(tuner, loss, loss, lambda: w.square().sum().neg(), steps=5, trials=8)
    assert back.at_edge == "low" and not back.beats_constant
    ks = [t.hyper_lr for t in back.tried]
    assert ks[5] == pytest.approx(ks[0] / 10) and ks[6] == pytest.approx(ks[0] / 100)


def test_trials_after_the_grid_close_in_on_the_best() -> None:
    def tried(losses: dict[float, float]) -> dict[float, Trial]:
        return {
            k: Trial(10**k, x, (), "finished") if x < math.inf else Trial(10**k, math.nan, (), "diverged")
            for k, x in losses.items()
        }

    assert _next(tried({-1: 3, 0: 1, 1: 2})) == 0.5
    assert _next(tried({-1: 3, 0: 1, 0.5: 2, 1: 2})) == -0.5
    assert _next(tried({-1: 1, 0: 1, 1: 2})) == -2
    assert _next(tried({-1: 3, 0: 2, 1: 1})) == 2
    assert _next(tried({-1: math.inf, 0: math.inf})) == -2
    assert _next(tried({-1: 2, 0: 1, 1: math.inf})) == 0.5
    assert _next(tried({-1: math.inf, 0: 1, 1: math.inf})) == 0.5


def test_other_values_relative_steps_and_groups() -> None:
    _, tuner, loss = network(("lr", "beta1"))
    losses = loss, lambda t: loss(12 + t), lambda: loss(30)
    moved = search(tuner, *losses, name="beta1", steps=6)
    assert moved.name == "beta1" and moved.constant.path[0] == tuner.values[0, "beta1"]
    assert any(t.status.startswith("ran into a bound") for t in moved.tried)
    w = torch.ones(1, requires_grad=True)
    relative = al.HD(torch.optim.SGD([w], lr=0.01), 0.1, multiplicative=True)
    found = search(relative, lambda t: w.square().sum(), None, lambda: w.square().sum(), steps=10)
    assert found.tried[1].hyper_lr == pytest.approx(1 / 10) and found.beats_constant


def test_divergence() -> None:
    tuner, loss = quadratic(0.9)
    found = search(tuner, loss, loss, loss, steps=10)
    wild = [t for t in found.tried if t.status.startswith("diverged at step")]
    assert wild and all(math.isnan(t.loss) and t.hyper_lr > found.value for t in wild)
    tuner, loss = quadratic()
    found = search(tuner, loss, loss, lambda: loss() * (math.inf if tuner.lr > 1.5 * LR else 1.0))
    late = [t for t in found.tried if t.status == "diverged at step 10"]
    assert late and found.best not in late and found.best.path[-1] <= 1.5 * LR
    tuner, loss = quadratic(lr=1e200)
    with pytest.raises(ValueError, match=r"diverged at step \d of 10 with hyper_lr 0: start with a lower lr"):
        search(tuner, loss, loss, loss, steps=10)
    tuner, loss = quadratic(lr_max=1.01 * LR)
    with pytest.raises(
        ValueError, match="no hyper_lr from 1e\\+11 to 1e\\+15 gave a trial that stayed finite"
    ):
        search(tuner, loss, loss, loss, steps=10, trials=6, around=1e12)
    assert tuner.lr == LR and tuner.hyper_lr == 1.0


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"steps": 1}, "steps must be a whole number of at least 2, not 1"),
        ({"steps": 5.0}, "steps"),
        ({"total_steps": 9}, "total_steps must be a whole number of at least 10, not 9"),
        ({"trials": 5}, "trials must be a whole number of at least 6, not 5"),
        ({"around": 0.0}, "around must be finite and above 0"),
        ({"around": math.nan}, "around"),
        ({"name": "momentum"}, "does not tune 'momentum': choose among lr"),
        ({"train_loss": 3}, "train_loss must be a function of the step t that returns the loss, not 3"),
        ({"outer_loss": 3}, "outer_loss must be a function"),
        ({"outer_loss": None}, "MARTHE needs outer_loss"),
        ({"held_loss": 3}, "held_loss must be a function without arguments"),
        ({"held_loss": lambda: torch.ones(1)}, "held_loss does not depend on the weights"),
    ],
)
def test_bad_arguments(options: dict[str, Any], words: str) -> None:
    tuner, loss = quadratic()
    closures = {"train_loss": loss, "outer_loss": loss, "held_loss": loss}
    with pytest.raises(ValueError, match=words):
        search(tuner, **{**closures, **options})


def test_bad_tuners() -> None:
    tuner, loss = quadratic()
    adapts = al.MARTHE(tuner.optimizer, hyper_lr="adaptive", alpha=1e-10)
    fixed = al.FixedSchedule(tuner.optimizer, [0.1])
    still = al.MARTHE(tuner.optimizer, tune=("weight_decay",))
    lean = al.MARTHE(tuner.optimizer, capturable=True)
    with pytest.raises(ValueError, match="a tuner without capturable"):
        search(lean, loss, loss, loss)
    with pytest.raises(ValueError, match='give it a number instead of "adaptive"'):
        search(adapts, loss, loss, loss)
    with pytest.raises(ValueError, match="for HD, RTHO and MARTHE; a FixedSchedule has no hyper_lr"):
        search(fixed, loss, loss, loss)
    with pytest.raises(ValueError, match="hyper_lr of weight_decay has no scale"):
        search(still, loss, loss, loss, name="weight_decay")


def test_the_plot_shows_what_was_tried() -> None:
    import matplotlib.pyplot as plt

    tuner, loss = quadratic(0.9)
    found = search(tuner, loss, loss, loss, steps=10)
    figure = found.plot()
    left, right = figure.axes
    points = {x for line in left.lines for x in line.get_xdata()}
    assert points >= {t.hyper_lr for t in found.tried}
    texts = [text.get_text() for text in left.get_legend().get_texts()]
    assert f"best trial: {found.best.hyper_lr:.3g}" in texts and "rejected" in texts
    assert f"for the training: {found.value:.3g}" in texts
    assert sum(len(line.get_xdata()) == 10 for line in right.lines) > 4
    figure.canvas.draw()
    plt.close(figure)
