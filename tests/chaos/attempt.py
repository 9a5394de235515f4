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
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import fsspec

from tests.helpers.miniature import records, start

LOCAL, RAY = ("--local",), ("--concurrency", "2")
MARK = "BACKSTOP_CHAOS"
LIMIT_S = 600.0  # of one command, on a machine that does other things as well
LEAVE_S = 30.0  # how long processes may take to end after their driver
SHARED_MEMORY = Path("/dev/shm")
COORDINATOR = "_AutoscalingCoordinatorActor"  # Train's, detached: one a cluster
RAYS_OWN = ("ray::IDLE", "ray::Dashboard", "ray::RuntimeEnv", "ray::JobSupervisor", f"ray::{COORDINATOR}")  # of no run
GCS_PATIENCE = "RAY_gcs_rpc_server_reconnect_timeout_s"  # how long Ray's processes try to reach a head; 60 s
ROOT = Path(__file__).parents[2]


class Hung(Exception):
    """A command did not end."""


class Calm(NamedTuple):
    """An undisturbed run, whose records are the right ones."""

    name: str
    how: tuple[str, ...]
    cells: tuple[str, ...]


EVERY = Calm(
    "undisturbed",
    LOCAL,
    (
        *("--only", "objective=mmcl,attack=badnet,attack=clean"),
        *("--only", "repair=none,repair=cleanclip,repair=fine-tuning"),
    ),
)
GROUP = Calm(
    "undisturbed-group",
    ("--workers", "2", "--concurrency", "2"),
    ("--only", "objective=mmcl,attack=clean,repair=none", "--set", "pretrain.norm_group=64"),
)


