"""What a run can be made of: run functions, methods and optimizers, each with its settings.

Each registers itself where it stands: a run function by the decorator `run_function`, methods and optimizers
in `methods`. All modules of this room are imported before the first question, so that none can be forgotten.

What decides the numbers of a run: the modules of `decides`, its network's (`tasks.models.decides`), and what
is declared in `Declared.text`. The tables themselves are no deciding code: a new method or another label
leaves the records of the others as they are.
"""

from __future__ import annotations

import importlib
import math
import pkgutil
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from adatune_lite.plotting import DARK
from adatune_lite.tasks.spec import Pairs, SpecError, Value

if TYPE_CHECKING:
    import torch
    from torch import nn

    from adatune_lite.training.context import Context
    from adatune_lite.training.outcome import Outcome
    from adatune_lite.training.spec import RunSpec
    from adatune_lite.tuners import Tuner

EVERY_RUN = (
    *("training/functions.py", "training/loop.py", "training/making.py"),
    *("tasks/augment.py", "tasks/data.py", "tasks/initial.py"),
    *("engine/batchnorm.py", "engine/closures.py", "engine/convolution.py", "engine/curvature.py"),
    *("engine/fast.py", "engine/graph.py"),
    *("tuners/base.py", "tuners/clipping.py", "tuners/gathered.py", "tuners/products.py"),
    *("tuners/scaling.py", "tuners/stepping.py"),
)
"""Modules of the package that decide the numbers of every run."""

RULES = ("rules/__init__.py", "rules/base.py", "rules/pieces.py")
"""Modules that decide the numbers of runs that differentiate the optimizer's step."""


class _Required:
    def __repr__(self) -> str:
        return "required"


REQUIRED = _Required()
"""The default of a setting that must be given."""


@dataclass(frozen=True)
class Setting:
    """One setting of a run function, a method or an optimizer."""

    name: str
    kind: type
    """float, int, bool or str."""
    about: str
    """What it is, with its unit."""
    default: Value | _Required | None = REQUIRED
    """What a spec means that does not give it; None: see `about`."""
    least: float = -math.inf
    most: float = math.inf
    above: float = -math.inf
    below: float = math.inf
    words: tuple[Value, ...] = ()
    """Values besides numbers, for example "adaptive" or False; of a text, all that it may be."""
    listed: bool = False
    """Whether a text is any number of `words`, separated by commas, in their order."""
    whole_as_int: bool = False
    """Whether whole numbers are written without a point, as records have them (100, not 100.0)."""
    needs: tuple[tuple[str, Value | None], ...] = ()
    """(setting, its value) of which one must be given, or this changes nothing; None: any but False and 0."""
    without: str = ""
    """Setting beside which this one changes nothing."""
    also: tuple[str, ...] = ()
    """Other names, which are read as this one."""

    def checked(self, value: Value, whose: str) -> Value:
        """The value in the one form in which specs hold it; raises SpecError if it may not be."""
        for word in self.words:
            if type(value) is type(word) and value == word:
                return word
        if self.kind is float and isinstance(value, int | float) and not isinstance(value, bool):
            if abs(value) <= sys.float_info.max and self._holds(value):
                whole = self.whole_as_int and float(value).is_integer()
                return int(value) if whole else float(value) + 0.0  # -0.0 is 0.0
        elif self.kind is int and isinstance(value, int) and not isinstance(value, bool):
            if self._holds(value):
                return value
        elif self.kind is bool and isinstance(value, bool):
            return value
        elif self.kind is str and isinstance(value, str) and self.listed:
            given = [word for word in value.split(",") if word] if value else []
            if set(given) <= set(self.words) and len(set(given)) == len(given):
                return ",".join(str(word) for word in self.words if word in given)
        raise SpecError(f"{self.name} of {whose} must be {self.allowed()}, not {value!r}")

    def check_beside(self, values: Mapping[str, Value], whose: str) -> None:
        """Raises SpecError where this setting changes nothing beside the others that are given."""
        if self.without in values:
            raise SpecError(f"{self.name} of {whose} changes nothing beside {self.without}: leave it out")
        if self.needs and not any(
            values[name] == wanted if wanted is not None else values[name]
            for name, wanted in self.needs
            if name in values
        ):
            what = " or ".join(n if v is None else f"{n}={v!r}" for n, v in self.needs)
            raise SpecError(f"{self.name} of {whose} changes nothing without {what}: leave it out")

    def _holds(self, value: float) -> bool:
        return self.least <= value <= self.most and self.above < value < self.below

    def allowed(self) -> str:
        """What it may be, in words."""
        words = [repr(word) for word in self.words]
        if self.listed:
            return f"any of {', '.join(words)}, separated by commas"
        kind = {float: "a finite number", int: "a whole number", bool: "True or False", str: ""}[self.kind]
        bounds = (
            ("of at least", self.least, -math.inf),
            ("above", self.above, -math.inf),
            ("of at most", self.most, math.inf),
            ("below", self.below, math.inf),
        )
        limits = " and ".join(f"{word} {bound:g}" for word, bound, none in bounds if bound != none)
        number = " ".join(filter(None, (kind, limits)))
        return " or ".join(
            filter(None, (number, f"one of {', '.join(words)}" if len(words) > 1 else "".join(words)))
        )


