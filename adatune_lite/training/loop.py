"""The one training loop: any tuner, any image task, with its cost counted, resumed bit for bit."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from adatune_lite.checkpoint import Keeper
from adatune_lite.tasks.data import Batch
from adatune_lite.tuners import Diverged, Tuner
from adatune_lite.tuners.products import PartialProduct

OBSERVATIONS = 16
"""How often a training looks at what it observes, unless asked otherwise."""
CHUNK = 1000
"""Images that a convolutional network evaluates at once: the activations of 10,000 take gigabytes."""


class Data(Protocol):
    """What is trained on: an `ImageTask` or a `FolderTask`."""

    def batch(self, seed: int, step: int) -> Batch:
        """The batch of a training step, a function of its arguments alone."""

    def validation(self) -> Batch:
        """The images of the validation loss."""


class Clock(Keeper, Protocol):
    """A keeper that says when to save and when to stop; the `Context` of a run is one."""

    def due(self) -> bool:
        """Whether it is time to save."""

    def ending(self) -> bool:
        """Whether to stop after that."""


@dataclass
class Trace:
    """What one training left behind, step by step."""

    lr: list[float] = field(default_factory=list)
    train_loss: list[float] = field(default_factory=list)
    hypergradient: list[float] = field(default_factory=list)
    observed: list[int] = field(default_factory=list)
    """Optimizer steps done at each entry of `validation_loss`."""
    validation_loss: list[float] = field(default_factory=list)
    validation_accuracy: list[float] = field(default_factory=list)
    test_accuracy: list[float] = field(default_factory=list)
    """Empty unless it was asked for."""
    status: str = "finished"
    plain_steps: float = 0.0
    look_steps: float = 0.0
    """The part of `plain_steps` that went into looks at an outer loss without gradient."""
    seconds: float = 0.0
    """Training alone, without the observations."""


def mean_loss(net: nn.Module, batch: Batch) -> Tensor:
    """Mean cross-entropy of a batch, a scalar with a graph."""
    x, y = batch
    return cross_entropy(net(x), y)


def averaged_loss(net: nn.Module, batches: Iterable[Batch]) -> Tensor:
    """The mean of the batches' mean losses; without gradient its memory is that of one batch."""
    return torch.stack([mean_loss(net, batch) for batch in batches]).mean()


def evaluate(net: nn.Module, batch: Batch) -> tuple[float, float]:
    """(mean cross-entropy, accuracy in percent) in evaluation mode, without a graph."""
    training = net.training
    net.eval()
    x = batch[0]
    with torch.no_grad():
        scores = torch.cat([net(part) for part in x.split(CHUNK if x.dim() == 4 else len(x))])
        loss = float(cross_entropy(scores, batch[1]))
        accuracy = 100.0 * float((scores.argmax(1) == batch[1]).double().mean())
    net.train(training)
    return loss, accuracy


