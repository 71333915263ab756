"""What stands between a loss and its derivative: hooks, and backward passes that autograd cannot see into.

A backward hook may change the gradient that training uses. Autograd would run it again in the product and in
the gradient of the outer loss, where it has no place, and its own derivative is in neither: the number would
not be the derivative of the step that is taken. So a hook runs where plain training runs it, in the training
gradient, once, and is passed over elsewhere; where the number needs the gradient itself, it may look, not
touch. Nothing here changes what a graph without such hooks computes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor
from torch.autograd.function import BackwardCFunction
from torch.overrides import TorchFunctionMode
from torch.utils.hooks import BackwardHook

Hooks = Literal["run", "look", "skip"]
"""run: as in plain training; look: one that changes the gradient is refused; skip: all are passed over."""

MODULE_HOOK = "BackwardHookFunctionBackward"
_EMBEDDINGS = ("EmbeddingBackward0", "EmbeddingBagBackward0")
_GRAD_FN = vars(torch._C.TensorBase)["grad_fn"].__get__
_HALF = (torch.float16, torch.bfloat16)


class LossError(ValueError):
    """A loss closure returned something that cannot be differentiated as needed."""


def same_values(a: Tensor, b: Tensor) -> bool:
    """Whether all entries are equal, NaN with NaN: a training may have lost its weights already."""
    # `equal` needs no memory and is nearly always enough
    return torch.equal(a, b) or bool(((a == b) | (a.isnan() & b.isnan())).all())


def nodes(ends: Sequence[Tensor | None]) -> Iterator[Any]:
    """All nodes behind the tensors."""
    ahead: list[Any] = [x.grad_fn for x in ends if x is not None]
    seen = set()
    while ahead:
        node = ahead.pop()
        if node is not None and node not in seen:
            seen.add(node)
            yield node
            ahead += [following for following, _ in node.next_functions]


def in_half(loss: Tensor) -> bool:
    """Whether a part of the loss was computed in a half precision."""
    return any(x.dtype in _HALF for node in nodes([loss]) for x in node._input_metadata)


@dataclass
class HookPolicy:
    """What backward hooks may do in the gradient of a closure, from call to call."""

    hooks: Hooks
    met: bool = False
    """Whether the closure has registered one, or may have."""


class HookMode(TorchFunctionMode):
    """Inside the block hooks on tensors that are computed are registered so that `hooks` holds for them."""

    def __init__(self, hooks: Hooks = "run", what: str = "the loss") -> None:
        self._hooks, self._what = hooks, what
        self.met = False
        """Whether one was registered, or the function behind a tensor asked for, on which one may be."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: object,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        if func is torch.Tensor.register_hook:
            self.met = True
            if self._hooks != "run" and not args[0].is_leaf:
                tensor, hook = args
                where = f"a tensor of shape {tuple(tensor.shape)}"
                args = (tensor, _Looking(hook, where, self._what) if self._hooks == "look" else _passed_over)
        elif func == _GRAD_FN:
            self.met = True
        return func(*args, **(kwargs or {}))


def prepare(loss: Tensor, hooks: Hooks, what: str, *, met: bool) -> None:
    """See to hooks on functions and modules in the graph of a loss, before its gradient is taken.

    met: whether functions other than those around modules may have one. Raises LossError for an embedding
    whose gradient is scaled by frequencies; with "look", backward passes of functions written in Python raise
    it later, where they hide something.
    """
    if hooks == "run":
        return
    for node in nodes([loss]):
        kind = type(node).__name__
        if kind == "AccumulateGrad":  # none of its hooks runs where the gradient is returned
            continue
        if kind in _EMBEDDINGS and node._saved_scale_grad_by_freq:
            raise LossError(
                f"{what} scales the gradient of an embedding by frequencies, so that it is another than the "
                "loss has: set scale_grad_by_freq=False"
            )
        if met or kind == MODULE_HOOK:
            _see_to(node, hooks, what)
        if hooks == "look" and isinstance(node, BackwardCFunction) and kind != MODULE_HOOK:
            function: Any = node
            node.register_hook(_Seen(function._forward_cls.__name__, what))


