"""A deadline for what runs in this process: `--local` has no other process that could end it."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from benchmark.config.time_limits import too_long

AGAIN_S = 5.0  # code of others may swallow an exception: it is told again


@contextmanager
def deadline(seconds: float | None) -> Iterator[None]:
    """Raises TimeoutError in what runs after so many seconds; None never does, nor anywhere but in the main thread.

    Code that does not come back to Python, as a call into a library that hangs, is not interrupted before it does.
    """
    if seconds is None or threading.current_thread() is not threading.main_thread():
        yield
        return

    def end(number: int, frame: FrameType | None) -> None:
        raise TimeoutError(too_long(seconds))

    began = time.monotonic()
    handler = signal.signal(signal.SIGALRM, end)
    left, interval = signal.setitimer(signal.ITIMER_REAL, seconds, AGAIN_S)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0.0)
        signal.signal(signal.SIGALRM, handler)
        if left:  # somebody else's, who is told late rather than never
            signal.setitimer(signal.ITIMER_REAL, max(0.001, left - (time.monotonic() - began)), interval)
