"""Segmenters: models from outside that cut images into regions, a file each, behind `types.Segmenter`; and `shown`."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from benchmark.errors import unknown
from benchmark.models.segmenters.weights import content_hash
from benchmark.types import Segmenter

__all__ = ["build", "content_hash"]


def build(name: str, weights: str | None = None) -> Segmenter:
    """Builds a segmenter.

    Args:
        name: "classical", or "sam" (Segment Anything).
        weights: a local folder in Hugging Face layout, for those that have weights.

    Raises:
        UnknownNameError: no such segmenter.
        NotApplicable: its weights or its library are not there.
    """
    builders: Mapping[str, Callable[[str | None], Segmenter]] = {"classical": _classical, "sam": _sam}
    if name not in builders:
        raise unknown("segmenter", name, builders)
    return builders[name](weights)


# Imported where they are used: neither scikit-image nor transformers is loaded to list methods.


def _classical(weights: str | None) -> Segmenter:
    from benchmark.models.segmenters.classical import Classical

    return Classical()


def _sam(weights: str | None) -> Segmenter:
    from benchmark.models.segmenters.sam import Sam

    return Sam.load(weights)
