"""What SLOF and DAO share: nearest neighbours within reference batches, and how dense their surroundings are.

Hanxun Huang et al., ICLR 2025, arXiv:2502.01385, section 3. The pairs are shuffled and cut into reference batches; the
neighbours of a pair are looked for in its own batch alone. A batch should hold fewer poisoned pairs than k: where it
holds more, they are each other's neighbours, and as dense as any.

With captions in the reference (`reference="images_and_captions"`) an image's own caption is never its neighbour. Under
"released" a neighbour's own density still counts its partner; under "exact" it does not.

The released code looks up the density of a neighbour that lies behind a pair in the batch one row too early, which is
that of an unrelated pair: about half of what a score is held against is the batch as a whole. Published numbers come
from that (`indexing="released"`, the default); where poisoned pairs are each other's neighbours it finds more of them.

Distances are exact to single precision without subtracting every two rows: squared distances come from inner products
in double precision around the batch's mean, and the few that cancel are taken again from differences, so that
duplicates are at distance 0.
Reference code: github.com/HanxunH/Detect-CLIP-Backdoor-Samples at ff2399a (backdoor_sample_detector/, QuickStart.ipynb,
extract_bd_scores.py).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal, NamedTuple

from pydantic import Field

from benchmark.errors import NotApplicable
from benchmark.types import DefenderContext, Filter, Model

if TYPE_CHECKING:
    import torch

CANCELS = 1e-8  # below this share of the two rows' squared norms, a squared distance is taken from their difference
NOT_A_NUMBER = 1000.0  # the score where all neighbours are duplicates, as released
SMALL = 1e-4  # keeps the logarithm finite, as released
Reference = Literal["images", "images_and_captions"]
Indexing = Literal["released", "exact"]


class Near(NamedTuple):
    """Neighbours of every row, the row itself left out."""

    distances: torch.Tensor  # (n, count) float64, ascending
    places: torch.Tensor  # (n, count) int64


class Surroundings(NamedTuple):
    """What the density ratio of (n, D) images is made of."""

    own: torch.Tensor  # (n,) float64 distance d_k(x) of a row to its k-th neighbour
    theirs: torch.Tensor  # (n, k) float64 d_k(j) of each of its k neighbours j
    dimensions: torch.Tensor  # (n, k) float64 local intrinsic dimension of each neighbour


class DensityFilter(Filter):
    """Scores a pair by how sparse its surroundings are next to those of its neighbours."""

    # since 2 a pair's own caption is not among its neighbours
    value_versions: ClassVar[Mapping[str, int]] = {"reference=images_and_captions": 2}

    neighbours: Annotated[int, Field(ge=1, description="k")] = 16
    reference_batch: Annotated[
        int, Field(ge=3, description="pairs among which neighbours are looked for; 4 x 512 as released")
    ] = 2048
    reference: Annotated[
        Reference,
        Field(
            description="images_and_captions: other pairs' captions may be neighbours too, as in the released script"
        ),
    ] = "images"
    indexing: Annotated[
        Indexing,
        Field(description="released: own distances are to neighbour k + 1, and neighbours are partly looked up amiss"),
    ] = "released"

    def scores(self, model: Model, ctx: DefenderContext) -> torch.Tensor:
        """(N,) float32; see `Filter.scores`.

        Raises:
            NotApplicable: there are too few pairs for k neighbours.
        """
        import torch

        features = ctx.features(model, ctx.suspect_pairs, normalised=False)
        images, texts = features.image, features.text
        num_batches = math.ceil(len(images) / self.reference_batch)
        if len(images) // num_batches < self.neighbours + 2:
            raise NotApplicable(f"{self.card.title} needs {self.neighbours + 2} pairs a batch, got {len(images)} pairs")
        found = torch.empty(len(images))
        # batches of nearly equal size, where released code leaves a small last one
        for rows in torch.randperm(len(images), generator=ctx.generator).tensor_split(num_batches):
            captions = texts[rows] if self.reference == "images_and_captions" else None
            scores = self.score(surroundings(images[rows], self.neighbours, indexing=self.indexing, captions=captions))
            scores = scores.nan_to_num(NOT_A_NUMBER, NOT_A_NUMBER, 0.0)
            found[rows] = scores.float().cpu()
        return found

    def score(self, around: Surroundings) -> torch.Tensor:
        """(n,) float64, higher where the surroundings are sparser than the neighbours'; may be NaN or infinite."""
        raise NotImplementedError


def surroundings(
    images: torch.Tensor, k: int, *, indexing: Indexing, captions: torch.Tensor | None = None
) -> Surroundings:
    """Density of each of (n, D) images and of its k neighbours, n > k + 1.

    Args:
        images: embeddings of the batch.
        k: how many neighbours.
        indexing: see `DensityFilter.indexing`.
        captions: (n, D) embeddings that may be neighbours, too, except for an image its own; None: images alone.
    """
    import torch

    count = len(images)
    points = images if captions is None else torch.cat([images, captions])
    everyone = nearest(points, k + 1)
    others = everyone if captions is None else nearest(points, k + 1, apart=count)
    # released: a neighbour's own density is among all points, its partner included
    by_row = (everyone if indexing == "released" else others).distances
    to_kth, ladder = by_row[:, k - 1], by_row[:, :k]
    own, at = others.distances[:count, k - 1], others.places[:count, :k]
    if indexing == "released":
        # neighbours are their own first neighbour; a pair is cut out of its row of distances, so that what lies behind
        # its image moves up by one, behind its caption by two, but the rows that are looked up do not
        own, ladder = others.distances[:count, k], torch.cat([torch.zeros_like(to_kth)[:, None], ladder[:, :-1]], 1)
        row = torch.arange(count, device=at.device)[:, None]
        at = at - (at > row).long() - (at > row + count).long()
    dimensions = -k / torch.log(ladder / to_kth[:, None] + SMALL).sum(1)
    return Surroundings(own, to_kth[at], dimensions[at])


def nearest(points: torch.Tensor, count: int, *, apart: int | None = None) -> Near:
    """The `count` nearest other rows of every row of (n, D) points, count < n; rows `apart` from each other are not."""
    import torch

    rows = points.double()
    rows = rows - rows.mean(0)
    norms = rows.square().sum(1)
    squared = torch.addmm(norms[:, None] + norms, rows, rows.T, alpha=-2).fill_diagonal_(torch.inf)
    if apart is not None:
        squared.diagonal(apart).fill_(torch.inf)
        squared.diagonal(-apart).fill_(torch.inf)
    found, places = squared.topk(count, largest=False)
    which, column = (found <= CANCELS * (norms[:, None] + norms[places])).nonzero(as_tuple=True)
    if len(which):
        found[which, column] = (points[which].double() - points[places[which, column]].double()).square().sum(1)
        found, order = found.sort(dim=1, stable=True)
        places = places.gather(1, order)
    return Near(found.sqrt(), places)
