"""Files that somebody made wrong, by hand or by accident: named in a sentence, and the others go on."""

from __future__ import annotations

import gzip
import io
import json
import os
import struct
import sys
import time
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import fake_runs
import numpy as np
import pytest

from adatune_lite import __main__, checkpoint, experiments
from adatune_lite.checkpoint import Checkpoint
from adatune_lite.runs import index, provenance, state
from adatune_lite.runs import merge as merging
from adatune_lite.runs import record as record_module
from adatune_lite.runs.merge import merge
from adatune_lite.runs.record import Record, RecordError
from adatune_lite.runs.store import Store
from adatune_lite.tasks import sources
from adatune_lite.tasks.sources import DataError, encoded, load_images, readers
from adatune_lite.tasks.spec import SpecError, TaskSpec
from adatune_lite.training.outcome import Outcome
from adatune_lite.training.spec import RunSpec

pytestmark = pytest.mark.usefixtures("fakes")

HUGE = 10**400


def made(seed: int = 0) -> Record:
    spec = fake_runs.run(seed).spec
    code = provenance.code_hash(provenance.Kind.of(spec))
    labels = {"experiment": fake_runs.NAME, "profile": "desk", "role": "tuning"}
    outcome = Outcome("finished", {"lr": [0.1, 0.2], "loss": [1.0, 0.5]}, {"loss": 0.25}, {"seconds": 1.0})
    return Record.of(spec, outcome, code=code, device="cpu", labels=labels)


def sealed(body: dict[str, Any]) -> bytes:
    """The file of a body, with the digest that belongs to it, where one can be made."""
    body.pop("digest", None)
    return json.dumps({**body, "digest": record_module._digest(body)}).encode()


def changed(seed: int, **parts: object) -> bytes:
    """The file of a record of which parts were replaced or, if they are named values, added to."""
    body = json.loads(made(seed).to_json())
    for name, value in parts.items():
        body[name] = {**body[name], **value} if isinstance(value, dict) else value
    return sealed(body)


def nested(depth: int) -> Any:
    value: Any = 0
    for _ in range(depth):
        value = [value]
    return value


TASK = fake_runs.TASK.plain
POISON: dict[str, dict[str, object]] = {
    "method is a list": {"spec": {"method": ["noise"]}},
    "method is null": {"spec": {"method": None}},
    "function is a mapping": {"spec": {"function": {}}},
    "task is text": {"spec": {"task": "x"}},
    "task is null": {"spec": {"task": None}},
    "task in a list": {"spec": {"task": [TASK]}},
    "dataset is a list": {"spec": {"task": {**TASK, "dataset": ["mnist5k"]}}},
    "hidden is text": {"spec": {"task": {**TASK, "hidden": "500"}}},
    "train is huge": {"spec": {"task": {**TASK, "train": HUGE}}},
    "width is True": {"spec": {"task": {**TASK, "model": "lenet5", "width": True}}},
    "a setting is huge": {"spec": {"settings": {"lr": HUGE}}},
    "a setting is a list": {"spec": {"settings": {"lr": [0.1]}}},
    "settings are a list": {"spec": {"settings": [["lr", 0.1]]}},
    "settings are text": {"spec": {"settings": "lr"}},
    "steps are huge": {"spec": {"steps": HUGE}},
    "steps are text": {"spec": {"steps": "8"}},
    "seed is a float": {"spec": {"seed": 0.0}},
    "seed is True": {"spec": {"seed": True}},
    "keep is text": {"spec": {"keep": "test_accuracy"}},
    "spec is a list": {"spec": []},
    "spec nests": {"spec": {"settings": {"lr": nested(200)}}},
    "spec is deep": {"spec": {"settings": {"lr": nested(900)}}},
    "a lone surrogate in a label": {"labels": {"role": "\ud800"}},
    "a label is a number": {"labels": {"role": 5}},
    "a label holds a line's end": {"labels": {"role": "tuning\n| x"}},
    "the experiment leads elsewhere": {"labels": {"experiment": "../runs/ab/record"}},
    "the experiment holds a NUL": {"labels": {"experiment": "99\0"}},
    "labels are null": {"labels": None},
    "a status of many digits": {"status": f"diverged at step {'9' * 5000}"},
    "a status in other digits": {"status": "diverged at step \u0663"},
    "a status is a list": {"status": ["finished"]},
    "notes are a number": {"notes": 1},
    "device is a list": {"device": ["cpu"]},
    "precision is null": {"precision": None},
    "a metric is text": {"metrics": {"loss": "0.25"}},
    "a metric is an infinity in other words": {"metrics": {"loss": "Infinity"}},
    "a metric is huge": {"metrics": {"loss": HUGE}},
    "a metric is True": {"metrics": {"loss": True}},
    "a metric is null": {"metrics": {"loss": None}},
    "a cost is text": {"cost": {"seconds": "1"}},
    "a cost is a list": {"cost": {"seconds": [1.0]}},
    "a series is a list": {"series": {"lr": [0.1, 0.2]}},
    "values are text": {"series": {"lr": {"values": ["0.1", "0.2"]}}},
    "values are huge": {"series": {"lr": {"values": [HUGE, 0.2]}}},
    "values nest": {"series": {"lr": {"values": [[0.1], [0.2]]}}},
    "values are named": {"series": {"lr": {"values": {"0": 0.1}}}},
    "values lack": {"series": {"lr": {"steps": [0, 1]}}},
    "steps are fractions": {"series": {"lr": {"steps": [0.5, 1.5], "values": [0.1, 0.2]}}},
    "steps are words": {"series": {"lr": {"steps": ["0", "1"], "values": [0.1, 0.2]}}},
    "steps have 70 bits": {"series": {"lr": {"steps": [0, 2**70], "values": [0.1, 0.2]}}},
    "one step for two values": {"series": {"lr": {"steps": [0], "values": [0.1, 0.2]}}},
    "provenance nests": {"provenance": {"start": nested(300)}},
    "memory is text": {"provenance": {"peak_memory": "much"}},
    "memory is huge": {"provenance": {"peak_memory": HUGE}},
    "provenance is text": {"provenance": "unknown"},
}


