"""Lines of code by room: without blank lines, comments and docstrings.

python -m benchmarks.code_lines [FOLDER]
"""

from __future__ import annotations

import ast
import io
import sys
import tokenize
from collections import Counter
from pathlib import Path

SILENT = (
    tokenize.COMMENT,
    tokenize.NL,
    tokenize.NEWLINE,
    tokenize.INDENT,
    tokenize.DEDENT,
    tokenize.ENDMARKER,
)


def code_lines(source: str) -> int:
    """Lines that hold code; a string that stands alone is a docstring, wherever it stands."""
    texts: set[int] = set()
    for node in ast.walk(ast.parse(source)):
        if (
            isinstance(node, ast.Expr)
            and isinstance(node.value, ast.Constant)
            and isinstance(node.value.value, str)
        ):
            texts.update(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    lines: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type not in SILENT:
            lines.update(range(token.start[0], token.end[0] + 1))
    return len(lines - texts)


def by_room(package: Path) -> Counter[str]:
    """Lines of code of each module or folder directly in the package."""
    found: Counter[str] = Counter()
    for path in package.rglob("*.py"):
        found[path.relative_to(package).parts[0]] += code_lines(path.read_text(encoding="utf-8"))
    return found


def main() -> None:
    """Print them, the largest first, and the sum."""
    package = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parents[1] / "adatune_lite"
    found = by_room(package)
    for room, lines in found.most_common():
        print(f"{lines:7,}  {room}")
    print(f"{found.total():7,}  all")


if __name__ == "__main__":
    main()
