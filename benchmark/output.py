"""What a command prints for programs: with `--json`, one document on stdout and nothing beside it."""

from __future__ import annotations

import io
import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from typing import Any, TextIO


class _Beside(io.TextIOBase):
    """Stands for stdout and sends what methods and libraries print there to stderr."""

    def __init__(self, document: TextIO) -> None:
        self.document = document

    def write(self, text: str, /) -> int:
        return sys.stderr.write(text)

    def flush(self) -> None:
        sys.stderr.flush()


@contextmanager
def document_alone() -> Iterator[None]:
    """While a command runs with `--json`: only `print_json` reaches stdout."""
    with _kept(sys.stdout) as document, redirect_stdout(_Beside(document)):
        yield


@contextmanager
def _kept(stdout: TextIO) -> Iterator[TextIO]:
    """A stream to where stdout leads; its descriptor leads to stderr meanwhile, since not all that prints is Python."""
    if stdout is not sys.__stdout__:  # a test's, which no descriptor stands behind
        yield stdout
        return
    stdout.flush()
    number = stdout.fileno()
    with open(os.dup(number), "w", encoding=stdout.encoding) as document:
        os.dup2(sys.stderr.fileno(), number)
        try:
            yield document
        finally:
            document.flush()
            os.dup2(document.fileno(), number)


def print_json(value: Any, *, indent: int | None = 1) -> None:
    """Prints a command's document."""
    print(json.dumps(value, indent=indent), file=getattr(sys.stdout, "document", sys.stdout))
