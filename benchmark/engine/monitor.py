"""Live progress of a run: stage, what runs now with its epoch, tasks and trials done, time left.

On a terminal a few lines that redraw themselves, elsewhere one line per finished task.
"""

from __future__ import annotations

import threading
import time
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.markup import escape
from rich.table import Table
from rich.text import Text

WIDEST = 120  # columns: on wider terminals the parts of a line would lie too far apart
WARM_UP_S = 5.0  # before that a time left would be a guess
REDRAW_S = 0.25
FAILURES = frozenset({"failed", "out_of_memory", "timed_out", "not_applicable"})  # often many for one reason


class _Running(NamedTuple):
    """Something that runs now."""

    label: str
    work: float  # forward views of images
    what: str = ""
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
        self._counts = (0, 0)
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

    def skip(self, work: float) -> None:
        """A node needs no slot, or not any more."""
        self._work_total -= work
        self._counts = (self._counts[0] + 1, self._counts[1])

    def start(self, key: str, label: str, work: float) -> None:
        """Something begins."""
        self._finished.discard(key)
        self._run(key, _Running(label, work))

    def tick(self, key: str, what: str, share: float, *, label: str = "", work: float = 0.0) -> None:
        """Something that runs tells how far it is; what nobody announced needs a label."""
        if key in self._running:
            label, work, *_ = self._running[key]
        elif not label or key in self._finished:
            return
        self._run(key, _Running(label, work, what, share))

    def _run(self, key: str, running: _Running) -> None:
        if running.work and self._work_began is None:
            self._work_began = time.monotonic()
        self._running[key] = running

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
            left = f"  ({self._left()})" if self._work_total else ""
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
        done, total = self._counts
        if not total:
            return Text(self._elapsed(), style="dim")
        head = Text.assemble(
            *("\n", f"{done} of {total} steps   ", (self._left(), "cyan")),
            *("   ", (self._elapsed(), "dim")),
            no_wrap=True,
            overflow="ellipsis",
        )
        running = list(self._running.values())
        room = max(1, self.console.height - 4)
        shown = running if len(running) <= room else running[: room - 1]
        lines: list[RenderableType] = [head, self._bars(shown)]
        if len(shown) < len(running):
            lines.append(Text(f"  … and {len(running) - len(shown)} more", style="dim"))
        return Group(*lines)

    def _bars(self, running: list[_Running]) -> Table:
        """One line each: how far it is, what it does, and its name, which gives way where the line is too long."""
        width = min(self.console.width, WIDEST)
        length = 16 if width >= 90 else 8
        table = Table.grid(padding=(0, 2, 0, 0), expand=True)
        table.width = width
        table.add_column(no_wrap=True, width=length + 2, style="green")
        table.add_column(no_wrap=True, width=24)
        table.add_column(no_wrap=True, overflow="ellipsis", ratio=1)
        for one in running:
            table.add_row(f"  {_bar(one.share, length)}", Text(one.what or "starting"), Text(one.label))
        return table

    def _elapsed(self) -> str:
        return f"{clock(time.monotonic() - self._began)} elapsed"


def _bar(share: float, width: int) -> str:
    filled = round(min(1.0, max(0.0, share)) * width)
    return "━" * filled + "╌" * (width - filled)


def clock(seconds: float) -> str:
    """A time as people read it: `4.2 s`, `48 s`, `3:05 min`, `2 h 05 min`."""
    if seconds < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes}:{rest:02d} min"
