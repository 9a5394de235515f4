"""The command as a user runs it, in this process."""

from __future__ import annotations

import sys
from collections.abc import Callable

import pytest

from benchmark.cli import app

Call = Callable[..., tuple[int, str, str]]


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Call:
    """Exit code, stdout and stderr of one command, which never ends in a traceback."""

    def run(*words: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["backstop", *words])
        with pytest.raises(SystemExit) as end:
            app.main()
        printed = capsys.readouterr()
        assert "Traceback" not in printed.err
        return int(end.value.code or 0), printed.out, printed.err

    return run
