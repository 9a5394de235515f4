"""Live progress of a run: stage, what runs now with its epoch, tasks and trials done, time left.

On a terminal a few lines that redraw themselves, elsewhere one line per finished task.
"""

from __future__ import annotations

import time
from types import TracebackType
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.markup import escape
from rich.text import Text


class Monitor:
    """Collects what the executors tell and shows it."""

    def __init__(self, console: Console | None = None, *, quiet: bool = False) -> None:
        self.console = console or Console(stderr=True)
        self.quiet = quiet
        self.stage = ""
        self._running: dict[str, tuple[str, float, str, float]] = {}  # key -> label, work, what, share
        self._finished: set[str] = set()
        self._work_total = self._work_done = 0.0
        self._began = time.monotonic()
        self._counts = (0, 0)
        self._live: Live | None = None

    def __enter__(self) -> Monitor:
        if self.console.is_terminal and not self.quiet:
            self._live = Live(get_renderable=self._render, console=self.console, refresh_per_second=4, transient=True)
            self._live.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, value: Any, trace: TracebackType | None) -> None:
        if self._live:
            self._live.stop()
            self._live = None

    def expect(self, work: float) -> None:
        """Adds work to what is to be done (forward views of images)."""
        self._work_total += work

    def enter(self, stage: str, *, total: int, cached: int) -> None:
        """Begins a stage of `total` tasks, of which `cached` are in the store already."""
        self.stage, self._counts = stage, (cached, total)
        if total:
            found = f" ({cached} in the store)" if cached else ""
            self.say(
                f"[bold]{stage}[/bold]  {total} to make{found}" if cached < total else f"{stage}  all in the store"
            )

    def start(self, key: str, label: str, work: float) -> None:
        """Something begins."""
        self._finished.discard(key)
        self._running[key] = (label, work, "", 0.0)

    def tick(self, key: str, what: str, share: float, *, label: str = "", work: float = 0.0) -> None:
        """Something that runs tells how far it is; what nobody announced needs a label."""
        if key in self._running:
            label, work, *_ = self._running[key]
        elif not label or key in self._finished:
            return
        self._running[key] = (label, work, what, share)

    def finish(self, key: str, label: str, work: float, *, status: str, reason: str, wall_s: float) -> None:
        """Something has ended, well or badly."""
        self._running.pop(key, None)
        self._finished.add(key)
        self._work_done += work
        self._counts = (self._counts[0] + 1, self._counts[1])
        mark = "[green]✓[/green]" if status == "ok" else "[yellow]✗[/yellow]"
        told = f"  [yellow]{status}: {escape(reason)}[/yellow]" if status != "ok" else ""
        self.say(f"  {mark} {escape(label)}  [dim]{wall_s:.1f} s[/dim]{told}{self._left()}")

    def say(self, text: str) -> None:
        """Prints a line above the live lines."""
        if not self.quiet:
            self.console.print(text, highlight=False, soft_wrap=True)

    def _left(self) -> str:
        if self.console.is_terminal or not self._work_total:
            return ""
        return f"  [dim]{self._estimate()}[/dim]"

    def _estimate(self) -> str:
        running = sum(work * share for _, work, _, share in self._running.values())
        done, elapsed = self._work_done + running, time.monotonic() - self._began
        if done <= 0 or elapsed < 5:
            return "time left: …"
        left = max(0.0, (self._work_total - done) * elapsed / done)
        return f"about {_clock(left)} left"

    def _render(self) -> Group:
        done, total = self._counts
        head = Text.assemble(
            ("  " + self.stage, "bold"), f"  {done}/{total}  ", (self._estimate(), "cyan"), f"  elapsed {self._clock()}"
        )
        lines = [
            Text.assemble("   ", (_bar(share), "green"), f" {label}  ", (what, "dim"))
            for label, _, what, share in list(self._running.values())
        ]
        return Group(head, *lines)

    def _clock(self) -> str:
        return _clock(time.monotonic() - self._began)


def _bar(share: float, width: int = 16) -> str:
    filled = round(min(1.0, max(0.0, share)) * width)
    return "━" * filled + "╌" * (width - filled)


def _clock(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes}:{rest:02d} min" if minutes else f"{rest} s"
