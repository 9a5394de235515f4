"""The S3 server of the benches, for a test."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from benchmark.perf.s3_server import BUCKET, Server, forget_clients, running

__all__ = ["BUCKET", "Server", "forget_clients", "serving"]


@contextmanager
def serving(patch: pytest.MonkeyPatch) -> Iterator[Server]:
    """Runs a server, to which all S3 clients of this process and of those that it starts go."""
    with running() as server:
        for name, value in server.settings.items():
            patch.setenv(name, value)
        yield server
