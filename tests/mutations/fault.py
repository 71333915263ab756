"""What a planted fault is."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Fault:
    """One replacement in the package: `old`, which stands in `file` exactly once, becomes `new`.

    file: below adatune_lite. tests: names of pytest, of which at least one must fail.
    """

    name: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]


def tests(file: str, *names: str) -> tuple[str, ...]:
    """The tests of tests/test_FILE.py, without their prefix."""
    return tuple(f"tests/test_{file}.py::test_{name}" for name in names)
