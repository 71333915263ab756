"""The index of records: a cache that is never believed against a file, and that can be lost at any time."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import fake_runs
import pytest

from adatune_lite import __main__, experiments
from adatune_lite.runs import index, provenance
from adatune_lite.runs.index import NAME, Folder
from adatune_lite.runs.record import Record, RecordError
from adatune_lite.runs.store import Store
from adatune_lite.training import registry
from adatune_lite.training.outcome import Outcome


def record(seed: int = 0, loss: float = 0.25, method: str = "noise") -> Record:
    spec = fake_runs.run(seed, method=method).spec
    code = provenance.code_hash(provenance.Kind.of(spec))
    labels = {"experiment": fake_runs.NAME, "profile": "desk", "role": "tuning"}
    outcome = Outcome("finished", {"lr": [0.1, 0.2 + seed / 7], "loss": [1.0, loss]}, {"loss": loss})
    return Record.of(spec, outcome, code=code, device="cpu", labels=labels)


@pytest.fixture(autouse=True)
def settled(monkeypatch: pytest.MonkeyPatch, fakes: None) -> None:
    """Files are remembered at once, without the wait for a coarse clock."""
    monkeypatch.setattr(index, "YOUNG", -(10**9))


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """Three records and their index, as a new process finds them."""
    made = Store(tmp_path / "runs")
    for seed in range(3):
        made.put(record(seed))
    assert len(list(anew(made).records())) == 3 and (made.root / NAME).is_file()
    return anew(made)


def anew(store: Store) -> Store:
    """The store in a new process."""
    index.folder.cache_clear()
    return Store(store.root)


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The files of records that were opened for reading, by name."""
    names: list[str] = []
    read = index._content

    def noted(path: str) -> bytes:
        names.append(os.path.basename(path))
        return read(path)

    monkeypatch.setattr(index, "_content", noted)
    return names


def losses(store: Store) -> dict[int, float]:
    return {found.spec.seed: found.metrics["loss"] for found in store.records()}


def overwrite(path: Path, made: Record) -> None:
    """Other content of the same size in place, and the time of change set back."""
    before, content = path.stat(), made.to_json()
    assert len(content) == before.st_size
    with path.open("r+b") as file:
        file.write(content)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def test_what_is_known_is_not_opened_again(store: Store, opened: list[str]) -> None:
    assert losses(store) == {0: 0.25, 1: 0.25, 2: 0.25}
    assert store.get(record(1).spec) is not None and store.find(record(2).spec.hash) is not None
    assert [found.digest() for found in store.records()] == [
        record(found.spec.seed).digest() for found in store.records()
    ]
    assert not opened
    found = store.get(record(1).spec)
    assert found is not None and found == record(1) and found.content() == record(1).content()
    assert found.to_json() == record(1).to_json()
    assert opened == [f"{found.name}.json"], "for its series, once"


@pytest.mark.parametrize("new_process", [False, True])
def test_an_altered_record_counts_at_once(store: Store, new_process: bool) -> None:
    path = store.path(record(1))
    assert losses(store)[1] == 0.25
    overwrite(path, record(1, loss=0.75))
    store = anew(store) if new_process else store
    assert losses(store)[1] == 0.75
    found = store.get(record(1).spec)
    assert found is not None and found.series("loss")[1].tolist() == [1.0, 0.75]
    assert losses(anew(store))[1] == 0.75


@pytest.mark.parametrize("new_process", [False, True])
def test_removed_and_added_records_count_at_once(store: Store, new_process: bool) -> None:
    assert len(losses(store)) == 3
    store.path(record(1)).unlink()
    store = anew(store) if new_process else store
    assert store.get(record(1).spec) is None and set(losses(store)) == {0, 2}
    Store(store.root).put(record(7))
    store = anew(store) if new_process else store
    assert store.get(record(7).spec) == record(7) and set(losses(store)) == {0, 2, 7}


