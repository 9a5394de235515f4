"""`cifar10`: the grid of `smoke` on real photographs; give the folder with `--set data.path=FOLDER`."""

from __future__ import annotations

from benchmark.attacks.badnet import BadNet
from benchmark.attacks.blended import Blended
from benchmark.config.spec import Splits, Suite
from benchmark.datasets.known import Cifar10
from benchmark.types import Training
from suites.tiny_grid import tiny_grid


def suite() -> Suite:
    """The suite: ten classes of photographs, captions through templates."""
    return tiny_grid(
        name="cifar10",
        title="CIFAR-10: the grid on photographs",
        data=Cifar10(),
        splits=Splits(pretrain=17000, clean=1500, validation=1500, test=5000),
        pretrain=Training(epochs=14, batch_size=128, learning_rate=2e-3, warmup_steps=100),
        attacks=(
            BadNet(target="bird", poison_rate=0.02, size=5, pattern="checkerboard"),
            Blended(target="truck", poison_rate=0.02, strength=0.3, pattern="stripes"),
        ),
        trials=32,  # a quarter of the grid of docs/search.md
    )
