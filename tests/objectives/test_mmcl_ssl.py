"""MMCL+SSL is the weighted sum of its parts; the views that they ask for."""

from __future__ import annotations

import pytest
import torch

from benchmark.objectives.mmcl import MMCL
from benchmark.objectives.mmcl_ssl import MMCLSSL
from benchmark.objectives.ssl import SSL, in_modal
from tests.helpers.objectives import ALL, features

pytestmark = pytest.mark.unit


@pytest.mark.parametrize("direction", ["one_directional", "symmetric"])
def test_mmcl_ssl_is_the_weighted_sum(direction: str) -> None:
    found = features()
    objective = MMCLSSL.model_validate({"mmcl_weight": 2.0, "ssl_weight": 0.5, "direction": direction})
    loss = objective.loss(found, {})
    expected = 2.0 * MMCL().loss(found, {}).total + 0.5 * in_modal(found, objective.direction)
    assert torch.allclose(loss.total, expected)
    assert set(loss.terms) == {"mmcl", "ssl"}
    alone = MMCLSSL(ssl_weight=0).loss(found, {}).total
    assert torch.allclose(alone, MMCL().loss(found, {}).total)


def test_objectives_ask_for_the_views_they_use() -> None:
    assert MMCL.views == {"image", "text"}
    assert MMCLSSL.views == SSL.views == ALL
    (one_pass,) = MMCLSSL().plan(0, {}, None).passes  # type: ignore[arg-type]
    assert (one_pass.views, one_pass.rows, one_pass.learning_rate) == (ALL, None, None)
