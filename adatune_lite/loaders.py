"""Batches of an outer loss: as many as training asks for."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TypeVar

Batch = TypeVar("Batch")


def cycle(loader: Iterable[Batch]) -> Iterator[Batch]:
    """The batches of a loader without end: `next` of it is a batch of the outer loss.

    Each pass begins with `iter(loader)`, so that a `DataLoader` with `shuffle=True` draws a new order each
    time (`itertools.cycle` would keep all batches and repeat the first order). It holds one batch at a time
    and reads nothing before the first `next`.

    Raises ValueError for what cannot be gone through twice, such as a generator, and for a loader without
    batches: at once where its length says so, else when a pass turns out to be empty.
    """
    if isinstance(loader, Iterator) or not isinstance(loader, Iterable):
        raise ValueError(
            f"cycle needs something that can be gone through again and again, not {_kind(loader)}: "
            "give the DataLoader or the list itself"
        )
    try:
        known = len(loader)  # type: ignore[arg-type]
    except TypeError:  # a loader of an IterableDataset, or no length at all
        known = None
    if known == 0:
        raise ValueError(_EMPTY.format(_kind(loader)))
    return _passes(loader)


_EMPTY = "cycle needs at least one batch, and this {} has none: see its data, batch_size and drop_last"


def _passes(loader: Iterable[Batch]) -> Iterator[Batch]:
    first = True
    while True:
        empty = True
        for batch in loader:
            empty = False
            yield batch
        if empty and first:
            raise ValueError(_EMPTY.format(_kind(loader)))
        if empty:
            raise ValueError(
                f"this {_kind(loader)} gave nothing in a second pass: "
                "cycle needs a loader that starts anew at each iter()"
            )
        first = False


def _kind(loader: object) -> str:
    return type(loader).__name__
