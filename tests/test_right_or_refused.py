"""The hypergradient is the derivative of the step that is taken, or a refusal says what stands between."""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import partial
from typing import Any

import faithful_cases as cases
import numpy as np
import pytest
import torch
from faithful_cases import X, Y, case, perceptron, sgd
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, mse_loss
from torch.optim.optimizer import register_optimizer_step_post_hook

import adatune_lite as al
from adatune_lite.tasks.models import build

REFUSED = (al.LossError, al.UnsupportedOptimizer)

TUNERS: dict[str, Callable[..., al.Tuner]] = {
    "rtho": al.RTHO,
    "marthe": lambda optimizer, h, **k: al.MARTHE(optimizer, 0.9, h, **k),
    "hd with outer loss": al.HD,
}
MU = {"rtho": 1.0, "marthe": 0.9, "hd with outer loss": 0.0}


def true_delta(make: cases.Make, mu: float, steps: int = 4) -> float:
    """By central differences through plain training of torch, at one width: for smooth networks."""

    def final(h: float) -> float:
        optimizer, train_loss, outer_loss = make()
        lr = optimizer.param_groups[0]["lr"]
        for t in range(steps):
            optimizer.zero_grad()
            train_loss(t).backward()
            optimizer.param_groups[0]["lr"] = lr + h * (1.0 if t == steps - 1 else mu ** (steps - 1 - t))
            optimizer.step()
        return float(outer_loss().detach())

    return (final(1e-5) - final(-1e-5)) / 2e-5


def run(make: cases.Make, kind: str, steps: int = 4) -> tuple[al.Tuner, list[Tensor]]:
    """Steps of a tuner whose rate stays; (the tuner, its weights)."""
    optimizer, train_loss, outer_loss = make()
    tuner = TUNERS[kind](optimizer, 0.0)
    for t in range(steps):
        tuner.step(partial(train_loss, t), outer_loss)
    return tuner, [w for group in optimizer.param_groups for w in group["params"]]


