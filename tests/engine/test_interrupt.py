"""An interrupt that something swallowed is raised again, and the handler of before comes back."""

from __future__ import annotations

import contextlib
import os
import signal

import pytest

from benchmark.engine.interrupt import Interrupt

pytestmark = pytest.mark.unit


def test_a_swallowed_interrupt_is_raised_at_the_next_check() -> None:
    with Interrupt() as interrupt:
        interrupt.check()
        with contextlib.suppress(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            interrupt.check()


def test_the_handler_of_before_comes_back() -> None:
    before = signal.getsignal(signal.SIGINT)
    with Interrupt():
        assert signal.getsignal(signal.SIGINT) != before
    assert signal.getsignal(signal.SIGINT) == before
