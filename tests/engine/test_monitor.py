"""What a run shows while it runs: live lines on a terminal, plain lines elsewhere, and the time that is left."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console

from benchmark.engine import live
from benchmark.engine import monitor as progress
from benchmark.engine.live import clock
from benchmark.engine.monitor import Monitor

pytestmark = pytest.mark.unit
TRIAL = "mmcl-ssl · blended · cleanclip · trial 7  CA 0.91  ASR 0.02  learning_rate=0.00176, ssl_weight=2.13"


class Clock:
    """A clock that stands still until it is set."""

    now = 100.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def time(monkeypatch: pytest.MonkeyPatch) -> Clock:
    still = Clock()
    monkeypatch.setattr(progress, "time", still)
    return still


def console(*, terminal: bool, width: int = 80) -> Console:
    return Console(file=io.StringIO(), force_terminal=terminal, width=width, height=12, color_system=None)


def printed(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def drawn(monitor: Monitor) -> list[str]:
    """The live lines as they stand."""
    with monitor.console.capture() as found:
        monitor.console.print(monitor._render())
    return found.get().splitlines()


def ended(
    monitor: Monitor, key: str, *, status: str = "ok", reason: str = "", label: str = TRIAL, brief: bool = False
) -> None:
    monitor.finish(key, label, 50.0, status=status, reason=reason, wall_s=12.3, brief=brief)


def test_elsewhere_than_on_a_terminal_each_task_is_one_plain_line() -> None:
    with Monitor(console(terminal=False)) as monitor:
        monitor.expect(0.0, 2)
        ended(monitor, "a")
        ended(monitor, "b", status="repair_failed", reason="no [bound] met")
    assert printed(monitor.console).splitlines() == [
        f"       12 s ✓ {TRIAL}",
        f"       12 s ✗ {TRIAL}  repair failed: no [bound] met",
    ]


def test_quiet_prints_nothing() -> None:
    for terminal in (True, False):
        with Monitor(console(terminal=terminal), quiet=True) as monitor:
            monitor.expect(0.0, 1)
            ended(monitor, "a", status="failed")
            ended(monitor, "b")
        assert printed(monitor.console) == ""


def test_a_terminal_counts_evaluations_and_names_those_that_went_wrong() -> None:
    with Monitor(console(terminal=True)) as monitor:
        monitor.expect(0.0, 3)
        for key in "ab":
            ended(monitor, key, label="fine", brief=True)
        ended(monitor, "c", status="failed", reason="gone", label="broken")
    text = printed(monitor.console)
    assert "✓ 2 evaluations  25 s in all" in text
    assert "fine" not in text
    assert "✗ broken  failed: gone" in text


@pytest.mark.parametrize("width", [60, 80, 100, 200])
def test_live_lines_fit_the_terminal(width: int) -> None:
    monitor = Monitor(console(terminal=True, width=width))
    monitor.expect(0.0, 30)
    for place in range(20):
        monitor.start(str(place), TRIAL, 100.0)
        monitor.tick(str(place), "epoch 10/13, loss 12.31", 0.5)
    lines = drawn(monitor)
    assert max(map(len, lines)) <= min(width, live.WIDEST)
    assert len(lines) < 12
    assert lines[1].startswith("0 of 30 steps")
    assert [line for line in lines if "mmcl-ssl" in line and "epoch 10/13, loss 12.31" in line]
    assert lines[-1].strip() == f"… and {20 - (len(lines) - 3)} more"


def test_records_are_told_as_they_are_written_and_counted() -> None:
    for terminal in (True, False):
        with Monitor(console(terminal=terminal)) as monitor:
            monitor.expect(0.0, 3)
            monitor.expect_records(9, done=4)
            monitor.record("mmcl · badnet · cleanclip", {"default": "ok", "oracle": "repair_failed", "blind": "ok"})
            monitor.record("mmcl · badnet · [x]", {"default": "failed"})
        assert "     record   mmcl · badnet · cleanclip  ok, repair failed" in printed(monitor.console)
        assert "[x]" not in printed(monitor.console)  # its failure was told with the reason
        assert "6 of 9 cells" in drawn(monitor)[1]


def test_a_wide_terminal_tells_how_long_each_task_still_takes(time: Clock) -> None:
    monitor = Monitor(console(terminal=True, width=100))
    monitor.expect(0.0, 1)
    monitor.start("a", "a model", 1.0)
    time.now += 30
    monitor.tick("a", "epoch 1/4", 0.25)
    assert drawn(monitor)[2].rstrip().endswith("1:30 min left")


def test_the_time_left_follows_the_work(time: Clock) -> None:
    monitor = Monitor(console(terminal=True))
    monitor.expect(400.0, 4)
    time.now += 60  # Ray starts: no part of the pace
    monitor.start("a", "a model", 100.0)
    assert "time left not known yet" in drawn(monitor)[1]
    time.now += 30
    monitor.tick("a", "epoch 1/2", 0.5)
    assert "about 3:30 min left   1:30 min elapsed" in drawn(monitor)[1]
    monitor.finish("a", "a model", 400.0, status="ok", reason="", wall_s=30.0)
    assert "nearly done" in drawn(monitor)[1]


def test_what_has_ended_does_not_come_back() -> None:
    monitor = Monitor(console(terminal=True))
    monitor.expect(0.0, 2)
    monitor.tick("a", "epoch 1/2", 0.5, label="a trial")
    assert any("a trial" in line for line in drawn(monitor))
    ended(monitor, "a")
    monitor.tick("a", "epoch 2/2", 1.0, label="a trial")  # workers' news may arrive late
    assert not any("a trial" in line for line in drawn(monitor))


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.04, "0.0 s"), (9.8, "9.8 s"), (48.2, "48 s"), (185, "3:05 min"), (7500, "2 h 05 min")]
)
def test_times_are_short(seconds: float, text: str) -> None:
    assert clock(seconds) == text


def test_a_terminal_shows_all_of_a_reason_and_one_line_of_what_went_well() -> None:
    reason = "no epoch of any trial met the bound and kept its clean accuracy above the collapse share"
    with Monitor(console(terminal=True)) as monitor:
        monitor.expect(0.0, 2)
        ended(monitor, "a")
        ended(monitor, "b", status="repair_failed", reason=reason)
    words = printed(monitor.console).split()
    assert printed(monitor.console).count("trial 7") == 2
    assert f"       12 s ✓ {TRIAL[:60]}" in printed(monitor.console)
    assert "       12 s ✗ mmcl-ssl" in printed(monitor.console)
    assert " ".join(words).count(reason) == 1


def test_one_reason_of_many_failures_is_told_once_with_their_number(tmp_path: Path) -> None:
    (tmp_path / "pretrain-b.txt").write_text("a traceback")
    for verbose, lines in ((False, 2), (True, 3)):
        with Monitor(
            console(terminal=False, width=300), verbose=verbose, logs=tmp_path if verbose else None
        ) as monitor:
            monitor.expect(0.0, 3)
            for key in "abc":
                ended(monitor, key, status="failed", reason="too few pairs", label=f"model {key}")
        told = [line for line in printed(monitor.console).splitlines() if "too few pairs" in line]
        assert len(told) == lines
        assert told[0].endswith("model a  failed: too few pairs")
        assert told[-1].endswith("model c  failed: too few pairs" if verbose else "2 more: failed: too few pairs")
        assert ("pretrain-b.txt" in printed(monitor.console)) == verbose


def test_a_count_at_the_end_has_no_time_left_beside_it() -> None:
    with Monitor(console(terminal=False, width=300)) as monitor:
        monitor.expect(100.0, 3)
        for key in "abc":
            ended(monitor, key, status="failed", reason="too few pairs")
    first, last = [line for line in printed(monitor.console).splitlines() if "too few pairs" in line]
    assert "left" in first
    assert last.endswith("2 more: failed: too few pairs")


def test_verbose_gives_each_evaluation_a_line() -> None:
    with Monitor(console(terminal=True), verbose=True) as monitor:
        monitor.expect(0.0, 2)
        for key in "ab":
            ended(monitor, key, label=f"model {key}", brief=True)
    assert "✓ model a" in printed(monitor.console)
    assert "✓ model b" in printed(monitor.console)
