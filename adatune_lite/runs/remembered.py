"""Digests that take long to compute, remembered between processes by what they were computed from.

A cache, never a truth: its file can be deleted or damaged at any time, and the answer stays the same.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
from collections.abc import Callable
from pathlib import Path

from adatune_lite import files

KEPT = 64
"""Entries of a file; the oldest are forgotten."""


def remembered(key: str, compute: Callable[[], str], place: Path | None) -> str:
    """What `compute` returns, 64 hexadecimal digits, or the same from an earlier call with this key.

    key: a digest of everything that the result follows from.
    place: the file; None, or one that cannot be written: nothing is remembered.
    """
    if place is None:
        return compute()
    entries = _read(place)
    value = entries.get(key)
    if value is None:
        value = compute()
        kept = dict([*entries.items(), (key, value)][-KEPT:])
        body = {key: [value, _check(key, value)] for key, value in kept.items()}
        with contextlib.suppress(OSError):
            files.replace(place, json.dumps(body, indent=0).encode())
    return value


def _read(place: Path) -> dict[str, str]:
    """The sound entries of a file."""
    try:
        body = json.loads(place.read_bytes())
        return {
            key: value
            for key, (value, check) in body.items()
            if check == _check(key, value) and re.fullmatch("[0-9a-f]{64}", value)
        }
    except (OSError, ValueError, TypeError, AttributeError):
        return {}


def _check(key: str, value: str) -> str:
    # So that an entry that was cut, mixed up or edited is noticed.
    return hashlib.sha256(f"{key} {value}".encode()).hexdigest()[:16]
