"""Wrong arguments: every public function answers in a sentence of its own, whatever it is given.

Each argument in turn is replaced by each of WRONG. The call may go through where the value is a legitimate
one; else the error must be of a kind that the documentation names, and raised by the package itself, not
deep in torch.
"""

from __future__ import annotations

import math
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from tuner_registry import TUNERS

import adatune_lite as al
from adatune_lite.checkpoint import CheckpointError
from adatune_lite.tasks import models

WRONG: Mapping[str, Any] = {
    "None": None,
    "text": "x",
    "list": [],
    "list of text": ["x"],
    "mapping": {},
    "mapping of numbers": {"a": 0.1, "b": 0.2},
    "object": object(),
    "nan": math.nan,
    "inf": math.inf,
    "-1": -1,
    "0": 0,
    "1.5": 1.5,
    "True": True,
    "huge": 10**400,
    "complex": 1j,
    "function of anything": lambda *args, **options: None,
    "function of nothing": lambda: None,
    "matrix": torch.zeros(2, 3),
    "whole tensor": torch.zeros(3, dtype=torch.int64),
    "complex tensor": torch.zeros(3, dtype=torch.complex64),
}

KINDS = (
    *(ValueError, al.LossError, al.UnsupportedOptimizer, CheckpointError, al.NoEigenvalue, al.Diverged),
    al.HypergradcheckError,
)
"""ValueError is the parent of most; none is a TypeError, an AttributeError or an IndexError."""

