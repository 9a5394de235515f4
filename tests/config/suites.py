"""A suite of two objectives, three attacks and two repairs, for the tests of this folder."""

from __future__ import annotations

from benchmark.attacks.badnet import BadNet
from benchmark.attacks.blended import Blended
from benchmark.config.spec import Suite
from benchmark.datasets.shapes.dataset import Shapes
from benchmark.objectives.mmcl import MMCL
from benchmark.objectives.mmcl_ssl import MMCLSSL
from benchmark.repairs.cleanclip import CleanCLIP
from benchmark.repairs.fine_tuning import FineTuning
from benchmark.types import Range


def suite() -> Suite:
    return Suite(
        name="small",
        data=Shapes(),
        objectives=(MMCL(), MMCLSSL()),
        attacks=(BadNet(target="ring"), BadNet(target="star", size=4), Blended(target="star")),
        repairs=(FineTuning(), CleanCLIP()),
        searched=frozenset({"cleanclip"}),
        spaces={"cleanclip": {"learning_rate": Range(1e-4, 1e-2, True)}},
        seeds=(0, 1),
    )
