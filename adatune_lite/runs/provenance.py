"""How a record came about: the code that decides its numbers, the machine, the data, the time."""

from __future__ import annotations

import ast
import contextlib
import hashlib
import os
import platform
import subprocess
import sys
from collections.abc import Iterator
from functools import lru_cache, partial
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from adatune_lite.files import PACKAGE
from adatune_lite.runs.remembered import remembered
from adatune_lite.tasks import models
from adatune_lite.training import registry

if TYPE_CHECKING:
    from adatune_lite.training.spec import RunSpec


class Kind(NamedTuple):
    """What decides by which code a run gets its numbers; runs of one kind differ in settings and sizes."""

    function: str
    method: str
    optimizer: str
    network: str

    @classmethod
    def of(cls, spec: RunSpec) -> Kind:
        """The kind of a run."""
        return cls(spec.function, spec.method, spec.optimizer, spec.task.model)

    @classmethod
    def parse(cls, text: str) -> Kind:
        """The inverse of `str`; raises ValueError for anything but four words."""
        words = text.split(" ")
        if len(words) != len(cls._fields):
            raise ValueError(f"a kind of run is four words, not {text!r}")
        return cls(*words)

    def __str__(self) -> str:
        return " ".join(self)


def code_hash(kind: Kind, package: Path = PACKAGE) -> str:
    """SHA-256 over what decides the numbers of a kind of run: syntax trees of modules, declared defaults.

    Comments, docstrings, layout and the wording of errors change nothing; a constant does. The same for
    every supported version of Python, so that records of several machines meet under one hash. Read once
    for each process: a run under way belongs to the code that it loaded.

    Raises:
        SpecError: there is no such function, method or optimizer, or they do not go together.
        KeyError: there is no such network, or a module is declared that does not exist.
    """
    what = registry.declared(kind.function, kind.method, kind.optimizer), models.MODELS[kind.network]
    known = _DECIDING.get(kind)
    # The tables are asked again: what is registered for a time may replace what was there before.
    if known is None or known[0] != what:
        text = f"{what[0].text}\n{what[1].__qualname__}"
        known = _DECIDING[kind] = (what, deciding_files(kind), text)
    return _code_hash(*known[1:], package)


_DECIDING: dict[Kind, tuple[object, tuple[str, ...], str]] = {}
"""What decides by kind: the modules and what is declared, as long as the tables hold the same."""


def deciding_files(kind: Kind) -> tuple[str, ...]:
    """The modules that `code_hash` reads, by their path below the package, sorted.

    Raises SpecError and KeyError as `code_hash`.
    """
    own = registry.decides(kind.function, kind.method, kind.optimizer)
    return tuple(sorted({*own, *models.decides(kind.network)}))


@lru_cache(maxsize=1024)
def _code_hash(names: tuple[str, ...], declared: str, package: Path) -> str:
    digests = _digests(package)
    lines = [declared, *(f"{name} {digests[name]}" for name in names)]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


@lru_cache(maxsize=8)
def _digests(package: Path) -> dict[str, str]:
    """A digest of each module of a package, as it was at the first question; by path."""
    # Parsing takes longer than all the rest of `status`: it is remembered by the content.
    by = hashlib.sha256(f"{sys.version}\n".encode() + Path(__file__).read_bytes()).hexdigest()
    contents = {path.relative_to(package).as_posix(): path.read_bytes() for path in package.rglob("*.py")}
    keys = {name: hashlib.sha256(by.encode() + content).hexdigest() for name, content in contents.items()}
    wanted = {keys[name]: partial(_digest, content) for name, content in contents.items()}
    checkout = package.parent
    place = checkout / "data" / "scratch" / "code_hashes.json"
    found = remembered(wanted, place if (checkout / "pyproject.toml").is_file() else None)
    return {name: found[key] for name, key in keys.items()}


def _digest(content: bytes) -> str:
    text = content.decode("utf-8").replace("\r\n", "\n").replace("\r", "\n")
    return hashlib.sha256(_text(_Essence().visit(ast.parse(text))).encode()).hexdigest()


class _Essence(ast.NodeTransformer):
    """A syntax tree without docstrings and without what an exception says."""

    def generic_visit(self, node: ast.AST) -> ast.AST:
        body = getattr(node, "body", None)
        if isinstance(body, list):
            # A string that stands alone does nothing: the docstring of a module, function, class or field.
            node.body = [line for line in body if not _is_text(line)]  # type: ignore[attr-defined]
        return super().generic_visit(node)

    def visit_Raise(self, node: ast.Raise) -> ast.AST:
        if isinstance(node.exc, ast.Call):
            node.exc = node.exc.func
        return node


