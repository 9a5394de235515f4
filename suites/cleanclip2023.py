"""`cleanclip2023`: CleanCLIP at its own defaults against the four attacks of its paper, on models from scratch.

Bansal et al., CleanCLIP: Mitigating Data Poisoning Attacks in Multimodal Contrastive Learning, ICCV 2023,
arXiv 2303.03323; github.com/nishadsinghi/CleanCLIP at d6e2f1d. `docs/study.md` says where each number comes from.
Nothing is searched: the paper reports one setting, and the weight of the in-modal term under Blended. Left out:
fine-tuning on labelled images, since CC3M has no labels, and the model of 400 million pairs, whose poison is spread
over 500,000 others.
"""

from __future__ import annotations

from typing import Any

from benchmark.attacks.blended import Blended
from benchmark.attacks.label_consistent import LabelConsistent
from benchmark.attacks.wanet import WaNet
from benchmark.config.spec import Grid, ModelSpec, Suite
from benchmark.datasets.known import CC3M
from benchmark.objectives.mmcl import MMCL
from benchmark.repairs.batch_norm_only import BatchNormOnly
from benchmark.repairs.cleanclip import CleanCLIP
from benchmark.repairs.fine_tuning import FineTuning
from benchmark.types import Training
from suites.study_settings import GATE, READOUTS, TARGET, badnet, imagenet
from suites.verma2025 import CC3M_PAIRS, CLEAN_PAIRS, splits

NUM_POISONS, GPUS = 1_500, 4
SSL_WEIGHTS = (0.5, 2.0, 4.0, 8.0)  # beside the default of 1
DIRTY: dict[str, Any] = {"target": TARGET, "poison_rate": NUM_POISONS / CC3M_PAIRS, "templates": "as_published"}
PATCH: dict[str, Any] = {"size": 16, "pattern": "uniform", "mode": "fresh", "location": "random"}

PRETRAIN = Training(
    epochs=64,
    batch_size=128,
    norm_group=128 // GPUS,
    learning_rate=5e-4,
    warmup_steps=10_000,
    weight_decay=0.1,
)


def suite() -> Suite:
    """The suite. How many pairs of CC3M could be read is not told; it has as many as the later study."""
    blended = Blended(**DIRTY, strength=0.2, pattern="noise", mode="fresh")
    return Suite(
        name="cleanclip2023",
        title="CleanCLIP 2023 on CC3M: four attacks",
        data=CC3M(held_out_window=200_000),
        evaluation=imagenet(),
        splits=splits(CC3M_PAIRS, CLEAN_PAIRS),
        model=ModelSpec(name="RN50"),
        pretrain=PRETRAIN,
        objectives=(MMCL(),),
        attacks=(
            badnet(NUM_POISONS, CC3M_PAIRS),
            blended,
            WaNet(**DIRTY, variant="clip"),
            LabelConsistent(target=TARGET, poison_rate=DIRTY["poison_rate"], variant="as_released", **PATCH),
        ),
        repairs=(
            FineTuning(epochs=10, batch_size=64, learning_rate=1e-5, warmup_steps=50),
            CleanCLIP(epochs=10, batch_size=64, learning_rate=1e-5, warmup_steps=50),
            CleanCLIP(epochs=10, batch_size=64, learning_rate=1e-5, warmup_steps=50, variant="as_released"),
            BatchNormOnly(epochs=10, batch_size=64),
        ),
        gate=GATE,
        readouts=READOUTS,
        seeds=(0, 1, 2),
        also=(
            Grid(
                model=ModelSpec(name="RN50"),
                pretrain=PRETRAIN,
                objectives=(MMCL(),),
                attacks=(blended,),
                repairs=tuple(CleanCLIP(ssl_weight=weight) for weight in SSL_WEIGHTS),
            ),
        ),
    )
