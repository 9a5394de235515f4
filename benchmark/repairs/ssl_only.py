"""SSL-only cleaning: the in-modal term of CleanCLIP without the CLIP loss.

Verma et al. 2025, arXiv 2311.14948, section 4 (cleaning loss SSL).
"""

from __future__ import annotations

from typing import ClassVar

from benchmark.objectives.ssl import SSL
from benchmark.repairs.fine_tuning import CleanTraining
from benchmark.types import Card, Objective, Published
from benchmark.types.sources import VERMA


class SSLOnly(CleanTraining):
    """Fine-tunes with the in-modal self-supervised loss alone."""

    name: ClassVar[str] = "ssl-only"
    objective: ClassVar[Objective] = SSL()
    card: ClassVar[Card] = Card(
        title="SSL only",
        citation="arXiv:2311.14948",
        bibtex=VERMA,
        access="weights",
        needs=frozenset({"clean_pairs"}),
        external=("text augmentation (EDA)",),
        summary="In-modal self-supervision on the clean pairs.",
        differs=(Published(field="epochs", value=20, source="Verma et al., all cleaning runs but one ablation"),),
    )
