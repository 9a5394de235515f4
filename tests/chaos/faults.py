"""What may befall a run. Each fault leaves a store that the same command has to finish."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from typing import NamedTuple

from tests.chaos.attempt import LOCAL, RAY, Attempt

Inject = Callable[[Attempt, int], str]  # the attempt, and which time it is; what was done


class Fault(NamedTuple):
    """One kind of fault."""

    name: str
    how: tuple[str, ...]  # LOCAL or RAY
    times: int
    inject: Inject
    needs: str = ""  # a program without which it is left out


class Missed(Exception):
    """The run had ended before the fault could be put in."""


def _sent(run: Attempt, process: subprocess.Popen[str], after: int, number: int) -> str:
    if not run.grown(process, after):
        raise Missed(run.end(process))
    time.sleep(random.Random(after).uniform(0, 1))
    there, said = run.made(), run.kill(process, number)
    return f"{signal.Signals(number).name} at {there} artifacts; rc {process.returncode}, {_lines(said)}"


def _lines(said: str) -> str:
    lines = [line for line in said.splitlines() if line.strip()]
    return "Traceback" if "Traceback" in said else f"{len(lines)} line{'' if len(lines) == 1 else 's'}"


def killed(run: Attempt, time: int) -> str:
    """The driver with all of its session, in the whole of a run."""
    return _sent(run, run.start(), 1 + 4 * time, signal.SIGKILL)


def interrupted(run: Attempt, time: int) -> str:
    """Ctrl-C, and the signal of a scheduler."""
    return _sent(run, run.start(), 3 + 5 * time, signal.SIGTERM if time % 2 else signal.SIGINT)


def stopped_driver(run: Attempt, again: int) -> str:
    """A laptop that sleeps."""
    process = run.start()
    if not run.grown(process, 4 + 8 * again):
        raise Missed(run.end(process))
    for number in run.running():
        _signal(number, signal.SIGSTOP)
    time.sleep(5)
    for number in run.running():
        _signal(number, signal.SIGCONT)
    return f"all processes stopped for 5 s; {_lines(run.end(process))}"


def full_disk(run: Attempt, again: int) -> str:
    """A file system that is full while data, models or records are written."""
    size = ("100k", "3m", "12m")[again]
    run.root.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", run.root], check=True, capture_output=True)
    try:
        process = run.start()
        said = run.end(process)
        subprocess.run(["mount", "-o", "remount,size=400m", run.root], check=True, capture_output=True)
        shutil.copytree(run.root, run.folder / "kept")
    finally:
        subprocess.run(["umount", run.root], check=True, capture_output=True)
    run.root.rmdir()
    (run.folder / "kept").rename(run.root)
    return f"{size}: rc {process.returncode}, {_lines(said)}"


def _finished(run: Attempt) -> None:
    shutil.copytree(run.calm, run.root)


def _without_records(run: Attempt) -> None:
    shutil.rmtree(run.root / "record")


def flipped_byte(run: Attempt, again: int) -> str:
    """One byte of one file, of each kind."""
    name = FILES[again]
    _finished(run)
    _without_records(run)
    file = sorted(run.root.glob(name))[-1]
    data = bytearray(file.read_bytes())
    data[len(data) * 2 // 3] ^= 1
    file.write_bytes(data)
    return f"one byte of {file.relative_to(run.root).parts[0]}/{file.name}"


FILES = (
    *("pretrain/*/*/model.safetensors", "defend/*/*/*.safetensors", "evaluate/*/*/outcomes.parquet"),
    *("data/*/*/images.npy", "data/*/*/rows.parquet", "poison/*/*/*.parquet", "pretrain/*/manifest.json"),
    *("evaluate/*/manifest.json", "suites/smoke.json"),
)


def torn_file(run: Attempt, again: int) -> str:
    """A shard of images, or weights, cut in the middle."""
    _finished(run)
    _without_records(run)
    file = sorted(run.root.glob(("data/*/*/images.npy", "pretrain/*/*/model.safetensors")[again]))[0]
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    return f"{file.name} cut in the middle"


def torn_checkpoint(run: Attempt, again: int) -> str:
    """The checkpoint of a training that was killed, cut or empty."""
    process = run.start("--set", "pretrain.epochs=2")
    if not run.until(process, lambda: list(run.root.glob("scratch/pretrain/*/checkpoint.safetensors"))):
        raise Missed(run.end(process))
    run.kill(process)
    files = list(run.root.glob("scratch/pretrain/*/checkpoint.safetensors"))
    if not files:
        raise Missed("its training has ended")
    for file in files:
        file.write_bytes(file.read_bytes()[: file.stat().st_size // 2 * again])
    return f"{len(files)} checkpoint {'cut' if again else 'emptied'}"


def deleted_attempt(run: Attempt, again: int) -> str:
    """The folder of an artifact whose manifest stays."""
    stage = ("data", "poison", "pretrain", "defend", "evaluate", "record")[again]
    _finished(run)
    if stage != "record":
        _without_records(run)
    folder = next(item for item in sorted(run.root.glob(f"{stage}/*/*")) if item.is_dir())
    shutil.rmtree(folder)
    return f"a folder of {stage}"


def two_drivers(run: Attempt, again: int) -> str:
    """The same command twice at once."""
    first = run.start()
    time.sleep((0.0, 2.0, 5.0)[again])
    second = run.start()
    said = run.end(first) + run.end(second)
    return f"rc {first.returncode} and {second.returncode}, {_lines(said)}"


def clock_back(run: Attempt, again: int) -> str:
    """A clock that is set back a day between a kill and the next run."""
    said = _sent(run, run.start(), 6 + 8 * again, signal.SIGKILL)
    later = time.time() + 86400  # what is there is of tomorrow
    for file in run.root.rglob("*"):
        os.utime(file, (later, later))
    return f"{said}; every file is of tomorrow"


def _victim(run: Attempt, process: subprocess.Popen[str], after: int, name: str, number: int = signal.SIGKILL) -> str:
    """Sends a signal to one process of a run on Ray, which goes on by itself or ends."""
    if not run.grown(process, after):
        raise Missed(run.end(process))
    found = run.running(name)
    if not found:
        run.kill(process)
        raise Missed(f"no process {name}")
    _signal(found[0], number)
    at, said = run.made(), run.end(process)
    return f"{name} at {at} artifacts; the run: rc {process.returncode}, {_lines(said)}"


def worker(run: Attempt, again: int) -> str:
    """A worker, while models are trained and while they are repaired."""
    return _victim(run, run.start(), (2, 12, 22)[again], "ray::Worker")


def tune_actor(run: Attempt, again: int) -> str:
    """The actor in which Ray Tune waits for a trial."""
    process = run.start()
    if not run.until(process, lambda: run.running("ray::ResourceTrainable")):
        raise Missed(run.end(process))
    return _victim(run, process, again, "ray::ResourceTrainable")


def progress(run: Attempt, again: int) -> str:
    """The actor that progress is told to."""
    return _victim(run, run.start(), (1, 10)[again], "ray::Ticks")


def raylet(run: Attempt, again: int) -> str:
    """Ray's own process of a node, and with it the node."""
    return _victim(run, run.start(), (2, 14)[again], "raylet/raylet")


