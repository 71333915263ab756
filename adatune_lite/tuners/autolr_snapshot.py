"""The state of a training at one moment, to go back to exactly."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from adatune_lite.tuners.closures import BufferGuard


def cuda_devices(weights: Sequence[Tensor]) -> list[torch.device]:
    """The CUDA devices that the weights live on, whose random state a loss may use."""
    return sorted({w.device for w in weights if w.device.type == "cuda"}, key=str)


class Watch(BufferGuard):
    """A BufferGuard that tells which modules and buffers it has seen."""

    def __init__(self, model: torch.nn.Module | None = None) -> None:
        super().__init__(model=model)
        self.modules: dict[int, torch.nn.Module] = {}

    def __enter__(self) -> Watch:
        super().__enter__()
        return self

    def _before_forward(self, module: torch.nn.Module, inputs: object) -> None:
        super()._before_forward(module, inputs)
        self.modules[id(module)] = module

    def seen(self) -> Iterable[tuple[Tensor, Tensor]]:
        """(buffer, its value before the block) in the order in which modules ran first."""
        return self._saved.values()


@dataclass
class Snapshot:
    """Copies of weights, optimizer state, module buffers and random states.

    places: of the weights among all parameters of the optimizer.
    state: what the optimizer keeps for a parameter, by the parameter's number over all groups.
    random: that of the CPU, then of each CUDA device of the weights.
    The copies never change; `restore` may be called twice.
    """

    weights: list[Tensor]
    places: list[int]
    state: dict[int, dict[str, Any]]
    buffers: list[Tensor]
    random: list[Tensor]

    @classmethod
    def take(
        cls, weights: Sequence[Tensor], optimizer: torch.optim.Optimizer, buffers: Sequence[Tensor] = ()
    ) -> Snapshot:
        return cls(
            [w.detach().clone() for w in weights],
            _places(weights, optimizer),
            {
                i: {name: _copy(value) for name, value in optimizer.state[p].items()}
                for i, p in enumerate(_parameters(optimizer))
                if p in optimizer.state
            },
            [b.detach().clone() for b in buffers],
            [torch.get_rng_state(), *(torch.cuda.get_rng_state(d) for d in cuda_devices(weights))],
        )

    @torch.no_grad()
    def restore(
        self, weights: Sequence[Tensor], optimizer: torch.optim.Optimizer, buffers: Sequence[Tensor] = ()
    ) -> None:
        for x, saved in zip((*weights, *buffers), (*self.weights, *self.buffers), strict=True):
            x.copy_(saved)
        for i, p in enumerate(_parameters(optimizer)):
            live = optimizer.state.pop(p, {})
            if i in self.state:
                optimizer.state[p] = {n: _copy(v, live.get(n)) for n, v in self.state[i].items()}
        torch.set_rng_state(self.random[0].cpu())
        for device, random in zip(cuda_devices(weights), self.random[1:], strict=True):
            torch.cuda.set_rng_state(random.cpu(), device)

    def fits(self, weights: Sequence[Tensor], optimizer: torch.optim.Optimizer) -> bool:
        """Whether these weights are those that it is of."""
        shapes = [w.shape for w in weights]
        return self.places == _places(weights, optimizer) and shapes == [w.shape for w in self.weights]

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


def _same(a: Any, b: Any) -> bool:
    if isinstance(a, Tensor) and isinstance(b, Tensor):
        return torch.equal(a, b)
    return type(a) is type(b) and bool(a == b)
