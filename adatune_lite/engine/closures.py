"""What happens around a user's loss closure: checks, and buffers that must not change.

A closure may run modules that keep running statistics. The outer loss must leave them alone, and a training
loss that turns out not to be finite must be undone; modules are found by a hook on their forward pass, or are
those of a model that is given.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from types import TracebackType

import torch
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.module import register_module_forward_hook, register_module_forward_pre_hook

from adatune_lite.engine.curvature import LossError, check_scalar
from adatune_lite.engine.fast import FastSecondDerivatives
from adatune_lite.engine.graph import HookMode, HookPolicy, prepare, same_values

Closure = Callable[[], Tensor]


class BufferGuard:
    """Remembers the buffers of every module that runs inside the block; `restore` puts them back.

    A module may write into a buffer or assign another tensor to its name.

    batchnorm: None leaves BatchNorm as the closure set it; "batch" makes it use the batch's own statistics,
    "running" the running ones, during its forward pass alone, so that a closure that calls `eval()` and
    `train()` itself finds its own modes.
    model: a network whose buffers are remembered whether its modules run or not: what a closure does by a
    direct call of `forward`, by functions on buffers or in a traced copy passes no hook.
    """

    def __init__(self, batchnorm: str | None = None, model: torch.nn.Module | None = None) -> None:
        self._batchnorm, self._model = batchnorm, model
        self._saved: dict[int, tuple[Tensor, Tensor]] = {}
        self._places: list[tuple[torch.nn.Module, str, Tensor | None]] = []
        self._modes: dict[int, tuple[torch.nn.Module, bool]] = {}
        self._seen: set[int] = set()

    def __enter__(self) -> BufferGuard:
        for module in self._model.modules() if self._model is not None else ():
            self._remember(module)
        self._handles = [register_module_forward_pre_hook(self._before_forward)]
        if self._batchnorm:
            self._handles.append(register_module_forward_hook(self._after_forward, always_call=True))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for handle in self._handles:
            handle.remove()
        if kind is not None:
            self.restore()

    def _remember(self, module: torch.nn.Module) -> None:
        if id(module) in self._seen:
            return
        self._seen.add(id(module))
        for name, buffer in module._buffers.items():
            self._places.append((module, name, buffer))
            if buffer is not None:
                self._saved.setdefault(id(buffer), (buffer, buffer.detach().clone()))

    def _before_forward(self, module: torch.nn.Module, inputs: object) -> None:
        self._remember(module)
        if self._batchnorm and isinstance(module, _BatchNorm) and module.track_running_stats:
            self._modes[id(module)] = (module, module.training)
            module.training = self._batchnorm == "batch"

    def _after_forward(self, module: torch.nn.Module, inputs: object, output: object) -> None:
        if id(module) in self._modes:
            _, module.training = self._modes.pop(id(module))

    def restore(self, keep: Tensor | None = None) -> None:
        """Buffers as they were. Call after the gradient is taken: backward still needs them.

        keep: a 0-dim tensor of bool; where it is true they stay as they are.
        """
        with torch.no_grad():
            for module, name, buffer in self._places:
                now = getattr(module, name, None)
                if now is buffer:
                    continue
                if keep is not None and buffer is not None and now is not None:
                    buffer.copy_(torch.where(keep, now, self._saved[id(buffer)][1]))
                setattr(module, name, buffer)
            for buffer, before in self._saved.values():
                buffer.copy_(before if keep is None else torch.where(keep, buffer, before))


def evaluate(
    closure: object,
    name: str,
    weights: Sequence[Tensor],
    *,
    first: bool = False,
    twice: bool = False,
    hooks: HookPolicy | None = None,
) -> Tensor:
    """The scalar loss of a closure that leaves the weights alone; twice: its second derivative is wanted.

    hooks: what backward hooks may do that its gradient meets (`engine.graph`); None leaves them alone. Those
    on tensors are looked for at the first call and, if there were none, then on with `twice` alone, whose
    mode sees them for nothing.

    Raises LossError with the closure's name when it is not callable, returns no scalar, does not depend on
    the weights, or changes them. `first` compares values too: writes through `.data` leave no other trace.
    """
    if not callable(closure):
        raise LossError(f"{name} must be a function without arguments that returns the loss, not {closure!r}")
    # a step inside one autocast block would find the weights cast before they moved
    torch.clear_autocast_cache()
    versions = [w._version for w in weights]
    before = [w.detach().clone() for w in weights] if first else []
    kind = FastSecondDerivatives if twice else HookMode
    may = hooks.hooks if hooks else "look" if twice else "run"
    watching = twice or (hooks is not None and (first or hooks.met))
    with kind(may, name) if watching else nullcontext() as mode:
        loss = check_scalar(closure(), name)
    met = mode is not None and mode.met
    if hooks:
        hooks.met = hooks.met or met
    prepare(loss, may, name, met=met)
    same = all(same_values(w, x) for w, x in zip(weights, before, strict=False))
    if versions != [w._version for w in weights] or not same:
        raise LossError(f"{name} changed the weights; it may only read them")
    return loss
