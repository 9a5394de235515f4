"""SLOF against scikit-learn's local outlier factor."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.neighbors import LocalOutlierFactor, NearestNeighbors

from benchmark.detectors._density import surroundings
from benchmark.detectors.slof import SLOF
from tests.helpers.detectors import points

pytestmark = pytest.mark.unit


def test_slof_exact_by_scikit_learn() -> None:
    x = points(offset=0)
    found = SLOF().score(surroundings(x, 7, indexing="exact")).numpy()
    distances, places = NearestNeighbors(n_neighbors=7, algorithm="brute").fit(x.double().numpy()).kneighbors()
    kth = distances[:, -1]
    np.testing.assert_allclose(found, (kth[:, None] / kth[places]).mean(1), rtol=1e-6)


def test_slof_agrees_with_the_full_local_outlier_factor() -> None:
    x = torch.randn(300, 8, generator=torch.Generator().manual_seed(0))
    x[0] += 8
    full = -LocalOutlierFactor(n_neighbors=10).fit(x.numpy()).negative_outlier_factor_
    simple = SLOF().score(surroundings(x, 10, indexing="exact")).numpy()
    assert np.corrcoef(full, simple)[0, 1] > 0.9
    assert simple.argmax() == full.argmax() == 0
