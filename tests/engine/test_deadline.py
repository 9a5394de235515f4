"""What hangs under `--local` is ended at its deadline, whatever it does with exceptions."""

from __future__ import annotations

import contextlib
import signal
import threading
import time

import pytest

from benchmark.engine import deadline as module
from benchmark.engine.deadline import deadline

pytestmark = pytest.mark.unit


def timer() -> float:
    """Seconds until the process is told; pytest's own limit of a test is such a timer."""
    return signal.getitimer(signal.ITIMER_REAL)[0]


def test_what_takes_longer_is_ended_and_says_so() -> None:
    with pytest.raises(TimeoutError, match=r"no result within 0\.05 s"), deadline(0.05):
        time.sleep(10)


def test_what_is_in_time_is_left_alone_and_so_is_a_timer_that_was_set_before() -> None:
    handler, left = signal.getsignal(signal.SIGALRM), timer()
    with deadline(3600):
        assert timer() > 3000
    assert signal.getsignal(signal.SIGALRM) == handler
    assert left - 5 <= timer() <= left


def test_code_that_swallows_it_is_told_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "AGAIN_S", 0.05)
    swallowed = 0

    def work() -> None:
        nonlocal swallowed
        with contextlib.suppress(Exception):
            time.sleep(10)
        swallowed += 1
        time.sleep(10)

    with pytest.raises(TimeoutError), deadline(0.05):
        work()
    assert swallowed == 1


def test_without_a_limit_or_in_another_thread_nothing_is_set() -> None:
    before, set_by = timer(), list[float]()

    def look(seconds: float | None) -> None:
        with deadline(seconds):
            set_by.append(timer())

    look(None)
    thread = threading.Thread(target=look, args=(3600.0,))
    thread.start()
    thread.join()
    assert len(set_by) == 2
    assert max(set_by) <= before
