"""`cifar10-zoo-vit`: visual prompts on photographs; a tiny transformer, which `cifar10-zoo`'s model is not."""

from __future__ import annotations

from benchmark.attacks.badnet import BadNet
from benchmark.attacks.blended import Blended
from benchmark.datasets.known import Cifar10
from benchmark.objectives.mmcl import MMCL
from benchmark.repairs.cleanclip import CleanCLIP
from benchmark.repairs.fine_tuning import FineTuning
from benchmark.repairs.rvpt import RVPT
from benchmark.spec import Gate, ModelSpec, Splits, Suite
from benchmark.types import Training

TUNING = {"epochs": 5, "learning_rate": 1e-3, "warmup_steps": 10}  # published: 1e-5, 10 epochs


def suite() -> Suite:
    """The suite: attacks and splits of `cifar10-zoo`; prompts at every block, and a control without repulsion."""
    return Suite(
        name="cifar10-zoo-vit",
        title="CIFAR-10 zoo: visual prompts on a transformer",
        data=Cifar10(),
        splits=Splits(pretrain=8000, clean=1000, validation=800, test=2000),
        model=ModelSpec(name="tiny-vit"),
        pretrain=Training(epochs=14, batch_size=128, learning_rate=2e-3, warmup_steps=60),
        objectives=(MMCL(),),
        attacks=(
            BadNet(target="bird", poison_rate=0.02, size=5, pattern="checkerboard"),
            Blended(target="truck", poison_rate=0.02, strength=0.3, pattern="stripes"),
        ),
        repairs=(
            FineTuning(**TUNING),
            CleanCLIP(**TUNING),
            RVPT(depth=0, learning_rate=0.3, epochs=15),  # published: from the fourth of twelve blocks; 2e-3, 50 epochs
            RVPT(depth=0, learning_rate=0.3, epochs=15, alpha=0),
        ),
        gate=Gate(min_asr=0.7, max_accuracy_drop=0.06),
    )
