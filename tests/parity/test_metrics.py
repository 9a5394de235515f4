"""Metrics of detectors, and retrieval, against scikit-learn and released code."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from torch.nn import functional

from benchmark.evaluation.retrieval import retrieve
from benchmark.metrics.auprc import AUPRC, BASE_RATES
from benchmark.metrics.auroc import AUROC
from tests.parity.golden import agree, golden

pytestmark = pytest.mark.unit
DIRECTIONS = {"image_to_text": ("images", "captions"), "text_to_image": ("captions", "images")}


@pytest.mark.parametrize("case", range(5))
@pytest.mark.parametrize("metric", [AUROC(), AUPRC()], ids=lambda metric: metric.name)
def test_areas_with_and_without_ties(metric: AUROC | AUPRC, case: int) -> None:
    data = golden("detection_metrics")
    positives, negatives = data[f"positives_{case}"], data[f"negatives_{case}"]
    scores = pd.DataFrame(
        {
            "score": np.concatenate([positives, negatives]),
            "positive": np.arange(len(positives) + len(negatives)) < len(positives),
            "split": "pretrain",
        }
    )
    agree(BASE_RATES, data["base_rates"], 0)
    found = np.array([measure.value for measure in metric.measure(scores, target=None)])
    agree(found if metric.name == "auprc" else found[0], data[f"{metric.name}_{case}"], 1e-12)


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_ranks_of_the_true_partner_and_recall(direction: str) -> None:
    data = golden("retrieval")
    queries, candidates = (functional.normalize(torch.from_numpy(data[name]), dim=1) for name in DIRECTIONS[direction])
    ranks = retrieve(queries, candidates).rank
    agree(ranks, data[f"ranks_{direction}"], 0)
    agree([100 * (ranks < k).mean() for k in (1, 5, 10)], data[f"recall_{direction}"], 1e-9)
