"""Clipping of the training gradient, differentiated; mu and hyper_lr that adapt, against their twins."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from oracles import BY_NAME, FD_ATOL, FD_RTOL, Setting, Task, Unrolled, central_difference, close
from torch import Tensor
from torch.nn.utils import clip_grad_norm_, clip_grad_value_

import adatune_lite as al
from adatune_lite.tuners.clipping import clip_norm, clip_value

T = 8


def draw(seed: int) -> list[Tensor | None]:
    generator = torch.Generator().manual_seed(seed)
    shapes = ((4, 3), (5,), (1,))
    return [torch.randn(*s, generator=generator, dtype=torch.float64) for s in shapes[:2]] + [None]


CLIPS = {"value": (clip_value, clip_grad_value_), "norm": (clip_norm, clip_grad_norm_)}


@pytest.mark.parametrize("bound", [0.5, 2.0, 100.0])
@pytest.mark.parametrize("kind", CLIPS)
def test_clipping_is_torch_and_its_tangent_the_difference_quotient(kind: str, bound: float) -> None:
    ours, torchs = CLIPS[kind]
    grads, x = draw(0), draw(1)
    theirs = [torch.zeros(1, dtype=torch.float64) if g is None else torch.zeros_like(g) for g in grads]
    for w, g in zip(theirs, grads, strict=True):
        w.grad = None if g is None else g.clone()
    torchs(theirs, bound)
    clipped, (moved,) = ours(grads, [x], bound)
    assert clipped[2] is moved[2] is None
    for i in (0, 1):
        assert torch.equal(clipped[i], theirs[i].grad)

        def entry(h: float, i: int = i) -> Tensor:
            shifted = [None if g is None else g + h * v for g, v in zip(grads, x, strict=True)]
            return ours(shifted, [], bound)[0][i]

        torch.testing.assert_close(moved[i], central_difference(entry), rtol=FD_RTOL, atol=FD_ATOL)


def test_clipping_of_a_zero_gradient() -> None:
    zero, x = [torch.zeros(2, dtype=torch.float64)], [torch.ones(2, dtype=torch.float64)]
    clipped, (moved,) = clip_norm(zero, [x], 1e-9)
    assert torch.equal(clipped[0], zero[0]) and torch.isfinite(moved[0]).all()


@pytest.mark.parametrize("options", [{"clip_grad_value": 0.3}, {"clip_grad_norm": 0.5}], ids=str)
@pytest.mark.parametrize("name", ["momentum_decay", "adam_decay", "adamw", "rmsprop_all"])
def test_clipped_training_equals_finite_differences_through_time(name: str, options: dict[str, Any]) -> None:
    """Through torch's own clipping and optimizer; in some steps the bound is active, in others not."""
    task, setting = Task(seed=3), BY_NAME[name]
    active = []

    def replay(h: float) -> float:
        w = task.weights()
        optimizer = setting.optimizer(w, setting.lr + h)
        for t in range(T):
            optimizer.zero_grad()
            task.train(w, t).backward()
            before = [x.grad.clone() for x in w if x.grad is not None]
            if "clip_grad_value" in options:
                clip_grad_value_(w, 0.3)
            else:
                clip_grad_norm_(w, 0.5)
            active.append(any(not torch.equal(x.grad, g) for x, g in zip(w, before, strict=True)))
            optimizer.step()
        return float(task.outer(w).detach())

    w = task.weights()
    tuner = al.RTHO(setting.optimizer(w), 0.0, tune=("lr", "weight_decay"), **options)
    for t in range(T):
        tuner.step(lambda t=t: task.train(w, t), lambda: task.outer(w))
    # a step small enough to cross no kink; its rounding of 1e-10 is within the tolerance
    close(tuner.hypergradient, central_difference(replay, 2e-6), FD_RTOL, FD_ATOL)
    assert True in active[:T]


def test_hd_takes_its_slope_from_the_gradient_before_clipping() -> None:
    """g_t of the loss, B of the step that was taken: -clip(g)."""
    task, w = Task(), Task().weights()
    tuner = al.HD(torch.optim.SGD(w, lr=0.1), 1e-3, clip_grad_value=0.2)
    first = torch.autograd.grad(task.train(w, 0), w)
    tuner.step(lambda: task.train(w, 0))
    second = torch.autograd.grad(task.train(w, 1), w)
    tuner.step(lambda: task.train(w, 1))
    expected = -sum(float((g * d.clamp(-0.2, 0.2)).sum()) for g, d in zip(second, first, strict=True))
    close(tuner.hypergradient, expected)
    assert any(d.abs().max() > 0.2 for d in first)


