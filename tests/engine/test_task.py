"""What becomes of an exception in a task: a status, or the one line of a full disk."""

from __future__ import annotations

import errno
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from safetensors import SafetensorError

from benchmark.engine.executor import search_result
from benchmark.engine.task import Task, execute
from benchmark.errors import UserError
from benchmark.stages.node import Node, Stage, Workplace
from benchmark.store.artifacts import Store
from tuners.queue import TrialResult, failed

pytestmark = pytest.mark.unit
# as safetensors 0.8 says it on a full tmpfs
FULL = "Error while serializing: I/O error: No space left on device (os error 28)"


class Mute(Exception):
    """An exception whose own text fails."""

    def __str__(self) -> str:
        raise KeyError("text")


def ended(store: Path, error: BaseException, leave: Any = None) -> tuple[str, str, bool]:
    class Raises(Stage):
        name = "pretrain"

        def run(self, nodes: Sequence[Node], at: Workplace) -> Mapping[str, Any]:
            if leave:
                leave(error)
            raise error

    result = execute(Task((Node(Raises(), "k", "label"),)), Workplace(Store(store)))
    return result.status, result.reason, result.user_error


@pytest.mark.parametrize(
    "error",
    [
        SafetensorError(FULL),
        OSError(errno.ENOSPC, "No space left on device"),
        OSError("[Errno 28] Error writing bytes to file. Detail: [errno 28] No space left on device"),
        OSError(errno.EDQUOT, "Disk quota exceeded"),
        RuntimeError("cannot write the table\n[Errno 28] No space left on device"),
    ],
)
def test_a_full_disk_stops_the_run_with_one_line(error: BaseException, tmp_path: Path) -> None:
    status, reason, mistake = ended(tmp_path, error)
    assert (status, mistake) == ("failed", True)
    assert reason == (
        f"store {tmp_path}: there must be space left on the device, got none; free some or choose another with --store"
    )
    assert not (tmp_path / "logs").exists()


@pytest.mark.parametrize("code", [1, 15])
def test_a_worker_that_is_sent_away_goes(code: int, tmp_path: Path) -> None:
    of_ray: dict[str, Any] = {"__name__": "ray._private.worker"}
    exec("def leave(error): raise error", of_ray)  # the handler of Ray's, which is told by where it stands
    with pytest.raises(SystemExit):  # Ray's answer to SIGTERM: the task is given to another worker, it has not failed
        ended(tmp_path, SystemExit(code), of_ray["leave"])


@pytest.mark.parametrize("code", [0, 1, 15, "enough"])
def test_an_exit_of_a_method_is_its_failure_whatever_its_code(code: int | str, tmp_path: Path) -> None:
    told = f"SystemExit: the code called sys.exit({code!r})"
    assert ended(tmp_path, SystemExit(code)) == ("failed", told, False)


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (ValueError("28 rows"), "failed"),
        (SafetensorError("Error while deserializing header: header too small"), "failed"),
        (MemoryError("4 GiB"), "out_of_memory"),
        (type("GetTimeoutError", (RuntimeError, TimeoutError), {})("an hour"), "timed_out"),  # as Ray's own is made
        (TimeoutError(errno.ETIMEDOUT, "Connection timed out"), "failed"),
        (SystemExit(0), "failed"),  # a method's; the run goes on
        (Mute("hidden"), "failed"),
    ],
)
def test_another_error_is_a_status_with_a_log(error: BaseException, status: str, tmp_path: Path) -> None:
    found, reason, mistake = ended(tmp_path, error)
    assert (found, mistake) == (status, False)
    assert reason.startswith(type(error).__name__)
    assert reason.endswith(": the code called sys.exit(0)") == isinstance(error, SystemExit)
    assert "Traceback" in (tmp_path / "logs" / "pretrain-k.txt").read_text()


def test_trials_that_a_lost_store_broke_stop_the_run_and_count_for_nothing(tmp_path: Path) -> None:
    lost = UserError("store s3://bucket/store cannot be reached: busy; run the same command again to go on")
    good = {"accuracy": 0.7, "asr": 0.1, "status": "ok", "reason": "", "wall_s": 1.0}
    config = {"cell": "c", "trial": 0, "round": 0, "phase": "quasi_random", "parameters": {}}
    trials = [TrialResult.of(config, good), TrialResult.of(config | {"trial": 1}, {"wall_s": 1.0, **failed(lost)})]
    cell: Any = None
    result = search_result(Store(tmp_path), cell, trials)
    assert (result.user_error, result.reason) == (True, str(lost))
    assert not search_result(Store(tmp_path), cell, trials[:1]).user_error