def poison(name: str) -> bytes:
    return changed(7, **POISON[name])


def twice(content: bytes) -> bytes:
    return content.replace(b'"loss": 0.25', b'"loss": 0.5, "loss": 0.25')


RAW: dict[str, Callable[[bytes], bytes]] = {
    "lists in lists": lambda sound: b"[" * 100_000,
    "names in names": lambda sound: b'{"a":' * 100_000,
    "a metric twice": lambda sound: sound.replace(b'"loss": 0.25', b'"loss": 0.5, "loss": 0.25'),
    "a part twice": lambda sound: sound.replace(b'"notes"', b'"notes": "", "notes"', 1),
    "halves of a pair": lambda sound: sound.replace(b'"notes": ""', b'"notes": "\xed\xa0\x80"'),
    "too many digits": lambda sound: sound.replace(b"0.25", b"1" + b"0" * 5000),
    "1e999": lambda sound: sound.replace(b"0.25", b"1e999"),
    "schema is True": lambda sound: sound.replace(b'"schema": 1', b'"schema": true'),
    "schema is text": lambda sound: sound.replace(b'"schema": 1', b'"schema": "1"'),
    "UTF-16": lambda sound: sound.decode().encode("utf-16"),
    "a mark in front": lambda sound: b"\xef\xbb\xbf" + sound,
    "nothing": lambda sound: b"",
    "zeros": lambda sound: bytes(1000),
    "read but not written": lambda sound: sound.replace(
        b'"notes"', b'"x": ' + b"[" * 950 + b"]" * 950 + b', "notes"'
    ),
}


def bad(name: str) -> bytes:
    """The file of that name in the tables above."""
    return RAW[name](changed(7)) if name in RAW else changed(7, **POISON[name])


every = pytest.mark.parametrize("name", [*POISON, *RAW])


def test_what_is_changed_into_itself_is_sound() -> None:
    """Else all tests below would say nothing."""
    assert Record.from_json(changed(7)) == made(7)
    assert Record.from_json(changed(7, labels={"role": "für"}, provenance={"cuda": None})).labels["role"]
    assert all(RAW[name](changed(7)) != changed(7) for name in RAW)


