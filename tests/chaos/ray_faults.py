"""What may befall the processes of a run that has a Ray of its own."""

from __future__ import annotations

import signal
import time

from tests.chaos.attempt import GCS_PATIENCE, Attempt, send
from tests.chaos.fault import Missed, hit, lines


def _after(run: Attempt, made: int, name: str, number: int = signal.SIGKILL, *more: str) -> str:
    process = run.start(*more)
    if not run.grown(process, made):
        raise Missed(run.end(process))
    return hit(run, process, name, number)


def worker(run: Attempt, again: int) -> str:
    """A worker, while models are trained and while they are repaired."""
    return _after(run, (2, 12, 22)[again], "ray::Worker")


def tune_actor(run: Attempt, again: int) -> str:
    """The actor in which Ray Tune waits for a trial: the first one, and a later one."""
    process = run.start()
    if not run.until(process, lambda: run.running("ray::ResourceTrainable")):
        raise Missed(run.end(process))
    if again and not run.grown(process, again):
        raise Missed(run.end(process))
    return hit(run, process, "ray::ResourceTrainable")


def progress(run: Attempt, again: int) -> str:
    """The actor that progress is told to."""
    return _after(run, (1, 10)[again], "ray::Ticks")


def raylet(run: Attempt, again: int) -> str:
    """Ray's own process of a node, and with it the node."""
    return _after(run, (2, 14)[again], "raylet/raylet")


def head(run: Attempt, again: int) -> str:
    """The server of a cluster."""
    run.environment[GCS_PATIENCE] = "15"
    return _after(run, (3, 16)[again], "gcs/gcs_server")


def stopped_worker(run: Attempt, again: int) -> str:
    """A worker that is stopped, under a time limit and without one."""
    limit = ("--time-limit", "20s") if again == 1 else ()
    return _after(run, (3, 14, 12)[again], "ray::Worker", signal.SIGSTOP, *limit)


def slow_worker(run: Attempt, again: int) -> str:
    """A node that stands still for two seconds of three."""
    process = run.start()
    if not run.grown(process, 2):
        raise Missed(run.end(process))
    end = time.monotonic() + 15
    while process.poll() is None and time.monotonic() < end:
        for number, pause in ((signal.SIGSTOP, 2.0), (signal.SIGCONT, 1.0)):
            for victim in run.running("ray::Worker")[:1]:
                send(victim, number)
            time.sleep(pause)
    said = run.end(process)
    return f"a worker slowed; rc {process.returncode}, {lines(said)}"


def group_worker(run: Attempt, again: int) -> str:
    """A process of a worker group that trains one model."""
    return _in_group(run, again, signal.SIGKILL)


def group_stopped(run: Attempt, again: int) -> str:
    """One that is stopped, while the others wait for it."""
    return _in_group(run, 1, signal.SIGSTOP)


def _in_group(run: Attempt, again: int, number: int) -> str:
    process = run.start()
    there = (lambda: run.running("ray::RayTrainWorker"), lambda: list(run.root.glob("scratch/pretrain/*/*")))[again]
    if not run.until(process, there):
        raise Missed(run.end(process))
    time.sleep(2 * (1 - again))  # the first has begun by then, and has no checkpoint
    return hit(run, process, "ray::RayTrainWorker", number)
