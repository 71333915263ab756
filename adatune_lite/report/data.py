"""What runs have read, in words: the names of data sets, and whether it was a copy of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from adatune_lite.runs.record import Record

DATASETS = {
    "mnist": "MNIST",
    "fashion_mnist": "Fashion-MNIST",
    "cifar10": "CIFAR-10",
    "cifar100": "CIFAR-100",
    "mnist5k": "the 5,000 embedded MNIST digits",
    "mnist5k_rgb32": "the 5,000 embedded MNIST digits, padded to 32 pixels",
}
"""Data sets in words."""


def from_copy(records: Iterable[Record]) -> bool:
    """Whether any of the runs read a JPEG copy of the images and not the published ones."""
    return any("JPEG" in str(r.provenance.get("data_source", "")) for r in records)


def data_name(records: Sequence[Record]) -> str:
    """The images of some runs of one task, named as a copy where they are one."""
    return DATASETS[records[0].spec.task.dataset] + (" (JPEG copy)" if from_copy(records) else "")


def copy_note(records: Iterable[Record]) -> str:
    """What to say where runs read a JPEG copy, named as the records name it; empty where none did."""
    copies = sorted({str(r.provenance["data_source"]) for r in records if from_copy([r])})
    if not copies:
        return ""
    return (
        f"Images: {'; '.join(copies)}. On a **JPEG copy** accuracies are not to be held against the printed "
        "ones, only against each other."
    )
