"""What the checks of all experiments share."""

from __future__ import annotations

from collections.abc import Sequence


class InvariantError(AssertionError):
    """A record, or the code that makes it, breaks what must hold."""


def refuse(wrong: Sequence[str]) -> None:
    """Raises InvariantError with the first of what is wrong, if anything is."""
    if wrong:
        more = f"; and {len(wrong) - 5} more" if len(wrong) > 5 else ""
        raise InvariantError("; ".join(wrong[:5]) + more)