class Twin:
    """mu and hyper_lr by FACTS 1.5, from the slopes that autograd through time finds."""

    def __init__(self, task: Task, setting: Setting, rule: str, alpha: float | None, beta: float) -> None:
        self.task, self.loop, self.rule, self.alpha = task, Unrolled(task, setting), rule, alpha
        self.lr, self.beta = setting.lr, beta
        self.mu = self.c = 0.0
        self.factors: list[float] = []
        self.deltas = [0.0, 0.0]

    def step(self) -> float:
        """Delta at the new weights."""
        t = len(self.factors)
        grads = torch.autograd.grad(self.task.train(self.loop.w, t), self.loop.w, retain_graph=True)
        self.loop.step(self.lr)
        slopes = self.loop.slopes()
        self.factors = [*(f * self.mu for f in self.factors), 1.0]
        delta = sum(f * float(s) for f, s in zip(self.factors, slopes, strict=True))
        if self.rule == "marthe_tf":
            if self.alpha is not None:
                self.beta = max(self.beta + self.alpha * self.deltas[-1] * self.deltas[-2], 0.0)
            self.lr = max(0.0, self.lr - self.beta * delta)
            q = self.deltas[-1] / float(slopes[-1])
            self.c = (self.c + 1) * self.mu
        else:
            self.lr = max(0.0, self.lr - self.beta * delta)
            if self.alpha is not None:
                self.beta = max(self.beta + self.alpha * delta * self.lr, 0.0)
            outer = torch.autograd.grad(self.task.outer(self.loop.w), self.loop.w, retain_graph=True)
            q = self.lr / sum(float((a * b).sum()) for a, b in zip(outer, grads, strict=True))
            self.c = self.c * math.copysign(1.0, self.mu) + self.mu if self.mu else 0.0
        self.mu = min(1.0, max(0.0, q)) ** (1 / (self.c + 1))
        self.deltas.append(delta)
        return delta


@pytest.mark.parametrize("alpha", [None, 1e-2])
@pytest.mark.parametrize("rule", ["marthe_tf", "adatune"])
@pytest.mark.parametrize("name", ["sgd_decay", "nesterov_decay", "adam", "adamw", "rmsprop_momentum"])
def test_adaptive_mu_and_hyper_lr_equal_their_twin(name: str, rule: str, alpha: float | None) -> None:
    # tasks on which hyper_lr rises and is not projected to 0 from the first step on
    task, setting = Task(seed=1 if rule == "marthe_tf" else 6), BY_NAME[name]
    beta = 1e-4 * setting.lr if alpha is None else 1e-8
    twin, w = Twin(task, setting, rule, alpha, beta), task.weights()
    tuner = al.MARTHE(
        setting.optimizer(w),
        "adaptive",
        beta if alpha is None else "adaptive",
        adapt_rule=rule,
        alpha=alpha,
    )
    seen = []
    for t in range(T):
        tuner.step(lambda t=t: task.train(w, t), lambda: task.outer(w))
        close(tuner.hypergradient, twin.step(), atol=1e-12)
        close(tuner.lr, twin.lr, rtol=1e-12)
        close(tuner.mu, twin.mu, atol=1e-12)
        close(tuner.hyper_lr, twin.beta, rtol=1e-8)
        seen.append((tuner.mu, tuner.hyper_lr))
    mus, betas = zip(*seen, strict=True)
    assert tuner.lr != setting.lr and max(mus) > 0
    assert alpha is None or max(betas) > 1e-6


def test_only_hyper_lr_adapts_under_a_fixed_mu() -> None:
    task, w = Task(), Task().weights()
    tuner = al.RTHO(BY_NAME["momentum"].optimizer(w), "adaptive", alpha=1e-3)
    for t in range(5):
        tuner.step(lambda t=t: task.train(w, t), lambda: task.outer(w))
    assert tuner.mu == 1.0 and tuner.hyper_lr != 1e-8


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"hyper_lr": "adaptive"}, 'hyper_lr="adaptive" needs alpha'),
        ({"hyper_lr": "adaptive", "alpha": -1.0}, "needs alpha, a finite number and not negative"),
        ({"alpha": 1e-6}, "no use without it"),
        ({"mu": "adaptive", "adapt_rule": "mine"}, 'adapt_rule must be "marthe_tf" or "adatune"'),
        ({"mu": "adaptive", "tune": ("lr", "momentum")}, '"adaptive" is for'),
        ({"mu": "adaptive", "every": 2}, '"adaptive" is for'),
        ({"clip_grad_value": 0.0}, "clip_grad_value must be a finite number above 0"),
        ({"clip_grad_norm": math.nan}, "clip_grad_norm must be a finite number above 0"),
        ({"clip_grad_value": 1.0, "clip_grad_norm": 1.0}, "not both"),
    ],
)
def test_refuses_by_name(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        al.MARTHE(torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.1, momentum=0.9), **options)
