"""`python -m tests.freeze compare|write [PART ...]`: see the package."""

from __future__ import annotations

import sys

from .expectation import PARTS, compute, differences, read, write


def main(arguments: list[str]) -> int:
    """Exit code 1 where something differs, 2 for a request that makes no sense."""
    action, parts = (arguments or [""])[0], arguments[1:] or list(PARTS)
    if action not in ("compare", "write") or not set(parts) <= set(PARTS):
        print(f"usage: python -m tests.freeze compare|write [{'|'.join(PARTS)} ...]", file=sys.stderr)
        return 2
    differ = False
    for part in parts:
        if action == "write":
            write(part)
            continue
        found = list(differences(read(part), compute(part)))
        differ |= bool(found)
        print("\n\n".join(found) if found else f"{part}: as frozen")
    return int(differ)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
