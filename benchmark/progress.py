"""Live progress of a run: stage, what runs now with its epoch, tasks and trials done, time left.

On a terminal a few lines that redraw themselves, elsewhere one line per finished task.
"""

from __future__ import annotations

import time
from types import TracebackType
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from benchmark.tasks import Task, TaskResult


class Monitor:
    """Collects what the executors tell and shows it."""

    def __init__(self, console: Console | None = None, *, quiet: bool = False) -> None:
        self.console = console or Console(stderr=True)
        self.quiet = quiet
        self.stage = ""
        self._running: dict[str, tuple[Task, str, float]] = {}
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
        if total and not self.quiet:
            found = f" ({cached} in the store)" if cached else ""
            self.say(f"[bold]{stage}[/bold]  {total} to make{found}" if cached < total else f"{stage}  all in the store")

    def start(self, task: Task) -> None:
        """A task begins."""
        self._running[task.key] = (task, "", 0.0)

    def tick(self, key: str, what: str, share: float) -> None:
        """A running task tells how far it is."""
        if key in self._running:
            self._running[key] = (self._running[key][0], what, share)

    def finish(self, task: Task, result: TaskResult) -> None:
        """A task has ended."""
        self._running.pop(task.key, None)
        self._work_done += task.work
        self._counts = (self._counts[0] + 1, self._counts[1])
        if not self.quiet:
            mark = "[green]✓[/green]" if result.status == "ok" else "[yellow]✗[/yellow]"
            reason = f"  [yellow]{result.status}: {result.reason}[/yellow]" if result.status != "ok" else ""
            self.say(f"  {mark} {task.label}  [dim]{result.wall_s:.1f} s[/dim]{reason}{self._left()}")

    def say(self, text: str) -> None:
        """Prints a line above the live lines."""
        if not self.quiet:
            self.console.print(text, highlight=False, soft_wrap=True)

    def _left(self) -> str:
        if self.console.is_terminal or not self._work_total:
            return ""
        return f"  [dim]{self._estimate()}[/dim]"

    def _estimate(self) -> str:
        running = sum(task.work * share for task, _, share in self._running.values())
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
            Text.assemble("   ", (_bar(share), "green"), f" {task.label}  ", (what, "dim"))
            for task, what, share in self._running.values()
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
