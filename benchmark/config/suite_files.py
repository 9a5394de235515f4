"""A suite from a file: JSON as `backstop show` writes it, or Python with a function `suite` or a value `SUITE`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, cast

from pydantic import ValidationError

from benchmark.config.plugins import Plugin, defines_suite, load_module, load_plugin, read_source
from benchmark.config.spec import Suite
from benchmark.errors import CRASHES, UserError, reason_of
from benchmark.validation import one_line

SUFFIXES = (".json", ".py")


def read_document(path: str) -> dict[str, Any]:
    """Reads a suite's JSON; `Suite.from_dict` makes the suite of it.

    Raises:
        UserError: no such file, or not a JSON object.
    """
    text = _text(path)
    try:
        written = json.loads(text)
    except ValueError as error:
        where = f" at line {error.lineno}, column {error.colno}" if isinstance(error, json.JSONDecodeError) else ""
        what = error.msg if isinstance(error, json.JSONDecodeError) else str(error)
        raise UserError(f"suite {path} must be JSON, got {what}{where}; mend it there") from None
    if not isinstance(written, dict):
        raise UserError(
            f"suite {path} must be a JSON object, got a {type(written).__name__}; see `backstop show smoke`"
        )
    return cast("dict[str, Any]", written)


def read_python(path: str) -> tuple[Suite, Plugin]:
    """Runs a Python file that holds a suite; methods that it defines are a plugin's, by the file's hash.

    Raises:
        UserError: no such file, it does not run, or it holds no suite.
    """
    plugin = Plugin(Path(path).stem, _text(path))
    module = load_module(plugin)
    if not defines_suite(module):
        raise UserError(f"suite {path} must define a function suite() or a value SUITE, got neither; add one")
    load_plugin(plugin)
    try:
        found = module.suite() if hasattr(module, "suite") else module.SUITE
    except ValidationError as error:
        raise UserError(one_line(error, f"suite {path}: {error.title}", remedy="mend the file")) from None
    except UserError as error:
        raise UserError(f"suite {path}: {error}") from None
    except CRASHES as error:
        raise UserError(f"suite {path}: {reason_of(error)}; mend the file") from error
    if not isinstance(found, Suite):
        raise UserError(f"suite {path} must be a benchmark.config.spec.Suite, got a {type(found).__name__}")
    return found, plugin


def _text(path: str) -> str:
    if not Path(path).is_file():
        raise UserError(
            f"suite {path} must be a file, got none there; give the path of one, or a name without a suffix"
        )
    return read_source(Path(path))
