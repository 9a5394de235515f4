"""What SLOF and DAO share: the released arithmetic, distances, batches, and their direction."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score

from benchmark.detectors._density import DensityFilter, Indexing, nearest, surroundings
from benchmark.detectors.dao import DAO
from benchmark.detectors.slof import SLOF
from benchmark.errors import NotApplicable
from benchmark.testing import detector as kit
from benchmark.testing import suspect
from benchmark.types import Filter
from tests.helpers.detectors import fake, points

pytestmark = pytest.mark.unit


def released(x: torch.Tensor, k: int) -> tuple[torch.Tensor, torch.Tensor]:
    """SLOF and DAO as the released detectors compute them, one row after another, in single precision."""
    whole = torch.cdist(x, x, compute_mode="donot_use_mm_for_euclid_dist")
    ordered = whole.sort(dim=1).values
    kth = ordered[:, k]
    dimension = -k / torch.log(ordered[:, :k] / ordered[:, k, None] + 1e-4).sum(1)
    slof, dao = [], []
    for row in range(len(x)):
        distances, places = torch.cat([whole[row, :row], whole[row, row + 1 :]]).sort()
        near = places[:k]  # positions in the row without its own column, used for rows of the whole
        slof.append((distances[k] / kth[near]).mean())
        dao.append((dimension[near] * torch.log(distances[k] / kth[near])).mean())
    return torch.stack(slof), torch.stack(dao)


def test_density_as_released_far_from_the_origin_and_with_duplicates() -> None:
    """With captions: tests/parity, by the released code itself."""
    x = points()
    around = surroundings(x, 5, indexing="released")
    for detector, each in zip((SLOF(), DAO()), released(x, 5), strict=True):
        torch.testing.assert_close(detector.score(around).float(), each, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("indexing", "k", "nearest_image"), [("exact", 3, 2), ("released", 4, 3)])
def test_an_own_caption_is_nobodys_neighbour(indexing: Indexing, k: int, nearest_image: int) -> None:
    """Each caption lies on its own image, so that every other pair counts twice, and a pair's own not at all."""
    x = torch.randn(40, 8, generator=torch.Generator().manual_seed(0))
    own = surroundings(x, k, indexing=indexing, captions=x.clone()).own
    torch.testing.assert_close(own, nearest(x, nearest_image).distances[:, -1])


@pytest.mark.parametrize("offset", [0.0, 100.0])
def test_distances_are_exact_where_inner_products_cancel(offset: float) -> None:
    x = points(offset=offset)
    found = nearest(x, 9)
    whole = torch.cdist(x.double(), x.double(), compute_mode="donot_use_mm_for_euclid_dist").fill_diagonal_(torch.inf)
    torch.testing.assert_close(found.distances, whole.sort(dim=1).values[:, :9], rtol=1e-5, atol=0)
    torch.testing.assert_close(whole.gather(1, found.places), found.distances, rtol=1e-5, atol=0)
    assert found.distances[50, 0] == 0 and found.places[50, 0] == 10  # a duplicate is at distance 0, not near it


@pytest.mark.parametrize("cls", [SLOF, DAO])
@pytest.mark.parametrize("indexing", ["released", "exact"])
def test_duplicates_score_as_released(cls: type[DensityFilter], indexing: str) -> None:
    x = torch.randn(60, 8, generator=torch.Generator().manual_seed(0))
    x[20:40] = x[20]  # more duplicates than neighbours: 0 / 0
    detector = cls.model_validate({"neighbours": 5, "indexing": indexing})
    scores = detector.scores(None, fake(x))
    assert scores.isfinite().all()
    if indexing == "exact":
        assert (scores[20:40] == 1000).all()
    assert (scores[:20] < 1000).any()


def test_neighbours_are_looked_for_in_the_own_batch() -> None:
    x = points(300)
    detector = SLOF(neighbours=4, reference_batch=100, indexing="exact")
    scores = detector.scores(None, fake(x, seed=7))
    order = torch.randperm(300, generator=torch.Generator().manual_seed(7))
    for rows in order.split(100):
        alone = detector.score(surroundings(x[rows], 4, indexing="exact")).float()
        torch.testing.assert_close(scores[rows], alone)


def test_batches_are_of_nearly_equal_size() -> None:
    x = points(205)
    scores = SLOF(neighbours=4, reference_batch=100).scores(None, fake(x))  # 205 = 69 + 68 + 68, not 100 + 100 + 5
    assert scores.isfinite().all()


def test_too_few_pairs_are_not_applicable() -> None:
    with pytest.raises(NotApplicable, match="SLOF needs 18 pairs a batch, got 12 pairs"):
        SLOF().scores(None, fake(points(200)[:12]))


@pytest.mark.parametrize("cls", [SLOF, DAO])
@pytest.mark.parametrize("indexing", ["released", "exact"])
def test_sparse_pairs_rank_above_dense_ones(cls: type[DensityFilter], indexing: str) -> None:
    generator = torch.Generator().manual_seed(0)
    centres = 3 * torch.randn(10, 16, generator=generator)
    x = centres[torch.arange(1000) % 10] + 0.3 * torch.randn(1000, 16, generator=generator)
    poisoned = np.arange(1000) < 10
    x[:10] = 3 * torch.randn(10, 16, generator=generator)
    scores = cls.model_validate({"indexing": indexing}).scores(None, fake(x))
    assert roc_auc_score(poisoned, scores.numpy()) > 0.95


@pytest.mark.parametrize("cls", [SLOF, DAO])
def test_a_batch_with_more_poison_than_neighbours_hides_it(cls: type[DensityFilter]) -> None:
    x = torch.randn(1000, 8, generator=torch.Generator().manual_seed(0))
    x[:40] = 0.1 * x[:40] + 3
    poisoned = np.arange(1000) < 40

    def area(batch: int) -> float:
        detector = cls.model_validate({"reference_batch": batch, "indexing": "exact"})
        return float(roc_auc_score(poisoned, detector.scores(None, fake(x)).numpy()))

    assert area(1000) < 0.7  # 40 against k = 16
    assert area(200) > 0.95  # about 8


@pytest.mark.parametrize("detector", [SLOF(), DAO()], ids=lambda detector: detector.name)
def test_density_finds_poisoned_pairs(detector: Filter) -> None:
    scores = kit.scores(detector).numpy()
    assert roc_auc_score(suspect.suspect().poisoned, scores) > 0.85
