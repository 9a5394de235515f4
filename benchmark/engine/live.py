"""The lines that a terminal shows while a run goes on: one for all of it, and one for each task that runs."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from rich.console import Console, Group, RenderableType
from rich.constrain import Constrain
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TaskID, TextColumn
from rich.table import Column
from rich.text import Text

WIDEST = 120  # columns: on wider terminals the parts of a line would lie too far apart
WARM_UP_S = 5.0  # before that a time left would be a guess


class TimeLeft(ProgressColumn):
    """Of one task, by the share of it that is done and the time that this took."""

    def render(self, task: Task) -> Text:
        """Empty before anything can be said."""
        elapsed, share = task.elapsed or 0.0, task.completed
        known = elapsed >= WARM_UP_S and 0 < share < 1
        return Text(f"{clock(elapsed * (1 - share) / share)} left" if known else "", style="cyan")


class LiveLines:
    """Keeps what runs; draws it at the width and height of the console."""

    def __init__(self, console: Console, now: Callable[[], float]) -> None:
        self._console = console
        narrow = console.width < 90
        label = Column(no_wrap=True, overflow="ellipsis", ratio=1)  # alone gives way where a line is too long
        self._running = Progress(
            BarColumn(8 if narrow else 16, table_column=Column(no_wrap=True)),
            TextColumn("{task.fields[what]}", markup=False, table_column=Column(no_wrap=True, width=24)),
            TextColumn("{task.description}", markup=False, table_column=label),
            *(() if narrow else (TimeLeft(Column(no_wrap=True, justify="right", width=14)),)),
            console=console,
            get_time=now,
            expand=True,
        )
        self._all = Progress(
            TextColumn("{task.completed:.0f} of {task.total:.0f} steps"),
            TextColumn("  {task.fields[records]}"),
            TextColumn("  {task.fields[left]}", style="cyan"),
            TextColumn("  {task.fields[elapsed]}", style="dim", table_column=Column(no_wrap=True, overflow="ellipsis")),
            console=console,
            get_time=now,
        )
        self._head = self._all.add_task("", records="", left="", elapsed="")
        self._tasks: dict[str, TaskID] = {}

    def show(self, key: str, label: str, what: str, share: float) -> None:
        """Takes in how far something is, new or known."""
        if key not in self._tasks:
            self._tasks[key] = self._running.add_task(label, total=1.0, what="starting")
        self._running.update(self._tasks[key], completed=min(1.0, max(0.0, share)), what=what or "starting")

    def drop(self, key: str) -> None:
        """It has ended."""
        if key in self._tasks:
            self._running.remove_task(self._tasks.pop(key))

    def draw(self, counts: tuple[int, int], *, records: str, left: str, elapsed: str) -> RenderableType:
        """The lines as they stand."""
        done, total = counts
        if not total:
            return Text(elapsed, style="dim")
        self._all.update(self._head, completed=done, total=total, records=records, left=left, elapsed=elapsed)
        tasks = self._running.tasks
        room = max(1, self._console.height - 4)
        shown = tasks if len(tasks) <= room else tasks[: room - 1]
        lines: list[RenderableType] = [Text(""), self._all.make_tasks_table(self._all.tasks), self._bars(shown)]
        if len(shown) < len(tasks):
            lines.append(Text(f"… and {len(tasks) - len(shown)} more", style="dim"))
        return Group(*lines)

    def _bars(self, tasks: Sequence[Task]) -> RenderableType:
        return Constrain(self._running.make_tasks_table(tasks), min(self._console.width, WIDEST))


def clock(seconds: float) -> str:
    """A time as people read it: `4.2 s`, `48 s`, `3:05 min`, `2 h 05 min`."""
    if seconds < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes}:{rest:02d} min"
