"""Where two objects differ for somebody who keeps to their public names: a context is searched for secrets so."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

DEPTH = 4  # attributes of attributes of …; a context is two deep


def differences(first: Any, second: Any, *, place: str = "ctx", depth: int = DEPTH) -> list[str]:
    """Public places at which two objects differ: attributes, entries, values. Functions are not called.

    Args:
        first: an object.
        second: one that was made in the same way, in a world where only the secret differs.
        place: how the object is called in what is returned.
        depth: how far to follow attributes.
    """
    if first is second:
        return []
    if type(first) is not type(second):
        return [place]
    if isinstance(first, torch.Tensor):
        return [] if torch.equal(first, second) else [place]
    if isinstance(first, np.ndarray):
        return [] if np.array_equal(first, second) else [place]
    if isinstance(first, torch.Generator):
        return differences(first.get_state(), second.get_state(), place=place)
    if isinstance(first, (str, bytes, int, float, complex, frozenset, set, type(None), BaseException)):
        return [] if first == second or repr(first) == repr(second) else [place]
    if isinstance(first, Mapping):
        return _entries(dict(first), dict(second), place, depth)
    if isinstance(first, Sequence):
        return _entries(dict(enumerate(first)), dict(enumerate(second)), place, depth)
    return _attributes(first, second, place, depth)


def _entries(first: Mapping[Any, Any], second: Mapping[Any, Any], place: str, depth: int) -> list[str]:
    if first.keys() != second.keys():
        return [place]
    return [
        hit for key in first for hit in differences(first[key], second[key], place=f"{place}[{key!r}]", depth=depth)
    ]


def _attributes(first: Any, second: Any, place: str, depth: int) -> list[str]:
    if depth == 0:
        return []
    names, others = ([name for name in dir(item) if not name.startswith("_")] for item in (first, second))
    if names != others:
        return [place]
    found = []
    for name in names:
        values = [_seen(item, name) for item in (first, second)]
        if not callable(values[0]) or not callable(values[1]):
            found += differences(*values, place=f"{place}.{name}", depth=depth - 1)
    return found


def _seen(item: Any, name: str) -> Any:
    """A public attribute, or what asking for it raises."""
    try:
        return getattr(item, name)
    except Exception as error:
        return error
