"""What notebooks share, and that a fault in the library turns a notebook red."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

from adatune_lite import notebook
from adatune_lite.experiments import find
from adatune_lite.training.spec import RunSpec

ROOT = Path(__file__).resolve().parent.parent
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
DEFAULTS = {"profile": "smoke", "reuse": "store", "missing": "compute", "device": "auto", "jobs": 0}


def cells(path: Path) -> list[dict[str, object]]:
    found: list[dict[str, object]] = json.loads(path.read_text(encoding="utf-8"))["cells"]
    return found


def test_check_accepts_the_defaults_and_what_a_notebook_holds_besides() -> None:
    notebook.check({**DEFAULTS, "al": ModuleType("al"), "_i1": "x", "In": [], "get_ipython": print})


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"profil": "desk"}, "unknown parameter 'profil'; allowed: profile"),
        ({"profile": "large"}, "profile must be one of smoke, quick, desk, paper, not 'large'"),
        ({"reuse": "yes"}, "reuse must be one of store, none"),
        ({"missing": True}, "missing must be one of compute, skip"),
        ({"device": "tpu"}, "device must be one of auto, cpu, cuda"),
        ({"jobs": -1}, "jobs must be a whole number"),
        ({"jobs": "2"}, "jobs must be a whole number"),
    ],
)
def test_check_refuses_unknown_names_and_values(change: dict[str, object], words: str) -> None:
    with pytest.raises(notebook.ParameterError, match=words):
        notebook.check({**DEFAULTS, **change})


def test_check_misses_no_parameter() -> None:
    for name in DEFAULTS:
        with pytest.raises(notebook.ParameterError, match=f"lacks '{name}'"):
            notebook.check({k: v for k, v in DEFAULTS.items() if k != name})


def test_the_best_profile_is_paper_only_when_complete(monkeypatch: pytest.MonkeyPatch) -> None:
    held: set[str] = set()

    class Held:
        def get(self, spec: RunSpec, stale: bool = False, data: str | None = None) -> object | None:
            return SimpleNamespace(spec=spec) if spec.hash in held else None

        def candidates(self, prefix: str) -> list[object]:
            return []

    monkeypatch.setattr("adatune_lite.runs.store.stores_for", lambda profile: Held())
    assert notebook.best_profile("01") is None
    paper = [planned.spec.hash for planned in find("01").plan("paper", Held())]
    desk = [planned.spec.hash for planned in find("01").plan("desk", Held())]
    held.add(desk[0])
    assert desk[0] in paper, "the profiles share their search"
    assert notebook.best_profile("01") == "desk"


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebooks_are_thin_and_stored_without_outputs(path: Path) -> None:
    code = [c for c in cells(path) if c["cell_type"] == "code"]
    assert all(c["outputs"] == [] and c["execution_count"] is None for c in code)
    sources = ["".join(c["source"]) for c in code]  # type: ignore[arg-type]
    assert not any("def " in s or "class " in s for s in sources), "algorithms live in the library"
    assert "al.notebook.check(globals())" in sources[1], "parameters are checked before anything else"
    assert any("check(results)" in s for s in sources), "invariants are checked"


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_the_parameters_cell_holds_the_smoke_defaults(path: Path) -> None:
    tagged = [c for c in cells(path) if "parameters" in c["metadata"].get("tags", [])]  # type: ignore[attr-defined]
    assert len(tagged) == 1
    namespace: dict[str, object] = {}
    exec("".join(tagged[0]["source"]), {}, namespace)  # type: ignore[arg-type]
    assert namespace == DEFAULTS


@pytest.mark.slow
def test_a_fault_planted_in_the_library_turns_nbval_red(tmp_path: Path) -> None:
    for name in ("adatune_lite", "notebooks"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("data/scratch", "data/reference"):
        if (ROOT / name).is_dir():
            shutil.copytree(
                ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("runs", "checkpoints")
            )
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    rules = tmp_path / "adatune_lite" / "rules" / "sgd.py"
    sound = rules.read_text(encoding="utf-8")
    faulty = sound.replace(
        "torch._foreach_sub_(z[0], dg, alpha=by * lr)", "torch._foreach_add_(z[0], dg, alpha=by * lr)"
    )
    assert faulty != sound, "the fault must be there to be found"
    rules.write_text(faulty, encoding="utf-8")
    run = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "--nbval-lax",
            "--nbval-current-env",
            "-x",
            "-q",
            "-p",
            "no:cacheprovider",
            "notebooks/01_lrs_opt_vs_marthe.ipynb",
        ],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path), "JUPYTER_PREFER_ENV_PATH": "1"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert run.returncode == 1, run.stdout[-2000:]
    assert "InvariantError" in run.stdout
    assert "forward and reverse hypergradient" in run.stdout