@every
def test_is_refused_in_a_short_sentence(name: str) -> None:
    with pytest.raises(RecordError) as refusal:
        Record.from_json(bad(name))
    assert len(str(refusal.value)) < 400


@every
def test_merge_takes_the_others(name: str, tmp_path: Path) -> None:
    there, here = Store(tmp_path / "there"), Store(tmp_path / "here")
    there.put(made(1))
    (there.root / "bad.json").write_bytes(bad(name))
    done = merge(there.root, lambda _: here)
    assert done.new == [made(1)]
    (sentence,) = done.refused
    assert sentence.startswith("bad.json: ") and len(sentence) < 400


@pytest.fixture
def poisoned(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A committed store with one sound record and every poisoned one."""
    monkeypatch.setattr(experiments, "EXPERIMENTS", {fake_runs.NAME: fake_runs})
    monkeypatch.setattr(index, "YOUNG", -(10**9))
    index.folder.cache_clear()
    store = Store(checkout / "data/runs")
    (store.put(made(0)).parent).mkdir(exist_ok=True)
    folder = store.root / "ab"
    folder.mkdir(exist_ok=True)
    for place, name in enumerate((*POISON, *RAW)):
        (folder / f"ab{place:014}-{made(0).code[:8]}-cpu-float32.json").write_bytes(bad(name))
    os.mkfifo(folder / "ab-pipe.json")
    (folder / "ab-folder.json").mkdir()
    (folder / "ab-link.json").symlink_to("nowhere")
    yield store.root
    index.folder.cache_clear()


WRONG = len(POISON) + len(RAW) + 3


@pytest.mark.parametrize(
    "command",
    [["status"], ["show", "99"], ["export", "all.csv", "--series"], ["run", "99", "--profile", "desk"]],
)
def test_commands_go_on_and_say_how_many(
    command: list[str], poisoned: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {path: path.read_bytes() for path in poisoned.glob("ab/ab0*")}
    for _ in range(2):
        index.folder.cache_clear()  # As a new process.
        assert __main__.main(command) == 0
        said = capsys.readouterr()
        if command[0] != "run":
            assert f"{WRONG} files of records are not read and left alone" in said.err
    assert {path: path.read_bytes() for path in poisoned.glob("ab/ab0*")} == before


def test_verify_names_each(poisoned: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert __main__.main(["verify"]) == 1
    said = capsys.readouterr().out
    assert said.endswith(f"{WRONG + 1} records, {WRONG} problems\n")
    assert all(path.name in said for path in poisoned.glob("ab/*"))


def test_the_site_says_how_many(poisoned: Path) -> None:
    text = state.state_markdown([], Store(poisoned).unreadable())
    assert f"**{WRONG} files of records cannot be read" in text and f"and {WRONG - 5} more" in text
    assert "cannot be read" not in state.state_markdown([])


@pytest.mark.parametrize(
    "wrong",
    [
        {"method": ["noise"]},
        {"method": None},
        {"function": {}},
        {"task": "x"},
        {"task": None},
        {"steps": HUGE},
        {"seed": 2**63},
        {"seed": "1"},
        {"settings": "lr"},
        {"settings": [("lr", 0.1)]},
        {"settings": (("lr",),)},
        {"settings": {5: 0.1}},
        {"optimizer": b"sgd"},
        {"precision": "\ud800"},
        {"keep": "test_accuracy"},
        {"keep": [["test_accuracy"]]},
        {"source": 5},
    ],
)
def test_specs_ask_the_same_table(wrong: dict[str, Any]) -> None:
    right: dict[str, Any] = {"function": "noise", "task": fake_runs.TASK, "method": "noise", "steps": 8}
    assert RunSpec(**right, seed=0).seed == 0
    with pytest.raises(SpecError, match=next(iter(wrong))):
        RunSpec(**{"seed": 0, **right, **wrong})


@pytest.mark.parametrize(
    "wrong",
    [
        {"dataset": ["mnist5k"]},
        {"hidden": 5},
        {"hidden": "55"},
        {"hidden": [5.0]},
        {"width": "1"},
        {"width": float("nan")},
        {"width": HUGE},
        {"batch": True},
        {"split_seed": 2**64},
        {"model": 5},
        {"initial": None},
    ],
)
def test_tasks_ask_the_same_table(wrong: dict[str, Any]) -> None:
    with pytest.raises(SpecError, match=next(iter(wrong))):
        TaskSpec(**{**TASK, **wrong})


class TestMerge:
    """One bad file ends nothing for the sound ones."""

    @pytest.fixture
    def there(self, tmp_path: Path) -> Store:
        store = Store(tmp_path / "there")
        store.put(made(1))
        return store

    def taken(self, there: Path, here: Path) -> str:
        """What is said of a folder with one sound record, which is taken."""
        done = merge(there, lambda _: Store(here))
        assert done.new == [made(1)]
        return "\n".join(done.refused)

    def test_folders_links_and_pipes(self, there: Store, tmp_path: Path) -> None:
        for name in ("x.json", "x.zip"):
            (there.root / name).mkdir()
        (there.root / "link.json").symlink_to("nowhere")
        (there.root / "round.json").symlink_to("round.json")
        (there.root / "link.zip").symlink_to("nowhere")
        os.mkfifo(there.root / "pipe.json")
        os.mkfifo(there.root / "pipe.zip")
        (there.root / "huge.json").touch()
        os.truncate(there.root / "huge.json", 2**40)
        said = self.taken(there.root, tmp_path / "here")
        for words in ("link.json and 1 more", "round.json", "pipe.json and 1 more", "huge.json"):
            assert f"{words}: it cannot be read" in said
        assert "x.json" not in said, "a folder is looked into"

    def test_a_damaged_member_costs_itself(self, there: Store, tmp_path: Path) -> None:
        path = there.root / "pack.zip"
        with zipfile.ZipFile(path, "w") as archive:
            for seed in (2, 3, 4):
                archive.writestr(f"{made(seed).name}.json", made(seed).to_json())
            archive.writestr(f"{'a' * 300}.json", b"{")
            archive.writestr("../../out.json", changed(9, notes="up there"))
        content = path.read_bytes()
        path.write_bytes(content.replace(made(3).name.encode(), b"z" * len(made(3).name), 1))
        done = merge(there.root, lambda _: Store(tmp_path / "here"))
        assert sorted(r.spec.seed for r in done.new) == [1, 2, 4, 9]
        said = "\n".join(done.refused)
        assert "is not a whole pack" in said and "aaa..." in said and len(said) < 800

    def test_a_member_that_unpacks_to_more_than_it_claims(self, there: Store, tmp_path: Path) -> None:
        path = there.root / "bomb.zip"
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("bomb.json", bytes(50_000_000))
        size = (50_000_000).to_bytes(4, "little")
        path.write_bytes(path.read_bytes().replace(size, (1000).to_bytes(4, "little")))
        assert "bomb" in self.taken(there.root, tmp_path / "here")

    @pytest.mark.parametrize(
        "name",
        ["../out.pt", "/out.pt", "a/b.pt", ".hidden.pt", "..\\out.pt", "c" * 300 + ".pt", "\u202e.pt"],
    )
    @pytest.mark.parametrize("part", ["", ".01234567.1-of-1"])
    def test_checkpoints_have_safe_names(
        self, name: str, part: str, there: Store, tmp_path: Path, checkout: Path
    ) -> None:
        Checkpoint(tmp_path / "a.pt", "a").save(1)
        with zipfile.ZipFile(there.root / "pack.zip", "w") as archive:
            archive.writestr(name + part, (tmp_path / "a.pt").read_bytes())
        assert "no name of a checkpoint" in self.taken(there.root, tmp_path / "here")
        assert not checkpoint.folder().exists()

    def test_checkpoints_have_a_limit_on_their_sum(
        self, there: Store, tmp_path: Path, checkout: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        Checkpoint(tmp_path / "a.pt", "a").save(1)
        content = (tmp_path / "a.pt").read_bytes()
        monkeypatch.setattr(merging, "CHECKPOINTS", 3 * len(content))
        with zipfile.ZipFile(there.root / "pack.zip", "w") as archive:
            for name in ("a.pt", "b.pt", "c.pt", "d.pt", "e.pt.01234567.1-of-999999"):
                archive.writestr(name, content)
        assert "d.pt in pack.zip and 1 more: one merge takes" in self.taken(there.root, tmp_path / "here")
        assert sorted(path.name for path in checkpoint.folder().iterdir()) == ["a.pt", "b.pt", "c.pt"]

    @pytest.mark.parametrize("make", [os.mkfifo, os.mkdir, lambda path: os.symlink("nowhere", path)])
    def test_what_stands_in_the_place_of_a_record_here(
        self, make: Callable[[Path], None], there: Store, tmp_path: Path
    ) -> None:
        here = Store(tmp_path / "here")
        here.put(made(2))
        there.put(made(2))
        there.put(made(3))
        here.path(made(3)).parent.mkdir(exist_ok=True)
        make(here.path(made(3)))
        assert "remove it" in self.taken(there.root, here.root)


class TestLeftBehind:
    """Temporary files of writers that were stopped."""

    @pytest.fixture
    def left(self, tmp_path: Path) -> list[Path]:
        """One of yesterday's predecessor and one of this moment, in each place where a store writes."""
        store = Store(tmp_path)
        places = [store.put(made(1)), tmp_path / "probe", tmp_path / ".index"]
        found = []
        for place in places:
            for age in (2 * 24 * 3600, 0, -(10**6)):
                path = place.with_name(f".{place.name}.{os.getpid() + age % 7}-{age % 10**8:08x}.tmp")
                path.write_bytes(b"{")
                os.utime(path, (time.time() - age,) * 2)
                found.append(path)
        return found

    def test_verify_names_them_and_does_not_fail(
        self, left: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert __main__.main(["verify", str(tmp_path)]) == 0
        said = capsys.readouterr().out
        assert all(path.name in said for path in left) and said.endswith("1 records, 0 problems\n")
        assert all(path.exists() for path in left), "who checks removes nothing"

    def test_old_ones_are_swept_by_who_writes(self, left: list[Path], tmp_path: Path) -> None:
        foreign = [tmp_path / name for name in (".keep.tmp", ".gitignore", ".a.1-0123456789.tmp", "b.tmp")]
        for path in foreign:
            path.touch()
            os.utime(path, (0, 0))
        (tmp_path / ".folder.1-01234567.tmp").mkdir()
        os.utime(tmp_path / ".folder.1-01234567.tmp", (0, 0))
        Store(tmp_path).check_writable()
        assert [path.exists() for path in left] == [False, True, True] * 3
        assert all(path.exists() for path in foreign) and len(list(Store(tmp_path).paths())) == 1

    def test_other_hidden_files_are_a_problem(self, tmp_path: Path) -> None:
        path = Store(tmp_path).put(made(1)).with_name(".hidden")
        path.touch()
        assert [problem.path for problem in Store(tmp_path).verify()] == [path]


@pytest.fixture
def fake_experiment(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(experiments, "EXPERIMENTS", {fake_runs.NAME: fake_runs})


class TestStreams:
    """Where nothing can be said, or not as it is, the work is done all the same."""

    RUN = ("run", "99", "--profile", "smoke", "--jobs", "1", "--device", "cpu", "--out")

    @pytest.mark.parametrize("name", [b"b\xff", b"\xc3", b"\xed\xa0\x80"])
    def test_a_folder_whose_name_is_no_text(
        self, name: bytes, fake_experiment: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        out = tmp_path / os.fsdecode(name)
        assert __main__.main([*self.RUN, str(out), "--pack"]) == 0
        said = capsys.readouterr().out
        assert "0 missing; records in" in said and "\\udc" in said
        assert "\\udc" in (out / "summary.txt").read_text()
        assert __main__.main(["verify", str(out)]) == 0
        assert __main__.main(["verify", str(out / os.fsdecode(name))]) == 2

    @pytest.mark.parametrize("closed", [["stderr"], ["stdout"], ["stdout", "stderr"]])
    def test_a_stream_that_was_closed(
        self, closed: list[str], fake_experiment: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for name in closed:
            monkeypatch.setattr(sys, name, None)
        try:
            assert __main__.main([*self.RUN, str(tmp_path / "out")]) == 0
            assert __main__.main(["verify", str(tmp_path / "nowhere")]) == 2
        finally:
            for name in closed:
                getattr(sys, name).close()
        assert len(list(Store(tmp_path / "out").paths())) == 3


def idx(*shape: int) -> bytes:
    return b"\0\0\x08" + bytes([len(shape)]) + struct.pack(f">{len(shape)}I", *shape)


def npy(shape: str) -> bytes:
    head = f"{{'descr': '|u1', 'fortran_order': False, 'shape': {shape}, }}".ljust(117) + "\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(head)) + head.encode()


def zipped(images: bytes, name: str = "all_images.npy") -> bytes:
    buffer, labels = io.BytesIO(), io.BytesIO()
    np.save(labels, np.zeros(3, np.uint8))
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, images)
        archive.writestr("all_labels.npy", labels.getvalue())
    return buffer.getvalue()


class TestDataFiles:
    """A file that claims or unpacks to more than there is memory is refused in a sentence."""

    @pytest.mark.parametrize(
        ("content", "words"),
        [
            (gzip.compress(idx(60_000, 28, 28) + bytes(2**20), mtime=0), "unpacks to more than"),
            (gzip.compress(bytes(1000), mtime=0) * 2000, "unpacks to more than"),
            (gzip.compress(b"\0\0\x08\xff" + bytes(4 * 255), mtime=0), "is not an IDX file"),
            (gzip.compress(b"\0\0\x08\x00" + bytes(9), mtime=0), "is not an IDX file"),
            (gzip.compress(idx(2**32 - 1, 2**32 - 1, 2**32 - 1), mtime=0), "cut short or too long"),
            (gzip.compress(idx(2**16, 2**16, 2**16, 2**16), mtime=0), "cut short or too long"),
        ],
        ids=["images", "members", "255 axes", "no axis", "three long axes", "four long axes"],
    )
    def test_idx(self, content: bytes, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(readers, "MOST", 2**20)
        folder = tmp_path / "MNIST/raw"
        folder.mkdir(parents=True)
        for name in sources.DATASETS["mnist"].files["train"]:
            (folder / f"{name}.gz").write_bytes(content)
        with pytest.raises(DataError, match=words):
            load_images("mnist", "train", tmp_path, download=False)

    @pytest.mark.parametrize(
        "content",
        [
            npy("(3,)") + bytes(3),
            npy("(784000000000000000,)"),
            zipped(npy("(1000000000, 28, 28000000)")),
            zipped(npy("(-3, 28, 28)")),
            zipped(npy("(10**400,)")),
            zipped(npy("(3, 28, 28)") + bytes(100)),
            zipped(bytes(2**21)),
            zipped(b"no array"),
            zipped(b"no array", "all_images"),
            zipped(npy("(3,)"), "all_pictures.npy"),
            npy("(3,)") + bytes(3) + zipped(b"no array"),
            b"PK\x03\x04",
        ],
    )
    def test_npz(self, content: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(readers, "MOST", 2**20)
        (tmp_path / "mnist5k.npz").write_bytes(content)
        with pytest.raises(DataError, match=r"mnist5k.npz cannot be read \(.*make it again with data pack"):
            load_images("mnist5k", "all", tmp_path, download=False)

    @pytest.mark.parametrize("size", [(60_000, 60_000), (10_000, 10_000), (32, 31), (0, 0)])
    def test_pictures(self, size: tuple[int, int], tmp_path: Path) -> None:
        pyarrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
        image = pytest.importorskip("PIL.Image")
        buffer = io.BytesIO()
        image.new("RGB", (32, 32)).save(buffer, "PNG")
        content = bytearray(buffer.getvalue())
        content[16:24] = struct.pack(">II", *size)
        content[29:33] = struct.pack(">I", zlib.crc32(content[12:29]))
        table = pyarrow.table({"img": [{"bytes": bytes(content)}], "label": [0]})
        (tmp_path / "cifar10").mkdir()
        parquet.write_table(table, tmp_path / "cifar10/test.parquet")
        with pytest.raises(DataError, match=r"test.parquet.*replace (it|the file) by a sound copy"):
            encoded.read_parquet(sources.DATASETS["cifar10"], "test", tmp_path)