def _see_to(node: Any, hooks: Hooks, what: str) -> None:
    for register in (node.register_prehook, node.register_hook):
        handle = register(_passed_over)
        found = handle.hooks_dict_ref()
        handle.remove()
        for key in list(found or ()):
            if hooks == "look":
                found[key] = _Looking(found[key], _place(node, found[key]), what)
            else:
                del found[key]


@contextmanager
def weight_hooks(weights: Sequence[Tensor], hooks: Hooks, what: str) -> Iterator[None]:
    """Inside the block `hooks` holds for the hooks on weights."""
    found = [] if hooks == "run" else [(w, w._backward_hooks) for w in weights if w._backward_hooks]
    kept = [dict(each) for _, each in found]
    for w, each in found:
        for key, hook in list(each.items()):
            if hooks == "look":
                each[key] = _Looking(hook, f"a weight of shape {tuple(w.shape)}", what)
            else:
                each[key] = _passed_over
    try:
        yield
    finally:
        for (_, each), before in zip(found, kept, strict=True):
            each.update({key: hook for key, hook in before.items() if key in each})


def check_visible(grads: Sequence[Tensor | None], what: str) -> None:
    """Raises LossError for a gradient without a graph, the seed of whose backward pass had one.

    One that is 0 throughout may be constant, as that of rounding is.
    """
    if any(g is not None and not g.requires_grad and bool(g.any()) for g in grads):
        raise LossError(_hidden(what, "the backward pass of a function in it"))


class _Looking:
    """A hook that runs in the first backward pass alone, and raises LossError where it changes a gradient."""

    def __init__(self, hook: Callable[..., Any], where: str, what: str) -> None:
        self._hook, self._where, self._what = hook, where, what
        self._ran = False

    def __call__(self, *args: Any) -> None:
        if self._ran:  # a product goes this way again
            return
        self._ran = True
        args = tuple(map(_plain, args))  # without graph, as in plain training
        before = [None if g is None else g.clone() for g in _grads(args[0])]
        found = self._hook(*args)
        after = _grads(args[0] if found is None else found)
        if not all(map(_same, after, before)):
            raise LossError(
                f"{self._what}: {_name(self._hook)} on {self._where} changes the gradient, and the "
                "hypergradient would not be that of the step that is taken: take the hook off; clipping has "
                "a place in the tuner, as clip_grad_value or clip_grad_norm, a factor in the loss, a frozen "
                "part in requires_grad_(False)"
            )


def _name(hook: Callable[..., Any]) -> str:
    name = getattr(hook, "__qualname__", type(hook).__name__)
    if name.startswith("BackwardHook."):  # torch's own, around those of a module
        return "a backward hook"
    return f"the backward hook {name.rpartition('<locals>.')[2]}"


def _same(a: Tensor | None, b: Tensor | None) -> bool:
    if a is None or b is None:
        return a is b
    # a sparse gradient has a refusal of its own
    return a.layout is not torch.strided or same_values(a.detach(), b)


def _plain(grads: Any) -> Any:
    if isinstance(grads, tuple):
        return tuple(map(_plain, grads))
    return None if grads is None else grads.detach()


def _grads(found: Any) -> Sequence[Tensor | None]:
    return found if isinstance(found, tuple | list) else (found,)


def _passed_over(*_: object) -> None:
    """In the place of a hook that is not to run."""


def _place(node: Any, hook: Callable[..., Any]) -> str:
    for cell in getattr(hook, "__closure__", None) or ():
        if isinstance(cell.cell_contents, BackwardHook):
            return f"a module ({type(cell.cell_contents.module).__name__})"
    return f"the function {node.name()}"


class _Seen:
    """Raises LossError where a function's backward pass leaves no graph although it was given one."""

    def __init__(self, name: str, what: str) -> None:
        self._name, self._what = name, what

    def __call__(self, found: tuple[Tensor | None, ...], given: tuple[Tensor | None, ...]) -> None:
        if any(g is not None and g.requires_grad for g in given) and any(
            g is not None and not g.requires_grad and bool(g.any()) for g in found
        ):
            raise LossError(_hidden(self._what, f"the backward pass of {self._name}"))


def _hidden(what: str, where: str) -> str:
    return (
        f"{what}: {where} computes out of autograd's sight (in numpy, in a kernel, in C++, on detached "
        "tensors), so that there is no second derivative of it: mu > 0 and schedules need one; use mu = 0 "
        "(HD), or write it in functions of torch"
    )