@dataclass(frozen=True)
class Method:
    """A schedule, a tuner or another way to come by the rates of a run."""

    name: str
    label: str
    """What readers call it, in figures and tables."""
    settings: tuple[Setting, ...] = ()
    make: Callable[[RunSpec, nn.Module, Context], Tuner] | None = None
    """What trains the network; None: the run function does that itself."""
    kind: str = ""
    """"schedule" or "tuner": what run functions name to take them all; empty for others."""
    colour: str = DARK
    marker: str = "D"
    """A second sign besides colour."""
    outer: str = ""
    """What a step needs besides the training loss: "" nothing, "gradient" that of an outer loss, "look" an
    outer loss without gradient."""
    cost: Callable[[RunSpec], float] | None = None
    """Plain steps of one step, roughly, known before the run is made; None: 1."""
    series: tuple[str, ...] = ()
    """Series that it leaves besides those of the run function."""
    metrics: tuple[str, ...] = ()
    """Metrics that it leaves besides those of the run function."""
    source: bool = False
    """Whether it needs the schedule of another run."""
    below_zero: Callable[[RunSpec], bool] | None = None
    """Whether the rate of a finished run may be negative; None: never."""
    decides: tuple[str, ...] = ()
    """Modules of the package that decide its numbers, besides those of every run."""
    also: tuple[str, ...] = ()
    """Other names, which are read as this one."""


@dataclass(frozen=True)
class Optimizer:
    """An optimizer of torch."""

    name: str
    label: str
    make: Callable[..., torch.optim.Optimizer]
    settings: tuple[Setting, ...]
    decides: tuple[str, ...]
    """Modules of the package that decide its derivatives; they count for runs that `RULES` decide."""


@dataclass(frozen=True)
class Function:
    """A run function: from a spec to what a run leaves."""

    name: str
    run: Callable[[RunSpec, Context], Outcome]
    methods: tuple[str, ...]
    """Methods that it takes, by name or by kind."""
    settings: tuple[Setting, ...] = ()
    """Its own, besides the method's."""
    unread: tuple[str, ...] = ()
    """Settings of its methods that change nothing here, so that they are refused."""
    source: bool = False
    """Whether it may begin with the schedule of another run."""
    observes: tuple[str, ...] | None = None
    """Series that it always observes along the training; None: it observes nothing that a spec could ask."""
    metrics: tuple[str, ...] = ()
    """Metrics that it leaves, those of the method aside."""
    resumable: bool = False
    """Whether it carries on from its checkpoint wherever it is stopped; else it starts anew."""
    side_by_side: Callable[[Sequence[RunSpec], Context], list[Outcome]] | None = None
    """Makes runs that differ in their seed alone in one go: what a GPU needs to be busy."""
    counted: bool = False
    """Whether its work is known in plain steps, so that it compares with that of other functions."""
    steps: Callable[[RunSpec], float] | None = None
    """Plain steps of a run, roughly, known before it is made; None: steps times the method's cost."""
    decides: tuple[str, ...] = ()
    """Modules of the package that decide its numbers, besides those of every run and its own."""

    def takes(self, method: Method) -> bool:
        """Whether it trains with a method."""
        return method.name in self.methods or method.kind in self.methods


