"""`smoke`: the whole grid in minutes on two CPU cores, on drawn images. It needs no download and no GPU."""

from __future__ import annotations

from benchmark.attacks.badnet import BadNet
from benchmark.attacks.blended import Blended
from benchmark.datasets.shapes import Shapes
from benchmark.objectives.mmcl import MMCL
from benchmark.objectives.mmcl_ssl import MMCLSSL
from benchmark.repairs.batch_norm_only import BatchNormOnly
from benchmark.repairs.cleanclip import CleanCLIP
from benchmark.repairs.fine_tuning import FineTuning
from benchmark.spec import ModelSpec, Search, Splits, Suite
from benchmark.types import Range, Training


def suite() -> Suite:
    """The suite; learning rates and budgets are adapted to a model of half a million weights."""
    return Suite(
        name="smoke",
        title="Smoke: the grid on drawn shapes",
        data=Shapes(num_rows=7800),
        splits=Splits(pretrain=5000, clean=1000, validation=600, test=1200),
        model=ModelSpec(name="tiny-resnet"),
        pretrain=Training(epochs=13, batch_size=128, learning_rate=2e-3, warmup_steps=40),
        objectives=(MMCL(), MMCLSSL()),
        attacks=(
            BadNet(target="ring", poison_rate=0.035, size=5, pattern="checkerboard"),
            Blended(target="star", poison_rate=0.04, strength=0.25, pattern="stripes"),
        ),
        repairs=(
            FineTuning(epochs=5, learning_rate=1e-3, warmup_steps=10),
            BatchNormOnly(epochs=5),
            CleanCLIP(epochs=5, learning_rate=1e-3, warmup_steps=10),
        ),
        searched=frozenset({"cleanclip"}),
        search=Search(trials=8, quasi_random=4, round_size=2, startup_trials=4),
        spaces={"cleanclip": {"learning_rate": Range(3e-4, 1e-2, log=True)}},
    )
