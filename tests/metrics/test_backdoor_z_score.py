"""The backdoor z-score against all pairs."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
import torch

from benchmark.evaluation.measure import measures
from benchmark.metrics.backdoor_z_score import BackdoorZScore
from tests.helpers.metrics import keyed, outcome_table

pytestmark = pytest.mark.unit


def similarities(condition: str, embeddings: torch.Tensor) -> list[pa.Table]:
    """What an evaluation stores: for every image the mean cosine, and mean squared cosine, with all others."""
    cosine = embeddings @ embeddings.T
    others = cosine[~torch.eye(len(cosine), dtype=torch.bool)].view(len(cosine), -1)
    means = {"similarity": others.mean(1), "similarity_square": others.square().mean(1)}
    return [outcome_table(condition, name, score=value.tolist()) for name, value in means.items()]


@pytest.mark.parametrize("pull", [0.3, 3.0])
def test_backdoor_z_score_against_all_pairs(pull: float) -> None:
    generator = torch.Generator().manual_seed(0)
    clean = torch.randn(80, 16, generator=generator) + 1
    triggered = clean + pull * torch.randn(1, 16, generator=generator)
    clean, triggered = (torch.nn.functional.normalize(part, dim=1) for part in (clean, triggered))
    tables = [*similarities("clean", clean), *similarities("badnet", triggered)]
    found = keyed(measures(tables, target=1, metrics=[BackdoorZScore()]))

    whole, moved = ((part.double() @ part.double().T).numpy() for part in (clean, triggered))
    pairs = ~np.eye(80, dtype=bool)
    z = (moved[pairs].mean() - whole[pairs].mean()) / whole[pairs].std()
    assert found["backdoor_z_score"].value == pytest.approx(z, rel=1e-4)
    released = (moved.mean() - whole.mean()) / whole.var()  # with the diagonal, by the variance
    assert found["backdoor_z_score_variance"].value == pytest.approx(released, rel=1e-4)
    assert found["backdoor_z_score"].total == 80


def test_backdoor_z_score_needs_both_conditions_and_read_outs() -> None:
    clean = similarities("clean", torch.nn.functional.normalize(torch.rand(9, 4), dim=1))
    assert measures(clean, target=1, metrics=[BackdoorZScore()]) == []
    one = [*clean, outcome_table("badnet", "similarity", score=[0.5] * 9)]
    assert measures(one, target=1, metrics=[BackdoorZScore()]) == []
