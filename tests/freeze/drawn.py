"""What a figure shows, as lines of text: the data of everything drawn, to 9 digits, and the words.

Nothing is rendered, so that fonts and pixels have no part in it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.text import Text


def lines(figure: Figure) -> list[str]:
    """A line for each thing that is drawn, under a heading for each of the axes."""
    found = [f"figure of {len(figure.axes)} axes{_words(_of_figure(figure))}"]
    for number, axes in enumerate(figure.axes):
        found += _axes(f"axes {number}", axes)
    return found


def _of_figure(figure: Figure) -> list[Text]:
    of_legends = [text for legend in figure.legends for text in legend.get_texts()]
    own = [getattr(figure, name, None) for name in ("_suptitle", "_supxlabel", "_supylabel")]
    return [*filter(None, own), *figure.texts, *of_legends]


def _axes(name: str, axes: Any) -> Iterator[str]:
    x, y = (
        f"{label!r} {scale} {_number(low)} to {_number(high)}"
        for label, scale, (low, high) in (
            (axes.get_xlabel(), axes.get_xscale(), axes.get_xlim()),
            (axes.get_ylabel(), axes.get_yscale(), axes.get_ylim()),
        )
    )
    yield f"{name}: {axes.get_title()!r}, x {x}, y {y}{'' if axes.axison else ', off'}"
    ticks = [t.get_text() for a in (axes.xaxis, axes.yaxis) for t in a.get_ticklabels()]
    yield f"  ticks{_words(ticks)}"
    legend = axes.get_legend()
    if legend is not None:
        yield f"  legend{_words([legend.get_title(), *legend.get_texts()])}"
    for line in axes.lines:
        kind = f"{line.get_linestyle()} {line.get_marker()}"
        yield _entry("line", line, np.asarray(line.get_xydata()), f"{_colour(line.get_color())} {kind}")
    for patch in axes.patches:
        vertices = patch.get_patch_transform().transform(patch.get_path().vertices)
        yield _entry("patch", patch, vertices, f"{_colour(patch.get_facecolor())} {patch.get_hatch() or ''}")
    for held in axes.collections:
        paths = [path.vertices for path in held.get_paths()]
        data = [
            np.asarray(part, float).ravel()
            for part in (*paths, held.get_offsets(), held.get_array())
            if part is not None
        ]
        yield _entry(type(held).__name__, held, np.concatenate(data), _colour(*held.get_facecolor()[:1]))
    for image in axes.images:
        yield _entry("image", image, np.asarray(image.get_array(), float), str(image.get_extent()))
    for text in axes.texts:
        yield _entry("text", text, np.asarray(text.get_position(), float), repr(text.get_text()))
    for number, inner in enumerate(axes.child_axes):
        yield from _axes(f"{name}, inner {number}", inner)


def _entry(kind: str, artist: Any, data: np.ndarray, looks: str) -> str:
    label = str(artist.get_label())
    named = "" if label.startswith("_") else f" {label!r}"
    return f"  {kind}{named} {looks.strip()} {_summary(data)}"


def _summary(data: np.ndarray) -> str:
    """Shape, smallest and largest value, and a digest of all to 9 digits."""
    flat: np.ndarray = np.ma.filled(np.ma.asarray(data, float), np.nan).ravel()
    digest = hashlib.sha256(" ".join(map(_number, flat)).encode()).hexdigest()[:8]
    finite = flat[np.isfinite(flat)]
    span = f", {finite.min():.4g} to {finite.max():.4g}" if len(finite) else ""
    return f"{'x'.join(map(str, np.shape(data)))}{span} [{digest}]"


def _number(value: float) -> str:
    return f"{float(value) + 0.0:.9g}"


def _words(texts: Sequence[Text | str]) -> str:
    plain = [text if isinstance(text, str) else text.get_text() for text in texts]
    return f": {' | '.join(repr(text) for text in plain if text)}" if any(plain) else ""


def _colour(*colours: Any) -> str:
    return to_hex(colours[0], keep_alpha=True) if colours and colours[0] is not None else ""
