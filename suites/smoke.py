"""`smoke`: the whole grid in minutes on two CPU cores, on drawn images. It needs no download and no GPU."""

from __future__ import annotations

from benchmark.attacks.badnet import BadNet
from benchmark.attacks.blended import Blended
from benchmark.config.spec import Splits, Suite
from benchmark.datasets.shapes.dataset import Shapes
from benchmark.types import Training
from suites.tiny_grid import tiny_grid


def suite() -> Suite:
    """The suite: ten classes of drawn shapes, captions through templates."""
    return tiny_grid(
        name="smoke",
        title="Smoke: the grid on drawn shapes",
        data=Shapes(num_rows=7800),
        splits=Splits(pretrain=5000, clean=1000, validation=600, test=1200),
        pretrain=Training(epochs=13, batch_size=128, learning_rate=2e-3, warmup_steps=40),
        attacks=(
            BadNet(target="ring", poison_rate=0.035, size=5, pattern="checkerboard"),
            Blended(target="star", poison_rate=0.04, strength=0.25, pattern="stripes"),
        ),
        trials=16,  # a demo must not take longer; with 8 the gap of front areas scatters three times as much
    )