def test_what_was_just_written_is_not_yet_remembered(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """It may change again within one tick of a coarse clock."""
    monkeypatch.setattr(index, "YOUNG", 10**12)
    (store.root / NAME).unlink()
    assert len(losses(anew(store))) == 3
    assert not (store.root / NAME).exists()


def cut(content: bytes) -> bytes:
    return content[:-40]


def edited(content: bytes) -> bytes:
    return content.replace(b'"loss":0.25', b'"loss":0.20')


def other_version(content: bytes) -> bytes:
    return content.replace(b"adatune_lite index 2.", b"adatune_lite index 1.")


@pytest.mark.parametrize("damage", [cut, edited, other_version, lambda _: b"\xff\n\x00", lambda _: b""])
def test_a_damaged_index_is_said_and_made_anew(
    store: Store, damage: Callable[[bytes], bytes], caplog: pytest.LogCaptureFixture
) -> None:
    place = store.root / NAME
    sound = place.read_bytes()
    place.write_bytes(damage(sound))
    assert losses(anew(store)) == {0: 0.25, 1: 0.25, 2: 0.25}
    (said,) = caplog.messages
    assert "is damaged or of another version: it is made anew from the records" in said
    assert place.read_bytes() == sound
    losses(anew(store))
    assert len(caplog.messages) == 1


def test_an_index_of_other_files_is_worth_nothing(store: Store, tmp_path: Path, opened: list[str]) -> None:
    """That of an older state of the store, or one copied from elsewhere."""
    other = Store(tmp_path / "other")
    for seed in range(3):
        other.put(record(seed, loss=0.5))
    (other.root / NAME).write_bytes((store.root / NAME).read_bytes())
    assert losses(anew(other)) == {0: 0.5, 1: 0.5, 2: 0.5}
    assert len(opened) == 3


def test_many_records_that_are_not_known_yet_are_said(
    store: Store, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(index, "MANY", 2)
    (store.root / NAME).unlink()
    losses(anew(store))
    assert [m.partition(" of ")[0] for m in caplog.messages] == ["3 records"]
    losses(anew(store))
    assert len(caplog.messages) == 1


def test_without_a_place_for_an_index_all_is_read(store: Store, opened: list[str]) -> None:
    place = store.root / NAME
    place.unlink()
    place.mkdir()  # Not even root writes a file there.
    for _ in range(2):
        opened.clear()
        assert losses(anew(store)) == {0: 0.25, 1: 0.25, 2: 0.25}
        assert len(opened) == 3
    assert not list(store.root.glob(".*.tmp"))


def test_reading_makes_no_folder(tmp_path: Path) -> None:
    assert not list(Store(tmp_path / "nowhere").records())
    assert not (tmp_path / "nowhere").exists()


def test_many_readers_and_a_writer_at_once(store: Store) -> None:
    """Every reader has every record that was there before it asked; the index is whole at any time."""
    wrong: list[str] = []

    def ask() -> None:
        for _ in range(25):
            before = {path.name for path in store.root.glob("??/*.json")}
            held = Folder(str(store.root))
            found = {held.record(name).name + ".json" for name in held.names()}
            if not before <= found:
                wrong.append(f"{len(before - found)} records were not found")
            if not index.read(store.root / NAME):
                wrong.append("the index was not whole")

    readers = [threading.Thread(target=ask) for _ in range(4)]
    for reader in readers:
        reader.start()
    for seed in range(3, 15):
        Store(store.root).put(record(seed))
    for reader in readers:
        reader.join()
    assert not wrong
    assert set(losses(anew(store))) == set(range(15))


class TestLies:
    """An index that says what its files do not shows who reads it: those who check records do not."""

    @pytest.fixture
    def lying(self, store: Store) -> Store:
        place = store.root / NAME
        entries = index.read(place)
        for entry in entries.values():
            entry.body["metrics"]["loss"] = 0.125
        index.write(place, entries)
        return anew(store)

    def test_readers_ask_the_index(self, lying: Store) -> None:
        assert losses(lying) == {0: 0.125, 1: 0.125, 2: 0.125}

    def test_a_deleted_index_lies_no_longer(self, lying: Store) -> None:
        (lying.root / NAME).unlink()
        assert losses(anew(lying)) == {0: 0.25, 1: 0.25, 2: 0.25}

    def test_writers_ask_the_files(self, lying: Store) -> None:
        assert lying.holds(record(1)) and lying.put(record(1)) == lying.path(record(1))

    def test_verify_asks_the_files(self, store: Store) -> None:
        path = store.path(record(1))
        path.write_bytes(path.read_bytes().replace(b"0.25", b"0.26"))
        place = store.root / NAME
        entries = index.read(place)
        name = f"{path.parent.name}/{path.name}"
        entries[name] = entries[name]._replace(state=index.State.of(str(path)))
        index.write(place, entries)
        assert losses(anew(store)) == {0: 0.25, 1: 0.25, 2: 0.25}
        (problem,) = anew(store).verify()
        assert problem.path == path and "does not match its digest" in problem.what

    def test_series_of_a_changed_file_are_refused(self, store: Store) -> None:
        found = store.get(record(1).spec)
        assert found is not None
        overwrite(store.path(record(1)), record(1, loss=0.75))
        with pytest.raises(RecordError, match="was changed after its record was asked for: ask again"):
            found.series("lr")
        store.path(record(1)).unlink()
        with pytest.raises(RecordError, match="cannot be read any more"):
            found.series("lr")


def put_forgotten(store: Store) -> Path:
    """A record of a method that is not known afterwards."""
    gone = fake_runs.entry("gone", fake_runs.noise), registry.Method("gone", "gone")
    with registry.registered(*gone):
        return store.put(record(5, method="gone"))


def test_a_method_that_is_no_longer_known_costs_its_records_alone(store: Store) -> None:
    path = put_forgotten(store)
    content = path.read_bytes()
    for _ in range(2):
        assert set(losses(anew(store))) == {0, 1, 2}
        (problem,) = anew(store).unreadable()
        assert problem.path == path and problem.what.endswith("not 'gone')"), problem.what
    assert path.read_bytes() == content
    with registry.registered(fake_runs.entry("gone", fake_runs.noise), registry.Method("gone", "gone")):
        assert set(losses(anew(store))) == {0, 1, 2, 5}, "it is there again with its method"


@pytest.fixture
def checked_out(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    """A checkout with the fake experiment and its desk runs."""
    monkeypatch.setattr(experiments, "EXPERIMENTS", {fake_runs.NAME: fake_runs})
    index.folder.cache_clear()
    committed = Store(checkout / "data/runs")
    for seed in range(3):
        committed.put(record(seed))
    yield committed
    index.folder.cache_clear()


def test_a_second_status_opens_no_record(
    checked_out: Store, opened: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    said = []
    for _ in range(2):
        opened.clear()
        index.folder.cache_clear()
        assert __main__.main(["status"]) == 0
        said.append(capsys.readouterr())
    assert not opened and said[0] == said[1]
    (checked_out.root / NAME).unlink()
    index.folder.cache_clear()
    assert __main__.main(["status"]) == 0
    assert capsys.readouterr() == said[0]


def test_what_cannot_be_read_is_said_in_a_line(
    checked_out: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    assert __main__.main(["status"]) == 0
    before = capsys.readouterr()
    gone = put_forgotten(checked_out)
    checked_out.put(record(9)).write_bytes(b"{")
    for command in (["status"], ["show", "99"], ["export", "all.csv"]):
        assert __main__.main(command) == 0
        said = capsys.readouterr()
        assert said.err.count("\n") == 3 and f"  {gone.name}: " in said.err
        if command == ["status"]:
            assert said.out == before.out, "the rest is shown as before"
    assert gone.is_file()
