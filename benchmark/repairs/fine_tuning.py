"""MMCL fine-tuning: the CLIP loss on clean pairs, the naive baseline and control of every repair.

Bansal et al. 2023, arXiv 2303.03323, section 5; Verma et al. 2025, arXiv 2311.14948, section 4.
"""

from __future__ import annotations

from typing import ClassVar

from benchmark.objectives.mmcl import MMCL
from benchmark.repairs.clean_training import CleanTraining
from benchmark.types import Card, Objective


class FineTuning(CleanTraining):
    """Fine-tunes with the CLIP loss alone."""

    name: ClassVar[str] = "fine-tuning"
    objective: ClassVar[Objective] = MMCL()
    card: ClassVar[Card] = Card(
        title="MMCL fine-tuning",
        citation="arXiv:2303.03323",
        access="weights",
        needs=frozenset({"clean_pairs"}),
        summary="CLIP loss on the clean pairs.",
    )
