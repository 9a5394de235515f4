"""What documents at a store's root must be like for those who read them: a store may be damaged, or a stranger's."""

from __future__ import annotations

from typing import Annotated, Any, NotRequired

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError, with_config
from typing_extensions import TypedDict

from benchmark.store.manifest import first_mistake
from benchmark.store.roots import parse_json

_OPEN = ConfigDict(extra="allow")


@with_config(_OPEN)
class SuiteCell(TypedDict):
    """A cell that a suite's document lists; see `engine/document.py`."""

    record: str
    nodes: NotRequired[list[Annotated[list[str], Field(min_length=2, max_length=2)]]]  # stage, key
    objective: str
    attack: str
    repair: str
    seed: int


@with_config(_OPEN)
class SuiteDocument(TypedDict):
    """`suites/NAME.json`."""

    suite: str
    specification: NotRequired[dict[str, Any]]
    protocol: NotRequired[dict[str, Any]]
    environment: NotRequired[dict[str, Any]]
    methods: NotRequired[dict[str, dict[str, dict[str, Any]]]]
    cells: list[SuiteCell]


@with_config(_OPEN)
class JournalDocument(TypedDict):
    """`runs/SUITE.RUN.json`; see `engine/journal.py`."""

    updated: float
    ended: bool
    host: str
    process: Annotated[int, Field(gt=0, lt=2**31)]
    running: list[Annotated[list[str], Field(min_length=3, max_length=3)]]  # stage, key, label
    failed: list[Annotated[list[str], Field(min_length=4, max_length=4)]]  # stage, key, status, reason


_FORMS: dict[str, TypeAdapter[Any]] = {"suites": TypeAdapter(SuiteDocument), "runs": TypeAdapter(JournalDocument)}


def parse_document(name: str, data: bytes) -> Any:
    """Reads a document.

    Args:
        name: with its folder, from the root.
        data: what stands there.

    Raises:
        ValueError: it is not JSON, or not of the form of its folder; the text is one line.
    """
    form = _FORMS.get(name.partition("/")[0])
    try:
        return parse_json(data) if form is None else form.validate_json(data)
    except ValidationError as error:
        raise ValueError(first_mistake(error)) from None
