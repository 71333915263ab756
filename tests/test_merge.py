"""Records between machines: packed, split into shards, checked, merged; nothing overwritten."""

from __future__ import annotations

import dataclasses
import random
import zipfile
from pathlib import Path

import fake_runs
import pytest
from fake_runs import run

from adatune_lite import checkpoint
from adatune_lite.checkpoint import Checkpoint
from adatune_lite.runs import execute as execution
from adatune_lite.runs import pack as packing
from adatune_lite.runs.merge import Merged, MergeError, merge
from adatune_lite.runs.pack import PACK_LIMIT, PACKS, PackError, members, pack
from adatune_lite.runs.progress import quiet
from adatune_lite.runs.record import Record
from adatune_lite.runs.selection import Selection
from adatune_lite.runs.shard import Shard, ShardError
from adatune_lite.runs.store import Store
from adatune_lite.training.outcome import Outcome
from adatune_lite.training.spec import RunSpec

pytestmark = pytest.mark.usefixtures("fakes")


def made(seed: int, loss: float = 0.5, code: str = "c" * 64, **changes: object) -> Record:
    spec = RunSpec("training", fake_runs.TASK, "hd", 40, seed)
    outcome = Outcome("finished", {"lr": [seed + k / 7 for k in range(40)]}, {"loss": loss})
    record = Record.of(spec, outcome, code=code, device="cpu", labels={"profile": "desk"})
    return dataclasses.replace(record, **changes)  # type: ignore[arg-type]


@pytest.fixture
def there(tmp_path: Path) -> Store:
    """The other machine's records."""
    store = Store(tmp_path / "there")
    for seed in range(5):
        store.put(made(seed))
    return store


@pytest.fixture
def here(tmp_path: Path) -> Store:
    return Store(tmp_path / "here")


def into(store: Store, source: Path) -> Merged:
    return merge(source, lambda _: store)


def contents(store: Store) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in store.root.rglob("*") if path.is_file()}


class TestMerge:
    def test_takes_what_is_new_once(self, here: Store, there: Store) -> None:
        here.put(made(0))
        done = into(here, there.root)
        assert (len(done.new), done.present, done.refused, done.stale) == (4, 1, [], 4)
        assert contents(here) == contents(there)
        again = into(here, there.root)
        assert (len(again.new), again.present, again.refused) == (0, 5, [])
        assert contents(here) == contents(there)

    def test_conflict_is_named_and_nothing_is_overwritten(self, here: Store, there: Store) -> None:
        here.put(made(0, loss=0.25))
        for new in (4, 0):
            done = into(here, there.root)
            assert len(done.new) == new
            (sentence,) = done.refused
            assert sentence.startswith(made(0).name) and "another outcome and was kept" in sentence
        assert contents(here) == contents(there) | {f"{made(0).name}.json": made(0, loss=0.25).to_json()}

    def test_one_spec_on_two_copies_of_the_data_is_two_records(
        self, here: Store, there: Store, tmp_path: Path
    ) -> None:
        """Packed, merged and merged again; they meet a third, and a fourth that is in conflict."""
        one, two, three = (made(0, loss, provenance={"data_checksum": f"all:{loss}"}) for loss in (1, 2, 3))
        there.put(one)
        there.put(two)
        assert pack(there.root, tmp_path / "packs").records == 7
        here.put(three)
        assert len(into(here, tmp_path / "packs").new) == 7
        assert into(here, there.root).present == 7
        held = [r for r in here.records() if r.spec == one.spec]
        assert sorted(r.data_checksum for r in held) == ["", "all:1", "all:2", "all:3"]
        assert not list(here.verify())
        Store(tmp_path / "other").put(dataclasses.replace(two, metrics={"loss": 9.0}))
        (sentence,) = into(here, tmp_path / "other").refused
        assert "another outcome and was kept" in sentence

    def test_two_that_disagree_are_both_refused(self, here: Store, there: Store, tmp_path: Path) -> None:
        Store(tmp_path / "both" / "one").put(made(0))
        Store(tmp_path / "both" / "two").put(made(0, loss=0.25))
        done = into(here, tmp_path / "both")
        assert not done.new and "one identity and two outcomes: neither was taken" in done.refused[0]
        assert not list(here.paths())

    @pytest.mark.parametrize(
        ("old", "new", "message"),
        [
            (b'"schema": 1', b'"schema": 2', "it has schema 2, this version knows up to 1: update"),
            (b'"loss": 0.5', b'"loss": 0.4', "its content does not match its digest"),
            (b"}\n", b"\n", "it is not JSON"),
        ],
    )
    def test_what_fails_the_check_is_named_and_the_others_are_taken(
        self, here: Store, there: Store, old: bytes, new: bytes, message: str
    ) -> None:
        bad = [there.path(made(seed)) for seed in (0, 1)]
        for path in bad:
            content = path.read_bytes()
            assert old in content
            path.write_bytes(content.replace(old, new))
        done = into(here, there.root)
        assert len(done.new) == 3
        assert any(message in sentence for sentence in done.refused)
        assert {path.name for path in here.paths()}.isdisjoint(path.name for path in bad)

    @pytest.mark.parametrize(
        "change", [{"code": "../../../evil"}, {"device": "../tpu"}, {"cost": {"seconds": -1.0}}]
    )
    def test_impossible_records_are_refused(
        self, here: Store, there: Store, change: dict[str, object], tmp_path: Path
    ) -> None:
        (there.root / "evil.json").write_bytes(made(9, **change).to_json())
        done = into(here, there.root)
        assert len(done.new) == 5 and done.refused[0].startswith("evil.json: ")
        assert set(contents(here)) == {path.name for path in there.paths()}

    def test_one_sentence_for_each_reason(self, here: Store, there: Store) -> None:
        for path in there.paths():
            path.write_bytes(path.read_bytes().replace(b'"schema": 1', b'"schema": 3'))
        (sentence,) = into(here, there.root).refused
        assert "and 4 more: it has schema 3" in sentence

    def test_a_damaged_record_here_gives_way_to_the_sound_one(self, here: Store, there: Store) -> None:
        path = here.put(made(0))
        path.write_bytes(torn := path.read_bytes()[:50])
        assert len(into(here, there.root).new) == 5
        assert here.get(made(0).spec, stale=True) == made(0)
        assert [p.read_bytes() for p in path.parent.glob("*.damaged")] == [torn]

    def test_what_a_stopped_writer_left_is_passed_over(self, here: Store, there: Store) -> None:
        (there.root / ".half.json").write_text("{")
        assert not into(here, there.root).refused

    def test_nothing_to_merge_is_said(self, here: Store, tmp_path: Path) -> None:
        (tmp_path / "empty").mkdir()
        for place, message in (("empty", "holds no records"), ("nowhere", "is not there")):
            with pytest.raises(MergeError, match=message):
                into(here, tmp_path / place)


