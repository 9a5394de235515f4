"""Draws a figure once: where its files are there and nothing that it is made from has changed, they stay."""

from __future__ import annotations

import hashlib
import json
import pickle
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

import matplotlib as mpl
from markupsafe import Markup
from matplotlib.figure import Figure

from reports import style

STAMPS = ".drawn"  # folder of what each figure was made from, beside the figures


def drawn(stem: Path, inputs: Any, draw: Callable[[], Figure], *, about: str = "") -> tuple[list[Path], Markup]:
    """The files of a figure and its SVG element for the page.

    Args:
        stem: folder and name of the files.
        inputs: all that `draw` looks at; compared by its pickle.
        draw: makes the figure.
        about: what it shows, in words, for the element; "" for a figure that the page does not have.
    """
    digest = hashlib.sha256(_code() + pickle.dumps((inputs, about))).hexdigest()
    stamp = stem.parent / STAMPS / f"{stem.name}.json"
    paths = [stem.with_name(f"{stem.name}.{kind}") for kind in style.FORMATS]
    known = _read(stamp)
    if known.get("digest") == digest and all(path.is_file() for path in paths):
        return paths, Markup(known["element"])
    figure = draw()
    paths = style.save(figure, stem)
    element = style.inline_svg(figure, about, prefix=stem.name) if about else ""
    stamp.parent.mkdir(parents=True, exist_ok=True)
    stamp.write_text(json.dumps({"digest": digest, "element": element}), encoding="utf-8")
    return paths, Markup(element)


def _read(stamp: Path) -> dict[str, str]:
    try:
        found = json.loads(stamp.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) and isinstance(found.get("element"), str) else {}


@lru_cache(maxsize=1)
def _code() -> bytes:
    """What draws: this package's sources and the version of matplotlib."""
    sources = sorted(Path(__file__).parent.glob("*.py"))
    text = b"".join(path.read_bytes() for path in sources)
    return hashlib.sha256(text + mpl.__version__.encode()).digest()
