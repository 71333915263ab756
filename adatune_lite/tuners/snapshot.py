"""The state of a training at one moment, to go back to exactly."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from adatune_lite.engine.closures import BufferGuard


def cuda_devices(weights: Sequence[Tensor]) -> list[torch.device]:
    """The CUDA devices that the weights live on, whose random state a loss may use."""
    return sorted({w.device for w in weights if w.device.type == "cuda"}, key=str)


class Watch(BufferGuard):
    """A BufferGuard that tells which modules it has seen, and their buffers before."""

    def __init__(self, model: torch.nn.Module | None = None) -> None:
        super().__init__(model=model)
        self.modules: dict[int, torch.nn.Module] = {}

    def __enter__(self) -> Watch:
        super().__enter__()
        return self

    def _before_forward(self, module: torch.nn.Module, inputs: object) -> None:
        super()._before_forward(module, inputs)
        self.modules[id(module)] = module

    def seen(self) -> list[tuple[torch.nn.Module, str, Tensor | None]]:
        """(module, name of a buffer, its value before the block) in the order in which modules ran first."""
        return [(m, name, None if b is None else self._saved[id(b)][1]) for m, name, b in self._places]


Values = list[Tensor | None]


class Buffers:
    """Where the modules of a training keep their buffers, in the order in which they were first seen.

    By module and name: a module may assign another tensor to a name, or None.
    """

    def __init__(self, model: torch.nn.Module | None = None) -> None:
        found = model.modules() if model is not None else ()
        self._places = [(module, name) for module in found for name in module._buffers]

    def __len__(self) -> int:
        return len(self._places)

    def note(self, guard: Watch) -> Values:
        """Add those seen for the first time; what they were before the guard's block."""
        known = {(id(module), name) for module, name in self._places}
        new = [place for place in guard.seen() if (id(place[0]), place[1]) not in known]
        self._places += [(module, name) for module, name, _ in new]
        return [before for _, _, before in new]

    def values(self) -> Values:
        """Copies of what they hold now."""
        return [None if b is None else b.detach().clone() for b in self._now()]

    @torch.no_grad()
    def put(self, values: Values) -> None:
        """Give them these values: written into the tensor if that can hold them, else as a new one.

        A tensor under two names holds one value; a name with another value gets a tensor of its own.
        """
        written: dict[int, Tensor] = {}
        for (module, name), now, value in zip(self._places, self._now(), values, strict=True):
            if value is None or now is None or (now.shape, now.dtype) != (value.shape, value.dtype):
                setattr(module, name, value if value is None else value.clone())
                continue
            first = written.setdefault(id(now), value)
            if first is value:
                now.copy_(value)
            elif not torch.equal(first, value):
                setattr(module, name, value.clone())

    def _now(self) -> Values:
        return [getattr(module, name) for module, name in self._places]


@dataclass
class Snapshot:
    """Copies of weights, optimizer state, module buffers (where they are given) and random states.

    places: of the weights among all parameters of the optimizer.
    state: what the optimizer keeps for a parameter, by the parameter's number over all groups.
    random: that of the CPU, then of each CUDA device of the weights.
    The copies never change; `restore` may be called twice.
    """

    weights: list[Tensor]
    places: list[int]
    state: dict[int, dict[str, Any]]
    buffers: Values
    random: list[Tensor]

    @classmethod
    def take(
        cls, weights: Sequence[Tensor], optimizer: torch.optim.Optimizer, buffers: Buffers | None = None
    ) -> Snapshot:
        return cls(
            [w.detach().clone() for w in weights],
            _places(weights, optimizer),
            {
                i: {name: _copy(value) for name, value in optimizer.state[p].items()}
                for i, p in enumerate(_parameters(optimizer))
                if p in optimizer.state
            },
            [] if buffers is None else buffers.values(),
            [torch.get_rng_state(), *(torch.cuda.get_rng_state(d) for d in cuda_devices(weights))],
        )

    @torch.no_grad()
    def restore(
        self, weights: Sequence[Tensor], optimizer: torch.optim.Optimizer, buffers: Buffers | None = None
    ) -> None:
        for w, saved in zip(weights, self.weights, strict=True):
            w.copy_(saved)
        if buffers is not None:
            buffers.put(self.buffers)
        for i, p in enumerate(_parameters(optimizer)):
            live = optimizer.state.pop(p, {})
            if i in self.state:
                optimizer.state[p] = {n: _copy(v, live.get(n)) for n, v in self.state[i].items()}
        torch.set_rng_state(self.random[0].cpu())
        for device, random in zip(cuda_devices(weights), self.random[1:], strict=True):
            torch.cuda.set_rng_state(random.cpu(), device)

    def fits(self, weights: Sequence[Tensor], optimizer: torch.optim.Optimizer) -> bool:
        """Whether these weights are those that it is of, and the optimizer keeps the same of them."""
        shapes = [w.shape for w in weights]
        if self.places != _places(weights, optimizer) or shapes != [w.shape for w in self.weights]:
            return False
        live = {i: optimizer.state[p] for i, p in enumerate(_parameters(optimizer)) if p in optimizer.state}
        return all(
            _kind(value) == _kind(live[i][name])
            for i, kept in self.state.items()
            for name, value in kept.items()
            if value is not None and live.get(i, {}).get(name) is not None
        )

    def is_one(self) -> bool:
        """Whether it holds what `take` gives, as far as that is known without the training."""
        now = [torch.get_rng_state(), *self.random[1:]]
        return (
            all(isinstance(w, Tensor) and w.is_floating_point() for w in self.weights)
            and all(isinstance(kept, dict) for kept in self.state.values())
            and all(b is None or isinstance(b, Tensor) for b in self.buffers)
            and [(x.dtype, x.shape) for x in self.random] == [(x.dtype, x.shape) for x in now]
        )

    def same_state(self, other: Snapshot) -> bool:
        """Whether the optimizer keeps the same, to the last bit."""
        return self.state.keys() == other.state.keys() and all(
            kept.keys() == other.state[i].keys() and all(_same(v, other.state[i][n]) for n, v in kept.items())
            for i, kept in self.state.items()
        )


def _parameters(optimizer: torch.optim.Optimizer) -> list[Tensor]:
    return [p for group in optimizer.param_groups for p in group["params"]]


def _places(weights: Sequence[Tensor], optimizer: torch.optim.Optimizer) -> list[int]:
    places = {id(p): i for i, p in enumerate(_parameters(optimizer))}
    return [places[id(w)] for w in weights]


def _copy(value: Any, like: Any = None) -> Any:
    # A state read back with map_location lies elsewhere than the optimizer's own.
    copied = value.detach().clone() if isinstance(value, Tensor) else value
    return copied.to(like.device) if isinstance(like, Tensor) and isinstance(value, Tensor) else copied


def _kind(value: Any) -> Any:
    return value.shape if isinstance(value, Tensor) else type(value)


def _same(a: Any, b: Any) -> bool:
    if isinstance(a, Tensor) and isinstance(b, Tensor):
        return torch.equal(a, b)
    return type(a) is type(b) and bool(a == b)
