"""Provenance: a code hash that follows what decides numbers and nothing else, and the facts of a record."""

from __future__ import annotations

import ast
import hashlib
import json
import subprocess
import sys
from dataclasses import replace
from functools import cache, partial
from pathlib import Path

import pytest
import torch

from adatune_lite.files import PACKAGE
from adatune_lite.runs import provenance, remembered
from adatune_lite.runs.provenance import Kind, deciding_files
from adatune_lite.training import registry

registry.load()
MARTHE = Kind("training", "marthe", "sgd", "mlp")
LRS_OPT = Kind("lrs_opt", "lrs_opt", "sgd", "mlp")
EVERY = [
    Kind(function.name, method.name, optimizer, network)
    for function in registry.FUNCTIONS.values()
    for method in registry.METHODS.values()
    if {method.name, method.kind} & {*function.methods}
    for optimizer in ("sgd", "adam")
    for network in ("mlp", "conv4")
]


class TestCodeHash:
    @pytest.fixture
    def package(self, tmp_path: Path) -> Path:
        """One of the declared modules, nearly all of them empty, and one that decides nothing."""
        package = tmp_path / "package"
        for name in {*deciding_files(MARTHE), *deciding_files(LRS_OPT), "tasks/sources/readers.py"}:
            (package / name).parent.mkdir(parents=True, exist_ok=True)
            (package / name).write_text("x = 1\n")
        (package / "rules" / "sgd.py").write_text(
            '"""Rules."""\ndef step(w, g):\n    """One step."""\n    if w is None:\n'
            '        raise ValueError("no weights")\n    return w - 0.1 * g\n'
        )
        return package

    def hash(self, package: Path, kind: Kind = MARTHE) -> str:
        """As a new process finds it."""
        provenance._code_hash.cache_clear()
        provenance._digests.cache_clear()
        return provenance.code_hash(kind, package)

    def changed(self, package: Path, name: str, old: str, new: str, kind: Kind = MARTHE) -> bool:
        before = self.hash(package, kind)
        text = (package / name).read_text()
        assert old in text
        (package / name).write_text(text.replace(old, new))
        return self.hash(package, kind) != before

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
        assert not self.changed(package, "engine/lrs_opt.py", "1", "2", MARTHE)
        assert self.changed(package, "engine/lrs_opt.py", "2", "3", LRS_OPT)

    def test_a_new_module_changes_nothing(self, package: Path) -> None:
        before = self.hash(package)
        (package / "tuners" / "new.py").write_text("rate = 2\n")
        assert self.hash(package) == before

    def test_a_module_that_is_declared_and_gone_is_an_error(self, package: Path) -> None:
        (package / "tasks" / "data.py").unlink()
        with pytest.raises(KeyError, match=r"tasks/data\.py"):
            self.hash(package)

    def test_a_declared_default_counts(self) -> None:
        marthe = registry.method("marthe")
        settings = [replace(s, default=0.9) if s.name == "mu" else s for s in marthe.settings]
        before = provenance.code_hash(MARTHE), provenance.code_hash(LRS_OPT)
        with registry.registered(replace(marthe, settings=tuple(settings))):
            assert provenance.code_hash(MARTHE) != before[0] and provenance.code_hash(LRS_OPT) == before[1]
        with registry.registered(replace(marthe, make=partial(marthe.make, 1))):
            assert provenance.code_hash(MARTHE) != before[0]
        with registry.registered(replace(marthe, label="M.", colour="#123456")):
            assert provenance.code_hash(MARTHE) == before[0]

    def test_type_of_a_constant_counts(self, package: Path) -> None:
        assert self.changed(package, "tasks/data.py", "1", "1.0")

    @pytest.fixture
    def cached(self, package: Path) -> Path:
        """The package in a checkout, where hashes are remembered; the file that remembers them."""
        (package.parent / "pyproject.toml").touch()
        return package.parent / "data" / "scratch" / "code_hashes.json"

    def test_remembered_hashes_are_those_that_are_computed(self) -> None:
        @cache
        def digest(name: str) -> str:
            tree = provenance._Essence().visit(ast.parse((PACKAGE / name).read_text(encoding="utf-8")))
            return hashlib.sha256(provenance._text(tree).encode()).hexdigest()

        def twin(kind: Kind) -> tuple[str, ...]:
            """Every file parsed afresh."""
            return tuple(digest(name) for name in deciding_files(kind))

        computed = {kind: twin(kind) for kind in EVERY}
        assert len(set(computed.values())) > 20
        for _ in "first", "remembered":
            provenance._digests.cache_clear()
            digests = provenance._digests(PACKAGE)
            assert {k: tuple(digests[name] for name in deciding_files(k)) for k in EVERY} == computed

    def test_kinds_of_the_same_code_with_other_names_are_told_apart(self) -> None:
        assert len({provenance.code_hash(kind) for kind in EVERY}) == len(EVERY)

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

        def parsed(content: bytes) -> str:
            raise AssertionError("a file was parsed")

        monkeypatch.setattr(provenance, "_digest", parsed)
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
        assert len(held) == 2, "nearly all files of this package are equal"
        other = "f" * 64
        for key, (value, check) in held.items():
            moved = [other, remembered._check("another key", other)]
            for entry in ["0" * 64, check], [value[::-1], check], [value, check, check], [None, check], moved:
                cached.write_text(json.dumps({**held, key: entry}))
                assert self.hash(package) == before

    def test_where_nothing_can_be_remembered_the_hash_is_the_same(self, package: Path, cached: Path) -> None:
        cached.parent.parent.mkdir()
        cached.parent.write_text("a file where the folder would be")
        assert self.hash(package) == self.hash(package)

    def test_memory_does_not_grow_without_end(self, tmp_path: Path) -> None:
        place = tmp_path / "memory.json"
        for begin in range(0, 2 * remembered.KEPT, remembered.KEPT - 1):
            wanted = {f"{k}": f"{k:064x}" for k in range(begin, begin + remembered.KEPT + 9)}
            makers = {key: partial(str, value) for key, value in wanted.items()}
            assert remembered.remembered(makers, place) == wanted
        assert len(json.loads(place.read_text())) == remembered.KEPT

    @pytest.mark.slow
    def test_hash_is_that_of_a_new_process(self) -> None:
        text = f"from adatune_lite.runs.provenance import Kind, code_hash; print(code_hash({MARTHE!r}))"
        done = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, check=True)
        assert done.stdout.strip() == self.hash(PACKAGE)


def test_record_says_what_a_record_says() -> None:
    facts = provenance.describe("cpu") | provenance.data("mnist5k")
    assert facts["data_verified"] is True and facts["data_checksum"].startswith("all:")
    assert facts["torch"] == torch.__version__
    assert {"version", "commit", "tree", "dirty", "threads", "deterministic", "device_name"} <= set(facts)
    assert facts["processor_family"]
    assert facts["instruction_set"].split()[-1] == torch.backends.cpu.get_cpu_capability()
    assert provenance.peak_memory("cpu") > 1e7
