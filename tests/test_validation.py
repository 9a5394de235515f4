"""A wrong field is one line that names place, rule, value and remedy."""

from __future__ import annotations

from typing import Any

import pytest

from benchmark.attacks.badnet import BadNet
from benchmark.config.spec import ModelSpec, Suite
from benchmark.datasets.shapes.dataset import Shapes
from benchmark.errors import UserError
from benchmark.types import Training
from benchmark.validation import validated
from tests.config.suites import suite

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(
    ("model", "fields", "message"),
    [
        (Training, {"epochs": -1}, "suite.epochs must be greater than or equal to 0, got -1; "),
        (Training, {"learning_rate": float("nan")}, "suite.learning_rate must be "),
        (Training, {"batchsize": 8}, "suite: unknown field 'batchsize'; did you mean batch_size or"),
        (Training, {"zzz": 8}, "suite: unknown field 'zzz'; known: batch_size, beta1, beta2"),
        (BadNet, {}, "suite.target must be given; set it with --set or in the suite"),
        (BadNet, {"target": ""}, "suite.target must be text that should have at least 1 character, got ''"),
        (
            ModelSpec,
            {"pretrained": "openai", "weights": "w.safetensors"},
            "suite must be given one start at most: pretrained, weights or start_from",
        ),
        (Shapes, {"min_size": 0.9, "max_size": 0.5}, "suite must be of min_size at most max_size"),
    ],
)
def test_bad_fields_are_one_line(model: Any, fields: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError) as caught:
        validated(model, fields, place="suite")
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


def test_unknown_fields_inside_are_found_in_their_own_model() -> None:
    with pytest.raises(UserError, match="small: unknown field 'epoch'; did you mean epochs"):
        validated(Suite, {**dict(suite()), "pretrain": {"epoch": 3}}, place="small")
