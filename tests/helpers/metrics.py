"""What tests of metrics share: tables of scores and of outcomes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from benchmark.metrics.auprc import AUPRC
from benchmark.metrics.auroc import AUROC
from benchmark.metrics.backdoor_z_score import BackdoorZScore
from benchmark.metrics.fpr_at_tpr import FPRAtTPR
from benchmark.metrics.poison_recall import PoisonRecall
from benchmark.metrics.poisons_left import PoisonsLeft
from benchmark.metrics.realised_fpr import RealisedFPR
from benchmark.metrics.retrieval_asr import RetrievalASR
from benchmark.metrics.squash import Squash
from benchmark.metrics.tdpa import TDPA
from benchmark.metrics.tdpa_rank import TDPARank
from benchmark.metrics.tpr_at_fpr import TPRAtFPR
from benchmark.store.schemas import OUTCOMES, SCORES
from benchmark.types import Measure, Metric

OF_SCORES: tuple[Metric, ...] = (
    AUROC(), AUPRC(), TPRAtFPR(), RealisedFPR(), FPRAtTPR(), PoisonsLeft(), PoisonRecall(),
)  # fmt: skip
Scores = Sequence[float] | np.ndarray


OF_OUTCOMES: tuple[Metric, ...] = (RetrievalASR(), TDPA(), TDPARank(), BackdoorZScore(), Squash())


def score_table(clean: Scores, attacked: Scores = (), reference: Scores = ()) -> pa.Table:
    """Scores of a detector, with what is true beside them."""
    splits = [("reference", reference), ("clean", clean), ("attacked", attacked)]
    rows = [(split, split == "attacked", float(score)) for split, scores in splits for score in scores]
    columns = {
        "id": list(range(len(rows))),
        "split": [row[0] for row in rows],
        "positive": [row[1] for row in rows],
        "score": [row[2] for row in rows],
    }
    return pa.Table.from_pydict(columns, schema=SCORES)


def outcome_table(condition: str, readout: str, **columns: Any) -> pa.Table:
    """Outcomes of one condition and read-out; what is not given stands at what it is where it does not apply."""
    count = len(next(iter(columns.values())))
    whole: Mapping[str, Any] = {
        "id": list(range(count)),
        "condition": [condition] * count,
        "readout": [readout] * count,
        "true_class": [0] * count,
        "predicted": [-1] * count,
        "target_rank": [-1] * count,
        "target": [-1] * count,
        "score": [0.0] * count,
    }
    return pa.Table.from_pydict(dict(whole) | columns, schema=OUTCOMES)


def keyed(found: Sequence[Measure]) -> dict[str, Measure]:
    """Measures by name."""
    return {measure.name: measure for measure in found}
