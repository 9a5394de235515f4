"""What a fault is, and what all kinds of them do."""

from __future__ import annotations

import random
import signal
import subprocess
import time
from collections.abc import Callable
from typing import NamedTuple

from tests.chaos.attempt import EVERY, Attempt, Calm, send

Inject = Callable[[Attempt, int], str]  # the attempt, and which time it is; what was done


class Fault(NamedTuple):
    """One kind of fault."""

    name: str
    how: tuple[str, ...]  # words of the command; what a cluster adds comes with it
    times: int
    inject: Inject
    needs: str = ""  # a program without which it is left out
    calm: Calm = EVERY


class Missed(Exception):
    """The run had ended before the fault could be put in."""


def kill_after(run: Attempt, process: subprocess.Popen[str], after: int, number: int) -> str:
    """Sends a signal to a driver and its session, a moment after so many artifacts."""
    if not run.grown(process, after):
        raise Missed(run.end(process))
    time.sleep(random.Random(after).uniform(0, 1))
    there, said = run.made(), run.kill(process, number)
    return f"{signal.Signals(number).name} at {there} artifacts; rc {process.returncode}, {lines(said)}"


def lines(said: str) -> str:
    """How much a run complained."""
    found = [line for line in said.splitlines() if line.strip()]
    return "Traceback" if "Traceback" in said else f"{len(found)} line{'' if len(found) == 1 else 's'}"


def hit(
    run: Attempt,
    process: subprocess.Popen[str],
    name: str,
    number: int = signal.SIGKILL,
    *,
    child_of: int | None = None,
) -> str:
    """Sends a signal to one process of a run, as soon as there is one of the name; the run goes on, or ends."""
    victims: list[int] = []
    if not run.until(process, lambda: victims.extend(run.running(name, child_of=child_of)) or victims):
        raise Missed(run.end(process))
    send(victims[0], number)
    at, said = run.made(), run.end(process)
    return f"{signal.Signals(number).name} to {name} at {at} artifacts; the run: rc {process.returncode}, {lines(said)}"
