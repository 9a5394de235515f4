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
        (
            Suite,
            dict(suite()) | {"model": "tiny-vit"},
            "suite.model must be set field by field, got 'tiny-vit'; write s",
        ),
        (
            Suite,
            dict(suite()) | {"pretrain": 3},
            "suite.pretrain must be set field by field, got 3; write suite.pretrain.",
        ),
        (Suite, dict(suite()) | {"seeds": 0}, "suite.seeds must be a list, as [0, 1], got 0; change it"),
        (Suite, dict(suite()) | {"seeds": []}, "suite.seeds must be a list of 1 or more, got []; change it"),
        (Suite, dict(suite()) | {"data": 3}, "suite.data: dataset must be NAME, NAME:FIELD=VALUE,… or {name, fields},"),
        (Suite, dict(suite()) | {"attacks": ["badnt"]}, "suite.attacks.0: unknown attack 'badnt'; did you mean badnet"),
        (
            Suite,
            dict(suite()) | {"attacks": ["badnet"]},
            "suite.attacks.0: badnet:target must be given; write badnet:t",
        ),
        (Suite, dict(suite()) | {"repairs": [{"nam": 1}]}, "suite.repairs.0: repair must be written with its name"),
        (Shapes, {"min_size": 0.9, "max_size": 0.5}, "suite must be of min_size at most max_size"),
    ],
)
def test_bad_fields_are_one_line(model: Any, fields: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError) as caught:
        validated(model, fields, place="suite")
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


def test_unknown_fields_inside_are_found_in_their_own_model() -> None:
    with pytest.raises(UserError, match=r"small\.pretrain: unknown field 'epoch'; did you mean epochs"):
        validated(Suite, {**dict(suite()), "pretrain": {"epoch": 3}}, place="small")
