"""How an experiment says which runs it wants, once, and reads what became of them.

A `Group` is some runs under a key: what they are ("safeguards", "rollback"), never how large they are, so
that a profile is another size of the same groups. An experiment declares all of them in one generator,

    def groups(scale, page):
        yield Group(("whole",), "AutoLR", REPORT, [run(scale, seed) for seed in scale.seeds])
        yield Search(("tuning", "cosine"), "cosine", TUNING, trials=..., space=SPACE)
        choice = page.choice("tuning", "cosine")
        yield Group(("tuned", "cosine"), "cosine", REPORT, tuned(scale, choice) if choice else ())

which may ask the page for records and choices of groups that it has yielded already. Every profile and every
store yields the same keys: a group that a profile does not have, or that waits for a choice, has no specs. So
a key that is not there is a mistyped one, and is refused.

A `Page` is one profile of an experiment with the records of one store. The generator runs once for a page, a
spec is looked up once, and everything else follows: the plan (`planned`), records by key (`page[key]`), what
is missing, names for tables and curves. A `Search` is a group too: draws by tuning seeds, of which `choice`
takes the best by mean E; of several searches under one key (a family, further draws) the best of their union.

All runs of a task are read from one copy of its data, so that no cell, search or difference mixes two. It is
that with most records until the published data have a record of every planned run that has one, and no more
runs are missing with them than without; a later stage is planned from the same data.
"""

from __future__ import annotations

import sys
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from types import ModuleType
from typing import Any, ClassVar, Generic, TypeVar

from adatune_lite.report.lost import is_lost, ranked
from adatune_lite.report.search import Choice, Reader, Space, choose
from adatune_lite.runs.one_data import Copies, Data, held
from adatune_lite.runs.record import Record
from adatune_lite.runs.worker import Planned
from adatune_lite.tasks.spec import TaskSpec
from adatune_lite.training.spec import RunSpec

Part = str | float
Key = tuple[Part, ...]
"""From the general to the particular: ("safeguards", "rollback") is one of the "safeguards"."""
Scale = TypeVar("Scale")


class GroupError(LookupError):
    """A key that no group has, or that two groups have."""

    def __str__(self) -> str:
        return str(self.args[0])


@dataclass(frozen=True)
class Role:
    """What runs are for: the label in their records, and which of them are made first."""

    name: str
    priority: float | Callable[[RunSpec], float]
    """The higher, the earlier; a function where it differs from run to run."""
    why: str = ""

    def priority_of(self, spec: RunSpec) -> float:
        """Of one run."""
        return self.priority(spec) if callable(self.priority) else self.priority


@dataclass(frozen=True)
class Group:
    """Some runs under a key, with a name for readers."""

    key: Key
    name: str
    role: Role
    specs: Sequence[RunSpec] = ()
    """By seed, mostly; none where the profile has no such runs, or waits for records that decide them."""

    @property
    def why(self) -> str:
        """What they are for, in words."""
        return self.role.why