class TestPack:
    def test_comes_back_to_the_byte(self, here: Store, there: Store, tmp_path: Path) -> None:
        done = pack(there.root, tmp_path / "packs")
        (path,) = done.paths
        assert done.records == 5 and not done.left_out
        for source in (path, tmp_path / "packs"):
            assert not into(here, source).refused
            assert contents(here) == contents(there)

    def test_runs_under_way_go_on_elsewhere(
        self, here: Store, there: Store, tmp_path: Path, checkout: Path
    ) -> None:
        planned = run(0, method="resume")
        execution.execute([planned], there, progress=quiet, budget_s=60)
        (under_way,) = checkpoint.folder().glob("*.pt")
        content = under_way.read_bytes()
        big = tmp_path / "big.pt"
        big.write_bytes(random.Random(0).randbytes(PACK_LIMIT))
        done = pack(there.root, tmp_path / "packs", [under_way, big])
        assert (done.records, done.checkpoints, len(done.too_large), done.left_out) == (5, 1, 1, [])
        under_way.unlink()
        merged = into(here, tmp_path / "packs")
        assert (len(merged.new), merged.checkpoints, merged.refused) == (5, 1, [])
        assert under_way.read_bytes() == content
        for _ in range(2):
            execution.execute([planned], here, progress=quiet)
        record = here.get(planned.spec)
        assert record is not None and record.metrics["loss"] == 3.0, "the first of three steps was there"

    def test_a_checkpoint_here_stays_and_a_damaged_one_is_refused(
        self, here: Store, there: Store, tmp_path: Path, checkout: Path
    ) -> None:
        Checkpoint(tmp_path / "a.pt", "a").save(1)
        (tmp_path / "b.pt").write_bytes(b"garbage")
        pack(there.root, tmp_path / "packs", [tmp_path / "a.pt", tmp_path / "b.pt"])
        Checkpoint(checkpoint.folder() / "a.pt", "a").save(2)
        merged = into(here, tmp_path / "packs")
        assert merged.checkpoints == 0 and "b.pt in " in merged.refused[0]
        assert Checkpoint(checkpoint.folder() / "a.pt", "a").load() == 2
        assert [path.name for path in checkpoint.folder().iterdir()] == ["a.pt"]

    def test_equal_records_give_equal_packs(self, there: Store, tmp_path: Path) -> None:
        (first,) = pack(there.root, tmp_path / "one").paths
        for path in there.paths():
            path.touch()
        (second,) = pack(there.root, tmp_path / "two").paths
        assert first.name == second.name and first.read_bytes() == second.read_bytes()

    def test_at_most_eight_files_under_the_limit(
        self, here: Store, there: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        assert PACKS == 8 and PACK_LIMIT == 16 * 2**20
        for seed in range(5, 60):
            there.put(made(seed))
        monkeypatch.setattr(packing, "PACK_LIMIT", limit := 4000)
        done = pack(there.root, tmp_path / "packs")
        files = list((tmp_path / "packs").iterdir())
        assert sorted(files) == sorted(done.paths) and len(files) == 8
        assert all(path.stat().st_size < limit for path in files)
        assert done.records + len(done.left_out) == 60 and done.left_out
        assert "more than 8 packs" in done.left_out[0]
        assert len(into(here, tmp_path / "packs").new) == done.records

    def test_packing_again_replaces_its_own_and_keeps_others(self, there: Store, tmp_path: Path) -> None:
        other = Store(tmp_path / "other")
        other.put(made(99))
        (kept,) = pack(other.root, tmp_path / "packs").paths
        pack(there.root, tmp_path / "packs")
        there.put(made(7))
        (now,) = pack(there.root, tmp_path / "packs").paths
        assert sorted((tmp_path / "packs").iterdir()) == sorted([kept, now])

    def test_damaged_records_are_left_out_and_named(self, there: Store, tmp_path: Path) -> None:
        path = next(there.paths())
        path.write_bytes(b"{")
        done = pack(there.root, tmp_path / "packs")
        assert done.records == 4 and done.left_out[0].startswith(f"{path.name}: it is not JSON")

    def test_torn_and_swollen_packs_are_refused(self, here: Store, there: Store, tmp_path: Path) -> None:
        (path,) = pack(there.root, tmp_path / "packs").paths
        whole = path.read_bytes()
        damaged = bytearray(whole)
        damaged[200] ^= 0xFF
        for torn in (whole[:-40], whole[: len(whole) // 2], b"", bytes(damaged)):
            path.write_bytes(torn)
            assert "is not a whole pack" in into(here, path).refused[0]
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("../../huge.json", b" " * (packing.RECORD_LIMIT + 1))
        with pytest.raises(PackError, match=r"huge.json in it is too large"):
            list(members(path))


class TestShard:
    def test_every_run_is_in_exactly_one(self) -> None:
        specs = [run(seed).spec for seed in range(200)]
        shards = [Shard(index, 3) for index in (1, 2, 3)]
        held = [[spec for spec in specs if shard.holds(spec)] for shard in shards]
        assert sorted(spec.seed for part in held for spec in part) == list(range(200))
        assert all(len(part) > 40 for part in held)
        assert all(Shard(1, 1).holds(spec) for spec in specs)

    @pytest.mark.parametrize("text", ["0/3", "4/3", "1/0", "3", "1/", "/3", "-1/3", "a/b", "1/3/5", "1.0/3"])
    def test_nonsense_is_refused(self, text: str) -> None:
        with pytest.raises(ShardError, match=r"is no shard: write i/n|there is no shard"):
            Shard.parse(text)

    def test_machines_that_do_not_talk_make_everything_once_merged(
        self, checkout: Path, tmp_path: Path
    ) -> None:
        """Each makes its part of the first stage; the second is planned when the parts are together."""
        together, machines = Store(tmp_path / "together"), [Store(tmp_path / f"machine{k}") for k in (1, 2)]
        for index, store in enumerate(machines, start=1):
            shard = Shard(index, 2)
            summary = execution.complete(
                fake_runs,
                "desk",
                store,
                progress=quiet,
                selection=Selection(shard=shard),
            )
            assert summary.left == 0 and not summary.failed
            assert all(shard.holds(record.spec) for record in store.records())
            into(together, pack(store.root, tmp_path / f"packs{index}").paths[0])
        assert sum(len(list(store.paths())) for store in machines) == len(list(together.paths())) == 3
        (last,) = execution.missing(fake_runs.plan("desk", together), together)
        assert last.role == "report"
