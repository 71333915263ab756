"""Trying a training out: everything that it changes goes back, to the last bit."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch

from adatune_lite.tuners.base import Tuner
from adatune_lite.tuners.snapshot import Snapshot, Watch


@contextmanager
def rewinding(optimizer: torch.optim.Optimizer, tuner: Tuner | None = None) -> Iterator[Callable[[], None]]:
    """A block of trial steps; what it yields goes back to its start, and its end does so however it is left.

    What goes back: weights and their gradients, the optimizer's state and settings, the tuner's state, the
    buffers of all modules that ran, and torch's random state (the CPU's, and that of the weights' CUDA
    devices). Random numbers of other libraries, and iterators over data, move on.
    """
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    weights = [p for p in parameters if p.requires_grad]
    grads = [p.grad for p in parameters]
    settings = [{k: v for k, v in group.items() if k != "params"} for group in optimizer.param_groups]
    start = Snapshot.take(weights, optimizer)
    state = tuner.state_dict() if tuner else {}
    trust = (tuner._trusted, tuner._outer_trusted) if tuner else (False, False)
    guard = Watch(model=tuner._network if tuner else None)

    def back() -> None:
        guard.restore()
        start.restore(weights, optimizer)
        if tuner:
            tuner._take_state(state)
            tuner._trusted = trust[0]
        for group, kept in zip(optimizer.param_groups, settings, strict=True):
            group.update(kept)
        for p, grad in zip(parameters, grads, strict=True):
            p.grad = grad

    try:
        with guard:
            yield back
    finally:
        back()
        if tuner:
            tuner._outer_trusted = trust[1]
