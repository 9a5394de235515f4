"""What SLOF and DAO share: nearest neighbours within reference batches, and how dense their surroundings are.

Hanxun Huang et al., ICLR 2025, arXiv:2502.01385, section 3. The pairs are shuffled and cut into reference batches; the
neighbours of a pair are looked for in its own batch alone. A batch should hold fewer poisoned pairs than k: where it
holds more, they are each other's neighbours, and as dense as any.

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
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple

from pydantic import Field

from benchmark.errors import NotApplicable
from benchmark.types import DefenderContext, Filter

if TYPE_CHECKING:
    import torch

CANCELS = 1e-8  # below this share of the two rows' squared norms, a squared distance is taken from their difference
NOT_A_NUMBER = 1000.0  # the score where all neighbours are duplicates, as released
SMALL = 1e-4  # keeps the logarithm finite, as released


class Near(NamedTuple):
    """Neighbours of every row, the row itself left out."""

    distances: torch.Tensor  # (n, count) float64, ascending
    places: torch.Tensor  # (n, count) int64


class Surroundings(NamedTuple):
    """What a density ratio is made of."""

    own: torch.Tensor  # (n,) float64 distance d_k(x) of a row to its k-th neighbour
    theirs: torch.Tensor  # (n, k) float64 d_k(j) of each of its k neighbours j
    dimensions: torch.Tensor  # (n, k) float64 local intrinsic dimension of each neighbour


class DensityFilter(Filter):
    """Scores a pair by how sparse its surroundings are next to those of its neighbours."""

    neighbours: Annotated[int, Field(ge=1, description="k")] = 16
    reference_batch: Annotated[
        int, Field(ge=3, description="pairs among which neighbours are looked for; 4 x 512 as released")
    ] = 2048
    reference: Annotated[
        Literal["images", "images_and_captions"],
        Field(description="images_and_captions: captions may be neighbours too, as in the released extraction script"),
    ] = "images"
    indexing: Annotated[
        Literal["released", "exact"],
        Field(description="released: own distances are to neighbour k + 1, and neighbours are partly looked up amiss"),
    ] = "released"

    def scores(self, model: Any, ctx: DefenderContext) -> torch.Tensor:
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
            points = images[rows]
            if self.reference == "images_and_captions":
                points = torch.cat([points, texts[rows]])
            around = surroundings(points, self.neighbours, indexing=self.indexing)
            scores = self.score(Surroundings(*(part[: len(rows)] for part in around)))
            found[rows] = scores.nan_to_num(NOT_A_NUMBER, NOT_A_NUMBER, 0.0).float().cpu()
        return found

    def score(self, around: Surroundings) -> torch.Tensor:
        """(n,) float64, higher where the surroundings are sparser than the neighbours'; may be NaN or infinite."""
        raise NotImplementedError


def surroundings(points: torch.Tensor, k: int, *, indexing: Literal["exact", "released"]) -> Surroundings:
    """Density of each of (n, D) points and of its k neighbours among them, n > k + 1."""
    import torch

    distances, places = nearest(points, k + 1)
    to_kth, at = distances[:, k - 1], places[:, :k]
    own, ladder = to_kth, distances[:, :k]
    if indexing == "released":
        # neighbours are their own first neighbour; a point is cut out of its row of distances, so that what lies
        # behind it moves up by one, but the rows that are looked up do not
        own, ladder = distances[:, k], torch.cat([torch.zeros_like(to_kth)[:, None], distances[:, : k - 1]], 1)
        at = at - (at > torch.arange(len(points), device=at.device)[:, None]).long()
    dimensions = -k / torch.log(ladder / to_kth[:, None] + SMALL).sum(1)
    return Surroundings(own, to_kth[at], dimensions[at])


def nearest(points: torch.Tensor, count: int) -> Near:
    """The `count` nearest other rows of every row of (n, D) points, count < n."""
    import torch

    rows = points.double()
    rows = rows - rows.mean(0)
    norms = rows.square().sum(1)
    squared = torch.addmm(norms[:, None] + norms, rows, rows.T, alpha=-2).fill_diagonal_(torch.inf)
    found, places = squared.topk(count, largest=False)
    which, column = (found <= CANCELS * (norms[:, None] + norms[places])).nonzero(as_tuple=True)
    if len(which):
        found[which, column] = (points[which].double() - points[places[which, column]].double()).square().sum(1)
        found, order = found.sort(dim=1, stable=True)
        places = places.gather(1, order)
    return Near(found.sqrt(), places)
