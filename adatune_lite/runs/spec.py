"""A run is a value: the frozen description of one training, with a canonical form and a hash.

The canonical form leaves out every field that holds its default, so that a field added later with a
default keeps the identity of the runs that were made before it existed.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields
from typing import Any, TypeVar

Value = bool | int | float | str
Pairs = tuple[tuple[str, Value], ...]
T = TypeVar("T", "TaskSpec", "RunSpec")


class SpecError(ValueError):
    """A run was described with something that does not exist or is out of range."""


def pairs(settings: Mapping[str, Value] | Pairs) -> Pairs:
    """Settings as sorted, hashable pairs; the form in which a spec keeps them."""
    return tuple(sorted(dict(settings).items()))


@dataclass(frozen=True)
class TaskSpec:
    """What is trained: data, its three disjoint parts, and the network."""

    dataset: str
    """A name of `tasks.sources.DATASETS`: "mnist", "mnist5k" (the embedded 5,000), "cifar10" ..."""
    train: int
    """Training images."""
    validation: int
    """Images of the outer loss E and of every choice of a setting; disjoint from training."""
    test: int
    """Images of the headline figures; never used for a choice."""
    split_seed: int = 0
    """Which images fall into which part."""
    model: str = "mlp"
    hidden: tuple[int, ...] = (500, 500)
    """Units of each hidden layer of an mlp."""
    activation: str = "relu"
    """Of an mlp."""
    batch: int = 100
    """Images of one training step."""
    width: float = 1.0
    """Factor on the channels of a convolutional network."""
    scaling: str = "unit"
    """Pixels from 0 to 1, or "standard": mean 0 and variance 1 of each channel over the training images."""
    augment: str = "none"
    """Of training batches: "none", or "crop_flip" (4 pixels of padding, random crop, random flip)."""

    def __post_init__(self) -> None:
        for name in ("train", "validation", "test", "batch"):
            _whole(name, getattr(self, name), 1)
        _whole("split_seed", self.split_seed, 0)
        object.__setattr__(self, "hidden", tuple(self.hidden))
        for width in self.hidden:
            _whole("hidden", width, 1)
        if self.batch > self.train:
            raise SpecError(f"batch {self.batch} is larger than the {self.train} training images")
        for name, allowed in (("scaling", ("unit", "standard")), ("augment", ("none", "crop_flip"))):
            _one_of(name, getattr(self, name), allowed)
        # A setting that the network does not have would give one run two identities.
        foreign = ("width",) if self.flat else ("hidden", "activation")
        for f in fields(self):
            if f.name in foreign and getattr(self, f.name) != f.default:
                raise SpecError(f"{f.name} is no setting of the network {self.model!r}: leave it out")

    @property
    def flat(self) -> bool:
        """Whether the network takes [batch, features], as every mlp does; the others take images."""
        return self.model.startswith("mlp")


@dataclass(frozen=True)
class RunSpec:
    """One run: the same spec gives the same record on the same kind of device."""

    function: str
    """The run function: "training" (a tuner or a schedule along one training) or "lrs_opt"."""
    task: TaskSpec
    method: str
    """Tuner or schedule, for example "marthe", "constant", "lrs_opt"."""
    steps: int
    """Optimizer steps T."""
    seed: int
    """Initial weights and batch order."""
    settings: Pairs = ()
    """Settings of the method: lr, mu, hyper_lr, outer_steps ..."""
    optimizer: str = "sgd"
    optimizer_settings: Pairs = ()
    """Options of the optimizer other than the rate."""
    precision: str = "float32"
    detail: str = "full"
    """"full" keeps the schedule step by step; "summary" thins every series (draws of a search)."""
    source: str = ""
    """Hash of the spec whose learned schedule this run starts from or replays."""
    source_digest: str = ""
    """Digest of that schedule's digits: a recomputed source is another run."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "settings", pairs(self.settings))
        object.__setattr__(self, "optimizer_settings", pairs(self.optimizer_settings))
        _whole("steps", self.steps, 1)
        _whole("seed", self.seed, 0)
        for name, allowed in (("precision", ("float32", "float64")), ("detail", ("full", "summary"))):
            _one_of(name, getattr(self, name), allowed)
        for name, value in (*self.settings, *self.optimizer_settings):
            if isinstance(value, float) and not math.isfinite(value):
                raise SpecError(f"setting {name} must be finite, not {value}")

    def get(self, name: str, default: Value | None = None) -> Any:
        """One setting of the method."""
        value = dict(self.settings).get(name, default)
        if value is None:
            raise SpecError(f"the method {self.method!r} needs the setting {name!r}")
        return value

    def canonical(self) -> dict[str, Any]:
        """Plain data without the fields that hold their default: what is stored and hashed."""
        return _canonical(self)

    @property
    def hash(self) -> str:
        """Hexadecimal SHA-256 of the canonical form."""
        text = json.dumps(self.canonical(), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> RunSpec:
        """The inverse of `canonical`; unknown names are refused."""
        plain = dict(data)
        if isinstance(plain.get("task"), Mapping):
            plain["task"] = _build(TaskSpec, plain["task"])
        return _build(cls, plain)


def _whole(name: str, value: object, least: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise SpecError(f"{name} must be a whole number of at least {least}, not {value!r}")


def _one_of(name: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise SpecError(f"{name} must be one of {', '.join(allowed)}, not {value!r}")


def _canonical(spec: TaskSpec | RunSpec) -> dict[str, Any]:
    plain: dict[str, Any] = {}
    for f in fields(spec):
        value = getattr(spec, f.name)
        if f.default is not MISSING and value == f.default:
            continue
        if isinstance(value, TaskSpec):
            value = _canonical(value)
        elif f.name in ("settings", "optimizer_settings"):
            value = dict(value)
        elif isinstance(value, tuple):
            value = list(value)
        plain[f.name] = value
    return plain


def _build(cls: type[T], data: Mapping[str, Any]) -> T:
    known = [f.name for f in fields(cls)]
    unknown = sorted(set(data) - set(known))
    if unknown:
        raise SpecError(f"unknown name {unknown[0]!r} in a {cls.__name__}; allowed: {', '.join(known)}")
    missing = [f.name for f in fields(cls) if f.default is MISSING and f.name not in data]
    if missing:
        raise SpecError(f"a {cls.__name__} needs {missing[0]!r}")
    return cls(**data)
