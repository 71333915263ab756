"""What is trained: data, its three disjoint parts, and the network, as a value.

The canonical form leaves out every field that holds its default, so that a field added later with a
default keeps the identity of the runs that were made before it existed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import MISSING, dataclass, fields
from functools import cache, cached_property
from typing import TYPE_CHECKING, Any, TypeVar

from adatune_lite.tasks.mlp import ACTIVATIONS
from adatune_lite.tasks.models import MODELS, options_of
from adatune_lite.tasks.networks.blocks import INITIAL
from adatune_lite.tasks.sources import DATASETS

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Value = bool | int | float | str
Pairs = tuple[tuple[str, Value], ...]
Spec = TypeVar("Spec", bound="DataclassInstance")


class SpecError(ValueError):
    """A run was described with something that does not exist or is out of range."""


def is_text(value: object) -> bool:
    """Whether it is text that can be written: a lone half of a surrogate pair cannot."""
    return isinstance(value, str) and (value.isascii() or _encodable(value))


def is_whole(value: object) -> bool:
    """Whether it is a whole number of 64 bits, which every table and every generator can take."""
    return isinstance(value, int) and not isinstance(value, bool) and -(2**63) <= value < 2**63


def is_plain(value: object) -> bool:
    """Whether it is one value: True or False, a finite number or text."""
    if isinstance(value, float):
        return math.isfinite(value)
    return isinstance(value, bool) or is_whole(value) or is_text(value)


def shown(value: object) -> str:
    """A value for a message: short, whatever it is."""
    try:
        text = repr(value)
    except (ValueError, RecursionError):  # A number of thousands of digits, or lists in lists.
        text = f"a {type(value).__name__} that is too large"
    return text if len(text) <= 80 else f"{text[:77]}..."


def _encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _holds_settings(value: object) -> bool:
    # What each of them may be is asked where it is declared, which has the better sentence.
    if isinstance(value, dict | Mapping):
        value = tuple(value.items())
    return isinstance(value, tuple) and all(
        isinstance(pair, tuple) and len(pair) == 2 and is_text(pair[0]) for pair in value
    )


def _holds_all(holds: Callable[[object], bool]) -> Callable[[object], bool]:
    return lambda value: isinstance(value, tuple | list) and all(map(holds, value))


KINDS: dict[str, tuple[str, Callable[[object], bool]]] = {
    "str": ("text", is_text),
    "int": ("a whole number of 64 bits", is_whole),
    "float": ("a finite number", lambda value: is_plain(value) and not isinstance(value, bool | str)),
    "tuple[int, ...]": ("a list of whole numbers", _holds_all(is_whole)),
    "tuple[str, ...]": ("a list of texts", _holds_all(is_text)),
    "Pairs": ("values by name", _holds_settings),
    "TaskSpec": ("a TaskSpec", lambda value: isinstance(value, TaskSpec)),
}
"""What a field of a spec may hold, by its annotation: in words, and the question."""


def check_kinds(spec: DataclassInstance) -> None:
    """Raises SpecError for the first field of a spec that holds what it is not declared to hold."""
    values = vars(spec)
    for name, default, what, holds in _kinds(type(spec)):
        value = values[name]
        if value is not default and not holds(value):  # Most fields of thousands of specs are left alone.
            raise SpecError(f"{name} must be {what}, not {shown(value)}")


@cache
def _kinds(cls: type[DataclassInstance]) -> tuple[tuple[str, Any, str, Callable[[object], bool]], ...]:
    return tuple((f.name, f.default, *KINDS[str(f.type)]) for f in fields(cls))


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
    initial: str = ""
    """How the weights of a convolutional network begin ("torch", "xavier" or "he"); empty: as its own do."""

    def __post_init__(self) -> None:
        check_kinds(self)
        for name in ("train", "validation", "test", "batch"):
            whole(name, getattr(self, name), 1)
        whole("split_seed", self.split_seed, 0)
        object.__setattr__(self, "hidden", tuple(self.hidden))
        one_of("activation", self.activation, ACTIVATIONS)
        for width in self.hidden:
            whole("hidden", width, 1)
        if self.batch > self.train:
            raise SpecError(f"batch {self.batch} is larger than the {self.train} training images")
        one_of("dataset", self.dataset, DATASETS)
        one_of("model", self.model, MODELS)
        for name, allowed in (("scaling", ("unit", "standard")), ("augment", ("none", "crop_flip"))):
            one_of(name, getattr(self, name), allowed)
        if self.initial:
            own = options_of(self.model).get("initial")
            if own is None:
                raise SpecError(f"initial is no setting of the network {self.model!r}: leave it out")
            one_of("initial", self.initial, INITIAL)
            if self.initial == own:
                raise SpecError(f"{self.model!r} begins with initial {own!r} in any case: leave it out")
        # A setting that the network does not have would give one run two identities.
        for name in ("width",) if self.flat else ("hidden", "activation"):
            if getattr(self, name) != _defaults(TaskSpec)[name]:
                raise SpecError(f"{name} is no setting of the network {self.model!r}: leave it out")

    @cached_property
    def plain(self) -> dict[str, Any]:
        """Its canonical form, made once for all runs of the task."""
        return canonical(self)

    @property
    def flat(self) -> bool:
        """Whether the network takes [batch, features], as every mlp does; the others take images."""
        return self.model.startswith("mlp")


def whole(name: str, value: object, least: int) -> None:
    """Raises SpecError unless the value is a whole number of at least `least`."""
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise SpecError(f"{name} must be a whole number of at least {least}, not {value!r}")


def one_of(name: str, value: str, allowed: Collection[str]) -> None:
    """Raises SpecError unless the value is one of those that are allowed."""
    if value not in allowed:
        raise SpecError(f"{name} must be one of {', '.join(allowed)}, not {value!r}")


def canonical(spec: DataclassInstance) -> dict[str, Any]:
    """Plain data of a frozen dataclass, without the fields that hold their default."""
    plain: dict[str, Any] = {}
    for name, default in _defaults(type(spec)).items():
        value = getattr(spec, name)
        if value == default and default is not MISSING:
            continue
        if isinstance(value, TaskSpec):
            value = dict(value.plain)
        elif name in ("settings", "optimizer_settings"):
            value = dict(value)
        elif isinstance(value, tuple):
            value = list(value)
        plain[name] = value
    return plain


@cache
def _defaults(cls: type[DataclassInstance]) -> dict[str, Any]:
    """The default of each field, MISSING for one that must be given."""
    return {f.name: f.default for f in fields(cls)}


@cache
def _required(cls: type[DataclassInstance]) -> tuple[str, ...]:
    return tuple(name for name, default in _defaults(cls).items() if default is MISSING)


def build(cls: type[Spec], data: Mapping[str, Any]) -> Spec:
    """The inverse of `canonical`; raises SpecError for unknown or missing names."""
    known = _defaults(cls)
    if not data.keys() <= known.keys():
        unknown = sorted(data.keys() - known.keys())
        raise SpecError(f"unknown name {unknown[0]!r} in a {cls.__name__}; allowed: {', '.join(known)}")
    if missing := [name for name in _required(cls) if name not in data]:
        raise SpecError(f"a {cls.__name__} needs {missing[0]!r}")
    return cls(**data)
