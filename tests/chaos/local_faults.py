"""What may befall a run on one machine and its store. Each leaves a store that the same command has to finish."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time

from tests.chaos.attempt import Attempt, send
from tests.chaos.fault import Missed, kill_after, lines


def killed(run: Attempt, time: int) -> str:
    """The driver with all of its session, in the whole of a run."""
    return kill_after(run, run.start(), 1 + 4 * time, signal.SIGKILL)


def interrupted(run: Attempt, time: int) -> str:
    """Ctrl-C, and the signal of a scheduler."""
    return kill_after(run, run.start(), 3 + 5 * time, signal.SIGTERM if time % 2 else signal.SIGINT)


def stopped_driver(run: Attempt, again: int) -> str:
    """A laptop that sleeps."""
    process = run.start()
    if not run.grown(process, 4 + 8 * again):
        raise Missed(run.end(process))
    for number in run.running():
        send(number, signal.SIGSTOP)
    time.sleep(5)
    for number in run.running():
        send(number, signal.SIGCONT)
    return f"all processes stopped for 5 s; {lines(run.end(process))}"


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
        subprocess.run(["umount", "--lazy", run.root], check=True, capture_output=True)
    run.root.rmdir()
    (run.folder / "kept").rename(run.root)
    return f"{size}: rc {process.returncode}, {lines(said)}"


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
    return f"rc {first.returncode} and {second.returncode}, {lines(said)}"


def clock_back(run: Attempt, again: int) -> str:
    """A clock that is set back a day between a kill and the next run."""
    said = kill_after(run, run.start(), 6 + 8 * again, signal.SIGKILL)
    later = time.time() + 86400  # what is there is of tomorrow
    for file in run.root.rglob("*"):
        os.utime(file, (later, later))
    return f"{said}; every file is of tomorrow"
