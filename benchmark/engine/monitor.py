"""Progress of a run: what runs now with its epoch, steps and records done, time left.

On a terminal a few lines that redraw themselves, elsewhere one line per finished task; everywhere a line per record.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

from rich.console import Console, RenderableType
from rich.live import Live
from rich.markup import escape
from rich.table import Table

from benchmark.engine.live import WARM_UP_S, LiveLines, clock

REDRAW_S = 0.25
FAILURES = frozenset({"failed", "out_of_memory", "timed_out", "not_applicable"})  # often many for one reason


class _Running(NamedTuple):
    """Something that runs now."""

    label: str
    work: float  # forward views of images
    share: float = 0.0


class Monitor:
    """Collects what the executors tell and shows it."""

    def __init__(
        self,
        console: Console | None = None,
        *,
        quiet: bool = False,
        verbose: bool = False,
        logs: Path | None = None,
    ) -> None:
        """`verbose` gives every evaluation and every failure its line, and names its file in the folder `logs`."""
        self.console = console or Console(stderr=True)
        self.quiet, self.verbose, self._logs = quiet, verbose, logs
        self._running: dict[str, _Running] = {}
        self._finished: set[str] = set()
        self._work_total = self._work_done = 0.0
        self._began = time.monotonic()
        self._work_began: float | None = None  # data and Ray's start tell nothing about the time that is left
        self._counts = (0, 0)  # steps done, of all
        self._records = (0, 0)  # cells with a final record, of all
        self._lines = LiveLines(self.console, lambda: time.monotonic())
        self._passed: list[float] = []  # seconds of the tasks that get no line of their own
        self._repeats: dict[tuple[str, str], int] = {}  # of this stage: status and reason -> failures without a line
        self._live: Live | None = None
        self._lock = threading.RLock()  # Live's own thread may draw in the middle of a line that is being printed
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._redraw, daemon=True)

    def __enter__(self) -> Monitor:
        if self.console.is_terminal and not self.quiet:
            self._live = Live(get_renderable=self._render, console=self.console, auto_refresh=False, transient=True)
            self._live.start()
            self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, value: Any, trace: TracebackType | None) -> None:
        self._tell_passed()
        if self._live:
            self._stop.set()
            self._thread.join()
            self._live.stop()
            self._live = None

    def _redraw(self) -> None:
        while not self._stop.wait(REDRAW_S):
            self._print()

    def expect(self, work: float, count: int = 1) -> None:
        """Adds to what is to be done: nodes, and forward views of images."""
        self._work_total += work
        self._counts = (self._counts[0], self._counts[1] + count)

    def expect_records(self, cells: int, *, done: int) -> None:
        """Says of how many cells a record is asked for, and how many have a final one."""
        self._records = (done, cells)

    def record(self, label: str, statuses: Mapping[str, str]) -> None:
        """A cell's record was written, with these statuses by rule."""
        self._records = (self._records[0] + 1, self._records[1])
        if self.verbose or not FAILURES.issuperset(statuses.values()):  # what failed was told with its reason
            told = ", ".join(dict.fromkeys(value.replace("_", " ") for value in statuses.values()))
            self.say(f"{'record':>11}   {escape(label)}  [dim]{told}[/dim]")

    def skip(self, work: float) -> None:
        """A node needs no slot, or not any more."""
        self._work_total -= work
        self._counts = (self._counts[0] + 1, self._counts[1])

    def start(self, key: str, label: str, work: float) -> None:
        """Something begins."""
        self._finished.discard(key)
        self._run(key, _Running(label, work), "")

    def tick(self, key: str, what: str, share: float, *, label: str = "", work: float = 0.0) -> None:
        """Something that runs tells how far it is; what nobody announced needs a label."""
        if key in self._running:
            label, work, *_ = self._running[key]
        elif not label or key in self._finished:
            return
        self._run(key, _Running(label, work, share), what)

    def _run(self, key: str, running: _Running, what: str) -> None:
        if running.work and self._work_began is None:
            self._work_began = time.monotonic()
        self._running[key] = running
        self._lines.show(key, running.label, what, running.share)

    def finish(
        self,
        key: str,
        label: str,
        work: float,
        *,
        status: str,
        reason: str,
        wall_s: float,
        count: int = 1,
        brief: bool = False,
    ) -> None:
        """Something has ended, well or badly: `count` nodes at once; what is `brief` gets no line of its own."""
        self._running.pop(key, None)
        self._lines.drop(key)
        self._finished.add(key)
        self._work_done += work
        self._counts = (self._counts[0] + count, self._counts[1])
        if status == "ok" and self._live and brief and not self.verbose:
            self._passed.append(wall_s)
            return
        if status in FAILURES and not self.verbose:
            known = (status, reason) in self._repeats
            self._repeats[status, reason] = self._repeats.get((status, reason), -1) + 1
            if known:
                return
        told = f"  [yellow]{status.replace('_', ' ')}: {escape(reason)}[/yellow]" if status != "ok" else ""
        self._told(escape(label) + told, wall_s, well=status == "ok")
        for file in sorted(self._logs.glob(f"*-{key}.txt")) if self._logs and status in FAILURES else ():
            self.say(f"              [dim]log: {escape(str(file))}[/dim]")

    def _told(self, text: str, wall_s: float | None, *, well: bool = True) -> None:
        """Prints what has ended: on a terminal one line of what went well, and all of the reason of what did not."""
        seconds = "" if wall_s is None else clock(wall_s)
        mark = "[green]✓[/green]" if well else "[yellow]✗[/yellow]"
        if not self.console.is_terminal:
            left = f"  ({self._left()})" if self._work_total and wall_s is not None else ""
            self.say(f"{seconds:>11} {mark} {text}{left}")
        elif not self.quiet:
            table = Table.grid(padding=(0, 1, 0, 0), expand=True)
            table.add_column(no_wrap=True, justify="right", style="dim", width=11)
            table.add_column(no_wrap=True, width=1)
            table.add_column(no_wrap=well, overflow="ellipsis" if well else "fold", ratio=1)  # alone gives way
            table.add_row(seconds, mark, text)
            self._print(table)

    def _tell_passed(self) -> None:
        if self._passed:
            self._told(f"{len(self._passed)} evaluations  [dim]{clock(sum(self._passed))} in all[/dim]", None)
            self._passed = []
        for (status, reason), count in self._repeats.items():
            if count:
                again = f"{count} more: [yellow]{status.replace('_', ' ')}: {escape(reason)}[/yellow]"
                self._told(again, None, well=False)
        self._repeats = {}

    def say(self, text: str) -> None:
        """Prints a line above the live lines."""
        if not self.quiet:
            self._print(text)

    def _print(self, *lines: RenderableType) -> None:
        """Prints lines, if any, and draws the live ones anew."""
        with self._lock:
            for line in lines:
                self.console.print(line, highlight=False, soft_wrap=isinstance(line, str))
            if self._live:
                self._live.refresh()

    def _left(self) -> str:
        """The time left, as far as work tells; it covers training, not the short stages between."""
        began = time.monotonic() if self._work_began is None else self._work_began
        done = self._work_done + sum(one.work * one.share for one in list(self._running.values()))
        elapsed = time.monotonic() - began
        if done <= 0 or elapsed < WARM_UP_S:
            return "time left not known yet"
        left = (self._work_total - done) * elapsed / done
        return f"about {clock(left)} left" if left >= 1 else "nearly done"

    def _render(self) -> RenderableType:
        done, cells = self._records
        records = f"{done} of {cells} cells" if cells else ""
        return self._lines.draw(self._counts, records=records, left=self._left(), elapsed=self._elapsed())

    def _elapsed(self) -> str:
        return f"{clock(time.monotonic() - self._began)} elapsed"
