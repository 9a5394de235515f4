"""Evaluation mode for a while."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol


class Switchable(Protocol):
    """What has a mode; every model does."""

    @property
    def training(self) -> bool:
        """Whether it is in training mode."""
        ...

    def train(self, mode: bool = True) -> Any:
        """Switches between training and evaluation mode."""
        ...


@contextmanager
def evaluation_mode(model: Switchable) -> Iterator[None]:
    """Evaluation mode for a block; the mode found is restored."""
    found = model.training
    model.train(False)
    try:
        yield
    finally:
        model.train(found)
