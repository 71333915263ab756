"""Provenance: a code hash that follows what decides numbers and nothing else, and the facts of a record."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from adatune_lite.runs import provenance


class TestCodeHash:
    @pytest.fixture
    def package(self, tmp_path: Path) -> Path:
        (tmp_path / "tasks" / "sources").mkdir(parents=True)
        (tmp_path / "tasks" / "sources" / "readers.py").write_text("WHERE = 1\n")
        (tmp_path / "tasks" / "data.py").write_text("x = 1\n")
        (tmp_path / "engine").mkdir()
        (tmp_path / "engine" / "lrs_opt.py").write_text("x = 1\n")
        (tmp_path / "rules").mkdir()
        (tmp_path / "rules" / "sgd.py").write_text(
            '"""Rules."""\ndef step(w, g):\n    """One step."""\n    if w is None:\n'
            '        raise ValueError("no weights")\n    return w - 0.1 * g\n'
        )
        return tmp_path

    def changed(self, package: Path, name: str, old: str, new: str, function: str = "training") -> bool:
        provenance._code_hash.cache_clear()
        before = provenance.code_hash(function, package)
        text = (package / name).read_text()
        assert old in text
        (package / name).write_text(text.replace(old, new))
        provenance._code_hash.cache_clear()
        return provenance.code_hash(function, package) != before

    @pytest.mark.parametrize(
        ("old", "new"),
        [
            ("One step.", "A step of gradient descent."),
            ("    return", "    # Down the hill.\n\n    return"),
            ("w - 0.1 * g", "(w\n        - 0.1 * g)"),
            ("no weights", "there are no weights"),
            ("raise ValueError", "'text'\n        raise ValueError"),
        ],
    )
    def test_words_change_nothing(self, package: Path, old: str, new: str) -> None:
        assert not self.changed(package, "rules/sgd.py", old, new)

    @pytest.mark.parametrize(
        ("old", "new"), [("0.1", "0.2"), ("0.1", "1"), ("w - ", "w + "), ("step", "stap")]
    )
    def test_what_decides_numbers_does(self, package: Path, old: str, new: str) -> None:
        assert self.changed(package, "rules/sgd.py", old, new)

    def test_modules_that_count(self, package: Path) -> None:
        assert self.changed(package, "tasks/data.py", "1", "2")
        assert not self.changed(package, "tasks/sources/readers.py", "1", "2")
        assert not self.changed(package, "engine/lrs_opt.py", "1", "2", "training")
        assert self.changed(package, "engine/lrs_opt.py", "2", "3", "lrs_opt")

    def test_type_of_a_constant_counts(self, package: Path) -> None:
        assert self.changed(package, "tasks/data.py", "1", "1.0")

    def test_hash_is_that_of_a_new_process(self) -> None:
        text = "from adatune_lite.runs.provenance import code_hash; print(code_hash('training'))"
        done = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, check=True)
        provenance._code_hash.cache_clear()
        assert done.stdout.strip() == provenance.code_hash("training")


def test_record_says_what_a_record_says() -> None:
    facts = provenance.describe("cpu") | provenance.data("mnist5k")
    assert facts["data_verified"] is True and facts["data_checksum"].startswith("all:")
    assert facts["torch"] == torch.__version__
    assert {"version", "commit", "tree", "dirty", "threads", "deterministic", "device_name"} <= set(facts)
    assert facts["processor_family"]
    assert facts["instruction_set"].split()[-1] == torch.backends.cpu.get_cpu_capability()
    assert provenance.peak_memory("cpu") > 1e7