def hooked_output(net: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    out = net(x)
    out.register_hook(lambda g: 2 * g)
    return mse_loss(out, y)


def forward_hook_that_hooks(net: Any, optimizer: Any) -> None:
    def forward(module: nn.Module, args: Any, out: Tensor) -> None:
        out.register_hook(lambda g: g / (1e-3 + g.norm()))

    net[1].register_forward_hook(forward)


def in_place(net: nn.Module, optimizer: Any) -> None:
    def hook(g: Tensor) -> None:
        g.mul_(0.5)

    for w in net.parameters():
        w.register_hook(hook)


def through_data(net: nn.Module, optimizer: Any) -> None:
    def hook(g: Tensor) -> None:
        g.data.clamp_(-0.05, 0.05)

    for w in net.parameters():
        w.register_hook(hook)


def module_full(net: Any, optimizer: Any) -> None:
    net[2].register_full_backward_hook(lambda module, given, out: (2 * given[0],))


def module_legacy(net: Any, optimizer: Any) -> None:
    net[1].register_backward_hook(lambda module, given, out: tuple(2 * g for g in given))


def node_hook(net: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    out = net(x)
    assert out.grad_fn is not None
    out.grad_fn.register_prehook(lambda grads: (2 * grads[0],))
    return mse_loss(out, y)


def accumulated(net: nn.Module, optimizer: Any) -> None:
    def hook(w: Tensor) -> None:
        assert w.grad is not None
        w.grad.clamp_(-0.05, 0.05)

    for w in net.parameters():
        w.register_post_accumulate_grad_hook(hook)


def replaced_gradient(net: nn.Module, optimizer: Any) -> None:
    def hook(w: Tensor) -> None:
        w.grad = None if w.grad is None else w.grad.sign()

    for w in net.parameters():
        w.register_post_accumulate_grad_hook(hook)


def wrapped_step(net: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    """What a wrapper that adds noise, or takes a step of its own, does to the optimizer."""
    inner = optimizer.step

    def step(closure: Any = None) -> None:
        inner()
        with torch.no_grad():
            for w in net.parameters():
                w.mul_(0.99)

    optimizer.step = step  # type: ignore[method-assign]


def momentum_reset(net: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    def hook(*_: Any) -> None:
        for state in optimizer.state.values():
            state["momentum_buffer"].zero_()

    optimizer.register_step_post_hook(hook)


CHANGED: dict[str, tuple[cases.Make, str]] = {
    "clipping by hook": (case(cases.clamp_hooks), "clip_grad_value"),
    "a layer's gradient scaled": (case(cases.scale_hook), "weight of shape.* changes the gradient"),
    "in place": (case(in_place), "changes the gradient"),
    "in place through data": (case(through_data), "changes the gradient"),
    "module, full": (case(module_full), r"a module \(Linear\) changes the gradient"),
    "module, before": (case(cases.module_hook), r"a module \(Linear\) changes the gradient"),
    "module, legacy": (case(module_legacy), "changes the gradient"),
    "function": (case(loss=node_hook), "the function AddmmBackward0 changes the gradient"),
    "tensor on the way": (case(loss=hooked_output), "a tensor of shape"),
    "hook of a forward hook": (case(forward_hook_that_hooks), "a tensor of shape"),
    "centralised before the step": (case(cases.centralised), "before it.*clip_grad_value"),
    "weights clamped after it": (case(cases.clamped_weights), "after it.*clip_grad_value"),
    "buffers reset after it": (case(momentum_reset, optimizer=cases.momentum), "buffers after it"),
    "accumulated gradient": (case(accumulated), "post-accumulate-grad hook"),
    "accumulated gradient replaced": (case(replaced_gradient), "post-accumulate-grad hook"),
    "wrapped step": (case(wrapped_step), "did not move a weight .* as its rule does"),
}
EVERYWHERE = tuple(name for name in CHANGED if "step" in name or "accum" in name or "after it" in name)
"""What is refused by HD with an outer loss too; the rest it gets right, since it needs no product."""


@pytest.mark.parametrize("kind", TUNERS)
@pytest.mark.parametrize("name", CHANGED)
def test_what_changes_a_gradient_is_refused_by_name_or_right(name: str, kind: str) -> None:
    make, words = CHANGED[name]
    if kind == "hd with outer loss" and name not in EVERYWHERE:
        tuner, _ = run(make, kind)
        assert tuner.hypergradient == pytest.approx(plain_hd(make), rel=1e-6)
        return
    optimizer, train_loss, outer_loss = make()
    tuner = TUNERS[kind](optimizer, 0.0)
    before = copy.deepcopy(optimizer.state_dict()), [w.detach().clone() for w in weights(optimizer)]
    with pytest.raises(REFUSED, match=words):
        tuner.step(partial(train_loss, 0), outer_loss)
    assert all(torch.equal(a, b) for a, b in zip(weights(optimizer), before[1], strict=True))
    assert optimizer.state_dict()["state"].keys() == before[0]["state"].keys()


def weights(optimizer: torch.optim.Optimizer) -> list[Tensor]:
    return [w for group in optimizer.param_groups for w in group["params"]]


def plain_hd(make: cases.Make, steps: int = 4) -> float:
    """dE by the last rate alone: E is measured by a loss without hooks' gradients, so its value serves."""

    def final(h: float) -> float:
        optimizer, train_loss, outer_loss = make()
        for t in range(steps):
            optimizer.zero_grad()
            train_loss(t).backward()
            optimizer.param_groups[0]["lr"] += h * (t == steps - 1)
            optimizer.step()
        return float(outer_loss().detach())

    return (final(1e-5) - final(-1e-5)) / 2e-5


@pytest.mark.parametrize("name", [name for name in CHANGED if name not in EVERYWHERE])
def test_the_published_hd_needs_the_gradient_itself(name: str) -> None:
    make, words = CHANGED[name]
    optimizer, train_loss, _ = make()
    with pytest.raises(al.LossError, match=words):
        al.HD(optimizer, 0.0).step(partial(train_loss, 0))


@pytest.mark.parametrize("name", CHANGED)
def test_the_classical_schedules_train_as_plain_training_does(name: str) -> None:
    """They take no derivative of the step: every hook does there what it does in plain training."""
    make, _ = CHANGED[name]
    optimizer, train_loss, _ = make()
    tuner = al.FixedSchedule(optimizer, [optimizer.param_groups[0]["lr"]] * 3)
    other, other_loss, _ = make()
    for t in range(3):
        tuner.step(partial(train_loss, t))
        other.zero_grad()
        other_loss(t).backward()
        other.step()
    for a, b in zip(weights(optimizer), weights(other), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-14)


# --- no false alarm: what leaves the number right trains as it did


def several(module: nn.Module, args: Any, out: Tensor) -> None:
    out.register_hook(lambda g: None)
    torch.autograd.graph.register_multi_grad_hook([out], lambda grads: None)


def gradient_logger(net: Any, optimizer: Any) -> None:
    seen: list[float] = []
    for w in net.parameters():
        w.register_hook(lambda g: seen.append(float(g.norm())))
        w.register_post_accumulate_grad_hook(lambda w: seen.append(float(w.grad.norm())))
    net[2].register_full_backward_hook(lambda module, given, out: seen.append(float(out[0].norm())))
    net[2].register_full_backward_pre_hook(lambda module, out: seen.append(float(out[0].norm())))
    net[2].register_forward_hook(several)
    optimizer.register_step_pre_hook(lambda *_: seen.append(0.0))
    optimizer.register_step_post_hook(lambda *_: seen.append(1.0))


def averaged(net: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    """An average of the weights for evaluation, kept by a hook, as of torch.optim.swa_utils."""
    average = torch.optim.swa_utils.AveragedModel(net)
    optimizer.register_step_post_hook(lambda *_: average.update_parameters(net))


def scheduled(net: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 10)


def equal_gradient(net: nn.Module, optimizer: Any) -> None:
    for w in net.parameters():
        w.register_hook(lambda g: torch.nan_to_num(g).clamp(-1e6, 1e6))


def retained(net: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    out = net(x)
    out.retain_grad()
    return mse_loss(out, y)


def rounded(net: Any, x: Tensor, y: Tensor) -> Tensor:
    """Its gradient by the rounded part is 0 and has no graph."""
    return mse_loss(net(x), y) + 0.1 * (net[0].bias * 3).round().sum()


def only_rounded(net: Any, x: Tensor, y: Tensor) -> Tensor:
    return mse_loss(net[2](net[1](net[0](x))), y) + net.extra.round().sum()


def with_extra(net: Any, optimizer: Any) -> None:
    net.extra = nn.Parameter(torch.ones(3))
    optimizer.add_param_group({"params": [net.extra]})


def penalised(net: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    """A gradient penalty: the closure differentiates too."""
    x = x.clone().requires_grad_()
    (slope,) = torch.autograd.grad(net(x).square().sum(), x, create_graph=True)
    return mse_loss(net(x), y) + 0.1 * slope.square().mean()


def checkpointed(net: Any, x: Tensor, y: Tensor) -> Tensor:
    return mse_loss(torch.utils.checkpoint.checkpoint(net, x, use_reentrant=False), y)


class Squared(torch.autograd.Function):
    """A function of the user's own that autograd sees into."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x * x

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Tensor:
        return 2 * g * ctx.saved_tensors[0]


def own_function(net: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    return Squared.apply(net(x) - y).mean()


def linear(net: Any, x: Tensor, y: Tensor) -> Tensor:
    return net(x).mean() + sum(w.sum() for w in net.parameters())


def spoilt_memory(net: Any, optimizer: Any) -> None:
    net[0].register_buffer("seen", torch.zeros(()))
    net[0].register_forward_hook(lambda module, args, out: module.seen.add_(1) and None)


HARMLESS: dict[str, cases.Make] = {
    **cases.EXACT,
    "loggers": case(gradient_logger),
    "average of the weights": case(averaged),
    "scheduler": case(scheduled),
    "hooks that return an equal gradient": case(equal_gradient),
    "retained gradient": case(loss=retained),
    "rounding": case(loss=rounded),
    "rounding alone": case(with_extra, loss=only_rounded),
    "gradient penalty": case(loss=penalised),
    "checkpoints": case(loss=checkpointed),
    "function of one's own": case(loss=own_function),
    "linear loss": case(loss=linear),
    "counter in a buffer": case(spoilt_memory),
    "gelu": case(net=lambda: perceptron(nn.GELU)),
    "embedding": case(
        net=lambda: nn.Sequential(nn.Embedding(7, 5), nn.Flatten(), nn.Linear(20, 2)).double(),
        loss=lambda net, x, y: mse_loss(net((x.abs() * 3).long() % 7), y),
    ),
    "recurrent": case(
        net=lambda: nn.GRU(4, 2, batch_first=True).double(),
        loss=lambda net, x, y: mse_loss(net(x[None])[0][0], y),
    ),
}


@pytest.mark.parametrize("kind", TUNERS)
@pytest.mark.parametrize("name", HARMLESS)
def test_no_false_alarm(name: str, kind: str) -> None:
    make = HARMLESS[name]
    tuner, _ = run(make, kind)
    assert np.isfinite(tuner.hypergradient)


@pytest.mark.parametrize("name", ["loggers", "average of the weights", "counter in a buffer"])
@pytest.mark.parametrize("kind", TUNERS)
def test_hooks_that_only_look_change_nothing(name: str, kind: str) -> None:
    (tuner, found), (plain, wanted) = run(HARMLESS[name], kind), run(case(), kind)
    # torch's own view around a module with a backward hook adds in another order
    assert tuner.hypergradient == pytest.approx(plain.hypergradient, rel=1e-12)
    for a, b in zip(found, wanted, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("kind", TUNERS)
def test_a_logger_sees_the_training_gradient_once_a_step(kind: str) -> None:
    seen: list[Tensor] = []
    accumulated: list[Tensor] = []

    def log(net: Any, optimizer: Any) -> None:
        net[0].weight.register_hook(lambda g: seen.append(g.detach().clone()))
        net[0].weight.register_post_accumulate_grad_hook(lambda w: accumulated.append(w.grad.clone()))

    optimizer, train_loss, outer_loss = case(log)()
    tuner = TUNERS[kind](optimizer, 0.0)
    for t in range(3):
        (wanted,) = torch.autograd.grad(train_loss(t), optimizer.param_groups[0]["params"][:1])
        seen.clear()
        tuner.step(partial(train_loss, t), outer_loss)
        assert [torch.equal(g, wanted) for g in seen] == [True]
        assert len(accumulated) == t + 1 and torch.equal(accumulated[-1], wanted)


# --- at every step, not the first alone


class Kernel(torch.autograd.Function):
    """x^2 with a backward pass out of autograd's sight."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x * x

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Tensor:
        return torch.from_numpy(2 * g.detach().numpy() * ctx.saved_tensors[0].detach().numpy())


class Once(Squared):
    backward = staticmethod(torch.autograd.function.once_differentiable(Squared.backward))


@torch.library.custom_op("adatune_test::cube", mutates_args=())
def cube(x: Tensor) -> Tensor:
    return x**3


@torch.library.custom_op("adatune_test::cube_backward", mutates_args=())
def cube_backward(g: Tensor, x: Tensor) -> Tensor:
    return 3 * g * x**2


cube.register_autograd(
    lambda ctx, g: cube_backward(g, ctx.saved_tensors[0]),
    setup_context=lambda ctx, inputs, output: ctx.save_for_backward(inputs[0]),
)

LATER: dict[str, tuple[Callable[[Any, Tensor, Tensor], Tensor], str]] = {
    "hidden at the end": (lambda net, x, y: Kernel.apply(net(x) - y).mean(), "Kernel computes out of"),
    "hidden on one of two ways": (
        lambda net, x, y: mse_loss(net(x), y) + Kernel.apply(net[0](x)).mean(),
        "Kernel computes out of",
    ),
    "hidden in a custom operator": (lambda net, x, y: cube(net(x) - y).abs().mean(), "no second derivative"),
    "once differentiable": (lambda net, x, y: Once.apply(net(x) - y).mean(), "Once is marked"),
    "hook": (hooked_output, "changes the gradient"),
}


@pytest.mark.parametrize("kind", ["rtho", "marthe"])
@pytest.mark.parametrize("name", LATER)
def test_what_enters_at_a_later_step_is_refused_and_leaves_everything(name: str, kind: str) -> None:
    loss, words = LATER[name]
    late: dict[str, Any] = {}

    def keep(net: Any, optimizer: Any) -> None:
        late["net"] = net

    optimizer, train_loss, outer_loss = case(keep, optimizer=cases.momentum)()
    tuner = TUNERS[kind](optimizer, 1e-3)
    for t in range(3):
        tuner.step(partial(train_loss, t), outer_loss)
    before = copy.deepcopy((optimizer.state_dict(), tuner.state_dict(), weights(optimizer)))
    with pytest.raises(al.LossError, match=words):
        tuner.step(lambda: loss(late["net"], X[3], Y[3]), outer_loss)
    after = (optimizer.state_dict(), tuner.state_dict(), weights(optimizer))
    assert str(before) == str(after)
    tuner.step(partial(train_loss, 3), outer_loss)  # and training goes on
    assert all(torch.equal(a, b) for a, b in zip(weights(optimizer), run_on(kind), strict=True))


def run_on(kind: str) -> list[Tensor]:
    """Weights of the same training without the interruption."""
    optimizer, train_loss, outer_loss = case(optimizer=cases.momentum)()
    tuner = TUNERS[kind](optimizer, 1e-3)
    for t in range(4):
        tuner.step(partial(train_loss, t), outer_loss)
    return weights(optimizer)


@pytest.mark.parametrize("kind", TUNERS)
@pytest.mark.parametrize("name", EVERYWHERE)
def test_a_hook_on_the_step_that_comes_later_is_refused(name: str, kind: str) -> None:
    if name == "wrapped step":
        return  # seen at the first step alone: comparing each with the rule would cost another step
    make, words = CHANGED[name]
    late: dict[str, Any] = {}
    optimizer, train_loss, outer_loss = case(
        lambda net, optimizer: late.update(net=net),
        optimizer=cases.momentum if "buffers" in name else sgd,
    )()
    tuner = TUNERS[kind](optimizer, 0.0)
    tuner.step(partial(train_loss, 0), outer_loss)
    tuner.step(partial(train_loss, 1), outer_loss)
    change = make.__closure__[0].cell_contents  # type: ignore[attr-defined]
    change(late["net"], optimizer)
    before = [w.detach().clone() for w in weights(optimizer)]
    with pytest.raises(REFUSED, match=words):
        tuner.step(partial(train_loss, 2), outer_loss)
    if "after" not in name:
        assert all(map(torch.equal, before, weights(optimizer)))


def test_hd_goes_through_functions_without_a_second_derivative() -> None:
    for name in ("hidden at the end", "hidden in a custom operator", "once differentiable"):
        make = case(loss=LATER[name][0], outer=lambda net, x, y: mse_loss(net(x), y))
        tuner, _ = run(make, "hd with outer loss")
        assert tuner.hypergradient == pytest.approx(plain_hd(make), rel=1e-6)


@pytest.mark.parametrize("kind", ["fixed", *TUNERS])
def test_a_hook_on_several_weights_waits_for_backward(kind: str) -> None:
    def change(net: nn.Module, optimizer: Any) -> None:
        torch.autograd.graph.register_multi_grad_hook(list(net.parameters()), lambda grads: None)

    optimizer, train_loss, outer_loss = case(change)()
    tuner = TUNERS[kind](optimizer, 0.0) if kind in TUNERS else al.FixedSchedule(optimizer, [0.1])
    with pytest.raises(al.LossError, match="register a hook on each"):
        tuner.step(partial(train_loss, 0), outer_loss)


@pytest.mark.parametrize("kind", TUNERS)
def test_an_embedding_scaled_by_frequency_is_refused_where_its_gradient_is_needed(kind: str) -> None:
    def loss(net: Any, x: Tensor, y: Tensor) -> Tensor:
        return mse_loss(net((x.abs() * 3).long() % 3).mean(1), y)

    make = case(net=lambda: nn.Sequential(nn.Embedding(3, 2, scale_grad_by_freq=True)).double(), loss=loss)
    with pytest.raises(al.LossError, match="set scale_grad_by_freq=False"):
        run(make, kind)
    run(case(net=lambda: nn.Sequential(nn.Embedding(3, 2)).double(), loss=loss), kind)


# --- symmetry, once


def weight_normed() -> nn.Module:
    net = perceptron()
    net[0] = nn.utils.parametrizations.weight_norm(net[0])
    return net


class Crossed(torch.autograd.Function):
    """x^2, whose backward pass has a backward pass that sums what it should not."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x * x

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Tensor:
        return CrossedBackward.apply(g, ctx.saved_tensors[0])


class CrossedBackward(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, g: Tensor, x: Tensor) -> Tensor:
        ctx.save_for_backward(g, x)
        return 2 * g * x

    @staticmethod
    def backward(ctx: Any, v: Tensor) -> tuple[Tensor, Tensor]:
        g, x = ctx.saved_tensors
        return 2 * v * x, (2 * v * g).cumsum(-1)


ASYMMETRIC = {
    "weight_norm": case(net=weight_normed),
    "a wrong double backward": case(loss=lambda net, x, y: Crossed.apply(net(x) - y).mean()),
}


@pytest.mark.parametrize("kind", ["rtho", "marthe"])
@pytest.mark.parametrize("name", ASYMMETRIC)
def test_a_wrong_second_derivative_is_refused_at_the_second_step(name: str, kind: str) -> None:
    make = ASYMMETRIC[name]
    optimizer, train_loss, outer_loss = make()
    tuner = TUNERS[kind](optimizer, 0.0)
    tuner.step(partial(train_loss, 0), outer_loss)
    before = [w.detach().clone() for w in weights(optimizer)]
    with pytest.raises(
        al.LossError, match=r"not symmetric .*weight_norm.*mu = 0 \(HD\).*check_symmetry=False"
    ):
        tuner.step(partial(train_loss, 1), outer_loss)
    assert all(map(torch.equal, before, weights(optimizer)))
    optimizer, train_loss, outer_loss = make()
    tuner = TUNERS[kind](optimizer, 0.0, check_symmetry=False)
    for t in range(3):
        tuner.step(partial(train_loss, t), outer_loss)
    with pytest.raises(ValueError, match="check_symmetry must be True or False"):
        TUNERS[kind](optimizer, 0.0, check_symmetry=1)


@pytest.mark.parametrize("kind", ["rtho", "marthe"])
def test_the_test_is_not_counted_and_draws_no_random_number(kind: str) -> None:
    found = []
    for check in (True, False):
        optimizer, train_loss, outer_loss = cases.EXACT["dropout"]()
        tuner = TUNERS[kind](optimizer, 1e-3, check_symmetry=check)
        for t in range(3):
            tuner.step(partial(train_loss, t), outer_loss)
        found.append((str(tuner.state_dict()), str(weights(optimizer)), torch.get_rng_state().tolist()))
    assert found[0] == found[1]


@pytest.mark.parametrize("wrong", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_symmetry_has_power_where_there_are_digits(dtype: torch.dtype, wrong: bool) -> None:
    def net() -> nn.Module:
        return (weight_normed() if wrong else perceptron()).to(dtype)

    make = case(net=net, loss=lambda net, x, y: mse_loss(net(x.to(dtype)), y.to(dtype)))
    if wrong and dtype is not torch.bfloat16:
        with pytest.raises(al.LossError, match="not symmetric"):
            run(make, "rtho")
    else:
        run(make, "rtho")


def test_under_autocast_nothing_is_tested() -> None:
    def half(net: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            return mse_loss(net(x.float()).float(), y.float())

    run(case(net=lambda: weight_normed().float(), loss=half), "rtho")


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", ["mlp", "mlp_bn", "lenet5", "conv4", "vgg11", "resnet18"])
def test_symmetry_raises_no_false_alarm_on_networks(name: str, dtype: torch.dtype) -> None:
    """At the start and after a few steps, ReLU and BatchNorm among what is tested."""
    torch.manual_seed(0)
    narrow = {"width": 0.125} if name in ("vgg11", "resnet18") else {}
    net = build(name, seed=0, **narrow).to(dtype)
    channels = 3 if name in ("vgg11", "resnet18") else 1
    x = torch.rand(8, 784, dtype=dtype) if "mlp" in name else torch.rand(8, channels, 32, 32, dtype=dtype)
    if name in ("lenet5", "conv4"):
        x = torch.rand(8, 1, 28, 28, dtype=dtype)
    y = torch.randint(10, (8,))
    optimizer = torch.optim.SGD(net.parameters(), lr=0.05, momentum=0.9)
    for _ in range(3):
        tuner = al.RTHO(optimizer, 0.0)
        for _ in range(2):
            tuner.step(lambda: cross_entropy(net(x), y), lambda: cross_entropy(net(x), y))


# --- whole schedules


Loss = Callable[[Any, Tensor, Tensor], Tensor]


def fine(net: Any, x: Tensor, y: Tensor) -> Tensor:
    return mse_loss(net(x), y)


def problem(net: nn.Module, loss: Loss, at: tuple[int, ...] = (0, 1, 2)) -> al.Problem:
    """Training with the loss at those steps, and a fine one at the others."""

    def train(weights: Any, t: int) -> Tensor:
        return (loss if t in at else fine)(bound(weights), X[t], Y[t])

    def bound(weights: Any) -> Callable[[Tensor], Tensor]:
        return lambda x: torch.func.functional_call(net, weights, (x,))

    return al.Problem(dict(net.named_parameters()), train, lambda w: fine(bound(w), X[8], Y[8]))


def perceptron_like(net: nn.Module) -> nn.Module:
    found = perceptron()
    found.load_state_dict(net.state_dict())
    return found


def hooked_network() -> nn.Module:
    net = perceptron()
    module_full(net, None)
    return net


SCHEDULES: dict[str, tuple[Callable[[], nn.Module], Loss, str]] = {
    "module hook": (hooked_network, fine, "a module"),
    "tensor hook": (perceptron, hooked_output, "a tensor of shape"),
    "hidden": (perceptron, lambda net, x, y: Kernel.apply(net(x) - y).mean(), "Kernel computes out of"),
    "once": (perceptron, lambda net, x, y: Once.apply(net(x) - y).mean(), "Once is marked"),
    "wrong": (perceptron, lambda net, x, y: Crossed.apply(net(x) - y).mean(), "not symmetric"),
}
RATES = [0.1] * 3
WAYS: dict[str, Callable[[al.Problem], Any]] = {
    "reverse": lambda given: al.schedule_hypergradient(given, RATES, al.rules.SGD()),
    "checkpoints": lambda given: al.schedule_hypergradient(given, RATES, al.rules.SGD(), checkpoints=1),
    "keep_graph": lambda given: al.schedule_hypergradient(given, RATES, al.rules.SGD(), keep_graph=True),
    "forward": lambda given: al.schedule_hypergradient(given, RATES, al.rules.SGD(), "forward"),
    "lrs_opt": lambda given: al.lrs_opt(given, RATES, al.rules.SGD(), outer_steps=1),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", SCHEDULES)
def test_schedules_refuse_the_same(name: str, way: str) -> None:
    net, loss, words = SCHEDULES[name]
    given = problem(net(), loss)
    with pytest.raises(al.LossError, match=words):
        WAYS[way](given)


def test_schedules_switch_the_test_of_symmetry_off_by_name() -> None:
    given = problem(perceptron(), SCHEDULES["wrong"][1])
    for method in ("reverse", "forward"):
        al.schedule_hypergradient(given, RATES, al.rules.SGD(), method, check_symmetry=False)
    al.lrs_opt(given, RATES, al.rules.SGD(), outer_steps=1, check_symmetry=False)


@pytest.mark.parametrize("at", range(3))
@pytest.mark.parametrize("name", ["hidden", "once", "tensor hook"])
def test_a_fault_at_any_step_of_a_schedule_is_found(name: str, at: int) -> None:
    net, loss, words = SCHEDULES[name]
    given = problem(net(), loss, (at,))
    with pytest.raises(al.LossError, match=words):
        WAYS["reverse"](given)


def test_seeds_side_by_side_refuse_it_where_hooks_run() -> None:
    """Under vmap hooks of modules do not run, neither in the training nor in its derivative."""
    net = hooked_network()
    start = {name: w.detach().expand(2, *w.shape).clone() for name, w in net.named_parameters()}

    def loss(weights: Any, k: int = 8) -> Tensor:
        return mse_loss(torch.func.functional_call(net, weights, (X[k],)), Y[k])

    def in_a_loop(weights: Any, k: int = 8) -> Tensor:
        assert float(weights["0.weight"].detach().sum().item()) < 100  # what vmap cannot trace
        return loss(weights, k)

    found = al.seed_hypergradients(al.SeedProblem(start, loss, loss), [RATES] * 2, al.rules.SGD())
    alone = al.schedule_hypergradient(problem(perceptron_like(net), fine), RATES, al.rules.SGD())
    torch.testing.assert_close(found[1][0], alone[1])
    with pytest.raises(al.LossError, match="a module"):
        al.seed_hypergradients(al.SeedProblem(start, in_a_loop, loss), [RATES] * 2, al.rules.SGD())


# --- what else somebody might try


class Mask:
    """A frozen part, by a callable object in place of a function."""

    def __init__(self, w: Tensor) -> None:
        self.mask = torch.arange(w.numel(), dtype=w.dtype).reshape(w.shape) % 2

    def __call__(self, g: Tensor) -> Tensor:
        return g * self.mask


def masked(net: nn.Module, optimizer: Any) -> None:
    for w in net.parameters():
        w.register_hook(Mask(w))


def noisy(net: nn.Module, optimizer: Any) -> None:
    for w in net.parameters():
        w.register_hook(partial(torch.add, torch.ones(()), alpha=0.01))


def removes_itself(net: Any, optimizer: Any) -> None:
    """A hook for one step."""

    def hook(g: Tensor) -> None:
        handle.remove()

    handle = net[0].weight.register_hook(hook)


def logged(net: Any, optimizer: Any) -> None:
    net[2].weight.register_hook(lambda g: None)


def shared(net: Any, x: Tensor, y: Tensor) -> Tensor:
    """One weight is used at two places."""
    return mse_loss(net(x), y) + nn.functional.linear(torch.cos(net[0](x)), net[2].weight).square().mean()


def saved_elsewhere(net: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    with torch.autograd.graph.saved_tensors_hooks(lambda t: t.clone(), lambda t: t):
        return mse_loss(net(x), y)


def checkpointed_module_hook(net: Any, optimizer: Any) -> None:
    net[2].register_full_backward_hook(lambda module, given, out: (2 * given[0],))


class Twice(nn.Module):
    def forward(self, w: Tensor) -> Tensor:
        return w + w.tanh()


def parametrised() -> nn.Module:
    net = perceptron()
    nn.utils.parametrize.register_parametrization(net[0], "weight", Twice())
    return net


def replaced_output(net: Any, optimizer: Any) -> None:
    net[1].register_forward_hook(lambda module, args, out: out * 2)


@pytest.mark.parametrize("kind", ["rtho", "marthe"])
@pytest.mark.parametrize(
    ("make", "words"),
    [
        (case(masked), r"the backward hook Mask on a weight.*requires_grad_\(False\)"),
        (case(noisy), "the backward hook partial on a weight"),
        (case(checkpointed_module_hook, loss=checkpointed), r"a module \(Linear\) changes"),
    ],
    ids=["mask", "noise", "in a checkpoint"],
)
def test_further_inputs_that_are_refused(make: cases.Make, words: str, kind: str) -> None:
    with pytest.raises(al.LossError, match=words):
        run(make, kind)


@pytest.mark.parametrize(
    "make",
    [
        case(removes_itself),
        case(logged, loss=shared),
        case(loss=saved_elsewhere),
        case(net=parametrised),
        case(replaced_output),
    ],
    ids=["removes itself", "shared", "saved elsewhere", "parametrised", "replaced output"],
)
def test_further_inputs_that_are_exact(make: cases.Make) -> None:
    assert al.hypergradcheck(make).ok


@pytest.mark.parametrize("changes", [False, True])
def test_hooks_on_all_modules_and_all_optimizers(changes: bool) -> None:
    factor = 2.0 if changes else 1.0

    def modules(module: nn.Module, given: Any, out: Any) -> Any:
        return (
            tuple(None if g is None else factor * g for g in given) if isinstance(module, nn.Tanh) else None
        )

    handle = nn.modules.module.register_module_full_backward_hook(modules)
    try:
        if changes:
            with pytest.raises(al.LossError, match=r"a module \(Tanh\) changes the gradient"):
                run(SECOND_INPUT, "rtho")
        else:
            run(SECOND_INPUT, "rtho")
    finally:
        handle.remove()

    @torch.no_grad()
    def steps(optimizer: torch.optim.Optimizer, *_: Any) -> None:
        for w in weights(optimizer):
            w.mul_(factor)

    handle = register_optimizer_step_post_hook(steps)
    try:
        if changes:
            with pytest.raises(al.UnsupportedOptimizer, match="after it"):
                run(case(), "rtho")
        else:
            run(case(), "rtho")
    finally:
        handle.remove()


def graded(net: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    """With an input that requires a gradient, as hooks on all modules ask for."""
    return mse_loss(net(x.clone().requires_grad_()), y)


SECOND_INPUT = case(loss=graded)


def test_one_of_several_closures_has_the_hook() -> None:
    own: dict[str, Any] = {}
    optimizer, train_loss, outer_loss = case(lambda net, optimizer: own.update(net=net))()
    tuner = al.RTHO(optimizer, 0.0)
    with pytest.raises(al.LossError, match=r"train_loss\[1\]: the backward hook .* a tensor of shape"):
        tuner.step([partial(train_loss, 0), lambda: hooked_output(own["net"], X[1], Y[1])], outer_loss)


def test_a_hook_in_the_loss_of_products_alone() -> None:
    own: dict[str, Any] = {}
    optimizer, train_loss, outer_loss = case(lambda net, optimizer: own.update(net=net))()
    tuner = al.RTHO(optimizer, 0.0)
    for words, wrong in (
        ("product_loss: the backward hook", hooked_output),
        ("product_loss: .*Kernel", LATER["hidden at the end"][0]),
    ):
        loss = al.PartialProduct(
            partial(train_loss, 0), lambda wrong=wrong: wrong(own["net"], X[0], Y[0]), 1.0
        )
        with pytest.raises(al.LossError, match=words):
            tuner.step(loss, outer_loss)


def test_find_hyper_lr_and_the_largest_eigenvalue_refuse_it_too() -> None:
    optimizer, train_loss, outer_loss = case(cases.clamp_hooks)()
    with pytest.raises(al.LossError, match="clip_grad_value"):
        al.find_hyper_lr(
            al.RTHO(optimizer), train_loss, lambda t: outer_loss(), outer_loss, steps=3, total_steps=9
        )
    with pytest.raises(al.LossError, match="clip_grad_value"):
        al.top_eigenvalue([partial(train_loss, 0)], weights(optimizer), [6])


@pytest.mark.parametrize("change", [cases.clamp_hooks, module_full, module_legacy, accumulated])
def test_without_waiting_for_the_device_the_same_is_refused_at_any_step(change: Any) -> None:
    for at in (0, 2):
        own: dict[str, Any] = {}
        optimizer, train_loss, outer_loss = case(lambda net, optimizer, own=own: own.update(net=net))()
        tuner = al.RTHO(optimizer, 0.0, capturable=True)
        for t in range(at):
            tuner.step(partial(train_loss, t), outer_loss)
        change(own["net"], optimizer)
        with pytest.raises(al.LossError, match="changes"):
            tuner.step(partial(train_loss, at), outer_loss)