class Attempt:
    """A store of its own in a folder of its own; a context manager, after which nothing of it runs."""

    def __init__(self, how: tuple[str, ...], calm: Path, cells: tuple[str, ...] = EVERY.cells) -> None:
        """`how` the command computes, which cells; `calm`: the store of an undisturbed run."""
        self.how, self.calm, self.cells = how, calm, cells
        self.folder = Path(tempfile.mkdtemp(prefix="c-"))  # short, since Ray's sockets lie in it
        self.root = self.folder / "store"
        self.url = str(self.root)  # of the store, where it is no folder
        self.before: tuple[str, ...] = ()  # words that hand the command to somebody else
        self.also_left: Callable[[], list[str]] = list  # what a cluster has of runs that ended
        self.around = contextlib.ExitStack()  # what a run needs: a cluster, a server
        self.processes: list[subprocess.Popen[str]] = []
        self._mark = uuid.uuid4().hex
        self._memory = set(_names(SHARED_MEMORY))
        self.environment = {MARK: self._mark, "RAY_TMPDIR": str(self.folder), "TMPDIR": str(self.folder)}

    def __enter__(self) -> Attempt:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill_all()
        for process in self.processes:
            process.wait(timeout=LIMIT_S)
        self.around.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    def kill_all(self) -> None:
        """Kills its processes, and those that they start meanwhile."""
        end = time.monotonic() + LEAVE_S
        while (there := self.running()) and time.monotonic() < end:
            for number in there:
                send(number, signal.SIGKILL)
            time.sleep(0.1)

    @contextlib.contextmanager
    def marked(self) -> Iterator[None]:
        """While it lasts, processes that are started are this attempt's."""
        before = dict(os.environ)
        os.environ.update(self.environment)
        try:
            yield
        finally:
            os.environ.clear()
            os.environ.update(before)

    def start(self, *more: str) -> subprocess.Popen[str]:
        """Starts the command."""
        with self.marked():
            process = start(self.url, *self.how, *self.cells, *more, before=self.before)
        self.processes.append(process)
        return process

    def running(self, name: str = "", *, child_of: int | None = None, first: bool = False) -> list[int]:
        """Numbers of its processes whose command line has a name as a part.

        Args:
            name: the part; with `first` the command line begins with it.
            child_of: only those that this process has started.
            first: see `name`.
        """
        found = []
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                if self._mark.encode() not in (folder / "environ").read_bytes():
                    continue
                state, parent = _state(folder)
                line = _line(folder)
                if state != "Z" and child_of in (None, parent) and (line.startswith(name) if first else name in line):
                    found.append(int(folder.name))
            except OSError:  # it has ended
                continue
        return sorted(found)

    def made(self) -> int:
        """How many artifacts are finished."""
        return len(_artifacts(self.url))

    def until(self, process: subprocess.Popen[str], there: Callable[[], object], limit_s: float = LIMIT_S) -> bool:
        """Waits until something is there; False where the run ends before."""
        end = time.monotonic() + limit_s
        while process.poll() is None and time.monotonic() < end:
            if there():
                return True
            time.sleep(0.05 if self.root.is_dir() else 0.5)
        return False

    def grown(self, process: subprocess.Popen[str], more: int) -> bool:
        """Waits until so many artifacts more are there."""
        before = self.made()
        return self.until(process, lambda: self.made() >= before + more)

    def end(self, process: subprocess.Popen[str], limit_s: float = LIMIT_S) -> str:
        """Waits for a run; what it complained of.

        Raises:
            Hung: it did not end.
        """
        try:
            _, complaints = process.communicate(timeout=limit_s)
        except subprocess.TimeoutExpired:
            raise Hung(f"no end within {limit_s:.0f} s") from None
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
        mine, calm = _artifacts(self.url), _artifacts(str(self.calm))
        if mine != calm:
            return f"{len(calm - mine)} artifacts missing, {len(mine - calm)} more: {sorted(mine ^ calm)[:3]}"
        pairs = zip(records(self.url, part=True), records(self.calm, part=True), strict=True)
        names = {name for a, b in pairs for name in a.keys() | b.keys() if a.get(name) != b.get(name)}
        return f"other {', '.join(sorted(names))}" if names else ""

    def left(self) -> list[str]:
        """What is left beside the store, and in it after `store gc`."""
        found = [f"actor {line_of(number)}" for number in self._staying("ray::", but=RAYS_OWN)]
        found += [*self._left_in_store(), *self.also_left()]
        self.around.close()
        found += [f"process {line_of(number)}" for number in self._staying("")]
        memory = set(_names(SHARED_MEMORY)) - self._memory
        return found + [f"/dev/shm/{name}" for name in sorted(memory - _mapped(memory))]

    def _staying(self, name: str, *, but: tuple[str, ...] = ()) -> list[int]:
        """Processes that do not end by themselves."""

        def there() -> list[int]:
            return [number for number in self.running(name) if not line_of(number).startswith(but)]

        end = time.monotonic() + LEAVE_S
        while there() and time.monotonic() < end:
            time.sleep(0.2)
        return there()

    def _left_in_store(self) -> list[str]:
        collect = ("store", "gc", "--older-than", "0", "--logs", "--json", "--store", self.url)
        again = []
        for _ in range(2):  # what the first removes the second must not find
            words = (sys.executable, "-m", "benchmark.cli", *collect)
            done = subprocess.run(words, check=False, capture_output=True, text=True, timeout=LIMIT_S)
            if done.returncode:
                return [f"gc: {done.stderr.strip()}"]
            again = json.loads(done.stdout)["removed"]
            if not again:
                break
        return [f"in the store: {item}" for item in again]


def _names(folder: Path) -> list[str]:
    return [file.name for file in folder.iterdir()] if folder.is_dir() else []


def _mapped(names: set[str]) -> set[str]:
    """Those of the files in shared memory that a living process, of anybody, has mapped."""
    found: set[str] = set()
    for maps in Path("/proc").glob("[0-9]*/maps") if names else ():
        with contextlib.suppress(OSError):
            text = maps.read_text(errors="replace")
            found |= {name for name in names if f"{SHARED_MEMORY}/{name}" in text}
    return found


def _artifacts(root: str) -> set[tuple[str, ...]]:
    files, folder = fsspec.core.url_to_fs(root)
    files.invalidate_cache()
    return {tuple(str(name).split("/")[-3:]) for name in files.glob(f"{folder}/*/*/manifest.json")}


def _state(folder: Path) -> tuple[str, int]:
    """State of a process, and its parent."""
    state, parent = (folder / "stat").read_text().rpartition(")")[2].split()[:2]
    return state, int(parent)


def _line(folder: Path) -> str:
    return (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")


def line_of(number: int) -> str:
    """How a process was called, shortened; its number where it has ended."""
    try:
        return _line(Path(f"/proc/{number}"))[:80].strip()
    except OSError:
        return str(number)


def send(number: int, what: int) -> None:
    """Sends a signal; nothing where the process has ended."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(number, what)
