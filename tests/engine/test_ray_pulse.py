"""A worker that gives no sign of life is lost; one that is slow, young, or whose driver slept is not."""

from __future__ import annotations

import subprocess
import sys
import time
from types import SimpleNamespace
from typing import Any

import pytest
from ray.exceptions import RayActorError

from benchmark.engine import ray_pulse, ray_ticks
from benchmark.engine.ray_pool import RayExecutor
from benchmark.engine.ray_pulse import MOST_MISSED, Pulse
from benchmark.engine.ray_ticks import TickReader, Ticks

pytestmark = [pytest.mark.unit, pytest.mark.ray]
Clock = SimpleNamespace


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    now = SimpleNamespace(now=100.0)
    monkeypatch.setattr(ray_pulse, "time", SimpleNamespace(monotonic=lambda: now.now))
    return now


def looks(pulse: Pulse, clock: Clock, number: int, heard: tuple[int, ...] = (), there: tuple[int, ...] = (0, 1)) -> Any:
    found: list[int] = []
    for _ in range(number):
        clock.now += ray_pulse.BEAT_S
        found = pulse.silent(heard, there)
    return found


def test_a_worker_is_lost_after_many_looks_without_a_sign_and_one_sign_begins_anew(clock: Clock) -> None:
    pulse = Pulse()
    assert looks(pulse, clock, 1, (0, 1)) == []
    assert looks(pulse, clock, MOST_MISSED - 1, (1,)) == []
    assert looks(pulse, clock, 1, (0, 1)) == []
    assert looks(pulse, clock, MOST_MISSED - 1, (1,)) == []
    assert looks(pulse, clock, 1, (1,)) == [0]
    assert looks(pulse, clock, 1, (1,), there=(1, 2)) == []  # it was ended; its successor waits for a node


def test_a_night_without_looks_counts_once_however_often_is_asked_in_between(clock: Clock) -> None:
    pulse = Pulse()
    looks(pulse, clock, 1, (0, 1))
    clock.now += 8 * 3600
    assert pulse.silent((), (0, 1)) == []
    assert [pulse.silent((), (0, 1)) for _ in range(2 * MOST_MISSED)] == [[]] * 2 * MOST_MISSED


def test_a_sign_between_two_looks_is_not_forgotten(clock: Clock) -> None:
    pulse = Pulse()
    looks(pulse, clock, 1, (0,))
    for _ in range(2 * MOST_MISSED):
        pulse.silent((0,), (0,))
        assert looks(pulse, clock, 1) == []


def test_the_driver_ends_a_silent_worker_and_says_so_once_and_nobody_while_it_hears_nothing_at_all(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    ticks, dead = Ticks(), [False]

    def answer(asked: Any) -> Any:
        if dead[0]:
            raise RayActorError(error_msg="it died")
        return asked()

    monkeypatch.setattr(ray_ticks, "ray", SimpleNamespace(wait=lambda asked, timeout: (asked, []), get=answer))
    handle: Any = SimpleNamespace(drain=SimpleNamespace(remote=lambda: ticks.drain))
    ended: list[int] = []
    said: list[str] = []
    executor = SimpleNamespace(
        _reader=TickReader(handle),
        _pulse=Pulse(),
        pool=SimpleNamespace(there=[3, 4], end=ended.append),
        monitor=SimpleNamespace(say=said.append),
    )

    def listen(times: int, *beats: int) -> None:
        for _ in range(times):
            clock.now += ray_pulse.BEAT_S
            for slot in beats:
                ticks.beat(slot)
            RayExecutor._listen(executor)  # pyright: ignore[reportArgumentType]

    listen(1, 3, 4)
    dead[0] = True
    listen(2 * MOST_MISSED)
    dead[0] = False
    listen(MOST_MISSED - 1, 3)
    assert ended == said == []
    listen(1, 3)
    assert ended == [4]
    assert said == ["a worker does not answer: it is ended, and what it did is sent to another one"]


def test_a_worker_whose_raylet_was_killed_ends() -> None:
    """The shell is the raylet here, which ends at once; its worker would beat for a minute."""
    code = "from benchmark.engine import ray_pulse; ray_pulse.BEAT_S = 0.01; import time"
    code += "; ray_pulse.keep_beating(lambda: None); print('began', flush=True); time.sleep(60)"
    words = ("/bin/sh", "-c", f'{sys.executable} -c "{code}" & read line; kill -9 $$')
    raylet = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert raylet.stdout
    assert raylet.stdin
    assert raylet.stdout.readline() == "began\n"
    raylet.stdin.write("\n")
    raylet.stdin.flush()
    began = time.monotonic()
    assert raylet.stdout.read() == ""  # until the worker has ended as well
    assert time.monotonic() - began < 30
    raylet.wait()
    raylet.stdin.close()


def test_a_worker_gives_signs_beside_its_task(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray_pulse, "BEAT_S", 0.01)
    beats: list[float] = []
    ray_pulse.keep_beating(lambda: beats.append(1.0))
    end = ray_pulse.time.monotonic() + 5
    while len(beats) < 3:
        assert ray_pulse.time.monotonic() < end
        ray_pulse.time.sleep(0.01)