PACKAGE = Path(al.__file__).parent


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A wrong value may be the name of a file that is written."""
    monkeypatch.chdir(tmp_path)


def _weights() -> list[Tensor]:
    return [torch.tensor([0.5, -0.3, 0.2], requires_grad=True)]


def _optimizer(weights: list[Tensor]) -> torch.optim.Optimizer:
    return torch.optim.SGD(weights, lr=0.1, momentum=0.9)


def _tuner(
    make: Callable[..., al.Tuner], **options: Any
) -> Callable[[], tuple[Callable[..., Any], dict[str, Any]]]:
    return lambda: (make, {"optimizer": _optimizer(_weights()), **options})


def _loss(weights: Any, t: int = 0) -> Tensor:
    return ((weights[0] - 0.1 * t) ** 2).sum()


def _problem() -> al.Problem:
    return al.Problem([torch.tensor([0.5, -0.3])], _loss, _loss)


def _seed_problem() -> al.SeedProblem:
    return al.SeedProblem([torch.tensor([[0.5, -0.3], [0.1, 0.2]])], _loss, _loss)


SEARCH = {
    **{"outer_steps": 1, "outer_optimizer": "adam", "outer_lr": 0.1, "lr_min": 0.0, "lr_max": 1.0},
    **{"clip_norm": 1.0, "checkpoints": None, "keep_graph": False, "resume": None, "on_step": None},
    "check_symmetry": True,
}
CLIP = {"clip_grad_value": None, "clip_grad_norm": None}
MARTHE = {
    **{"hyper_lr": 1e-3, "tune": ("lr",), "bounds": None, "lr_min": 0.0, "lr_max": None},
    **{"clip_hypergradient": None, "adapt_rule": "marthe_tf", "alpha": None, "outer_batchnorm": "batch"},
    **{"every": 1, "product_every": 1, "scaler": None, "capturable": False, "model": None},
    "check_symmetry": True,
    **CLIP,
}


def _range_test() -> tuple[Callable[..., Any], dict[str, Any]]:
    w = _weights()
    return al.lr_range_test, {
        **{"optimizer": _optimizer(w), "train_loss": lambda t: _loss(w, t)},
        **{"lr_min": 1e-6, "lr_max": 1.0, "steps": 3, "smoothing": 0.9, "stop": 4.0},
    }


def _eigenvalue() -> tuple[Callable[..., Any], dict[str, Any]]:
    w = _weights()
    return al.top_eigenvalue, {
        **{"losses": [lambda: _loss(w)], "weights": w, "images": [3]},
        **{"tolerance": 1e-4, "most_products": 20, "seed": 0},
    }


def _find_hyper_lr() -> tuple[Callable[..., Any], dict[str, Any]]:
    w = _weights()
    return al.find_hyper_lr, {
        **{"tuner": al.MARTHE(_optimizer(w)), "train_loss": lambda t: _loss(w, t)},
        **{"outer_loss": lambda t: _loss(w, t + 1), "held_loss": lambda: _loss(w, 3), "total_steps": 9},
        **{"name": "lr", "steps": 2, "trials": 6, "around": None},
    }


def _hypergradcheck() -> tuple[Callable[..., Any], dict[str, Any]]:
    def make() -> tuple[torch.optim.Optimizer, Callable[[int], Tensor], Callable[[], Tensor]]:
        w = [torch.tensor([0.5, -0.3], requires_grad=True)]
        return torch.optim.SGD(w, lr=0.1), lambda t: _loss(w, t), lambda: _loss(w, 3)

    return al.hypergradcheck, {
        "make": make,
        "steps": 1,
        "mu": 0.9,
        "rtol": 1e-6,
        **CLIP,
        "raise_exception": True,
    }


def _network(name: str, **options: Any) -> Callable[[], tuple[Callable[..., Any], dict[str, Any]]]:
    return lambda: (models.build, {"name": name, "seed": None, **options})


SMALL = {"classes": 2, "channels": 1, "width": 0.05}

CALLS: Mapping[str, Callable[[], tuple[Callable[..., Any], dict[str, Any]]]] = {
    "MARTHE": _tuner(al.MARTHE, mu=0.9, **MARTHE),
    "RTHO": _tuner(al.RTHO, **MARTHE),
    "HD": _tuner(al.HD, multiplicative=False, **MARTHE),
    "PartialProduct": lambda: (
        al.PartialProduct,
        {"train_loss": lambda: None, "product_loss": lambda: None, "fraction": 0.5},
    ),
    "FixedSchedule": _tuner(al.FixedSchedule, schedule=[0.1, 0.2], **CLIP),
    "CycledMomentum": _tuner(al.CycledMomentum, schedule=[0.1, 0.2], momentum=[0.9, 0.8], **CLIP),
    "ReduceOnPlateau": _tuner(
        al.ReduceOnPlateau,
        **{"every": 1, "factor": 0.1, "patience": 1, "threshold": 1e-4, "threshold_mode": "rel"},
        **{"cooldown": 0, "mode": "min", "lr_min": 0.0, **CLIP},
    ),
    "AutoLR": _tuner(
        al.AutoLR,
        **{"explore_steps": 2, "window": 2, "samples": 3, "saturation": 100.0, "epsilon_threshold": 1e-3},
        **{"lr_min": 0.0, "superbatch": 2, "rollback": True, "reach": 0.5, "spread": 0.1, **CLIP},
        **{"total_steps": None, "model": None},
    ),
    "lr_range_test": _range_test,
    "top_eigenvalue": _eigenvalue,
    "find_hyper_lr": _find_hyper_lr,
    "hypergradcheck": _hypergradcheck,
    "autolr_settings": lambda: (al.autolr_settings, {"task": None, "steps": 4, "lr": 0.1}),
    "superbatch": lambda: (
        al.superbatch,
        {"k": 0, "examples": 9, "batch_size": 2, "batches": 2, "seed": 0},
    ),
    "Problem": lambda: (
        al.Problem,
        {"weights": [torch.zeros(2)], "train_loss": _loss, "final_loss": _loss},
    ),
    "SeedProblem": lambda: (
        al.SeedProblem,
        {"weights": [torch.zeros(2, 2)], "train_loss": _loss, "final_loss": _loss, "data": None},
    ),
    "schedule_hypergradient": lambda: (
        al.schedule_hypergradient,
        {
            **{"problem": _problem(), "schedule": [0.1, 0.2], "rule": al.rules.SGD(), "method": "reverse"},
            **{"checkpoints": None, "keep_graph": False, "check_symmetry": True},
        },
    ),
    "seed_hypergradients": lambda: (
        al.seed_hypergradients,
        {
            **{"problem": _seed_problem(), "schedules": [[0.1], [0.2]], "rule": al.rules.SGD()},
            **{"checkpoints": None, "keep_graph": False, "check_symmetry": True},
        },
    ),
    "lrs_opt": lambda: (
        al.lrs_opt,
        {"problem": _problem(), "schedule": [0.1, 0.2], "rule": al.rules.SGD(), **SEARCH},
    ),
    "lrs_opt_seeds": lambda: (
        al.lrs_opt_seeds,
        {"problem": _seed_problem(), "schedules": [[0.1], [0.2]], "rule": al.rules.SGD(), **SEARCH},
    ),
    "SGD": lambda: (
        al.rules.SGD,
        {"momentum": 0.9, "dampening": 0.0, "weight_decay": 0.1, "nesterov": False, "maximize": False},
    ),
    "Adam": lambda: (
        al.rules.Adam,
        {"beta1": 0.9, "beta2": 0.99, "eps": 1e-8, "weight_decay": 0.1, "decoupled": True},
    ),
    "AdamW": lambda: (al.rules.AdamW, {"beta1": 0.9, "beta2": 0.99, "eps": 1e-8, "weight_decay": 0.1}),
    "RMSprop": lambda: (
        al.rules.RMSprop,
        {"alpha": 0.9, "eps": 1e-8, "weight_decay": 0.1, "momentum": 0.9},
    ),
    "schedule": lambda: (
        al.schedules.schedule,
        {"name": "sgdr", "steps": 4, "lr": 0.1, "warmup": 0.1, "start": 0.1, "period": 0.5, "growth": 2},
    ),
    "schedule, staircase": lambda: (
        al.schedules.schedule,
        {"name": "staircase", "steps": 4, "lr": 0.1, "factor": 0.1, "milestones": (0.5,)},
    ),
    "mirrored_momentum": lambda: (
        al.schedules.mirrored_momentum,
        {"rates": torch.tensor([0.1, 0.2]), "base": 0.1, "low": 0.85, "high": 0.95},
    ),
    "cycle": lambda: (al.cycle, {"loader": [1, 2]}),
    "mlp": _network("mlp", classes=2, features=3, hidden=(2,), activation="relu", batchnorm=False),
    "lenet5": _network("lenet5", classes=2, channels=1, width=0.2),
    "vgg11": _network("vgg11", **SMALL, initial="torch"),
    "resnet18": _network("resnet18", **SMALL, initial="he"),
}


@pytest.mark.parametrize("name", CALLS)
def test_a_wrong_argument_is_answered_in_a_sentence(name: str) -> None:
    function, right = CALLS[name]()
    function(**right)  # else nothing below would be about the argument that is replaced
    failed = []
    for argument in right:
        for words, value in WRONG.items():
            function, options = CALLS[name]()
            found = _raw(lambda: function(**{**options, argument: value}))  # noqa: B023, called at once
            failed += [f"{argument}={words}: {found}"] if found else []
    assert not failed, f"{len(failed)} raw errors of {name}:\n" + "\n".join(failed)


@pytest.mark.parametrize("kind", ["marthe", "hd", "fixed", "plateau", "autolr"])
@pytest.mark.parametrize("steps", [0, 2])
def test_a_wrong_loss_is_answered_in_a_sentence(kind: str, steps: int) -> None:
    failed = []
    for words, value in WRONG.items():
        for losses in ({"train_loss": value}, {"train_loss": [value]}, {"outer_loss": value}):
            w = _weights()
            tuner = TUNERS[kind](_optimizer(w))
            right = {"train_loss": lambda w=w: _loss(w), "outer_loss": None}
            if TUNERS[kind].outer:
                right["outer_loss"] = lambda *k, w=w: _loss(w)
            for _ in range(steps):
                tuner.step(**right)
            given = {**right, **losses}
            found = _raw(lambda: [tuner.step(**given) for _ in range(2)])  # noqa: B023, called at once
            failed += [f"{losses.keys()} {words}: {found}"] if found else []
    assert not failed, f"{len(failed)} raw errors of {kind}:\n" + "\n".join(failed)


PARTS: Mapping[str, Callable[[Any], Any]] = {
    "rule": al.rules.as_rule,
    "optimizer of a rule": al.rules.from_optimizer,
    "rate": lambda x: al.FixedSchedule(_optimizer(_weights()), [x]),
    "momentum": lambda x: al.CycledMomentum(_optimizer(_weights()), [0.1], [x]),
    "bounds": lambda x: al.MARTHE(_optimizer(_weights()), bounds={"lr": (x, x)}),
    "weight of a problem": lambda x: al.Problem([x], _loss, _loss),
    "hidden layer": lambda x: models.build("mlp", hidden=(x,)),
    "images of a chunk": lambda x: al.top_eigenvalue([lambda: torch.zeros(())], _weights(), [x]),
    "loss of a problem": lambda x: al.schedule_hypergradient(
        al.Problem([torch.zeros(2)], lambda w, t: x, lambda w: x), [0.1], al.rules.SGD()
    ),
    "loss of the range test": lambda x: al.lr_range_test(_optimizer(_weights()), lambda t: x, steps=2),
    "what make returns": lambda x: al.hypergradcheck(lambda: x),
    "a loss of make": lambda x: al.hypergradcheck(lambda: (_optimizer(_weights()), x, x)),
}
"""What lies inside of arguments."""


@pytest.mark.parametrize("part", PARTS)
def test_a_wrong_part_is_answered_in_a_sentence(part: str) -> None:
    failed = [f"{words}: {raw}" for words, x in WRONG.items() if (raw := _raw(lambda x=x: PARTS[part](x)))]
    assert not failed, f"{len(failed)} raw errors of {part}:\n" + "\n".join(failed)


def _raw(call: Callable[[], Any]) -> str:
    """The error of a call, where it is none that a user should see; else nothing."""
    try:
        call()
    except KINDS as error:
        return "" if _own(error) and len(str(error).split()) >= 5 else f"{type(error).__name__}: {error}"
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return ""


def _own(error: BaseException) -> bool:
    """Whether the package raised it, and nothing below."""
    frames = traceback.extract_tb(error.__traceback__)
    return PACKAGE in Path(frames[-1].filename).parents
