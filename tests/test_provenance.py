"""Provenance: a code hash that follows what decides numbers and nothing else, and the facts of a record."""

from __future__ import annotations

import ast
import hashlib
import json
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest
import torch

from adatune_lite.files import PACKAGE
from adatune_lite.runs import provenance, remembered
from adatune_lite.training import registry


class TestCodeHash:
    @pytest.fixture
    def package(self, tmp_path: Path) -> Path:
        package = tmp_path / "package"
        (package / "tasks" / "sources").mkdir(parents=True)
        (package / "tasks" / "sources" / "readers.py").write_text("WHERE = 1\n")
        (package / "tasks" / "data.py").write_text("x = 1\n")
        (package / "engine").mkdir()
        (package / "engine" / "lrs_opt.py").write_text("x = 1\n")
        (package / "rules").mkdir()
        (package / "rules" / "sgd.py").write_text(
            '"""Rules."""\ndef step(w, g):\n    """One step."""\n    if w is None:\n'
            '        raise ValueError("no weights")\n    return w - 0.1 * g\n'
        )
        return package

    def hash(self, package: Path) -> str:
        """As a new process finds it."""
        provenance._code_hash.cache_clear()
        return provenance.code_hash("training", package)

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

    @pytest.fixture
    def cached(self, package: Path) -> Path:
        """The package in a checkout, where hashes are remembered; the file that remembers them."""
        (package.parent / "pyproject.toml").touch()
        return package.parent / "data" / "scratch" / "code_hashes.json"

    def test_remembered_hashes_are_those_that_are_computed(self) -> None:
        @cache
        def twin(*paths: Path) -> str:
            """Every file parsed afresh."""
            digest = hashlib.sha256()
            for path in paths:
                tree = provenance._Essence().visit(ast.parse(path.read_text(encoding="utf-8")))
                name = path.relative_to(PACKAGE).as_posix()
                digest.update(f"{name}\n{provenance._text(tree)}\n".encode())
            return digest.hexdigest()

        registry.load()
        computed = {function: twin(*provenance.deciding_files(function)) for function in registry.FUNCTIONS}
        assert len(set(computed.values())) > 3
        for _ in "first", "remembered":
            provenance._code_hash.cache_clear()
            assert {function: provenance.code_hash(function) for function in registry.FUNCTIONS} == computed

    @pytest.mark.parametrize("line_ends", ["\r\n", "\r"])
    def test_line_ends_change_nothing(self, package: Path, line_ends: str) -> None:
        path = package / "rules" / "sgd.py"
        path.write_text(path.read_text() + 'TEXT = """two\nlines"""\n')
        before = self.hash(package)
        path.write_bytes(path.read_text().replace("\n", line_ends).encode())
        assert self.hash(package) == before

    def test_a_second_process_parses_nothing(
        self, package: Path, cached: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        before = self.hash(package)
        assert cached.is_file()
        monkeypatch.setattr(provenance, "_hash_of", None)
        assert self.hash(package) == before

    def test_a_changed_file_is_noticed_whatever_is_remembered(self, package: Path, cached: Path) -> None:
        before = self.hash(package)
        assert self.changed(package, "rules/sgd.py", "0.1", "0.2")
        assert self.changed(package, "rules/sgd.py", "0.2", "0.1")
        assert self.hash(package) == before

    @pytest.mark.parametrize("content", [b"", b"\xff", b"{", b"[]", b"3", b'{"a": 1}', b'{"a": ["b", "c"]}'])
    def test_a_damaged_memory_changes_nothing(self, package: Path, cached: Path, content: bytes) -> None:
        before = self.hash(package)
        cached.write_bytes(content)
        assert self.hash(package) == before
        cached.unlink()
        assert self.hash(package) == before

    def test_an_entry_that_was_edited_or_is_of_something_else_is_not_believed(
        self, package: Path, cached: Path
    ) -> None:
        before = self.hash(package)
        held = json.loads(cached.read_text())
        ((key, (value, check)),) = held.items()
        for entry in ["0" * 64, check], [value[::-1], check], [value, check, check], [None, check]:
            cached.write_text(json.dumps({key: entry}))
            assert self.hash(package) == before
        other = "f" * 64
        cached.write_text(json.dumps({key: [other, remembered._check("another key", other)]}))
        assert self.hash(package) == before

    def test_where_nothing_can_be_remembered_the_hash_is_the_same(self, package: Path, cached: Path) -> None:
        cached.parent.parent.mkdir()
        cached.parent.write_text("a file where the folder would be")
        assert self.hash(package) == self.hash(package)

    def test_memory_does_not_grow_without_end(self, tmp_path: Path) -> None:
        place = tmp_path / "memory.json"
        for k in range(remembered.KEPT + 9):
            assert remembered.remembered(f"{k}", lambda k=k: f"{k:064x}", place) == f"{k:064x}"
        assert len(json.loads(place.read_text())) == remembered.KEPT

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