FUNCTIONS: dict[str, Function] = {}
METHODS: dict[str, Method] = {}
OPTIMIZERS: dict[str, Optimizer] = {}
TABLES: tuple[dict[str, Any], ...] = (FUNCTIONS, METHODS, OPTIMIZERS)

Entry = Function | Method | Optimizer
_E = TypeVar("_E", Function, Method, Optimizer)
_R = TypeVar("_R", bound=Callable[..., Any])


def _table(entry: Entry) -> dict[str, Any]:
    return TABLES[(Function, Method, Optimizer).index(type(entry))]


def add(*entries: Entry) -> None:
    """Register; raises ValueError for a name that is taken."""
    for entry in entries:
        for name in _names(entry):
            if _table(entry).setdefault(name, entry) is not entry:
                raise ValueError(f"there is a {type(entry).__name__.lower()} {name!r} already")


def _names(entry: Entry) -> tuple[str, ...]:
    return (entry.name, *(entry.also if isinstance(entry, Method) else ()))


def run_function(name: str, **declared: Any) -> Callable[[_R], _R]:
    """Decorator: register a function of (spec, context) as the run function `name`; see `Function`."""

    def register(run: _R) -> _R:
        add(Function(name, run, **declared))
        return run

    return register


def side_by_side(name: str) -> Callable[[_R], _R]:
    """Decorator: make several runs of the function `name` that differ in their seed alone, in one go."""

    def register(run: _R) -> _R:
        FUNCTIONS[name] = replace(FUNCTIONS[name], side_by_side=run)
        return run

    return register


def put(*entries: Entry) -> None:
    """Register in place of what had these names."""
    load()
    for entry in entries:
        _table(entry).update(dict.fromkeys(_names(entry), entry))


def foreign() -> tuple[Entry, ...]:
    """Entries that were not made here, which another process has to be told of."""
    own = load()
    every = (entry for table in TABLES for entry in table.values())
    return tuple(e for e in every if e not in own)


def _maker(entry: Entry) -> Any:
    """What stands behind an entry: a function, or the class of its tuner."""
    make: Any = entry.run if isinstance(entry, Function) else entry.make
    return make.args[0] if isinstance(make, partial) else make or entry


@contextmanager
def registered(*entries: Entry) -> Iterator[None]:
    """Entries that exist, in place of others of their name, inside the block alone."""
    load()
    before = [dict(table) for table in TABLES]
    put(*entries)
    try:
        yield
    finally:
        for table, old in zip(TABLES, before, strict=True):
            table.clear()
            table.update(old)


@lru_cache(maxsize=1)
def load() -> list[Entry]:
    """Import every module of this room, so that all that there is has registered itself; what that is."""
    before = [entry for table in TABLES for entry in table.values() if _foreign(entry)]
    for module in pkgutil.iter_modules([str(Path(__file__).parent)]):
        importlib.import_module(f"{__package__}.{module.name}")
    return [entry for table in TABLES for entry in table.values() if entry not in before]


def _foreign(entry: Entry) -> bool:
    return not _maker(entry).__module__.startswith(("adatune_lite.", "torch."))


def function(name: str) -> Function:
    """The run function of that name; raises SpecError."""
    return _known(FUNCTIONS, "function", name)


def method(name: str) -> Method:
    """The method of that name; raises SpecError."""
    return _known(METHODS, "method", name)


def optimizer(name: str) -> Optimizer:
    """The optimizer of that name; raises SpecError."""
    return _known(OPTIMIZERS, "optimizer", name)


def _known(table: dict[str, _E], what: str, name: str) -> _E:
    load()
    if name not in table:
        names = dict.fromkeys(entry.name for entry in table.values())
        raise SpecError(f"{what} must be one of {', '.join(names)}, not {name!r}")
    return table[name]


