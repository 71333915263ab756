"""States that a tuner refuses: each in one sentence, and nothing has changed."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from oracles import BY_NAME, Task
from test_tuners import Run, registered
from tuner_registry import TUNERS, Kind

import adatune_lite as al

Make = Callable[[torch.optim.Optimizer], Any]


def saved(kind: str, name: str = "momentum") -> dict[str, Any]:
    """The state of a tuner after three steps."""
    run = registered(kind, BY_NAME[name], Task())
    for _ in range(3):
        run.step()
    return run.tuner.state_dict()


def refused(make: Make, name: str, state: Any, words: str) -> None:
    """Before and after some steps of another tuner, which the state does not change and does not stop."""
    outer = not isinstance(make(BY_NAME[name].optimizer(Task().weights())), al.FixedSchedule)
    whole, run = (Run(make, BY_NAME[name], Task(), outer) for _ in range(2))
    for _ in range(2):
        before = str([run.tuner.state_dict(), run.optimizer.state_dict()])
        with pytest.raises(ValueError, match=words):
            run.tuner.load_state_dict(state)
        assert str([run.tuner.state_dict(), run.optimizer.state_dict()]) == before
        for _ in range(2):
            run.step()
            whole.step()
    assert str(run.digits()) == str(whole.digits())


OTHERS: list[tuple[Make, str, tuple[str, str], str]] = [
    (TUNERS["fixed"], "momentum", ("marthe", "momentum"), "does not belong to a FixedSchedule"),
    (
        lambda o: al.MARTHE(o, 0.9, tune=("lr", "weight_decay")),
        "momentum",
        ("marthe", "momentum"),
        r"tunes \[\(0, 'lr'\)\], this tuner .*decay",
    ),
    (
        TUNERS["adaptive"],
        "momentum",
        ("marthe", "momentum"),
        "saved with mu=0.9, and this MARTHE has 'ada",
    ),
    (
        lambda o: al.MARTHE(o, 0.5, 1e-3),
        "momentum",
        ("marthe", "momentum"),
        "mu=0.9, and this MARTHE has 0.5",
    ),
    (lambda o: al.MARTHE(o, 0.9, every=2), "momentum", ("marthe", "momentum"), "every=1, .* has 2: make"),
    (
        lambda o: al.MARTHE(o, 0.9, clip_grad_norm=1.0),
        "momentum",
        ("marthe", "momentum"),
        "clip_grad_norm=None, and this MARTHE has 1.0: make it with the same settings",
    ),
    (
        lambda o: al.HD(o, 1e-3, multiplicative=True),
        "momentum",
        ("hd_outer", "momentum"),
        "multiplicative=False, and this HD has True",
    ),
    (TUNERS["marthe"], "adam", ("marthe", "momentum"), "by MARTHE with SGD, and this is MARTHE with Adam"),
    (TUNERS["marthe"], "adam", ("marthe", "rmsprop_momentum"), "by MARTHE with RMSprop"),
    (TUNERS["marthe"], "sgd", ("marthe", "momentum"), "other weights or another rule"),
    (TUNERS["hd_outer"], "momentum", ("marthe", "momentum"), "by MARTHE with SGD, and this is HD"),
    (
        lambda o: al.MARTHE(o, 0.9, 0.0, lr_max=0.05),
        "momentum",
        ("marthe", "momentum"),
        r"has 0\.05\d+ for 'lr' of group 0, and this tuner's bounds are \[0, 0.05\]",
    ),
]


@pytest.mark.parametrize(("make", "name", "other", "words"), OTHERS)
def test_the_state_of_another_tuner_is_refused(
    make: Make, name: str, other: tuple[str, str], words: str
) -> None:
    refused(make, name, saved(*other), words)


def test_the_state_of_other_weights_is_refused() -> None:
    tuner = al.MARTHE(BY_NAME["momentum"].optimizer([torch.zeros(2, requires_grad=True)]), 0.9, 1e-3)
    with pytest.raises(ValueError, match="other weights or another rule"):
        tuner.load_state_dict(saved("marthe"))


def entry(**changes: Any) -> Callable[[dict[str, Any]], Any]:
    return lambda state: {**state, **changes}


def of_tuned(place: int, value: Any) -> Callable[[dict[str, Any]], Any]:
    def change(state: dict[str, Any]) -> dict[str, Any]:
        state = copy.deepcopy(state)
        state["tuned"][0][place] = value
        return state

    return change


def _mapped(state: dict[str, Any], change: Callable[[torch.Tensor], torch.Tensor]) -> Any:
    """Z of the first value, each tensor changed."""
    return [[[change(x) for x in part] for part in parts] for parts in state["tuned"][0][4]]


GARBLED: list[tuple[str, Callable[[dict[str, Any]], Any], str]] = [
    ("marthe", lambda state: {}, "is missing or unknown"),
    ("marthe", lambda state: None, "not as one was saved"),
    ("marthe", lambda state: {**state, "tuned": state["tuned"][0]}, "must be a list of"),
    ("marthe", entry(tuned=3), "must be a list of"),
    ("marthe", of_tuned(2, math.nan), "has nan for 'lr' of group 0"),
    ("marthe", of_tuned(2, math.inf), "has inf for 'lr' of group 0"),
    ("marthe", of_tuned(2, -0.1), "has -0.1 for 'lr' of group 0"),
    ("marthe", of_tuned(2, "0.1"), "has '0.1' for 'lr' of group 0"),
    ("marthe", of_tuned(3, None), "a hypergradient of this state must be a number"),
    ("marthe", of_tuned(4, 0.0), "not as one was saved"),
    ("marthe", of_tuned(4, [[[0.0]]]), "not as one was saved"),
    ("marthe", entry(lr=math.nan), "the rate of this state must be finite"),
    ("marthe", entry(steps="3"), "'steps' of this state must be a number"),
    ("marthe", entry(lost="3"), "'lost' a whole number"),
    ("marthe", entry(steps=math.nan), "'steps' of this state must be finite and at least 0, not nan"),
    ("marthe", lambda s: of_tuned(4, _mapped(s, lambda x: x * math.nan))(s), "Z of this state is not finite"),
    (
        "marthe",
        lambda s: of_tuned(4, _mapped(s, torch.Tensor.float))(s),
        "in torch.float32, .* in torch.float64",
    ),
    ("fixed", entry(lr=math.inf), "the rate of this state must be finite"),
    ("adaptive", lambda s: {**s, "adaptive": {**s["adaptive"], "mu": 2.0}}, "with mu in"),
    ("adaptive", entry(adaptive={"mu": 0.5}), "must hold finite mu, beta, c, delta, before"),
    ("plateau", entry(plateau={"best": 1.0}), "must hold best, num_bad_epochs"),
    ("autolr", entry(log=[{"step": 1}]), "not as one was saved"),
    ("autolr", entry(held=[0]), "3 numbers of the held superbatch"),
    ("autolr", entry(change={"lr": 0.1}), "not as one was saved"),
    ("scaler", entry(scaler={}), "none that torch saved"),
]
KINDS = {**TUNERS, "scaler": Kind(lambda o, h: al.MARTHE(o, 0.9, h, scaler=torch.amp.GradScaler("cpu")))}


@pytest.mark.parametrize(("kind", "change", "words"), GARBLED)
def test_a_garbled_state_is_refused(kind: str, change: Any, words: str) -> None:
    runs = [Run(KINDS[kind], BY_NAME["momentum"], Task(), KINDS[kind].outer) for _ in range(2)]
    for run in runs:
        for _ in range(3):
            run.step()
    before = str(runs[0].tuner.state_dict())
    with pytest.raises(ValueError, match=words):
        runs[0].tuner.load_state_dict(change(runs[0].tuner.state_dict()))
    assert str(runs[0].tuner.state_dict()) == before
    for run in runs:
        run.step()
    assert str(runs[0].digits()) == str(runs[1].digits())


WRONG: list[Any] = [None, "x", math.nan, -1, 0.5, [], {}, 10**400, torch.zeros(2, 5)]


def leaves(state: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Where a state holds something, its parts among them; of tensors in a list the first stands for all."""
    listed = state[:1] if isinstance(state, list) and isinstance((*state, 0)[0], torch.Tensor) else state
    parts = (
        listed.items() if isinstance(state, dict) else enumerate(listed) if isinstance(state, list) else ()
    )
    return [path, *(where for key, part in parts for where in leaves(part, (*path, key)))]


