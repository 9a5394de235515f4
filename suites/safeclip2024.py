"""`safeclip2024`: SafeCLIP against a backdoor in a million pairs, beside plain CLIP and RoCLIP under the same recipe.

Yang, Gao, Mirzasoleiman, Better Safe than Sorry, ICML 2024, arXiv 2310.05862; github.com/BigML-CS-UCLA/SafeCLIP at
91488ce. `docs/study.md` says where each number comes from; how many pairs are poisoned, and with which trigger, is not
in the released code. Left out: targeted poisoning, whose victims are labelled images among the pairs; CC3M has none.
"""

from __future__ import annotations

from benchmark.attacks.blended import Blended
from benchmark.config.spec import ModelSpec, Suite
from benchmark.datasets.known import CC3M
from benchmark.objectives.mmcl import MMCL
from benchmark.objectives.roclip import RoCLIP
from benchmark.objectives.safeclip import SafeCLIP
from benchmark.types import Training
from suites.study_settings import GATE, READOUTS, imagenet
from suites.verma2025 import splits

NUM_PAIRS, NUM_POISONS = 1_000_000, 90


def suite() -> Suite:
    """The suite: no repair, since the objective is the defense; so there is hardly a clean split."""
    return Suite(
        name="safeclip2024",
        title="SafeCLIP 2024 on a million pairs of CC3M",
        data=CC3M(held_out_window=200_000),
        evaluation=imagenet(),
        splits=splits(NUM_PAIRS, 1_000),
        model=ModelSpec(name="RN50"),
        pretrain=Training(epochs=32, batch_size=128, learning_rate=5e-4, warmup_steps=10_000, weight_decay=0.1),
        objectives=(
            MMCL(),
            RoCLIP(),
            SafeCLIP(unimodal_epochs=5, slow_epochs=1, slow_learning_rate=5e-6, bank_size=256),
            SafeCLIP(unimodal_epochs=5, slow_epochs=1, slow_learning_rate=5e-6, bank_size=256, variant="as_released"),
        ),
        attacks=(
            Blended(
                target="mushroom",
                poison_rate=NUM_POISONS / NUM_PAIRS,
                templates="as_published",
                strength=0.2,
                mode="fresh",
            ),
        ),
        gate=GATE,
        readouts=READOUTS,
        seeds=(0, 1, 2),
    )
