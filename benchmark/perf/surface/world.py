"""The world of the surface: which models, which attack, which grid of CleanCLIP's two hyper-parameters.

The attack is the study's (arXiv 2311.14948, section 4: a patch of fresh noise at a random place), larger and more often
than there, so that it plants in a model of half a million weights under both objectives.
"""

from __future__ import annotations

import math
from functools import cache
from itertools import product

from benchmark.attacks.badnet import BadNet
from benchmark.config.spec import Gate, ModelSpec, Splits, Suite
from benchmark.datasets.shapes.dataset import Shapes
from benchmark.objectives.mmcl import MMCL
from benchmark.objectives.mmcl_ssl import MMCLSSL
from benchmark.repairs.cleanclip import CleanCLIP
from benchmark.types import Training

EPOCHS = 8
LEARNING_RATES, LOWEST_RATE, HIGHEST_RATE = 16, 3e-4, 2e-2
SSL_WEIGHTS, LOWEST_WEIGHT, HIGHEST_WEIGHT = 8, 0.5, 8.0
_DIGITS = 4  # significant, so that a value is the same wherever it is computed


def suite() -> Suite:
    """The models and the attack; the repair stands at a point of the grid."""
    return Suite(
        name="surface",
        title="The models whose repair is searched on a surface",
        data=Shapes(num_rows=8000),
        splits=Splits(pretrain=5000, clean=250, validation=600, test=1200),
        model=ModelSpec(name="tiny-resnet"),
        pretrain=Training(epochs=20, batch_size=128, learning_rate=2e-3, warmup_steps=40),
        objectives=(MMCL(), MMCLSSL()),
        attacks=(BadNet(target="ring", poison_rate=0.2, size=16, pattern="uniform", mode="fresh", location="random"),),
        repairs=(CleanCLIP(epochs=EPOCHS, learning_rate=rates()[0], ssl_weight=weights()[0], warmup_steps=5),),
        gate=Gate(min_asr=0.95),
        seeds=(0, 1),
    )


@cache
def rates() -> tuple[float, ...]:
    """The learning rates, evenly apart in the logarithm."""
    return _spread(LOWEST_RATE, HIGHEST_RATE, LEARNING_RATES)


@cache
def weights() -> tuple[float, ...]:
    """The weights of the self-supervised term, evenly apart in the logarithm."""
    return _spread(LOWEST_WEIGHT, HIGHEST_WEIGHT, SSL_WEIGHTS)


def grid() -> list[tuple[float, float]]:
    """Every (learning rate, SSL weight); the weight changes fastest. A point's place is its number in the table."""
    return list(product(rates(), weights()))


def _spread(low: float, high: float, count: int) -> tuple[float, ...]:
    step = math.log(high / low) / (count - 1)
    return tuple(float(f"{low * math.exp(i * step):.{_DIGITS}g}") for i in range(count))
