"""What the options of `backstop audit` name: data fields and methods. Nothing heavy is imported."""

from __future__ import annotations

from collections.abc import Sequence

from benchmark.config import registry
from benchmark.config.notation import assignment
from benchmark.errors import UserError
from benchmark.types import Method


def assigned(texts: Sequence[str], option: str) -> dict[str, str]:
    """FIELD=VALUE, several times.

    Raises:
        UserError: one of them is not.
    """
    return dict(assignment(text, option, example="image=img") for text in texts)


def method(kind: str, text: str) -> Method:
    """Builds `NAME[:FIELD=VALUE,…]` of `--detector` or `--repair`.

    Raises:
        UserError: an unknown name or field, a bad value, or a detector of something else than models.
    """
    found = registry.from_text(kind, text, option=f"--{kind} ")
    if kind == "detector" and getattr(found, "unit", "") != "model":
        raise UserError(
            f"--detector {found.name} must be a detector of models, got one of {getattr(found, 'unit', 'other')}s; "
            f"choose {' or '.join(model_detectors())}"
        )
    return found


def model_detectors() -> list[str]:
    """Names of the detectors that judge a model as a whole."""
    return [
        name for name in registry.names("detector") if getattr(registry.method("detector", name), "unit", "") == "model"
    ]