@dataclass(frozen=True)
class Search(Group):
    """The draws of a search, each on every tuning seed."""

    trials: Sequence[Sequence[RunSpec]] = ()
    space: Space = field(default_factory=dict)
    """What is searched, to tell whether the best lies on an edge."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "specs", [spec for trial in self.trials for spec in trial])


class Page(Generic[Scale]):
    """One profile of an experiment, with the records of one store: read once, and as they were then.

    An experiment's own page says who it is (`name`, `profiles`, `declare`) and adds what it derives from
    records.
    """

    name: ClassVar[str]
    profiles: ClassVar[Mapping[str, Any]]

    def __init__(self, profile: str, store: Reader, data: Data | None = None) -> None:
        """data: those of each task that are to be read; by default the page chooses."""
        self.profile = profile
        self.scale: Scale = self.profiles[profile]
        self.store = store
        self.data = data
        self._groups: dict[Key, Group] = {}
        self._declared = False
        self._plain: Page[Scale] | None = None
        self._found: dict[str, Record | None] = {}
        self._records: dict[Key, list[Record]] = {}
        self._choices: dict[Key, Choice | None] = {}

    @staticmethod
    def declare(scale: Any, page: Any) -> Iterator[Group]:
        """The generator of the groups."""
        raise NotImplementedError

    @property
    def experiment(self) -> ModuleType:
        """The package of the experiment."""
        return sys.modules[type(self).__module__.rpartition(".")[0]]

    @classmethod
    def plan(cls, profile: str, store: Reader) -> list[Planned]:
        """All runs of a profile that are known so far: some depend on the records of others."""
        return cls(profile, store).planned

    @property
    def groups(self) -> Mapping[Key, Group]:
        """All groups by key, in their order; those yielded so far while they are being declared.

        Raises GroupError for two groups of one key.
        """
        self._declare()
        return self._groups

    def _declare(self) -> None:
        if self._declared:
            return
        self._declared = True
        try:
            for group in self.declare(self.scale, self):
                if group.key in self._groups:
                    raise GroupError(f"{self.name} declares two groups of the key {_text(group.key)}")
                self._groups[group.key] = group
            if self.data is None:
                self._choose_data()
        except BaseException:
            # Half of the groups must not be taken for all of them.
            self._groups.clear()
            self._declared = False
            raise

    def _choose_data(self) -> None:
        """Become the page that reads each task from one copy of its data, where there are several."""
        self.data = {}
        if not isinstance(self.store, Copies):
            return
        found = held(self.store, (run.spec for run in self.planned))
        if not found.several:
            return

        def on(data: Data) -> Page[Scale]:
            return type(self)(self.profile, self.store, data)

        disputed = found.others.keys() & found.published.keys()
        old, new = on(found.others), on(found.others | found.published)
        before, after = old._missing_by_task(), new._missing_by_task()
        gapless = {
            task
            for task in disputed
            if len(after[task]) <= len(before[task]) and not any(map(old.record, after[task]))
        }
        mixed = on(found.others | {task: found.published[task] for task in gapless})
        vars(self).update(vars(new if gapless == disputed else mixed if gapless else old))

    def _missing_by_task(self) -> dict[TaskSpec, list[RunSpec]]:
        missing: dict[TaskSpec, list[RunSpec]] = defaultdict(list)
        for run in self.planned:
            if self.record(run.spec) is None:
                missing[run.spec.task].append(run.spec)
        return missing

    def under(self, *prefix: Part) -> dict[Any, Group]:
        """The groups whose key begins so, by the rest of it; by the last part itself where that is the rest.

        Raises GroupError if there is none.
        """
        size = len(prefix)
        found = {key[size:]: group for key, group in self.groups.items() if key[:size] == prefix}
        if not found:
            raise GroupError(self._unknown(prefix))
        return {rest[0] if len(rest) == 1 else rest: group for rest, group in found.items()}

    def _unknown(self, prefix: Key) -> str:
        known = next(k for k in reversed(range(len(prefix))) if any(g[:k] == prefix[:k] for g in self.groups))
        there = dict.fromkeys(str(key[known]) for key in self.groups if key[:known] == prefix[:known] != key)
        of = f" of {_text(prefix[:known])}" if known else ""
        return (
            f"{self.name} has no group {_text(prefix)}; there are{of}: {', '.join(there) or 'none so far'} "
            "(a group that asks for another one is declared after it)"
        )

    def __getitem__(self, key: Part | Key) -> list[Record]:
        """The records of a group, in the order of its specs; of all groups whose key begins so, each once."""
        key = key if isinstance(key, tuple) else (key,)
        if key not in self._records:
            groups = self.under(*key).values()
            once = {r.spec.hash: r for group in groups for r in self._fetch(group)}
            self._records[key] = list(once.values())
        return self._records[key]

    def _fetch(self, group: Group) -> list[Record]:
        """The records of one group that are there: the one place where a group's records are read."""
        found = [self.record(spec) for spec in group.specs]
        return [record for record in found if record is not None]

    def record(self, spec: RunSpec) -> Record | None:
        """The record of a run, on the data that the page reads its task from; looked up once."""
        self._declare()
        if self._plain:
            found = self._plain.record(spec)
            return ranked([found])[0] if found else None
        if spec.hash not in self._found:
            data, store = (self.data or {}).get(spec.task), self.store
            if data is not None and isinstance(store, Copies):
                self._found[spec.hash] = store.get(spec, data=data)
            else:
                self._found[spec.hash] = store.get(spec)
        return self._found[spec.hash]

    def by(self, *prefix: Part) -> dict[Any, list[Record]]:
        """The records of the groups `under` a key, by the rest of the key."""
        return {rest: self[group.key] for rest, group in self.under(*prefix).items()}

    def choice(self, *key: Part) -> Choice | None:
        """The best of all draws of the searches whose key begins so; None until all have their records."""
        if key not in self._choices:
            searches = [group for group in self.under(*key).values() if isinstance(group, Search)]
            trials = [list(trial) for search in searches for trial in search.trials]
            space = {name: limits for search in searches for name, limits in search.space.items()}
            self._choices[key] = choose(trials, _Held([r for s in searches for r in self[s.key]]), space)
        return self._choices[key]

    @cached_property
    def by_the_rule(self) -> Page[Scale]:
        """The same page with lost runs as they count where runs are ranked."""
        page = type(self)(self.profile, self.store, self.data)
        page.scale, page._plain = self.scale, self
        page._groups, page._declared, page._choices = self._groups, True, self._choices
        return page

    def lost(self, spec_hashes: Iterable[str]) -> bool:
        """Whether any of these runs, which the page has read, is lost."""
        return any(is_lost(record) for name in spec_hashes if (record := self._found.get(name)))

    @cached_property
    def planned(self) -> list[Planned]:
        """The runs of all groups, each once, for the first role that wants it."""
        planned: dict[str, Planned] = {}
        for group in self.groups.values():
            role = group.role
            for spec in group.specs:
                if spec.hash not in planned:
                    run = Planned(spec, self.name, self.profile, role.name, role.priority_of(spec))
                    planned[spec.hash] = run
        return list(planned.values())

    def all_records(self, *roles: str) -> list[Record]:
        """Every record of this profile that is there; of these roles alone if any are named."""
        there = {r.spec.hash: r for key in self.groups for r in self[key]}
        wanted = [run.spec.hash for run in self.planned if not roles or run.role in roles]
        return [there[name] for name in wanted if name in there]

    def missing_roles(self) -> dict[str, int]:
        """Runs known so far that have no record, counted by what they are for."""
        there = {record.spec.hash for record in self.all_records()}
        return dict(Counter(run.role for run in self.planned if run.spec.hash not in there))

    def missing(self) -> int:
        """Runs known so far that have no record."""
        return sum(self.missing_roles().values())


class _Held:
    """The records of some groups as a store."""

    def __init__(self, records: Sequence[Record]) -> None:
        self._records = {record.spec.hash: record for record in records}

    def get(self, spec: RunSpec) -> Record | None:
        return self._records.get(spec.hash)


def _text(key: Key) -> str:
    return " / ".join(map(str, key))
