"""The step that is taken must be the one that is differentiated: hooks around it may look, not touch."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch.optim import optimizer as torch_optimizer

from adatune_lite.engine.curvature import LossError
from adatune_lite.engine.graph import same_values
from adatune_lite.rules import Rule, UnsupportedOptimizer

Hook = TypeVar("Hook", bound=Callable[..., Any])

REMEDY = (
    "and the hypergradient would not be that of the step that is taken: take it off; clipping has a place in "
    "the tuner, as clip_grad_value or clip_grad_norm, decay in the optimizer's weight_decay, a bound of the "
    "weights in the loss"
)


def hooked(weights: Sequence[Tensor], derives: bool) -> None:
    """Run the weights' hooks that wait for an accumulated gradient, on `grad` of each.

    derives: they may only look, and LossError is raised for one that changes a gradient or a weight.
    """
    for w in weights:
        hooks: Any = w._post_accumulate_grad_hooks
        if not hooks or w.grad is None:
            continue
        before = copied([w, w.grad])
        given = w.grad
        for hook in list(hooks.values()):
            hook(w)
        if derives and not (w.grad is given and _same([w, given], before)):
            with torch.no_grad():
                w.copy_(before[0])  # type: ignore[arg-type]
            raise LossError(
                f"train_loss: a post-accumulate-grad hook on a weight of shape {tuple(w.shape)} changes its "
                f"gradient or the weight, {REMEDY}"
            )


def harmless(hook: Hook) -> Hook:
    """Mark a step hook of our own, which only reads."""
    hook.harmless = True  # type: ignore[attr-defined]
    return hook


@contextmanager
def nothing_else_moves(optimizer: torch.optim.Optimizer, weights: Sequence[Tensor]) -> Iterator[None]:
    """Around a step: raises UnsupportedOptimizer where its hooks change gradients, weights or buffers.

    What a pre-hook changes enters no weight; what a post-hook changes stays.
    """
    hooks = [
        *torch_optimizer._global_optimizer_pre_hooks.values(),
        *optimizer._optimizer_step_pre_hooks.values(),
        *optimizer._optimizer_step_post_hooks.values(),
        *torch_optimizer._global_optimizer_post_hooks.values(),
    ]
    if all(hasattr(hook, "harmless") for hook in hooks):
        yield
        return
    state = optimizer.state

    def now() -> list[Tensor | None]:
        buffers = [x for w in weights for x in state.get(w, {}).values() if isinstance(x, Tensor)]
        return [*weights, *(w.grad for w in weights), *buffers]

    kept = copied(now())

    def before(*_: object) -> None:
        """After all pre-hooks: registered last."""
        if not _same(now(), kept):
            with torch.no_grad():
                for w, x in zip(weights, kept, strict=False):
                    assert x is not None
                    w.copy_(x)
            raise _moved("before")

    def after(*_: object) -> None:
        """Before all other post-hooks."""
        kept[:] = copied(now())

    first, last = optimizer.register_step_pre_hook(before), optimizer.register_step_post_hook(after)
    posts: Any = optimizer._optimizer_step_post_hooks
    posts.move_to_end(last.id, last=False)
    try:
        yield
    finally:
        first.remove()
        last.remove()
    if not _same(now(), kept):
        raise _moved("after")


def _moved(when: str) -> UnsupportedOptimizer:
    what = "gradients or weights" if when == "before" else "weights or buffers"
    return UnsupportedOptimizer(f"a hook on the optimizer's step changes {what} {when} it, {REMEDY}")


def expected(
    rules: Sequence[tuple[Rule, float]],
    weights: Sequence[Tensor],
    buffers: Sequence[tuple[list[Tensor], int]],
) -> list[tuple[Tensor, float]]:
    """Where the rule moves each weight, and how far that may be missed: torch's sums are in another order."""
    found = []
    for (rule, lr), w, (b, t) in zip(rules, weights, buffers, strict=True):
        after = w.detach().clone() if w.grad is None else rule.update(w.detach(), b, w.grad, {"lr": lr}, t)[0]
        eps = torch.finfo(w.dtype).eps
        step, length = torch.linalg.vector_norm(after - w.detach()), torch.linalg.vector_norm(w.detach())
        found.append((after, float((1e-3 + 32 * eps) * step + 8 * eps * length)))
    return found


def check_step(
    optimizer: torch.optim.Optimizer, weights: Sequence[Tensor], expected: Sequence[tuple[Tensor, float]]
) -> None:
    """Raises UnsupportedOptimizer where the optimizer has not moved the weights as its rule does."""
    for w, (after, slack) in zip(weights, expected, strict=True):
        if float(torch.linalg.vector_norm(w.detach() - after)) > slack:
            raise UnsupportedOptimizer(
                f"{type(optimizer).__name__} did not move a weight of shape {tuple(w.shape)} as its rule "
                f"does: something around its step changes gradients or weights, {REMEDY}"
            )


def _same(now: Sequence[Tensor | None], before: Sequence[Tensor | None]) -> bool:
    return len(now) == len(before) and all(
        a is b if a is None or b is None else a.shape == b.shape and same_values(a.detach(), b)
        for a, b in zip(now, before, strict=True)
    )


def copied(values: Sequence[Tensor | None]) -> list[Tensor | None]:
    return [None if x is None else x.detach().clone() for x in values]
