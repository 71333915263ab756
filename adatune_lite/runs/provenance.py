"""How a record came about: the code that decides its numbers, the machine, the data, the time."""

from __future__ import annotations

import ast
import contextlib
import hashlib
import os
import platform
import subprocess
import sys
from collections.abc import Iterator, Mapping
from functools import lru_cache
from importlib import metadata
from pathlib import Path
from typing import Any

from adatune_lite.files import PACKAGE
from adatune_lite.runs.remembered import remembered

DECIDING = (
    "rules",
    "engine/curvature.py",
    "engine/batchnorm.py",
    "engine/convolution.py",
    "engine/fast.py",
    "engine/hypergradient.py",
    "tuners",
    "schedules.py",
    "training/loop.py",
    "tasks",
    "training/functions.py",
    "training/methods.py",
    "tuners/autolr/variants.py",
)
"""Modules and folders of the package whose code decides the numbers of every run."""

_DERIVATIVES = ("tuners/as_published.py", "training/derivatives.py")
_PROBES = ("training/probes.py", "training/line.py", "training/quadratic.py")
DECIDING_ONE = {
    "lrs_opt": ("engine/lrs_opt.py", "engine/seeds.py"),
    "published": _DERIVATIVES,
    "lean": _DERIVATIVES,
    "hypergradient_error": _DERIVATIVES,
    "locality": _DERIVATIVES,
    "generalisation": ("training/generalisation.py", "engine/eigenvalue.py"),
    "quadratic_fit": _PROBES,
    "superbatch_size": _PROBES,
    "lr_range": ("training/range_test.py", "tuning/lr_range.py", "tuning/rewind.py"),
}
"""Further modules by run function: a change of LRS-OPT leaves the records of online tuners valid."""

NOT_DECIDING = ("tasks/sources", "tasks/spec.py")
"""Where data are found: what it found is in the record by the checksum of the decoded pixels; and the spec,
which the record holds whole."""


def code_hash(function: str, package: Path = PACKAGE) -> str:
    """SHA-256 over the syntax trees of the modules that decide the numbers of a run function.

    Comments, docstrings, layout and the wording of errors change nothing; a constant does. The same for
    every supported version of Python, so that records of several machines meet under one hash. Read once
    for each process: a run under way belongs to the code that it loaded.
    """
    return _code_hash(function, package)


@lru_cache
def _code_hash(function: str, package: Path) -> str:
    sources = {
        path.relative_to(package).as_posix(): path.read_bytes() for path in deciding_files(function, package)
    }
    checkout = package.parent
    place = checkout / "data" / "scratch" / "code_hashes.json"
    known = place if (checkout / "pyproject.toml").is_file() else None
    return remembered(_fingerprint(sources), lambda: _hash_of(sources), known)


def _fingerprint(sources: Mapping[str, bytes]) -> str:
    """What `_hash_of` follows from: the files byte by byte, this module and the version of Python."""
    digest = hashlib.sha256(f"{sys.version}\n".encode() + Path(__file__).read_bytes())
    for name, content in sources.items():
        digest.update(f"{name} {hashlib.sha256(content).hexdigest()}\n".encode())
    return digest.hexdigest()


def _hash_of(sources: Mapping[str, bytes]) -> str:
    digest = hashlib.sha256()
    for name, content in sources.items():
        digest.update(f"{name}\n{_essence(content)}\n".encode())
    return digest.hexdigest()


@lru_cache(maxsize=512)
def _essence(content: bytes) -> str:
    # Most files decide the numbers of most functions: each is parsed once.
    text = content.decode("utf-8").replace("\r\n", "\n").replace("\r", "\n")
    return _text(_Essence().visit(ast.parse(text)))


def deciding_files(function: str, package: Path = PACKAGE) -> list[Path]:
    """The files that `code_hash` reads, sorted."""
    deciding = _modules((*DECIDING, *DECIDING_ONE.get(function, ())), package)
    return sorted(deciding - _modules(NOT_DECIDING, package))


def _modules(names: tuple[str, ...], package: Path) -> set[Path]:
    found: set[Path] = set()
    for name in names:
        place = package / name
        found.update(place.rglob("*.py") if place.is_dir() else [place] if place.is_file() else [])
    return found


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
