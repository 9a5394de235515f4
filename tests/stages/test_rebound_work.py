"""One fine-tuning, looked at on its way."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from benchmark.models.clip import ClipModel
from benchmark.stages.rebounds import Trajectory
from benchmark.stages.work.rebound import fine_tune
from benchmark.training.loop import LoopOptions
from tests.helpers.tiny import differing, model, pairs, tensors

pytestmark = pytest.mark.unit
State = dict[str, torch.Tensor]


def seen(
    start: ClipModel, steps: tuple[int, ...], *, micro_batch: int | None = None, **fields: Any
) -> dict[int, State]:
    """The weights at each step."""
    looks: dict[int, State] = {}
    given = {"batch_size": 16, "rows": None, "without_target": True, "scope": "full", "learning_rate": 1e-3} | fields
    trajectory = Trajectory(steps=steps, **given)
    options = LoopOptions(micro_batch=micro_batch)

    def look(step: int, now: ClipModel) -> None:
        with torch.inference_mode():  # as an evaluation does, which leaves the training alone
            now.encode_images(torch.zeros(2, 3, 32, 32))
        looks[step] = tensors(now)

    assert fine_tune(start, pairs(), trajectory, look, seed=7, options=options) == ""
    return looks


@pytest.mark.parametrize("scope", ["full", "projection"])
def test_a_trajectory_is_equal_to_the_bit_when_it_is_run_again(scope: str) -> None:
    start = model("tiny-vit")
    before = tensors(start)
    first, second = (seen(start, (0, 2, 5), scope=scope) for _ in range(2))
    assert list(first) == [0, 2, 5]
    assert differing(first[0], before) == []
    assert differing(first[2], first[0]) and differing(first[5], first[2])
    assert all(differing(first[step], second[step]) == [] for step in first)
    assert differing(tensors(start), before) == []  # the model that is given stays what it is


def test_fewer_steps_are_the_beginning_of_more() -> None:
    """So that what is looked at, and how often, is no part of what is trained; an epoch has three steps."""
    start = model("tiny-vit")
    long, short = seen(start, (0, 1, 4, 7)), seen(start, (0, 4))
    assert differing(long[4], short[4]) == []


def test_statistics_are_re_estimated_unless_projections_alone_move() -> None:
    start = model("tiny-resnet")
    norms = [name for name in tensors(start) if "running_" in name]
    for scope, moved in (("full", norms), ("projection", [])):
        looks = seen(start, (0, 2), scope=scope)
        assert [name for name in differing(looks[0], looks[2]) if name in norms] == moved


def test_micro_batches_change_no_more_than_rounding() -> None:
    start = model("tiny-vit")
    whole, parts = (seen(start, (0, 3), micro_batch=size)[3] for size in (None, 8))
    # AdamW's first steps are as long for a gradient of rounding as for a true one, so that weights say little
    assert torch.allclose(whole["visual.proj"], parts["visual.proj"], atol=2e-3)
    assert any(not torch.equal(whole[name], value) for name, value in tensors(start).items())


def test_a_rate_that_breaks_the_weights_ends_the_trajectory_where_it_was() -> None:
    looks: list[int] = []
    trajectory = Trajectory(
        steps=(0, 1, 6), batch_size=16, rows=None, without_target=True, scope="full", learning_rate=1e38
    )
    options = LoopOptions()
    told = fine_tune(
        model("tiny-vit"), pairs(), trajectory, lambda step, _: looks.append(step), seed=0, options=options
    )
    assert "lower the learning rate" in told
    assert looks[0] == 0 and 6 not in looks
