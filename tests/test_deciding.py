"""What decides a run's numbers: every module whose code runs, or whose constants it uses, is declared."""

from __future__ import annotations

import ast
import gc
import importlib
import sys
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from types import CodeType, FrameType, ModuleType

import pytest
import synthetic

from adatune_lite.checkpoint import Checkpoint
from adatune_lite.experiments import EXPERIMENTS
from adatune_lite.files import PACKAGE
from adatune_lite.runs import canary, freshness, provenance
from adatune_lite.runs.provenance import Kind
from adatune_lite.runs.store import Store, is_stale, stores_for
from adatune_lite.runs.worker import one_thread, seeded, without_log
from adatune_lite.tasks import models
from adatune_lite.training import registry
from adatune_lite.training.context import Context
from adatune_lite.training.spec import RunSpec

CANNOT_DECIDE = {
    "checkpoint.py": "a run that was taken up equals one that nothing stopped, bit for bit: tested",
    "checks.py": "refuses, and returns nothing",
    "files.py": "where files lie",
    "runs/": "writes and reads what a run gave",
    "tasks/models.py": "the table of networks, whose entry is in the hash",
    "plotting.py": "colours",
    "tasks/sources/": "where data are found: the checksum of the decoded pixels is in the record",
    "tasks/spec.py": "the record holds the spec",
    "training/context.py": "surroundings: where a run is saved, which schedules it may start from",
    "training/methods.py": "the table of methods and optimizers: what in an entry decides is in the hash",
    "training/outcome.py": "what a run gave",
    "training/registry.py": "the tables, see `training/methods.py`",
    "training/spec.py": "the record holds the spec",
}
"""Modules and folders of the package whose code may run without being declared, and why."""


def _free(name: str) -> bool:
    return any(name == place or (place.endswith("/") and name.startswith(place)) for place in CANNOT_DECIDE)


@contextmanager
def _traced() -> Iterator[set[CodeType]]:
    """The code of the package that runs inside the block."""
    root, found, seen = f"{PACKAGE}/", set[CodeType](), set[CodeType]()

    def called(frame: FrameType, _event: str, _argument: object) -> None:
        seen.add(frame.f_code)

    gc.collect()  # what other tests left behind ends before: a generator runs once more when it goes
    before = sys.gettrace()
    sys.settrace(called)
    try:
        yield found
    finally:
        sys.settrace(before)
    found |= {code for code in seen if code.co_filename.startswith(root)}


def _places(codes: set[CodeType]) -> set[str]:
    """The modules, by path, whose code ran, and those whose constants it uses, where it can decide."""
    files = {code: code.co_filename.removeprefix(f"{PACKAGE}/") for code in codes}
    files = {code: name for code, name in files.items() if not _free(name)}
    found = {*files.values()}
    for name in files.values():
        found |= {place for used, place in _constants(name).items() if used in _module_level(name)}
    for code, name in files.items():
        found |= {place for used, place in _constants(name).items() if used in code.co_names}
    return found


@cache
def _tree(name: str) -> ast.Module:
    return ast.parse((PACKAGE / name).read_text(encoding="utf-8"))


@cache
def _constants(name: str) -> dict[str, str]:
    """The constants that a module imports from others of the package, and their modules."""
    found = {}
    for node in ast.walk(_tree(name)):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("adatune_lite."):
            module = importlib.import_module(str(node.module))
            for alias in node.names:
                value = getattr(module, alias.name, None)
                if not callable(value) and not isinstance(value, ModuleType):
                    path = Path(str(module.__file__)).relative_to(PACKAGE)
                    found[alias.asname or alias.name] = path.as_posix()
    return found


@cache
def _module_level(name: str) -> set[str]:
    """The names that a module uses when it is imported: in constants, classes and defaults."""
    found: set[str] = set()
    left: list[ast.AST] = [_tree(name)]
    while left:
        node = left.pop()
        if isinstance(node, ast.Name):
            found.add(node.id)
        inside = ast.iter_child_nodes(node)
        if isinstance(node, ast.FunctionDef | ast.Lambda):
            inside = iter([node.args])  # What a decorator declares is in the hash itself.
        left += inside
    return found


