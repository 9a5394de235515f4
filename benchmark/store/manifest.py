"""A manifest: which attempt of an artifact stands, the hashes and sizes of its files, and what the stage wrote of it."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, NonNegativeInt, ValidationError

_BARE = re.compile(r"(?!\.\.?\Z)(?!.:)[^/\\\0]+", re.DOTALL)  # no `.` or `..`, no drive, no separator


def bare_name(name: str) -> str:
    """Returns a name that stays inside the folder it is joined to, on any system.

    Raises:
        ValueError: it is empty, absolute, `.` or `..`, or has a separator, a drive or a NUL in it.
    """
    if not _BARE.fullmatch(name):
        raise ValueError(f"must be a bare name, got {name!r}")
    return name


Name = Annotated[str, AfterValidator(bare_name)]
Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]


class Manifest(BaseModel):
    """What `manifest.json` holds. It may come from a stranger's store, so nothing in it is believed unchecked."""

    model_config = ConfigDict(frozen=True, strict=True)

    attempt: Name  # the folder with the files
    files: dict[Name, Sha256]
    sizes: dict[Name, NonNegativeInt] = {}  # bytes; manifests written before there were sizes have none
    facts: dict[str, Any]

    def without(self, names: Iterable[str]) -> Manifest:
        """The same attempt without some of its files."""
        left_out = set(names)
        files = {name: value for name, value in self.files.items() if name not in left_out}
        sizes = {name: value for name, value in self.sizes.items() if name not in left_out}
        return self.model_copy(update={"files": files, "sizes": sizes})


def parse_manifest(text: bytes) -> Manifest:
    """Reads a manifest.

    Raises:
        ValueError: it is not JSON, or not of this form; the text is one line.
    """
    try:
        return Manifest.model_validate_json(text)
    except ValidationError as error:
        raise ValueError(first_mistake(error)) from None


def first_mistake(error: ValidationError) -> str:
    """The first thing that is wrong with a document of a store, in one line."""
    first = error.errors()[0]
    place = ".".join(str(part) for part in first["loc"] if part != "[key]")
    said = first["msg"].removeprefix("Value error, ")
    return f"{place}: {said}" if place else said
