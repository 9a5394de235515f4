"""What may befall a remote store: an S3 server on loopback that fails for a while."""

from __future__ import annotations

import signal
import time
from typing import TYPE_CHECKING

import pytest

from tests.chaos.attempt import RAY, Attempt
from tests.chaos.fault import Missed, lines

if TYPE_CHECKING:
    from tests.helpers.s3 import Server

OUTAGE_S = 45.0


def _served(run: Attempt) -> Server:
    from tests.helpers.s3 import BUCKET, serving  # takes seconds to load, which the other faults need not wait for

    patch = pytest.MonkeyPatch()
    run.around.callback(patch.undo)
    run.environment["BACKSTOP_CACHE"] = str(run.folder / "cache")
    run.url = f"s3://{BUCKET}/store"
    return run.around.enter_context(serving(patch))


def outage(run: Attempt, again: int) -> str:
    """A store that answers 503 for 45 s: to a local run, to one on Ray, to one that is killed meanwhile."""
    server = _served(run)
    how, run.how = run.how, (run.how, RAY, run.how)[again]
    process = run.start()
    if not run.grown(process, (3, 8, 6)[again]):
        raise Missed(run.end(process))
    at = run.made()
    server.fault = lambda environ: "503 Slow Down"
    try:
        time.sleep(OUTAGE_S)
        said = run.kill(process, signal.SIGKILL) if again == 2 else ""
    finally:
        server.fault = lambda environ: None
    said += run.end(process) if again < 2 else ""
    run.how = how
    return f"503 for {OUTAGE_S:.0f} s at {at} artifacts; the run: rc {process.returncode}, {lines(said)}"
