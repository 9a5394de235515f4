"""DAO: the density ratio of SLOF, weighted by how many dimensions the neighbours' surroundings have.

Hanxun Huang et al., ICLR 2025, arXiv:2502.01385, section 3; dimensionality-aware outlier detection of Anderberg et
al., arXiv:2401.05453. Score of x: mean over its k nearest neighbours j of LID_j log(d_k(x) / d_k(j)), LID_j the
maximum-likelihood estimate -k / sum_i log(d_i(j) / d_k(j) + 1e-4).
Differs: by default the numbers are those of the released code (see `_density`); with `indexing="exact"` the k-distance
of a pair is to its k-th neighbour, neighbours are looked up at their own rows, and their dimension leaves out their
distance to themselves, as in the paper.
Reference code: github.com/HanxunH/Detect-CLIP-Backdoor-Samples at ff2399a (backdoor_sample_detector/dao.py).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from benchmark.detectors._density import DensityFilter, Surroundings
from benchmark.types import Card, Published
from benchmark.types.sources import HUANG

if TYPE_CHECKING:
    import torch


class DAO(DensityFilter):
    """Mean log ratio of a pair's k-distance to those of its neighbours, times their intrinsic dimension."""

    name: ClassVar[str] = "dao"
    card: ClassVar[Card] = Card(
        title="DAO",
        citation="arXiv:2502.01385",
        bibtex=HUANG,
        access="weights",
        needs=frozenset({"suspect_pairs"}),
        summary="Dimensionality-aware density ratio of image embeddings within reference batches.",
        differs=(
            Published(field="indexing", value="exact", source="the paper; its numbers come from the released code"),
            Published(field="reference", value="images_and_captions", source="the released script"),
        ),
    )

    def score(self, around: Surroundings) -> torch.Tensor:
        """(n,) float64."""
        import torch

        return (around.dimensions * torch.log(around.own[:, None] / around.theirs)).mean(1)
