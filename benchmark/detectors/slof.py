"""SLOF: a poisoned pair's image lies in a sparser place than its neighbours do; ratio of k-distances.

Hanxun Huang et al., ICLR 2025, arXiv:2502.01385, section 3; the simplified local outlier factor of Schubert et al.,
2014. Score of x: mean over its k nearest neighbours j of d_k(x) / d_k(j).
Differs: by default the numbers are those of the released code (see `_density`); with `indexing="exact"` the k-distance
of a pair is to its k-th neighbour, and neighbours are looked up at their own rows, as in the paper.
Reference code: github.com/HanxunH/Detect-CLIP-Backdoor-Samples at ff2399a (backdoor_sample_detector/slof.py).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from benchmark.detectors._density import DensityFilter, Surroundings
from benchmark.types import Card, Published
from benchmark.types.sources import HUANG

if TYPE_CHECKING:
    import torch


class SLOF(DensityFilter):
    """Mean ratio of a pair's k-distance to those of its neighbours."""

    name: ClassVar[str] = "slof"
    card: ClassVar[Card] = Card(
        title="SLOF",
        citation="arXiv:2502.01385",
        bibtex=HUANG,
        access="weights",
        needs=frozenset({"suspect_pairs"}),
        summary="Simplified local outlier factor of image embeddings within reference batches.",
        differs=(
            Published(field="indexing", value="exact", source="the paper; its numbers come from the released code"),
            Published(field="reference", value="images_and_captions", source="the released script"),
        ),
    )

    def score(self, around: Surroundings) -> torch.Tensor:
        """(n,) float64."""
        return (around.own[:, None] / around.theirs).mean(1)
