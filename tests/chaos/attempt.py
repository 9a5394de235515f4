"""One run that gets a fault: its store, its processes, and what is left of it at the end."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable
from pathlib import Path

from tests.helpers.miniature import records, start

CELLS = (
    *("--only", "objective=mmcl,attack=badnet,attack=clean"),
    *("--only", "repair=none,repair=cleanclip,repair=fine-tuning"),
)
LOCAL, RAY = ("--local",), ("--concurrency", "2")
MARK = "BACKSTOP_CHAOS"
LEAVE_S = 30.0  # how long processes may take to end after their driver
SHARED_MEMORY = Path("/dev/shm")


class Attempt:
    """A store of its own in a folder of its own; a context manager, after which nothing of it runs."""

    def __init__(self, how: tuple[str, ...], calm: Path) -> None:
        """`how` the command computes; `calm`: the store of an undisturbed run."""
        self.how, self.calm = how, calm
        self.folder = Path(tempfile.mkdtemp(prefix="c-"))  # short, since Ray's sockets lie in it
        self.root = self.folder / "store"
        self._mark = uuid.uuid4().hex
        self._memory = set(_names(SHARED_MEMORY))
        self._environment = {MARK: self._mark, "RAY_TMPDIR": str(self.folder), "TMPDIR": str(self.folder)}
        self.processes: list[subprocess.Popen[str]] = []

    def __enter__(self) -> Attempt:
        return self

    def __exit__(self, *_: object) -> None:
        for number in self.running():
            _send(number, signal.SIGKILL)
        for process in self.processes:
            process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)

    def start(self, *more: str, **environment: str) -> subprocess.Popen[str]:
        """Starts the command."""
        before = dict(os.environ)
        os.environ.update(self._environment | environment)
        try:
            process = start(self.root, *self.how, *CELLS, *more)
        finally:
            os.environ.clear()
            os.environ.update(before)
        self.processes.append(process)
        return process

    def running(self, name: str = "") -> list[int]:
        """Numbers of its processes; of those whose command line begins with a name, or has it as a part."""
        found = []
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                if self._mark.encode() in (folder / "environ").read_bytes() and _state(folder) != "Z":
                    line = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                    found += [int(folder.name)] if name in line else []
            except OSError:  # it has ended
                continue
        return found

    def made(self) -> int:
        """How many artifacts are finished."""
        return len(list(self.root.glob("*/*/manifest.json")))

    def until(self, process: subprocess.Popen[str], there: Callable[[], object], limit_s: float = 180.0) -> bool:
        """Waits until something is there; False where the run ends before."""
        end = time.monotonic() + limit_s
        while process.poll() is None and time.monotonic() < end:
            if there():
                return True
            time.sleep(0.05)
        return False

    def grown(self, process: subprocess.Popen[str], more: int) -> bool:
        """Waits until so many artifacts more are there."""
        before = self.made()
        return self.until(process, lambda: self.made() >= before + more)

    def end(self, process: subprocess.Popen[str]) -> str:
        """Waits for a run; what it complained of."""
        _, complaints = process.communicate()
        return complaints

    def kill(self, process: subprocess.Popen[str], number: int = signal.SIGKILL) -> str:
        """Sends a signal to the driver and its session, and waits; what it complained of."""
        if process.poll() is None:
            os.killpg(process.pid, number)
        return self.end(process)

    def finish(self) -> tuple[int, str]:
        """The same command, to its end: exit status and complaints."""
        process = self.start()
        complaints = self.end(process)
        return process.returncode, complaints

    def differs(self) -> str:
        """How its artifacts or its records are others than those of the undisturbed run; "" where they are equal."""
        mine, calm = _artifacts(self.root), _artifacts(self.calm)
        if mine != calm:
            return f"{len(calm - mine)} artifacts missing, {len(mine - calm)} more: {sorted(mine ^ calm)[:3]}"
        pairs = zip(records(self.root, part=True), records(self.calm, part=True), strict=True)
        names = {name for a, b in pairs for name in a.keys() | b.keys() if a.get(name) != b.get(name)}
        return f"other {', '.join(sorted(names))}" if names else ""

    def left(self) -> list[str]:
        """What is left beside the store, and in it after `store gc`."""
        end = time.monotonic() + LEAVE_S
        while self.running() and time.monotonic() < end:
            time.sleep(0.2)
        found = [f"process {_line(number)}" for number in self.running()]
        found += [f"/dev/shm/{name}" for name in set(_names(SHARED_MEMORY)) - self._memory]
        collect = ("store", "gc", "--older-than", "0", "--logs", "--json", "--store", str(self.root))
        again = []
        for _ in range(2):  # what the first removes the second must not find
            words = (sys.executable, "-m", "benchmark.cli", *collect)
            done = subprocess.run(words, check=False, capture_output=True, text=True)
            if done.returncode:
                return [*found, f"gc: {done.stderr.strip()}"]
            again = json.loads(done.stdout)["removed"]
        return found + [f"in the store: {item}" for item in again]


def _names(folder: Path) -> list[str]:
    return [file.name for file in folder.iterdir()] if folder.is_dir() else []


def _artifacts(root: Path) -> set[tuple[str, ...]]:
    return {file.relative_to(root).parts for file in root.glob("*/*/manifest.json")}


def _state(folder: Path) -> str:
    return (folder / "stat").read_text().rpartition(")")[2].split()[0]


def _line(number: int) -> str:
    try:
        return Path(f"/proc/{number}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")[:80]
    except OSError:
        return str(number)


def _send(number: int, what: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(number, what)