def put(state: Any, path: tuple[Any, ...], value: Any) -> Any:
    """A copy of the state with that in this place."""
    if not path:
        return value
    copied = copy.copy(state)
    copied[path[0]] = put(state[path[0]], path[1:], value)
    return copied


@pytest.mark.parametrize("kind", ["marthe", "adaptive", "hd", "cycled", "plateau", "autolr", "scaler"])
def test_whatever_a_state_holds_it_is_refused_or_goes_on(kind: str) -> None:
    """Refused with nothing changed, or taken up; then no step fails by anything but a sentence."""
    run = Run(KINDS[kind], BY_NAME["momentum"], Task(), KINDS[kind].outer)
    for _ in range(4):
        run.step()
    sound = copy.deepcopy(run.tuner.state_dict())
    before, failed = str(run.tuner.state_dict()), []
    for path in leaves(sound):
        for value in WRONG:
            try:
                run.tuner.load_state_dict(put(sound, path, value))
            except ValueError:
                if str(run.tuner.state_dict()) != before:
                    failed.append(f"{path} = {value!r}: the tuner has changed")
                continue
            except Exception as error:
                failed.append(f"{path} = {value!r}: {type(error).__name__}: {error}")
                continue
            try:
                for _ in range(2):
                    run.step()
            except (ValueError, al.Diverged):
                pass
            except Exception as error:
                failed.append(f"{path} = {value!r}, later: {type(error).__name__}: {error}")
            run.tuner.load_state_dict(sound)
    assert not failed, f"{len(failed)} of {kind}:\n" + "\n".join(failed)
