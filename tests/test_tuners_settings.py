"""Settings of the optimizer that others change while a tuner is at work."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from oracles import BY_NAME, FD_ATOL, FD_RTOL, Task, central_difference, close

import adatune_lite as al

T = 6


def later(optimizer: torch.optim.Optimizer, t: int) -> None:
    """What a scheduler does before step t: other settings at each step, weight decay in the second half."""
    group = optimizer.param_groups[0]
    if "betas" in group:
        group["betas"] = (0.9 - 0.1 * t, 0.99 - 0.02 * t)
    elif group.get("momentum"):
        group["momentum"] = 0.9 - 0.1 * t
    if "alpha" in group:
        group["alpha"] = 0.9 - 0.05 * t
    group["weight_decay"] = 0.1 * (t > T // 2)


@pytest.mark.parametrize("tuned", ["lr", "weight_decay"])
@pytest.mark.parametrize("name", ["sgd", "nesterov", "adam", "adamw", "rmsprop_all"])
def test_delta_follows_settings_that_move(name: str, tuned: str) -> None:
    """Finite differences through time, by the optimizer under the same changes."""
    task, setting = Task(), BY_NAME[name]

    def replay(h: float) -> float:
        w = task.weights()
        optimizer = setting.optimizer(w)
        for t in range(T):
            later(optimizer, t)
            optimizer.param_groups[0]["lr"] = setting.lr + h * (tuned == "lr")
            decay = 0.05 + h if tuned == "weight_decay" else optimizer.param_groups[0]["weight_decay"]
            optimizer.param_groups[0]["weight_decay"] = decay
            optimizer.zero_grad()
            task.train(w, t).backward()
            optimizer.step()
        return float(task.outer(w).detach())

    w = task.weights()
    optimizer = setting.optimizer(w)
    if tuned == "weight_decay":
        optimizer.param_groups[0]["weight_decay"] = 0.05
    tuner = al.RTHO(optimizer, 0.0, tune=(tuned,))
    for t in range(T):
        later(optimizer, t)  # what it does to a tuned value is undone
        tuner.step(lambda t=t: task.train(w, t), lambda: task.outer(w))
    close(tuner.hypergradient, central_difference(replay), FD_RTOL, FD_ATOL)


def test_hd_follows_weight_decay_that_comes_and_goes() -> None:
    """The published recursion of plain SGD, whose Z is kept as a gradient while there is no decay."""
    task, w, v = Task(), Task().weights(), Task().weights()
    optimizer = torch.optim.SGD(w, lr=0.1)
    tuner = al.HD(optimizer, 1e-2)
    lr, previous = 0.1, []
    for t in range(6):
        optimizer.param_groups[0]["weight_decay"] = decay = 0.3 * (t in (2, 3))
        tuner.step(lambda t=t: task.train(w, t))
        grads = [
            (g + decay * x).detach() for g, x in zip(torch.autograd.grad(task.train(v, t), v), v, strict=True)
        ]
        lr += 1e-2 * sum(float((g * d).sum()) for g, d in zip(grads, previous, strict=False))
        v = [(x - lr * g).detach().requires_grad_() for x, g in zip(v, grads, strict=True)]
        previous = grads
        close(tuner.used_lr, lr, rtol=1e-12)


@pytest.mark.parametrize(("before", "after"), [(0.0, 0.9), (0.9, 0.0)])
@pytest.mark.parametrize("make", [al.MARTHE, al.HD])
def test_settings_that_change_the_buffers_are_refused(make: Any, before: float, after: float) -> None:
    """By name, and before a closure runs; set back, the training goes on."""
    task, w = Task(), Task().weights()
    optimizer = torch.optim.SGD(w, lr=0.1, momentum=before)
    tuner = make(optimizer)
    outer = None if make is al.HD else lambda: task.outer(w)
    tuner.step(lambda: task.train(w, 0), outer)
    optimizer.param_groups[0]["momentum"] = after
    calls: list[int] = []
    with pytest.raises(ValueError, match=rf"now SGD\(momentum={after}.*make a new tuner"):
        tuner.step(lambda: calls.append(1) or task.train(w, 1), outer)
    assert not calls
    optimizer.param_groups[0]["momentum"] = before
    tuner.step(lambda: task.train(w, 1), outer)


CHANGES: dict[str, Callable[[torch.optim.Optimizer], None]] = {
    "momentum": lambda o: o.param_groups[0].update(momentum=0.1),
    "weight_decay": lambda o: o.param_groups[0].update(weight_decay=0.1),
}


@pytest.mark.parametrize("change", CHANGES)
def test_capturable_refuses_settings_that_move(change: str) -> None:
    """A captured graph would go on with those of its capture; a change before the second step is followed."""
    task, w, v = Task(), Task().weights(), Task().weights()
    optimizers = [torch.optim.SGD(x, lr=0.1, momentum=0.9) for x in (w, v)]
    tuners = [al.MARTHE(o, 0.9, 0.0, capturable=k == 0) for k, o in enumerate(optimizers)]
    for t in range(3):
        for x, optimizer, tuner in zip((w, v), optimizers, tuners, strict=True):
            if t == 1:
                CHANGES[change](optimizer)
            tuner.step(lambda x=x, t=t: task.train(x, t), lambda x=x: task.outer(x))
    close(tuners[0].hypergradient, tuners[1].hypergradient)
    optimizers[0].param_groups[0][change] += 0.1
    with pytest.raises(ValueError, match=f"which were .*{change}=0.1.* and are now .*{change}=0.2"):
        tuners[0].step(lambda: task.train(w, 3), lambda: task.outer(w))
    for x, y in zip(w, v, strict=True):
        close(x.detach(), y.detach())


def halves(w: list[Any], frozen: int, **other: Any) -> torch.optim.Optimizer:
    """Two groups, one of them frozen."""
    for x in (w[2:], w[:2])[frozen == 0]:
        x.requires_grad_(False)
    groups = [{"params": w[:2], "lr": 0.1}, {"params": w[2:], "lr": 0.05}]
    return torch.optim.SGD(groups, **other)


def step(tuner: Any, task: Task, w: list[Any], t: int, factor: float = 1.0) -> None:
    outer = None if type(tuner) is al.HD else lambda: task.outer(w) * factor
    tuner.step(lambda: task.train(w, t), outer)


MAKE: dict[str, Callable[..., al.MARTHE]] = {
    "marthe": lambda o: al.MARTHE(o, 0.9, 1e-3, tune=("lr", "momentum")),
    "adaptive": lambda o: al.MARTHE(o, "adaptive", 1e-3),
    "capturable": lambda o: al.MARTHE(o, 0.9, 1e-3, capturable=True),
    "hd": lambda o: al.HD(o, 1e-3),
    "hd_multiplicative": lambda o: al.HD(o, 1e-3, multiplicative=True),
}


@pytest.mark.parametrize("frozen", [0, 1])
@pytest.mark.parametrize("kind", MAKE)
def test_a_frozen_group_is_as_if_it_were_not_there(kind: str, frozen: int) -> None:
    """In its numbers, its products and its state, also after an outer loss that is not finite."""
    found = []
    for listed in (True, False):
        task, w = Task(), Task().weights()
        optimizer = halves(w, frozen)
        if not listed:
            del optimizer.param_groups[frozen]
        tuner = MAKE[kind](optimizer)
        for t in range(4):
            step(tuner, task, w, t, float("nan") if t == 2 else 1.0)
        tuner.load_state_dict(tuner.state_dict())
        values = {name: value for (_, name), value in tuner.values.items()}
        found.append(str([values, tuner.lr, tuner.used_lr, tuner.hypergradient, tuner.products, w]))
    assert found[0] == found[1]


@pytest.mark.parametrize("make", [al.MARTHE, al.HD, lambda o: al.AutoLR(o, 2)])
def test_an_optimizer_that_trains_nothing_is_refused(make: Any) -> None:
    with pytest.raises(ValueError, match="no weight of the optimizer requires a gradient: unfreeze"):
        make(torch.optim.SGD([torch.zeros(1)], lr=0.1))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"bounds": {"momentum": (0.5, 0.9)}}, "exclude its start"),
        ({"clip_grad_value": -1.0}, "clip_grad_value must be a finite number above 0"),
        ({"capturable": True}, "capturable=True tunes rates alone"),
        ({"hyper_lr": {"momentum": -1.0}}, "hyper_lr must be a finite number and not negative"),
    ],
)
def test_a_refused_tuner_leaves_the_optimizer_as_it_is(options: dict[str, Any], message: str) -> None:
    optimizer = torch.optim.SGD(Task().weights(), lr=0.1)
    before = str(optimizer.state_dict())
    with pytest.raises(ValueError, match=message):
        al.MARTHE(optimizer, **{"tune": ("momentum",), **options})
    assert str(optimizer.state_dict()) == before


@pytest.mark.parametrize("foreach", [True, False])
@pytest.mark.parametrize("kind", ["nesterov", "expanded"])
def test_gradients_that_share_memory_train_as_torch_does(kind: str, foreach: bool) -> None:
    """One tensor for both weights of a sum, one number for all entries of a sum over them."""

    def train(w: list[Any]) -> torch.Tensor:
        return (w[0] + w[1]).square().sum() if kind == "nesterov" else w[0].sum() + w[1].sum()

    def weights() -> tuple[list[Any], torch.optim.Optimizer]:
        w = [torch.tensor([x, 1.0], dtype=torch.float64, requires_grad=True) for x in (2.0, -0.5)]
        return w, torch.optim.SGD(w, lr=0.1, momentum=0.9, nesterov=True, foreach=foreach)

    (w, ours), (v, theirs) = weights(), weights()
    tuner = al.MARTHE(ours, 0.9, 0.0)
    for _ in range(3):
        tuner.step(lambda: train(w), lambda: w[0].square().sum())
        theirs.zero_grad()
        train(v).backward()
        theirs.step()
    for x, y in zip(w, v, strict=True):
        assert torch.equal(x, y)


def test_adatunes_slope_is_the_gradient_and_not_what_the_step_made_of_it() -> None:
    """foreach=True adds the momentum to a Nesterov gradient in place."""
    found = []
    for foreach in (True, False):
        task, w = Task(), Task().weights()
        optimizer = torch.optim.SGD(w, lr=0.05, momentum=0.9, nesterov=True, foreach=foreach)
        tuner = al.MARTHE(optimizer, "adaptive", 1e-4, adapt_rule="adatune")
        for t in range(5):
            step(tuner, task, w, t)
            found.append(tuner.mu)
    assert found[:5] == pytest.approx(found[5:], rel=1e-12) and any(0 < mu < 1 for mu in found)


def swap(optimizer: torch.optim.Optimizer) -> None:
    for weight in optimizer.param_groups[0]["params"]:
        weight.requires_grad_(not weight.requires_grad)


def add_a_group(optimizer: torch.optim.Optimizer) -> None:
    optimizer.add_param_group({"params": [torch.zeros(2)]})


@pytest.mark.parametrize("change", [swap, add_a_group])
@pytest.mark.parametrize("make", [al.MARTHE, al.HD, lambda o: al.MARTHE(o, capturable=True)])
def test_other_weights_of_equal_shapes_are_refused(make: Any, change: Any) -> None:
    """Z would be that of the weights which are frozen now."""
    w = [torch.full((2,), value, requires_grad=value > 1) for value in (1.0, 2.0)]
    optimizer = torch.optim.SGD(w, lr=0.1)
    tuner = make(optimizer)
    for _ in range(2):
        tuner.step(lambda: (w[0] * w[1]).square().sum(), lambda: (w[0] * w[1]).sum())
    change(optimizer)
    with pytest.raises(ValueError, match=r"weights that require .* make a new tuner"):
        tuner.step(lambda: (w[0] * w[1]).square().sum(), lambda: (w[0] * w[1]).sum())
