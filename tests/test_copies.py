"""Published images in any wrapping, and copies with loss: told apart, never mixed, named wherever they go."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny_cifar import LABELS, PIXELS, Tiny, same, write_parquet, write_pickles, write_set

from adatune_lite import files, notebook
from adatune_lite.runs import provenance
from adatune_lite.runs.record import Record
from adatune_lite.tasks import sources
from adatune_lite.tasks.sources import DataError, encoded, load_images, readers
from adatune_lite.tasks.spec import TaskSpec
from adatune_lite.training.outcome import Outcome
from adatune_lite.training.spec import RunSpec

WRAPPINGS: dict[str, Callable[[sources.Dataset, Path], object]] = {
    "pickles": write_pickles,
    "png": lambda entry, root: write_set(root / "tiny", "PNG"),
    "webp": lambda entry, root: write_set(root / "tiny", "WEBP", lossless=True, quality=0),
    "webp of its own folder": lambda entry, root: write_set(
        root / "tiny_lossless" / "below", "WEBP", lossless=True, quality=0
    ),
}


@pytest.mark.parametrize("wrapping", WRAPPINGS)
def test_published_data_are_known_in_any_wrapping_and_preferred(
    tiny: Tiny, tmp_path: Path, wrapping: str
) -> None:
    entry = tiny(published=True)
    WRAPPINGS[wrapping](entry, tmp_path / "data")
    if wrapping not in ("png", "webp"):
        write_set(tmp_path / "data" / "tiny", "JPEG")
    assert sources.verified_at_hand("tiny")
    for part in entry.parts:
        found = load_images("tiny", part)
        assert same(found, part) and found.verified and found.note == "" and "copy" not in found.source
    sources.pack("tiny", tmp_path / "packed" / "tiny.npz")
    assert load_images("tiny", "test", root=tmp_path / "packed").verified


def test_a_copy_with_loss_gives_way_to_any_source_without(tiny: Tiny, tmp_path: Path) -> None:
    """Where nothing is published data, pixels without loss come first, wherever they lie."""
    entry = tiny()
    write_set(tmp_path / "data" / "tiny", "JPEG")
    sources.pack("tiny", tmp_path / "data" / "tiny.npz")  # Read before Parquet.
    sources._load.cache_clear()
    assert load_images("tiny", "test").source == "tiny.npz (JPEG copy)"
    write_set(tmp_path / "data" / "tiny_lossless", "WEBP", lossless=True, quality=0)
    sources._load.cache_clear()
    assert all(same(load_images("tiny", part), part) for part in entry.parts)
    assert load_images("tiny", "test").source == "tiny_lossless/test.parquet"
    assert not sources.verified_at_hand("tiny"), "sound, but not known to be the published data"


def test_parts_with_and_without_loss_are_never_mixed(tiny: Tiny, tmp_path: Path) -> None:
    tiny(published=True)
    write_parquet(tmp_path / "data" / "tiny_lossless" / "train.parquet", "train", "WEBP", lossless=True)
    assert load_images("tiny", "train").verified, "a part alone is no mixture"
    write_set(tmp_path / "data" / "tiny", "JPEG")
    sources._load.cache_clear()
    for part in ("train", "test"):
        with pytest.raises(
            DataError,
            match=r"tiny has its train images without loss \(tiny_lossless/train.parquet\) and its test "
            r"images with loss \(tiny/test.parquet \(JPEG copy\)\), which are never mixed",
        ):
            load_images("tiny", part)
    with pytest.raises(DataError, match="never mixed"):
        sources.verified_at_hand("tiny")
    write_parquet(tmp_path / "data" / "tiny_lossless" / "test.parquet", "test", "PNG")
    sources._load.cache_clear()
    assert sources.verified_at_hand("tiny")


def test_verified_data_at_hand_are_asked_for_without_a_download(tiny: Tiny, tmp_path: Path) -> None:
    entry = tiny(published=True)

    def fetch(*_: object) -> bool:
        raise AssertionError("a download")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sources, "fetched", fetch)
        patch.setitem(sources.DATASETS, "tiny", dataclasses.replace(entry, torchvision="CIFAR10"))
        assert not sources.verified_at_hand("tiny")
    write_parquet(tmp_path / "data" / "tiny" / "train.parquet", "train")
    assert not sources.verified_at_hand("tiny"), "its test images are missing"
    (tmp_path / "data" / "tiny" / "test.parquet").write_bytes(b"torn")
    with pytest.raises(DataError, match=r"tiny/test.parquet cannot be read"):
        sources.verified_at_hand("tiny")


def test_a_damaged_file_is_not_passed_over_for_a_copy(tiny: Tiny, tmp_path: Path) -> None:
    tiny(published=True)
    write_set(tmp_path / "data" / "tiny", "JPEG")
    (tmp_path / "data" / "tiny_lossless").mkdir()
    (tmp_path / "data" / "tiny_lossless" / "test.parquet").write_bytes(b"torn")
    with pytest.raises(DataError, match=r"tiny_lossless/test.parquet cannot be read"):
        load_images("tiny", "test")


def webp(*chunks: tuple[bytes, bytes]) -> bytes:
    body = b"".join(
        kind + struct.pack("<I", len(data)) + data + b"\0" * (len(data) % 2) for kind, data in chunks
    )
    return b"RIFF" + struct.pack("<I", len(body) + 4) + b"WEBP" + body


@pytest.mark.parametrize(
    ("image", "lossless"),
    [
        (webp((b"VP8L", b"123")), True),
        (webp((b"VP8 ", b"123")), False),
        (webp((b"VP8X", b"0" * 10), (b"ICCP", b"odd"), (b"VP8L", b"123")), True),
        (webp((b"VP8X", b"0" * 10), (b"ALPH", b"VP8L"), (b"VP8 ", b"123")), False),
        (webp((b"VP8X", b"0" * 10), (b"ANIM", b"000000"), (b"ANMF", webp((b"VP8L", b"1")))), False),
        (webp((b"VP8X", b"0" * 10))[:-4], False),
        (b"RIFF\4\0\0\0WAVEVP8L\1\0\0\0", False),
        (b"", False),
    ],
)
def test_webp_without_loss_is_known_by_its_chunks(image: bytes, lossless: bool) -> None:
    assert encoded._is_lossless_webp(image) is lossless


@pytest.mark.parametrize(
    ("kind", "saved", "note"),
    [
        ("WEBP", {"lossless": True, "quality": 0}, ""),
        ("WEBP", {"lossless": True, "quality": 0, "exif": b"Exif\0\0MM\0*\0\0\0\10\0\0"}, ""),
        ("WEBP", {"quality": 100}, "WEBP copy"),
        ("JPEG", {"quality": 100}, "JPEG copy"),
    ],
)
def test_loss_is_named_and_lossless_webp_has_none(
    tiny: Tiny, tmp_path: Path, kind: str, saved: dict[str, Any], note: str
) -> None:
    tiny()
    write_parquet(tmp_path / "data" / "tiny" / "test.parquet", "test", kind, **saved)
    found = load_images("tiny", "test")
    assert found.note == note and same(found, "test") is not bool(note)
    assert found.source == "tiny/test.parquet" + (f" ({note})" if note else "")


def test_one_row_with_loss_makes_a_copy(tiny: Tiny, tmp_path: Path) -> None:
    tiny()
    for shard, (kind, place) in enumerate((("PNG", slice(0, 29)), ("JPEG", slice(29, 30)))):
        path = tmp_path / "data" / "tiny" / f"train-0000{shard}-of-00002.parquet"
        write_parquet(path, "train", kind, pixels=PIXELS["train"][place], labels=LABELS["train"][place])
    assert load_images("tiny", "train").note == "JPEG copy"


def test_what_an_earlier_version_kept_decoded_is_not_believed(tiny: Tiny, tmp_path: Path) -> None:
    """It called lossless WebP a copy, and kept that under the SHA-256 of the files alone."""
    tiny()
    path = tmp_path / "data" / "tiny" / "test.parquet"
    write_parquet(path, "test", "WEBP", lossless=True)
    buffer = io.BytesIO()
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    np.savez(buffer, images=PIXELS["test"], labels=LABELS["test"], note="WEBP copy", files=digest)
    files.replace(tmp_path / "scratch" / "tiny-test.npz", buffer.getvalue())
    assert load_images("tiny", "test").note == ""


def test_a_pack_of_published_data_forgets_that_it_was_called_a_copy(tiny: Tiny, tmp_path: Path) -> None:
    tiny(published=True)
    packed = {part: sources.Found(PIXELS[part], LABELS[part], "", "WEBP copy") for part in PIXELS}
    (tmp_path / "data" / "tiny.npz").write_bytes(readers.npz(packed))
    found = load_images("tiny", "train")
    assert found.verified and found.source == "tiny.npz" and found.note == ""


def test_a_jpeg_copy_is_named_wherever_it_goes(tiny: Tiny, tmp_path: Path) -> None:
    """In the source, in the facts of a record, and in what `data pack` makes of it."""
    entry = tiny()
    for part in entry.parts:
        write_parquet(tmp_path / "data" / "tiny" / f"{part}.parquet", part, "JPEG")
    found = load_images("tiny", "test")
    assert found.source == "tiny/test.parquet (JPEG copy)" and not found.verified
    assert not same(found, "test")
    facts = provenance.data("tiny")
    assert facts["data_source"].count("(JPEG copy)") == 2 and facts["data_verified"] is False
    spec = RunSpec("training", TaskSpec("cifar10", 9, 3, 3, batch=3, model="conv4"), "constant", 1, 0)
    record = Record.of(spec, Outcome("finished"), code="c" * 64, device="cpu", provenance=facts)
    assert "tiny/test.parquet (JPEG copy), unverified" in notebook.provenance([record]).data
    sources.pack("tiny", tmp_path / "elsewhere" / "tiny.npz")
    packed = load_images("tiny", "test", root=tmp_path / "elsewhere")
    assert packed.source == "tiny.npz (JPEG copy)" and packed.checksum == found.checksum


def test_originals_come_before_copies(tiny: Tiny, tmp_path: Path) -> None:
    entry = tiny()
    write_parquet(tmp_path / "data" / "tiny" / "test.parquet", "test", "JPEG")
    write_pickles(entry, tmp_path / "data")
    assert load_images("tiny", "test").source == "cifar-10-batches-py/test_batch"
