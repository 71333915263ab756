"""Products, eigenvalues and hypergradients against other libraries, which share no code with this one.

curvlinops takes products by forward mode over reverse mode; `higher` unrolls the optimizers of torch with the
graph kept. Its Adam adds eps before the bias correction, as torch no longer does, so eps is 0 here; it has no
AdamW. torchopt runs too, but the bias corrections of its Adam are single precision: no judge in double.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from oracles import BY_NAME, Setting, Task, close, rates
from scipy.sparse.linalg import eigsh
from torch import Tensor, nn

import adatune_lite as al
from adatune_lite.engine.curvature import gradient, product

# what curvlinops imports uses torch.jit.script
pytestmark = pytest.mark.filterwarnings("ignore:.*torch.jit.script.* is deprecated:FutureWarning")

NAMES = ("sgd_decay", "momentum", "momentum_decay", "dampening_decay", "nesterov_decay", "rmsprop_all")
ADAM = Setting("adam_decay", "adam", {"weight_decay": 0.1, "betas": (0.8, 0.95), "eps": 0.0}, 0.03)
settings = pytest.mark.parametrize(
    "setting", [*map(BY_NAME.get, (*NAMES, "adam_eps0")), ADAM], ids=lambda s: s.name
)


class Images:
    """A convolution, BatchNorm in evaluation mode and two chunks of 5 and 2 images."""

    def __init__(self) -> None:
        torch.manual_seed(0)
        layers = (nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.Tanh(), nn.Flatten(), nn.Linear(27, 4))
        self.net = nn.Sequential(*layers).double()
        self.x, self.y = torch.randn(7, 1, 5, 5, dtype=torch.float64), torch.randint(4, (7,))
        self.net(self.x * 3 - 1)
        self.net.eval()
        self.weights = list(self.net.parameters())
        self.chunks = list(zip(self.x.split(5), self.y.split(5), strict=True))

    def loss(self, x: Tensor, y: Tensor) -> Tensor:
        return nn.functional.cross_entropy(self.net(x), y)

    def other(self) -> object:
        from curvlinops import HessianLinearOperator

        return HessianLinearOperator(self.net, nn.CrossEntropyLoss(), self.weights, self.chunks)


def test_product_equals_that_of_curvlinops() -> None:
    images = Images()
    v = [torch.randn_like(w) for w in images.weights]
    grads = gradient(images.loss(images.x, images.y), images.weights, create_graph=True)
    ours = product([g for g in grads if g is not None], images.weights, v)
    for a, b in zip(ours, images.other() @ v, strict=True):
        close(a, b.detach())


def test_top_eigenvalue_equals_that_of_curvlinops() -> None:
    images = Images()
    losses = [lambda c=c: images.loss(*c) for c in images.chunks]
    found = al.top_eigenvalue(losses, images.weights, [5, 2], tolerance=1e-10)
    start = np.random.default_rng(0).standard_normal(sum(w.numel() for w in images.weights))
    other = eigsh(images.other().to_scipy(), k=1, which="LA", v0=start, tol=1e-10, return_eigenvectors=False)
    assert found.value == pytest.approx(float(other[0]), rel=1e-9)


def unrolled(task: Task, setting: Setting, schedule: Sequence[Tensor]) -> Tensor:
    """E after training along the schedule, with the graph of the whole of it."""
    import higher

    w = task.weights()
    optimizer = higher.get_diff_optim(setting.optimizer(w), w)
    for t, lr in enumerate(schedule):
        w = optimizer.step(task.train(w, t), params=w, override={"lr": [lr]})
    return task.outer(w)


@pytest.mark.filterwarnings("ignore:Differentiable RMSprop suffers:UserWarning")
@settings
def test_schedule_hypergradient_equals_that_of_higher(setting: Setting) -> None:
    task, schedule = Task(), rates(setting, 8, moving=True)
    leaves = [torch.tensor(rate, dtype=torch.float64, requires_grad=True) for rate in schedule]
    outer = unrolled(task, setting, leaves)
    problem = al.Problem(tuple(task.start), task.train, task.outer)
    value, slopes = al.schedule_hypergradient(problem, schedule, setting.rule)
    close(value, outer.detach())
    close(slopes, torch.stack(torch.autograd.grad(outer, leaves)), atol=1e-12 * float(slopes.abs().max()))


@pytest.mark.filterwarnings("ignore:Differentiable RMSprop suffers:UserWarning")
@settings
def test_rtho_equals_the_slope_by_one_constant_rate_of_higher(setting: Setting) -> None:
    """mu = 1: Delta after step T is d E(w_T) / d lr of a training at one rate lr."""
    task = Task(seed=1)
    w = task.weights()
    tuner = al.MARTHE(setting.optimizer(w), mu=1.0, hyper_lr=0.0)
    for t in range(8):
        tuner.step(lambda t=t: task.train(w, t), lambda: task.outer(w))
        if t in (0, 7):
            lr = torch.tensor(setting.lr, dtype=torch.float64, requires_grad=True)
            (slope,) = torch.autograd.grad(unrolled(task, setting, [lr] * (t + 1)), lr)
            close(tuner.hypergradient, slope)
