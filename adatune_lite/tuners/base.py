"""One interface for everything that sets a learning rate during training."""

from __future__ import annotations

import copy
import hashlib
import logging
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from adatune_lite.checks import function, is_count, is_number, shown
from adatune_lite.engine.closures import BufferGuard, Closure
from adatune_lite.engine.graph import HookPolicy
from adatune_lite.engine.hypergradient import check_schedule
from adatune_lite.rules import UnsupportedOptimizer
from adatune_lite.tuners.clipping import clipping
from adatune_lite.tuners.gathered import Gathered, training_gradient
from adatune_lite.tuners.products import Gradients
from adatune_lite.tuners.scaling import Scaling
from adatune_lite.tuners.stepping import harmless, hooked

_LOG = logging.getLogger("adatune_lite")
"""Says at which step a loss, gradient or hypergradient was not finite, as a warning."""


class Diverged(RuntimeError):
    """Two steps in a row gave a loss or a hypergradient that is not finite."""


class Tuner(ABC):
    """Trains with an optimizer and decides its learning rate.

    `step` does one training step and returns the loss at the weights before it. `lr` is the rate of the next
    step as a Python float, whatever the dtype of the weights.
    """

    needs = ""
    """What a step takes besides the training loss: "" nothing; "gradient": an outer loss, for its gradient;
    "look": an outer loss (of a number k, where `superbatch` is set), for its value."""
    superbatch = 0
    """Mini-batches of training data that `outer_loss(k)` of a look averages; 0: it is the validation loss."""
    costs: tuple[str, ...] = ("plain_steps",)
    """What a training with it counts: "look_steps" too where looks are worth telling apart."""
    _lowest_lr = 0.0
    """Below it no rate can have come."""
    _dense = False
    """Whether the step needs gradients that are not sparse."""
    _derives = False
    """Whether the step is differentiated, so that nothing else may change gradients or weights."""

    def __init__(
        self,
        optimizer: torch.optim.Optimizer,
        clip_grad_value: float | None = None,
        clip_grad_norm: float | None = None,
    ) -> None:
        check_optimizer(optimizer, type(self).__name__)
        self.optimizer = optimizer
        self._clip = clipping(clip_grad_value, clip_grad_norm)
        self._hypergradient = math.nan
        self._products: float = 0
        self.looks = 0
        """Outer losses evaluated without a gradient so far, checks of the closure aside."""
        self._failures = 0
        self._steps = 0
        self._trusted = self._outer_trusted = False
        """Whether training and outer losses have passed the checks since this was made or a state loaded."""
        self._settings: dict[str, Any] = {}
        """Settings that a state and the tuner that takes it up must agree in, as plain values."""
        self._scaling = Scaling()
        self._network: torch.nn.Module | None = None
        self._trained = Tuner._weights(self)
        """The weights that are trained, as the tuner found them."""
        if not self._trained:
            raise ValueError("no weight of the optimizer requires a gradient: unfreeze what is to be trained")
        complex_ = any(w.is_complex() for w in self._trained)
        if complex_ and (self._derives or clip_grad_value is not None):
            what = "clip_grad_value" if clip_grad_value is not None else type(self).__name__
            raise ValueError(
                f"{what} needs real weights, and the optimizer holds complex ones: make their parts one real "
                "weight, and put them together in the loss (torch.view_as_complex)"
            )
        lr = float(optimizer.param_groups[0]["lr"])
        if not (math.isfinite(lr) and lr >= 0):
            raise ValueError(f"the optimizer's lr must be finite and not negative, not {lr}")
        self._lr = lr
        self._used_lr = lr

    @property
    def lr(self) -> float:
        """The rate of the next step."""
        self._read()
        return self._lr

    @property
    def used_lr(self) -> float:
        """The rate of the last step that was taken."""
        self._read()
        return self._used_lr

    @property
    def hypergradient(self) -> float:
        """Raw derivative of the outer loss by the rate, of the last step; NaN before one is known."""
        self._read()
        return self._hypergradient

    @property
    def products(self) -> float:
        """Hessian-vector products so far, each of the batch of its step; parts of a batch are fractions."""
        self._read()
        return self._products

    @property
    def failures(self) -> int:
        """How many steps in a row, up to the last, had a loss or hypergradient that was not finite."""
        self._read()
        return self._failures

    @property
    def values(self) -> dict[tuple[int, str], float]:
        """Everything that is tuned, keyed (parameter group, name)."""
        return {(0, "lr"): self._lr}

    @property
    def hypergradients(self) -> dict[tuple[int, str], float]:
        """The hypergradients of the last step, keyed as `values`."""
        return {(0, "lr"): self.hypergradient}

    @abstractmethod
    def step(self, train_loss: Closure | list[Closure], outer_loss: Closure | None = None) -> Tensor:
        """One training step; closures return a scalar loss at the present weights.

        A list of training closures is gradient accumulation: the loss is their mean, one graph at a time.
        A training loss or gradient that is not finite leaves weights, optimizer, tuner and module buffers as
        they were, and is logged ("adatune_lite" of `logging`). Raises Diverged at the second such step in a
        row, LossError for a closure that breaks the rules: at the first step, and then everything is as
        before.
        """

    def check_length(self, steps: int) -> None:  # noqa: B027, most tuners train for as long as they are asked
        """Raises ValueError for a training of a length that it cannot have."""

    def series(self) -> dict[str, tuple[list[int], list[float]]]:
        """What it leaves behind besides its rates, by name: (steps done, values)."""
        return {}

    def metrics(self) -> dict[str, float]:
        """Figures that it leaves behind, by name."""
        return {}

    def state_dict(self) -> dict[str, Any]:
        """Plain numbers and tensors; `torch.load(..., weights_only=True)` reads them back."""
        return {
            "tuner": type(self).__name__,
            "optimizer": type(self.optimizer).__name__,
            "lr": self.lr,
            "used_lr": self.used_lr,
            "hypergradient": self.hypergradient,
            "products": self.products,
            "looks": self.looks,
            "failures": self._failures,
            "steps": self._steps,
            "settings": dict(self._settings),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue bit for bit from `state_dict`.

        Raises ValueError for a state of another kind, and then everything is as before.
        """
        try:
            self._check_state(state)
        except (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError) as error:
            raise ValueError(
                f"this state does not belong to a {type(self).__name__}: it is not as one was saved ({error})"
            ) from error
        self._take_state(state)
        self._trusted = self._outer_trusted = False

    def _check_state(self, state: dict[str, Any]) -> None:
        """Raises ValueError for a state that cannot be taken up, and changes nothing."""
        own = self.state_dict()
        missing = sorted(set(own) ^ set(state))
        if missing:
            raise ValueError(
                f"this state does not belong to a {type(self).__name__}: {missing[0]!r} is missing or unknown"
            )
        saver, this = (f"{x['tuner']} with {x['optimizer']}" for x in (state, own))
        if saver != this:
            raise ValueError(f"this state was saved by {saver}, and this is {this}")
        for name, value in own["settings"].items():
            if state["settings"][name] != value:
                raise ValueError(
                    f"this state was saved with {name}={state['settings'][name]!r}, and this "
                    f"{type(self).__name__} has {value!r}: make it with the same settings"
                )
        for name in ("lr", "used_lr", "hypergradient", "products", "looks", "failures", "steps"):
            if not is_number(state[name]):
                raise ValueError(f"{name!r} of this state must be a number, not {shown(state[name])}")
        for name in ("products", "looks", "failures", "steps"):
            if not 0 <= state[name] < math.inf:
                raise ValueError(f"{name!r} of this state must be finite and at least 0, not {state[name]!r}")
            if name != "products" and not is_count(state[name]):
                raise ValueError(f"{name!r} of this state must be a whole number, not {state[name]!r}")
        for name in ("lr", "used_lr"):
            if not (math.isfinite(state[name]) and state[name] >= self._lowest_lr):
                raise ValueError(
                    f"the rate of this state must be finite and at least {self._lowest_lr:g}, "
                    f"not {state[name]}"
                )

    def _take_state(self, state: dict[str, Any]) -> None:
        """Take up what `_check_state` found in order."""
        self._lr, self._used_lr, self._hypergradient = state["lr"], state["used_lr"], state["hypergradient"]
        self._failures, self._steps = state["failures"], state["steps"]
        self._products, self.looks = state["products"], state["looks"]

    def _read(self) -> None:  # noqa: B027, most tuners keep all here
        """Fetch the numbers that a device may hold; here there is none."""

    def _weights(self) -> list[Tensor]:
        return [p for group in self.optimizer.param_groups for p in group["params"] if p.requires_grad]

    def _reset(self) -> None:  # noqa: B027, most tuners carry nothing
        """Forget what is carried from step to step."""

    def _guard(self, batchnorm: str | None = None) -> BufferGuard:
        return BufferGuard(batchnorm, self._network)

    @contextmanager
    def _refusable(self, weights: Sequence[Tensor]) -> Iterator[None]:
        """Whatever the first step raises, weights, optimizer, tuner and module buffers are as before.

        So it is at the first step after a state was loaded.
        """
        if self._trusted:
            yield
            return
        before, done = [w.detach().clone() for w in weights], self._steps
        own = copy.deepcopy(self.state_dict()) if done else None
        groups = copy.deepcopy(self.optimizer.state_dict()["param_groups"])
        kept: list[Any] = []

        def keep(*_: object) -> None:
            """The optimizer's state before it first moves: not while gradient and product need the memory."""
            if not kept:
                kept.append(copy.deepcopy(self.optimizer.state_dict()["state"]))

        hook = self.optimizer.register_step_pre_hook(harmless(keep))
        try:
            with self._guard():
                yield
        except Diverged:
            raise
        except BaseException:
            with torch.no_grad():
                for w, x in zip(weights, before, strict=True):
                    w.copy_(x)
            state = kept[0] if kept else self.optimizer.state_dict()["state"]
            self.optimizer.load_state_dict({"state": state, "param_groups": groups})
            self._reset()
            self._steps = self._products = self.looks = 0
            self._outer_trusted = False
            if own:
                self._take_state(own)
            raise
        finally:
            hook.remove()
        self._trusted = self._steps > done

    def _gathered(
        self,
        train_loss: Closure | list[Closure],
        weights: Sequence[Tensor],
        directions: Sequence[Sequence[Tensor]] = (),
        finite: Callable[[Tensor, Gradients], bool] | None = None,
        hooks: HookPolicy | None = None,
        symmetric: bool = False,
    ) -> Gathered:
        """What the step needs of the training loss; not finite: noted, and buffers go back.

        `grad` of the weights, which holds the last step's, is None from here to the optimizer's step.
        """
        self._clear_gradients()
        with self._guard() as guard:
            found = training_gradient(
                train_loss,
                weights,
                directions,
                first=not self._trusted,
                dense=self._dense,
                scaling=self._scaling,
                finite=finite,
                model=self._network,
                hooks=hooks,
                symmetric=symmetric,
            )
        if found.finite:
            self._products += found.cost
        else:
            guard.restore()
            self._skip(found)
        return found

    def _plain_step(self, train_loss: Closure | list[Closure]) -> Gathered:
        """A step of the optimizer at the present rate, if loss and gradient are finite."""
        weights = self._weights()
        with self._refusable(weights):
            found = self._gathered(train_loss, weights)
            if found.finite:
                self._failures = 0
                self._optimizer_step(weights, self._clipped(found.grads))
                self._steps += 1
        return found

    def _clipped(self, grads: Gradients) -> Gradients:
        return self._clip(grads, [])[0] if self._clip else grads

    def _clear_gradients(self) -> None:
        """As `zero_grad` of the optimizer, whose profiling costs more than the rest of it."""
        for group in self.optimizer.param_groups:
            for p in group["params"]:
                p.grad = None

    def _set_gradients(self, weights: Sequence[Tensor], grads: Sequence[Tensor | None]) -> None:
        """Hand gradients to the optimizer, each with memory of its own: it may write into them.

        Hooks that wait for accumulated gradients run then, as `backward` would run them.

        Autograd gives one tensor for both weights of loss(a + b), and one expanded number where all entries
        are equal.
        """
        self._clear_gradients()
        seen: set[int] = set()
        for w, g in zip(weights, grads, strict=True):
            if g is not None and g.layout is torch.strided:
                if g.data_ptr() in seen or 0 in g.stride():
                    g = torch.empty_like(w).copy_(g)
                seen.add(g.data_ptr())
            w.grad = g
        hooked(weights, self._derives)

    def _optimizer_step(self, weights: Sequence[Tensor], grads: Sequence[Tensor | None]) -> None:
        self._set_gradients(weights, grads)
        self._write()
        self._used_lr = self._lr
        self._take_step(weights)

    def _take_step(self, weights: Sequence[Tensor]) -> None:
        self.optimizer.step()

    def _write(self) -> None:
        """Hand what is tuned to the optimizer: one rate for all its groups."""
        for group in self.optimizer.param_groups:
            group["lr"] = self._lr

    def _skip(self, found: Gathered) -> None:
        """A step that was not taken: an overflow is left to the scaler, all else is a failure."""
        if found.overflow:
            self._scaling.update(overflow=True)
        else:
            self._failed(f"{found.name} or its gradient")

    def _failed(self, what: str, in_a_row: int = 0) -> None:
        """in_a_row: how often this has failed, where other steps in between said nothing of it."""
        self._failures += 1
        _LOG.warning("after %d steps: %s was not finite; the rate stays %g", self._steps, what, self._lr)
        if max(self._failures, in_a_row) >= 2:
            raise Diverged(f"{what} was not finite twice in a row; the learning rate is {self._lr:g}")


def check_optimizer(optimizer: object, who: str) -> None:
    """Raises UnsupportedOptimizer for what is no optimizer of torch whose step takes gradients alone."""
    inner = getattr(optimizer, "optimizer", None)
    # a wrapper may pass for an optimizer and yet lack what `Optimizer.__init__` makes
    whole = isinstance(optimizer, torch.optim.Optimizer) and hasattr(optimizer, "_optimizer_step_pre_hooks")
    if not whole and isinstance(inner, torch.optim.Optimizer):
        raise UnsupportedOptimizer(
            f"{who} needs an optimizer of torch.optim, and {type(optimizer).__name__} is wrapped around one: "
            "give its attribute `optimizer`"
        )
    if not isinstance(optimizer, torch.optim.Optimizer):
        raise UnsupportedOptimizer(
            f"{who} needs an optimizer of torch.optim, not {type(optimizer).__name__}: "
            "make one over the model's parameters"
        )
    try:
        # of the class: schedulers put a function of their own before the optimizer's
        function("step", type(optimizer).step, optimizer)
    except ValueError:
        raise UnsupportedOptimizer(
            f"{who} needs an optimizer whose step is a function of gradients, and {type(optimizer).__name__} "
            "takes the loss itself: use SGD, Adam or one like them"
        ) from None


def check_network(model: object) -> None:
    """Raises ValueError for a model that is no network."""
    if model is not None and not isinstance(model, torch.nn.Module):
        raise ValueError(f"model must be the network, a torch.nn.Module, or None, not {shown(model)}")


def check_one_rate(optimizer: torch.optim.Optimizer, who: str) -> None:
    """Raises ValueError where parameter groups have different rates, which one rate would overwrite."""
    rates = sorted({float(group["lr"]) for group in optimizer.param_groups})
    if len(rates) > 1:
        raise ValueError(
            f"{who} sets one learning rate, and the groups have {', '.join(f'{r:g}' for r in rates)}: "
            "give all parameter groups the same lr"
        )


def summary(values: Sequence[float]) -> str:
    """A series in a few words, another one for other values: what a state keeps of it."""
    digest = hashlib.sha256(",".join(map(float.hex, values)).encode()).hexdigest()
    return f"{len(values)} values from {values[0]:g} to {values[-1]:g} ({digest[:12]})"


class FixedSchedule(Tuner):
    """A schedule known beforehand, as a sequence of rates, one for each step, the same for all groups.

    clip_grad_value, clip_grad_norm: bound of the gradient's entries, or of its norm over all groups.

    Raises ValueError for parameter groups with different rates (a scheduler of torch keeps their ratios), for
    rates that are negative or not finite, and at a step beyond its end.
    """

    def __init__(
        self,
        optimizer: torch.optim.Optimizer,
        schedule: Tensor | Sequence[float],
        *,
        clip_grad_value: float | None = None,
        clip_grad_norm: float | None = None,
    ) -> None:
        super().__init__(optimizer, clip_grad_value, clip_grad_norm)
        check_one_rate(optimizer, type(self).__name__)
        self.schedule = check_schedule(schedule)
        self._lr = self.schedule[0]
        self._settings["schedule"] = summary(self.schedule)

    def _check_state(self, state: dict[str, Any]) -> None:
        super()._check_state(state)
        if state["steps"] > len(self.schedule):
            raise ValueError(
                f"this state has done {state['steps']} steps, and the schedule has {len(self.schedule)}"
            )

    def step(self, train_loss: Closure | list[Closure], outer_loss: Closure | None = None) -> Tensor:
        if self._steps >= len(self.schedule):
            raise ValueError(f"the schedule has {len(self.schedule)} steps and all are done")
        loss = self._plain_step(train_loss).loss
        self._lr = self.schedule[min(self._steps, len(self.schedule) - 1)]
        return loss
