"""One spec on several copies of its data: as many records with names of their own, the verified one read."""

from __future__ import annotations

from pathlib import Path

import fake_runs
import pytest

from adatune_lite import files
from adatune_lite.runs import provenance
from adatune_lite.runs.freshness import WithStale
from adatune_lite.runs.record import Record
from adatune_lite.runs.store import Conflict, Store
from adatune_lite.training.outcome import Outcome

pytestmark = pytest.mark.usefixtures("fakes")
COPY, PUBLISHED = f"train:{'a' * 64} test:{'b' * 64}", f"train:{'a' * 64} test:{'c' * 64}"


def record(
    seed: int = 0,
    loss: float = 0.25,
    code: str = "",
    start: str = "2026-01-01",
    data: str = "",
    verified: bool = False,
) -> Record:
    facts: dict[str, object] = {"start": start}
    facts |= {"data_checksum": data, "data_verified": verified} if data else {}
    spec = fake_runs.run(seed).spec
    made = code or provenance.code_hash(provenance.Kind.of(spec))
    outcome = Outcome("finished", {"lr": [0.1] * 8}, {"test_loss": loss})
    return Record.of(spec, outcome, code=made, device="cpu", provenance=facts)


def test_the_same_spec_on_other_data_is_another_record(tmp_path: Path) -> None:
    """The first has the plain name, as all have that were written before data had a part in it."""
    store = Store(tmp_path)
    nameless, copy = record(0, 0.25), record(0, 0.26, data=COPY)
    published = record(0, 0.27, data=PUBLISHED, verified=True)
    paths = [store.put(made) for made in (nameless, copy, published)]
    assert len({made.identity for made in (nameless, copy, published)}) == 3
    assert [path.stem for path in paths] == [nameless.name, copy.longer_name, published.longer_name]
    assert copy.longer_name.startswith(f"{copy.name}-") and len(copy.longer_name) == len(copy.name) + 9
    for made, path in zip((nameless, copy, published), paths, strict=True):
        assert store.put(made) == store.path(made) == path and store.holds(made)
        assert Record.from_json(path.read_bytes()) == made
        assert store.get(made.spec, data=made.data_checksum) == made
    assert not store.holds(record(0, 0.27, data="train:2"))
    assert not list(store.verify()) and len(list(store.records())) == 3
    with pytest.raises(Conflict, match=r"is there with another outcome and was kept.*lies beside it"):
        store.put(record(0, 0.5, data=PUBLISHED))
    paths[0].unlink()
    assert store.put(published) == paths[2], "its name stays when the shorter one is free again"
    assert len(list(store.paths())) == 2 and [p.path.stem for p in store.verify()] == [
        p.stem for p in paths[2].parent.glob("*.conflict-*")
    ]


def test_writers_at_once_on_other_data_take_two_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another writer takes the plain name between the look at it and the writing."""
    store, copy, published = Store(tmp_path), record(0, data=COPY), record(0, data=PUBLISHED)
    original, written = files.create, []

    def slow(path: Path, content: bytes) -> bool:
        if not written:
            written.append(original(path, copy.to_json()))
        return original(path, content)

    monkeypatch.setattr(files, "create", slow)
    assert store.put(published).stem == published.longer_name
    assert {made.data_checksum for made in store.records()} == {COPY, PUBLISHED}
    assert not list(store.verify())


def test_readers_take_the_record_on_verified_data(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.put(copy := record(start="2027-01-01", data=COPY))
    assert store.get(copy.spec) == copy
    store.put(published := record(start="2026-01-01", data=PUBLISHED, verified=True))
    assert store.get(copy.spec) == store.find(copy.spec.hash) == published
    assert store.get(copy.spec, stale=True) == WithStale(store).get(copy.spec) == published
    assert WithStale(store).get(copy.spec, data=COPY) == store.get(copy.spec, data=COPY) == copy
    assert store.get(copy.spec, data="train:2") is None
    store.put(old := record(1, code="0" * 64, data=PUBLISHED, verified=True))
    store.put(fresh := record(1, data=COPY))
    assert WithStale(store).get(old.spec) == fresh, "a stale record is shown where there is no other"


def test_damaged_and_misnamed_records_beside_others_are_named(tmp_path: Path) -> None:
    store, copy, published = Store(tmp_path), record(0, data=COPY), record(0, 0.5, data=PUBLISHED)
    store.put(copy)
    path = store.put(published)
    path.write_bytes(path.read_bytes()[:99])
    assert [problem.path for problem in store.verify()] == [path] and not store.holds(published)
    assert store.put(published) == path and store.holds(published)
    wrong = path.with_name(f"{copy.longer_name}.json")
    path.rename(wrong)
    assert any(p.path == wrong and "belongs under the name" in p.what for p in store.verify())
