"""DAO by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from benchmark.detectors._density import surroundings
from benchmark.detectors.dao import DAO
from tests.helpers.detectors import points

pytestmark = pytest.mark.unit


def test_dao_exact_by_hand() -> None:
    x = points(90, 6)
    k, whole = 4, torch.cdist(x.double(), x.double(), compute_mode="donot_use_mm_for_euclid_dist").numpy()
    rows = []
    near = {row: sorted((d, j) for j, d in enumerate(whole[row]) if j != row)[:k] for row in range(len(x))}
    for row in range(len(x)):
        terms = []
        for _, j in near[row]:
            own, theirs = near[row][-1][0], near[j][-1][0]
            dimension = -k / sum(math.log(d / theirs + 1e-4) for d, _ in near[j])
            terms.append(dimension * math.log(own / theirs))
        rows.append(sum(terms) / k)
    np.testing.assert_allclose(DAO().score(surroundings(x, k, indexing="exact")).numpy(), rows, rtol=1e-6, atol=1e-9)
