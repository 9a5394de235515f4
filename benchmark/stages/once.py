"""What many cells share is made once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

Found = TypeVar("Found")
_BY_VALUE = (str, int, type(None))


class Once:
    """Remembers what functions gave for the same objects: the cells of a suite share most of what they are made of."""

    def __init__(self) -> None:
        self._found: dict[tuple[Any, ...], tuple[Any, tuple[Any, ...]]] = {}

    def __call__(self, make: Callable[..., Found], *given: Any) -> Found:
        """`make(*given)`, made once. Models are told apart by identity, since to compare them takes as long."""
        place = (make, *[item if isinstance(item, _BY_VALUE) else id(item) for item in given])
        if place not in self._found:
            self._found[place] = (make(*given), given)  # `given` stays alive, so that no id is given away twice
        return self._found[place][0]