def _ran(spec: RunSpec, store: Store, folder: Path) -> set[str]:
    context = Context("cpu", store, Checkpoint(folder / f"{spec.hash}.pt", "traced"))
    with seeded(spec, "cpu"), _traced() as codes:
        registry.function(spec.function).run(spec, context)
    return _places(codes)


def _shortest(experiment: ModuleType) -> list[RunSpec]:
    """A small run of each kind of an experiment, and of each choice of settings."""
    found: dict[tuple[object, ...], RunSpec] = {}
    for spec in canary.specs(experiment)[0].values():
        key = (Kind.of(spec), *(name for name, _ in spec.settings), dict(spec.settings).get("otherwise"))
        if key not in found or spec.steps < found[key].steps:
            found[key] = spec
    return list(found.values())


@pytest.mark.slow
@pytest.mark.parametrize("name", EXPERIMENTS)
def test_whatever_runs_is_declared(name: str, tmp_path: Path) -> None:
    """The canary has a small run of every kind in plans and records."""
    store = Store(tmp_path)
    for record in canary.specs(EXPERIMENTS[name])[1]:
        store.put(record)
    forgotten = defaultdict(set)
    with one_thread(), without_log():
        for spec in _shortest(EXPERIMENTS[name]):
            kind = Kind.of(spec)
            ran = _ran(spec, store, tmp_path)
            assert {"training/functions.py", "tasks/data.py", *models.decides(kind.network)} <= ran
            forgotten[kind] |= {n for n in ran if not _free(n)} - {*provenance.deciding_files(kind)}
    told = [f"{kind}: {', '.join(sorted(names))}" for kind, names in forgotten.items() if names]
    assert not told, "not declared in `decides`, see training.registry:\n" + "\n".join(told)


@pytest.fixture(scope="module")
def store() -> Store:
    """The committed records, read once."""
    return stores_for("desk")


def _wanted(name: str, store: Store) -> set[Kind]:
    """Kinds of run that an experiment has records of, or plans."""
    module = EXPERIMENTS[name]
    kinds = {Kind.of(record.spec) for record in store.records(name)}
    worlds = [store, synthetic.Synthetic(synthetic.world())]
    for profile in ("desk", "paper"):
        for world in worlds:
            with suppress(KeyError):  # A synthetic world does not have everything that a choice asks for.
                kinds |= {Kind.of(run.spec) for run in module.plan(profile, world)}
    return kinds


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_every_kind_in_plans_and_records_is_vouched_for(name: str, store: Store) -> None:
    """By run function, method, optimizer and network: a kind without a small run could not be accepted."""
    kept = freshness.read(name)
    assert kept is not None, f"{name} has no canary"
    lacking = sorted(str(kind) for kind in _wanted(name, store) - {*kept.kinds})
    assert not lacking, f"write small runs of: {'; '.join(lacking)}"
    others = sorted(str(kind) for kind, held in kept.kinds.items() if not held.runs)
    assert not others


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_every_function_has_a_run_that_reaches_and_one_in_float32(name: str, store: Store) -> None:
    longest: dict[str, int] = defaultdict(int)
    for record in store.records(name):
        longest[record.spec.function] = max(longest[record.spec.function], record.spec.steps)
    small = list(canary.specs(EXPERIMENTS[name])[0].values())
    for function, steps in longest.items():
        own = [spec for spec in small if spec.function == function]
        assert any(canary.reaches(spec, steps) for spec in own), f"{function} has no run that reaches"
        single = any(spec.precision == "float32" for spec in own)
        assert single or function == "hypergradient_error", f"{function} has no run in float32"


def test_every_committed_record_is_fresh(store: Store) -> None:
    stale = [record.name for record in store.records() if is_stale(record)]
    assert not stale, f"{len(stale)} records are stale, {stale[0]} among them: see `canary`"