def _is_text(node: ast.AST) -> bool:
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    )


def _text(node: object) -> str:
    # Not ast.dump: what that writes for empty fields changed between versions of Python, and new versions
    # add fields, which are empty for code that all of them accept.
    if isinstance(node, ast.Constant):
        return f"Constant({node.value!r})"
    if isinstance(node, ast.AST):
        filled = [(name, value) for name, value in ast.iter_fields(node) if value is not None and value != []]
        return f"{type(node).__name__}({','.join(f'{name}={_text(value)}' for name, value in filled)})"
    if isinstance(node, list):
        return f"[{','.join(map(_text, node))}]"
    return repr(node)


def describe(device: str) -> dict[str, Any]:
    """The machine and the software of this process, as a record keeps it."""
    import torch

    facts: dict[str, Any] = {
        "version": _version(),
        **_commit(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "device_name": _processor(),
        "processor_family": _family(),
        "instruction_set": f"{platform.machine()} {torch.backends.cpu.get_cpu_capability()}",
        "threads": torch.get_num_threads(),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
    }
    if device == "cuda":
        facts["device_name"] = torch.cuda.get_device_name()
        facts["driver"] = _driver()
        facts["cuda"] = torch.version.cuda
    return facts


def data(dataset: str) -> dict[str, Any]:
    """Source and checksum of the data of a run; the images are in memory by the time a run has ended."""
    from adatune_lite.tasks.data import describe as describe_data

    source, checksum, verified = describe_data(dataset)
    return {"data_source": source, "data_checksum": checksum, "data_verified": verified}


def start_peak(device: str) -> None:
    """Forget the largest memory so far, where the system can: a process does several runs."""
    if device == "cuda":
        import torch

        torch.cuda.reset_peak_memory_stats()
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def peak_memory(device: str) -> int:
    """Largest memory of this process since `start_peak`, in bytes: on the device for cuda, else resident."""
    if device == "cuda":
        import torch

        return torch.cuda.max_memory_allocated()
    for line in _lines(Path("/proc/self/status")):
        if line.startswith("VmHWM"):
            return int(line.split()[1]) * 1024
    try:
        import resource
    except ImportError:  # Windows
        return 0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def _version() -> str:
    try:
        return metadata.version("adatune_lite")
    except metadata.PackageNotFoundError:
        return "not installed"


@lru_cache(maxsize=1)
def _commit() -> dict[str, Any]:
    commit = _git("rev-parse", "HEAD")
    # Records themselves are made in the tree: new ones do not make it dirty.
    dirty = _git("status", "--porcelain", "--", ".", ":(exclude)data")
    # The hash of the tree outlives a commit whose message is reworded.
    tree = _git("rev-parse", "HEAD^{tree}")
    return {"commit": commit, "tree": tree, "dirty": bool(dirty) if commit else None}


def _git(*arguments: str) -> str:
    environment = {**os.environ, "GIT_OPTIONAL_LOCKS": "0"}
    try:
        done = subprocess.run(
            ["git", "-C", str(PACKAGE.parent), *arguments],
            capture_output=True,
            text=True,
            check=False,
            timeout=20,
            env=environment,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


@lru_cache(maxsize=1)
def _processor() -> str:
    for line in _lines(Path("/proc/cpuinfo")):
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


@lru_cache(maxsize=1)
def _family() -> str:
    """Maker, family and model of the processor, for example "GenuineIntel 6 143"; its name may not tell."""
    facts: dict[str, str] = {}
    for line in _lines(Path("/proc/cpuinfo")):
        name, _, value = line.partition(":")
        facts.setdefault(name.strip(), value.strip())
    known = [facts[name] for name in ("vendor_id", "cpu family", "model") if name in facts]
    return " ".join(known) or platform.processor() or platform.machine()


@lru_cache(maxsize=1)
def _driver() -> str:
    for line in _lines(Path("/proc/driver/nvidia/version")):
        if "Kernel Module" in line:
            return next((word for word in line.split() if word[:1].isdigit() and "." in word), line.strip())
    return ""


def _lines(path: Path) -> Iterator[str]:
    try:
        yield from path.read_text(errors="replace").splitlines()
    except OSError:
        return
