"""`cifar10`: the grid of `smoke` on real photographs; give the folder with `--set data.path=FOLDER`."""

from __future__ import annotations

from benchmark.attacks.badnet import BadNet
from benchmark.attacks.blended import Blended
from benchmark.datasets.known import Cifar10
from benchmark.objectives.mmcl import MMCL
from benchmark.objectives.mmcl_ssl import MMCLSSL
from benchmark.repairs.batch_norm_only import BatchNormOnly
from benchmark.repairs.cleanclip import CleanCLIP
from benchmark.repairs.fine_tuning import FineTuning
from benchmark.spec import ModelSpec, Search, Splits, Suite
from benchmark.types import Range, Training


def suite() -> Suite:
    """The suite: ten classes of photographs, captions through templates."""
    return Suite(
        name="cifar10",
        title="CIFAR-10: the grid on photographs",
        data=Cifar10(),
        splits=Splits(pretrain=17000, clean=1500, validation=1500, test=5000),
        model=ModelSpec(name="tiny-resnet"),
        pretrain=Training(epochs=14, batch_size=128, learning_rate=2e-3, warmup_steps=100),
        objectives=(MMCL(), MMCLSSL()),
        attacks=(
            BadNet(target="bird", poison_rate=0.02, size=5, pattern="checkerboard"),
            Blended(target="truck", poison_rate=0.02, strength=0.3, pattern="stripes"),
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