class Settings:
    """The settings that a spec may hold, by every name, and the one form in which it holds them."""

    def __init__(self, whose: str, settings: Sequence[Setting]) -> None:
        self.whose = whose
        """For messages."""
        self.by_name = {name: setting for setting in settings for name in (setting.name, *setting.also)}
        self._known: dict[object, Pairs] = {}

    def checked(self, given: Mapping[str, Value] | Pairs) -> Pairs:
        """Sorted pairs, each in its one form; raises SpecError for what may not be."""
        items = tuple(given.items() if isinstance(given, Mapping) else given)
        try:
            # Specs differ in their seed alone, by the thousand; 1, 1.0 and True are equal.
            key = items, tuple([type(value) for _, value in items])
            if (known := self._known.get(key)) is not None:
                return known
        except TypeError:  # no value of a setting: refused below
            return self._checked(dict(items))
        if len(self._known) > 1000:
            self._known.clear()
        return self._known.setdefault(key, self._checked(dict(items)))

    def _checked(self, given: Mapping[str, Value]) -> Pairs:
        values: dict[str, Value] = {}
        for name, value in given.items():
            setting = self.by_name.get(name)
            if setting is None:
                names = ", ".join(dict.fromkeys(s.name for s in self.by_name.values())) or "none"
                raise SpecError(f"{self.whose} has no setting {name!r}; it has {names}")
            if setting.name in values:
                raise SpecError(f"{setting.name} of {self.whose} is given twice, under two of its names")
            values[setting.name] = setting.checked(value, self.whose)
        for name in values:
            self.by_name[name].check_beside(values, self.whose)
        return tuple(sorted(values.items()))


class Declared(NamedTuple):
    """What a spec of one function, method and optimizer may hold."""

    function: Function
    method: Method
    optimizer: Optimizer
    settings: Settings
    optimizer_settings: Settings

    @property
    def text(self) -> str:
        """What is declared and decides numbers: who makes what, and what a setting is by default."""
        makers = (self.function.run, self.method.make, self.optimizer.make)
        names = [self.method.name, self.method.outer, *map(_described, makers)]
        own, options = self.settings.by_name.values(), self.optimizer_settings.by_name.values()
        return "\n".join([*names, *sorted({f"{s.name}={s.default!r}" for s in (*own, *options)})])


def _described(maker: Any) -> str:
    """A function or class by its name; of what `partial` made also what it was given."""
    if isinstance(maker, partial):
        return f"{_described(maker.func)}({', '.join(map(_described, maker.args))})"
    return str(getattr(maker, "__qualname__", repr(maker)))


_DECLARED: dict[tuple[str, str, str], Declared] = {}


def declared(function_name: str, method_name: str, optimizer_name: str) -> Declared:
    """What a spec of these three may hold; raises SpecError, with the words that there are."""
    key = function_name, method_name, optimizer_name
    known = _DECLARED.get(key)
    # The tables are asked again: what is registered for a time may replace what was there before.
    if (
        known
        and FUNCTIONS.get(function_name) is known.function
        and METHODS.get(method_name) is known.method
        and OPTIMIZERS.get(optimizer_name) is known.optimizer
    ):
        return known
    run, how, rule = function(function_name), method(method_name), optimizer(optimizer_name)
    if not run.takes(how):
        names = [m for m, entry in METHODS.items() if m == entry.name and run.takes(entry)]
        raise SpecError(f"method of {run.name} must be one of {', '.join(names)}, not {method_name!r}")
    own = (*run.settings, *(s for s in how.settings if s.name not in run.unread))
    whose = run.name if run.name == how.name else f"{how.name} in {run.name}"
    found = Declared(run, how, rule, Settings(whose, own), Settings(rule.name, rule.settings))
    _DECLARED[key] = found
    return found


def decides(function_name: str, method_name: str, optimizer_name: str) -> tuple[str, ...]:
    """Modules of the package, by path, that decide the numbers of a run, those of its network aside.

    Raises SpecError for a name that does not exist.
    """
    run, how, rule = function(function_name), method(method_name), optimizer(optimizer_name)
    room, _, module = run.run.__module__.partition(".")
    own = [f"{module.replace('.', '/')}.py"] if room == "adatune_lite" else []
    found = {*EVERY_RUN, *own, *run.decides, *how.decides}
    if found >= set(RULES):
        found |= set(rule.decides)
    return tuple(sorted(found))
