"""`kinds-vit`: visual prompts, which `kinds` cannot show on a convolutional model; a tiny transformer, in miniature."""

from __future__ import annotations

from benchmark.attacks.badnet import BadNet
from benchmark.datasets.shapes import Shapes
from benchmark.objectives.mmcl import MMCL
from benchmark.repairs.cleanclip import CleanCLIP
from benchmark.repairs.invertune import InverTune
from benchmark.repairs.rvpt import RVPT
from benchmark.spec import Gate, ModelSpec, Readouts, Splits, Suite
from benchmark.types import Training


def suite() -> Suite:
    """The suite: prompts of the second block, beside a repair that moves the weights."""
    return Suite(
        name="kinds-vit",
        title="Kinds on a transformer, in miniature",
        data=Shapes(num_rows=1300),
        splits=Splits(pretrain=800, clean=200, validation=120, test=160),
        model=ModelSpec(name="tiny-vit"),
        pretrain=Training(epochs=3, batch_size=64, learning_rate=2e-3, warmup_steps=5),
        objectives=(MMCL(),),
        attacks=(BadNet(target="ring", poison_rate=0.05, size=5, pattern="checkerboard"),),
        repairs=(
            CleanCLIP(epochs=1, learning_rate=1e-3, warmup_steps=2),
            InverTune(patch_steps=5, inversion_steps=5, epochs=20),
            RVPT(depth=1, num_tokens=4, num_shots=4, epochs=2),
        ),
        gate=Gate(min_asr=0.0, max_accuracy_drop=1.0),
        readouts=Readouts(retrieval_pairs=100),
    )
