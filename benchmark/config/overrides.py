"""`--set` and `--add`: a suite with some of its fields changed, and with methods added to its grid."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NoReturn, cast, get_args

from pydantic import BaseModel

from benchmark.config import registry
from benchmark.config.notation import assignment, literal
from benchmark.config.spec import Suite
from benchmark.errors import UserError, must, unknown
from benchmark.types import Method, Metric
from benchmark.validation import validated

GRID = {"attack": "attacks", "repair": "repairs", "detector": "detectors", "objective": "objectives"}
KINDS = (*GRID, "metric")  # what may be added
_ALIASES = {"defense": "repair", "defence": "repair"}


def override(suite: Suite, assignments: Mapping[str, str]) -> Suite:
    """Applies `--set path=value` to a suite: `pretrain.epochs=3`, `data.path=FOLDER`, `attacks.badnet.size=4`.

    Parts of tuples are named by the method's name (all of that name) or by position. Values are JSON where they
    parse as JSON, else text.

    Raises:
        UserError: an unknown path or a bad value.
    """
    for path, text in assignments.items():
        suite = _set(suite, path.split("."), literal(text), place="--set " + path)
    return suite


def _set(node: Any, path: list[str], value: Any, *, place: str) -> Any:
    head, rest = path[0], path[1:]
    if isinstance(node, tuple):
        parts = cast("tuple[Any, ...]", node)
        hits = [i for i, item in enumerate(parts) if getattr(item, "name", None) == head or str(i) == head]
        if not hits or not rest:
            entries = {getattr(item, "name", None) or str(i) for i, item in enumerate(parts)}
            raise UserError(f"{place}: {unknown('entry', head, entries)}")
        return tuple(_set(item, rest, value, place=place) if i in hits else item for i, item in enumerate(parts))
    if isinstance(node, dict):
        named = cast("dict[str, Any]", node)
        return named | {head: _set(named.get(head, {}), rest, value, place=place) if rest else value}
    if not isinstance(node, BaseModel):
        raise UserError(f"{place}: {head!r} has no parts; drop it from the path")
    if head not in type(node).model_fields:
        raise UserError(f"{place}: {unknown('field', head, type(node).model_fields)}")
    fields = {name: getattr(node, name) for name in type(node).model_fields}
    part = _begun(type(node), head) if fields[head] is None else fields[head]
    fields[head] = _set(part, rest, value, place=place) if rest else value
    return validated(type(node), fields, place=place)


def _begun(owner: type[BaseModel], field: str) -> BaseModel | None:
    """An optional part that a suite leaves out, at its defaults; None for what must be named, or has no parts."""
    kinds = [kind for kind in get_args(owner.model_fields[field].annotation) if isinstance(kind, type)]
    return next((kind() for kind in kinds if issubclass(kind, BaseModel) and not issubclass(kind, Method)), None)


def add(suite: Suite, text: str) -> Suite:
    """Adds what `--add KIND=NAME[:FIELD=VALUE,…]` names to the suite's own grid, or a metric to what is measured.

    Raises:
        UserError: an unknown kind, name or field, a bad value, or what adds nothing.
    """
    example = " or ".join(f"--add {each}={text}" for each in KINDS if text.partition(":")[0] in registry.names(each))
    form = {"form": "KIND=NAME[:FIELD=VALUE,…]", "example": example or "--add repair=par"}
    kind, named = assignment(text, "--add", **form)
    if ":" in kind:  # the first equals sign is one of a field's: the kind is missing
        raise must("--add", form["form"], text, f"e.g. {form['example']}")
    kind = _ALIASES.get(kind, kind)
    if kind not in KINDS:
        _refuse(kind, text)
    method = registry.from_text(kind, named, option=f"--add {kind}=")
    if isinstance(method, Metric):
        return _with_metric(suite, method, text)
    grown = suite.model_copy(update={GRID[kind]: (*getattr(suite, GRID[kind]), method)})
    if len(grown.experiments()) == len(suite.experiments()):
        raise UserError(
            f"--add {text} must make a cell, got none; suite {suite.name} has it already, or defends none of its models"
        )
    return grown


def _with_metric(suite: Suite, metric: Metric, text: str) -> Suite:
    """The suite with a metric more, which needs no cell of its own."""
    if metric in suite.metrics or (registry.shipped(type(metric)) and metric == type(metric)()):
        raise UserError(f"--add {text} must add a metric, got one that suite {suite.name} has already; leave it out")
    return suite.model_copy(update={"metrics": (*suite.metrics, metric)})


def _refuse(kind: str, text: str) -> NoReturn:
    """Says what can be added, and how the data is chosen: a suite has one data set, which is replaced."""
    if kind in ("data", "dataset", "evaluation"):
        field = "evaluation" if kind == "evaluation" else "data"
        raise must(
            "--add", f"KIND=NAME with a KIND of {', '.join(KINDS)}", text, f"a suite has one: --set {field}=NAME"
        )
    raise UserError(f"--add {text}: {unknown('kind', kind, [*KINDS, 'defense'])}")
