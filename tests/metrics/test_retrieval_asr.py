"""Retrieval ASR against a count of captions."""

from __future__ import annotations

import numpy as np
import pytest

from benchmark.evaluation.measure import measures
from benchmark.metrics.retrieval_asr import RetrievalASR
from tests.helpers.metrics import keyed, outcome_table

pytestmark = pytest.mark.unit


def test_retrieval_asr_against_a_count_of_captions() -> None:
    rng = np.random.default_rng(0)
    target_caption = rng.random((60, 10)) < 0.15  # of the ten captions that each image retrieves
    first = np.where(target_caption.any(1), target_caption.argmax(1), 10)
    table = outcome_table(
        "badnet", "retrieval_target", target_rank=first.tolist(), score=target_caption.mean(1).tolist()
    )
    found = keyed(measures([table], target=1, metrics=[RetrievalASR()]))
    for k in (1, 5, 10):
        assert found[f"retrieval_asr_at_{k}"].count == target_caption[:, :k].any(1).sum()
    assert found["retrieval_asr_majority_at_10"].count == (target_caption.sum(1) >= 5).sum()
    assert {measure.total for measure in found.values()} == {60}


def test_majority_is_at_least_half() -> None:
    table = outcome_table("badnet", "retrieval_target", target_rank=[0, 0], score=[0.5, 0.4])
    assert keyed(measures([table], target=1, metrics=[RetrievalASR()]))["retrieval_asr_majority_at_10"].count == 1
