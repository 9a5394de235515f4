"""Detectors: DAO and SLOF on 100,000 embeddings of 512 numbers."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import torch

from benchmark.detectors.dao import DAO
from benchmark.detectors.slof import SLOF
from benchmark.perf.report import Line, Settings, seconds
from benchmark.types import PairFeatures

PAIRS, EMBED_DIM, CLUSTERS = 100_000, 512, 1000
LIMIT_S = 60


def run(settings: Settings) -> list[Line]:
    """Both filters with released reference batches of 2,048, and by `torch.cdist` on one batch for comparison."""
    points = _embeddings()
    lines = []
    for detector in (DAO(), SLOF()):
        context: Any = _Embedded(points)
        taken = seconds(lambda detector=detector, context=context: detector.scores(context.model, context))
        batch = points[: detector.reference_batch]
        direct = seconds(lambda batch=batch: _direct(batch)) * PAIRS / detector.reference_batch
        lines.append(
            Line(
                f"{detector.card.title}, beside the distances alone (s)",
                f"{taken:.1f}",
                f"{direct:.0f}",
                taken / direct,
                f"< {LIMIT_S} s",
                taken < LIMIT_S,
            )
        )
    return lines


class _Embedded:
    """As much of a context as a density filter asks for."""

    def __init__(self, points: torch.Tensor) -> None:
        self.suspect_pairs = SimpleNamespace(num_rows=len(points))
        self.generator = torch.Generator().manual_seed(0)
        self.model: Any = None  # its embeddings are there; it is not asked
        self._features = PairFeatures(points, points)

    def features(self, model: Any, pool: Any, *, normalised: bool = True) -> PairFeatures:
        """The same embeddings for images and captions; captions are not looked at."""
        return self._features


def _embeddings() -> torch.Tensor:
    """(PAIRS, EMBED_DIM) float32 in clusters of unequal density."""
    rng = np.random.default_rng(0)
    centres = rng.standard_normal((CLUSTERS, EMBED_DIM), dtype=np.float32)
    spread = rng.uniform(0.05, 0.5, (CLUSTERS, 1)).astype(np.float32)
    of = rng.integers(0, CLUSTERS, PAIRS)
    return torch.from_numpy(centres[of] + spread[of] * rng.standard_normal((PAIRS, EMBED_DIM), dtype=np.float32))


def _direct(batch: torch.Tensor) -> torch.Tensor:
    return torch.cdist(batch, batch, compute_mode="donot_use_mm_for_euclid_dist")
