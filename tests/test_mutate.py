"""The mutation check itself: what counts as noticed, and that its list follows the code."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import mutate
import pytest
from mutations import FAULTS, Fault

SOUND = "def double(x):\n    return 2 * x\n"
TESTS = """
from adatune_lite.arithmetic import double

def test_of_three():
    assert double(3) == 6

def test_of_zero():
    assert double(0) == 0
"""
THREE, ZERO = (f"tests/test_it.py::test_of_{name}" for name in ("three", "zero"))


@pytest.fixture(autouse=True)
def _environment() -> Iterator[None]:
    """What the check sets for its own processes stays out of other tests."""
    before = dict(os.environ)
    yield
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(mutate, "SHARED", ["pytest"])  # no torch here
    for name, text in (("adatune_lite/arithmetic.py", SOUND), ("tests/test_it.py", TESTS)):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_text(text)
    (tmp_path / "adatune_lite" / "__init__.py").touch()
    (tmp_path / "pyproject.toml").touch()
    return tmp_path


def fault(old: str, new: str, *tests: str) -> Fault:
    return Fault(f"{old} to {new}", "arithmetic.py", old, new, tests)


def test_every_fault_can_be_planted_and_names_tests_that_are_there() -> None:
    assert len({f.name for f in FAULTS}) == len(FAULTS) >= 10
    for f in FAULTS:
        text = (mutate.ROOT / mutate.PACKAGE / f.file).read_text(encoding="utf-8")
        assert text.count(f.old) == 1 and f.new not in ("", f.old), f.name
        for test in f.tests:
            file, *_, function = test.partition("[")[0].split("::")
            assert f"def {function}(" in (mutate.ROOT / file).read_text(encoding="utf-8"), f.name


def test_faults_that_tests_notice_and_others(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert mutate.main((), [fault("2 * x", "3 * x", THREE, ZERO)], project) == 0
    assert "1 of 1 planted faults noticed" in capsys.readouterr().out
    assert (project / "adatune_lite" / "arithmetic.py").read_text() == SOUND
    bad = {
        "these pass all the same": fault("2 * x", "3 * x", ZERO),
        "code 4, which is no failed test": fault("2 * x", "2 * (x", THREE),
        "stands 0 times in arithmetic.py": fault("4 * x", "3 * x", THREE),
        "stands 3 times in arithmetic.py": fault("e", "f", THREE),
    }
    assert mutate.main((), list(bad.values()), project) == 1
    printed = capsys.readouterr()
    for words in bad:
        assert words in printed.err
    assert "0 of 4 planted faults noticed" in printed.out


def test_tests_that_fail_without_a_fault_notice_nothing(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (project / "adatune_lite" / "arithmetic.py").write_text("def double(x):\n    return x\n")
    assert mutate.main((), [fault("return x", "return 3 * x", THREE)], project) == 1
    assert "do not pass on the package as it is" in capsys.readouterr().err
    assert mutate.main(["no such word"], [], project) == 1
