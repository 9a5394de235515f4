"""An interrupt that something swallowed is raised again, and the handler of before comes back."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from benchmark.config.compute_options import ComputeOptions
from benchmark.engine.interrupt import SIGNALS, Interrupt
from benchmark.engine.local import LocalExecutor
from benchmark.engine.monitor import Monitor
from benchmark.stages.common import Compute
from benchmark.store.artifacts import Store

pytestmark = pytest.mark.unit


@pytest.fixture(autouse=True)
def nothing_is_ignored() -> Iterator[None]:
    """The tests themselves may run under `nohup`."""
    before = {number: signal.signal(number, signal.default_int_handler) for number in SIGNALS}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", SIGNALS)
def test_a_swallowed_interrupt_is_raised_at_the_next_check(number: signal.Signals, tmp_path: Path) -> None:
    with Interrupt() as interrupt:
        interrupt.check()
        with contextlib.suppress(KeyboardInterrupt):
            os.kill(os.getpid(), number)
        executor = LocalExecutor(Store(tmp_path), Monitor(quiet=True), Compute(), check=interrupt.check)
        for look in (interrupt.check, executor.ended):
            with pytest.raises(KeyboardInterrupt):
                look()


@pytest.mark.parametrize("number", SIGNALS)
def test_the_handler_of_before_comes_back(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    with Interrupt() as interrupt:
        ours = signal.getsignal(number)
        assert ours != before
        signal.signal(number, signal.SIG_DFL)  # as Ray takes SIGTERM
        interrupt.listen()
        assert signal.getsignal(number) == ours
    assert signal.getsignal(number) == before


def test_what_was_ignored_stays_ignored() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as `nohup` does
    try:
        with Interrupt():
            os.kill(os.getpid(), signal.SIGHUP)
            assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_run_that_is_told_to_end_while_ray_starts_is_interrupted(monkeypatch: pytest.MonkeyPatch) -> None:
    from benchmark.engine import ray_cluster

    of_ray: dict[str, Any] = {"__name__": "ray._private.worker"}
    exec("def handler(**options): raise SystemExit(15)", of_ray)  # Ray's own, which it sets before `ray.init` returns
    monkeypatch.setattr(ray_cluster, "start", of_ray["handler"])
    with pytest.raises(KeyboardInterrupt):
        ray_cluster.connect(ComputeOptions())