def head(run: Attempt, again: int) -> str:
    """The server of a cluster."""
    return _victim(run, run.start(), (3, 16)[again], "gcs/gcs_server")


def stopped_worker(run: Attempt, again: int) -> str:
    """A worker that is stopped, under a time limit."""
    return _victim(run, run.start("--time-limit", "20s"), (3, 14)[again], "ray::Worker", signal.SIGSTOP)


def slow_worker(run: Attempt, again: int) -> str:
    """A node that stands still for two seconds of three."""
    process = run.start()
    if not run.grown(process, 2):
        raise Missed(run.end(process))
    end = time.monotonic() + 15
    while process.poll() is None and time.monotonic() < end:
        for number, pause in ((signal.SIGSTOP, 2.0), (signal.SIGCONT, 1.0)):
            for victim in run.running("ray::Worker")[:1]:
                _signal(victim, number)
            time.sleep(pause)
    return f"a worker slowed; rc {process.wait()}, {_lines(run.end(process))}"


def _signal(number: int, what: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(number, what)


FAULTS = (
    Fault("driver", LOCAL, 8, killed),
    Fault("interrupt", LOCAL, 4, interrupted),
    Fault("stopped", LOCAL, 2, stopped_driver),
    Fault("disk", LOCAL, 3, full_disk, "mount"),
    Fault("byte", LOCAL, len(FILES), flipped_byte),
    Fault("torn", LOCAL, 2, torn_file),
    Fault("checkpoint", LOCAL, 2, torn_checkpoint),
    Fault("attempt", LOCAL, 6, deleted_attempt),
    Fault("drivers", LOCAL, 3, two_drivers),
    Fault("clock", LOCAL, 2, clock_back),
    Fault("ray-driver", RAY, 2, killed),
    Fault("ray-interrupt", RAY, 2, interrupted),
    Fault("ray-worker", RAY, 3, worker),
    Fault("ray-tune", RAY, 2, tune_actor),
    Fault("ray-progress", RAY, 2, progress),
    Fault("ray-raylet", RAY, 2, raylet),
    Fault("ray-head", RAY, 2, head),
    Fault("ray-stopped", RAY, 2, stopped_worker),
    Fault("ray-slow", RAY, 1, slow_worker),
)