def observed_steps(steps: int, observations: int = OBSERVATIONS) -> frozenset[int]:
    """Steps done at each observation of a training, the last among them: evenly spaced.

    16, the default, is every max(4, steps // 16) steps, as all trainings had it once.
    """
    if observations == OBSERVATIONS:
        return frozenset((*range(every := max(4, steps // OBSERVATIONS), steps, every), steps))
    return frozenset(round(steps * (i + 1) / observations) for i in range(observations))


def train(
    net: nn.Module,
    tuner: Tuner,
    task: Data,
    *,
    seed: int,
    steps: int,
    outer: Callable[[int], Batch] | None = None,
    look: Callable[[int], Iterable[Batch]] | None = None,
    product_fraction: float = 1.0,
    observations: int = OBSERVATIONS,
    test: Batch | None = None,
    stop_after: int = 0,
    report: Callable[[int, int], None] | None = None,
    keeper: Clock | None = None,
) -> Trace:
    """Train for `steps` steps on the batches of (task, seed).

    outer: batch of the outer loss at step t, for tuners that take its gradient.
    look: batches of the outer loss of tuners that only look at it: superbatch k of AutoLR, equally large for
        every k; the validation part of ReduceOnPlateau, which looks at k = 0 every time.
    product_fraction: how much of each batch the Hessian-vector products are of (`PartialProduct`).
    observations: how often it looks at the validation images, see `observed_steps`; not counted as cost.
    test: images whose accuracy is observed then as well.
    stop_after: steps without a better validation accuracy after which the training ends, when it looks next
        (0: never).

    Cost in plain steps, by the arithmetic of forward and backward passes: a step is 1, a product of the tuner
    2 more (the double backward of one batch), an outer gradient its images over the training batch's, a look
    a third of that: a forward pass is a third of forward and backward. Looks alone are in `look_steps` too.
    keeper: where the state between two steps is kept and taken up again, so that the weights, the series and
    the random numbers are those of a training that nothing stopped, to the last bit. It then has the status
    "stopped by budget" when the keeper says that time is up.
    A diverged training ends early, as a status and not an error. Raises ValueError for an AutoLR that
    explores longer than `steps`, unless it was given a length of its own.
    """
    tuner.check_length(steps)
    trace = Trace()
    begun = _restore(keeper.load(), net, tuner, trace) if keeper else 0
    observed = observed_steps(steps, observations)
    looked_at = sum(len(y) for _, y in look(0)) if look else 0

    def look_loss(k: int = 0) -> Tensor:
        assert look is not None
        return averaged_loss(net, look(k))

    for t in range(begun, steps):
        if keeper and t > begun and keeper.due():
            keeper.save(_state(t, net, tuner, trace))
            if keeper.ending():
                trace.status = "stopped by budget"
                return trace
        start = time.perf_counter()
        batch = task.batch(seed, t)
        extra, products, seen = 0.0, tuner.products, tuner.looks
        outer_loss: Callable[..., Tensor] | None = look_loss if look else None
        if outer is not None:
            held = outer(t)
            extra = len(held[1]) / len(batch[1])
            outer_loss = partial(mean_loss, net, held)
        try:
            loss = float(tuner.step(_train_loss(net, batch, product_fraction), outer_loss))
        except Diverged:
            trace.status = f"diverged at step {t}"
            break
        trace.seconds += time.perf_counter() - start
        looked = looked_at / len(batch[1]) / 3 * (tuner.looks - seen)
        trace.look_steps += looked
        trace.plain_steps += 1.0 + extra + looked + 2.0 * (tuner.products - products)
        trace.lr.append(tuner.used_lr)
        trace.train_loss.append(loss)
        trace.hypergradient.append(tuner.hypergradient)
        if t + 1 in observed:
            trace.observed.append(t + 1)
            loss, accuracy = evaluate(net, task.validation())
            trace.validation_loss.append(loss)
            trace.validation_accuracy.append(accuracy)
            if test is not None:
                trace.test_accuracy.append(evaluate(net, test)[1])
            if report:
                report(t + 1, steps)
            if stop_after and _steps_since_best(trace) >= stop_after:
                break
    if trace.status == "finished" and not math.isfinite(trace.validation_loss[-1]):
        trace.status = f"diverged at step {trace.observed[-1]}"
    return trace


def _steps_since_best(trace: Trace) -> int:
    """From the first of the best validation accuracies to the last look."""
    best = trace.validation_accuracy.index(max(trace.validation_accuracy))
    return trace.observed[-1] - trace.observed[best]


def _train_loss(net: nn.Module, batch: Batch, fraction: float) -> Callable[[], Tensor]:
    """The loss of a batch; its products are of its first examples, which the order of the epoch has drawn."""
    whole = partial(mean_loss, net, batch)
    if fraction == 1.0:
        return whole
    x, y = batch
    part = max(1, round(fraction * len(y)))
    return PartialProduct(whole, partial(mean_loss, net, (x[:part], y[:part])), part / len(y))


def _state(step: int, net: nn.Module, tuner: Tuner, trace: Trace) -> dict[str, Any]:
    """Everything that the steps from `step` on depend on; batches are functions of the step alone."""
    return {
        "step": step,
        "net": net.state_dict(),
        "optimizer": tuner.optimizer.state_dict(),
        "tuner": tuner.state_dict(),
        "random": torch.get_rng_state(),
        "random_cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
        "trace": asdict(trace),
    }


def _restore(state: Any | None, net: nn.Module, tuner: Tuner, trace: Trace) -> int:
    """Put a state back, if there is one; the number of the next step."""
    if state is None:
        return 0
    net.load_state_dict(state["net"])
    tuner.optimizer.load_state_dict(state["optimizer"])
    tuner.load_state_dict(state["tuner"])
    torch.set_rng_state(state["random"])
    if state["random_cuda"]:
        torch.cuda.set_rng_state_all(state["random_cuda"])
    vars(trace).update(state["trace"])
    return int(state["step"])
