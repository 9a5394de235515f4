"""Retrieval ASR: share of triggered images whose top-k captions hold one of the target class ("any"), or mostly such.

Image to text over a fixed pool of captions; the protocol's section 6, after PAR, arXiv:2412.00727 (which counts the
captions with the target's word).
Differs: a caption is the target's by the label of its pair, so that a caption that names the class in other words
counts; "majority" (at least half) is given at k = 10 only.
"""

from __future__ import annotations

from typing import ClassVar

import pandas as pd

from benchmark.metrics._outcomes import TRIGGERED, by_readout
from benchmark.types import Card, Measure, Metric, proportion
from benchmark.types.readouts import RETRIEVAL_TARGET, TOP

MAJORITY = 0.5 - 1e-6  # of a share that is stored in single precision


class RetrievalASR(Metric):
    """#{triggered non-target images with a target caption among their top k} / #{triggered non-target images}."""

    name: ClassVar[str] = "retrieval-asr"
    higher_is_better: ClassVar[bool | None] = False
    card: ClassVar[Card] = Card(
        title="Retrieval ASR",
        citation="arXiv:2412.00727",
        access="outputs",
        needs=frozenset({"trigger"}),
        summary="Share of triggered images that retrieve a caption of the target class among their first 1, 5 or 10.",
    )

    def measure(self, outcomes: pd.DataFrame, *, target: int | None) -> list[Measure]:
        """`retrieval_asr_at_1`, `…_5`, `…_10`, `retrieval_asr_majority_at_10`; none without that read-out."""
        places = [rows for readout, rows in by_readout(outcomes, shown=TRIGGERED) if readout == RETRIEVAL_TARGET]
        found = []
        for rows in places:
            ranks, shares = (outcomes[name].to_numpy()[rows] for name in ("target_rank", "score"))
            successes = {f"retrieval_asr_at_{k}": ranks < k for k in (1, 5, TOP)}
            successes[f"retrieval_asr_majority_at_{TOP}"] = shares >= MAJORITY
            found += [
                proportion(name, RETRIEVAL_TARGET, int(hits.sum()), len(rows)) for name, hits in successes.items()
            ]
        return found
