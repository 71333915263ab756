"""Digests that take long to compute, remembered between processes by what they were computed from.

A cache, never a truth: its file can be deleted or damaged at any time, and the answer stays the same.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path

from adatune_lite import files

KEPT = 1024
"""Entries of a file; the oldest are forgotten."""


def remembered(wanted: Mapping[str, Callable[[], str]], place: Path | None) -> dict[str, str]:
    """What each function returns, 64 hexadecimal digits, or the same from an earlier call under its key.

    wanted: functions by a digest of everything that their result follows from.
    place: the file; None, or one that cannot be written: nothing is remembered.
    """
    entries = _read(place) if place else {}
    new = {key: compute() for key, compute in wanted.items() if key not in entries}
    found = {key: entries[key] if key in entries else new[key] for key in wanted}
    if place and new:
        kept = dict([*entries.items(), *new.items()][-KEPT:])
        body = {key: [value, _check(key, value)] for key, value in kept.items()}
        with contextlib.suppress(OSError):
            files.replace(place, json.dumps(body, indent=0).encode())
    return found


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
