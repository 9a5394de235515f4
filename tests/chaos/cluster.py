"""`python -m tests.chaos.cluster [dashboard] CPUS …`: a head without CPUs and nodes in a process that can be killed.

Prints one line of JSON when they are there, and for each line that it reads what of runs is left on them.
"""

from __future__ import annotations

import contextlib
import json
import secrets
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmark.engine.ray_token import ALONE
from tests.chaos.attempt import COORDINATOR, LIMIT_S, ROOT, Attempt
from tests.chaos.fault import Missed

END_S = 120.0  # of a cluster
TRIES = 3  # Ray gives a node 30 s to start, which a busy machine may need for its imports


class Nodes:
    """A cluster as an attempt sees it; the attempt's command joins it, and the attempt's end ends it."""

    def __init__(self, run: Attempt, *cpus: int, how: tuple[str, ...] = (), dashboard: bool = False) -> None:
        """A node for each number of `cpus`; `how`: further words of the command; `dashboard`: for jobs and groups."""
        run.environment.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
        run.environment[ALONE] = "0"  # it listens on loopback, where the driver has to look for it
        run.environment |= {"RAY_AUTH_MODE": "token", "RAY_worker_niceness": "0"}
        run.environment |= {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
        words = [sys.executable, "-m", "tests.chaos.cluster", *(["dashboard"] if dashboard else []), *map(str, cpus)]
        log = run.folder / "cluster.log"
        for _ in range(TRIES):
            self._begin(run, words, log)
            if found := self._read():
                break
            run.kill_all()
        else:
            raise Missed(f"the cluster did not start: {log.read_text()[-150:]}")
        run.around.callback(self.close)
        self.address: str = found["address"]
        self.dashboard: str = f"http://{found['dashboard']}"
        self.raylets: list[int] = found["raylets"]  # process of each node, the head's apart
        run.how, run.also_left = ("--address", self.address, *how), self.left

    def _begin(self, run: Attempt, words: list[str], log: Path) -> None:
        with run.marked(), log.open("w") as complaints:
            self._process = subprocess.Popen(
                words,
                cwd=ROOT,
                start_new_session=True,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=complaints,
                text=True,
            )
        run.processes.append(self._process)

    def _read(self) -> dict[str, Any]:
        assert self._process.stdout
        with _killed_after(self._process, LIMIT_S):
            return json.loads(self._process.stdout.readline() or "{}")

    def left(self) -> list[str]:
        """Actors that live and placement groups that hold something."""
        assert self._process.stdin
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write("\n")
            self._process.stdin.flush()
        return self._read().get("left", ["a cluster that does not answer"])

    def close(self) -> None:
        """Ends it as its owner would; nothing where it was killed."""
        assert self._process.stdin
        with contextlib.suppress(OSError):
            self._process.stdin.close()
        self._process.wait(timeout=END_S)


@contextlib.contextmanager
def _killed_after(process: subprocess.Popen[str], seconds: float) -> Iterator[None]:
    """Kills a process that does not answer meanwhile."""
    timer = threading.Timer(seconds, process.kill)
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def restarted(run: Attempt, nodes: Nodes) -> None:
    """Ends all that is left of a cluster, as machines that are started again, and begins another one."""
    run.kill_all()
    nodes.close()
    Nodes(run, *([1] * len(nodes.raylets)))


def _left(state: Any) -> list[str]:
    actors = (item for item in state.actor_table(None).values() if item["State"] != "DEAD")
    actors = (item for item in actors if item["ActorClassName"] != COORDINATOR)
    groups = (item for item in state.placement_group_table().values() if item["state"] != "REMOVED")
    return [f"actor {item['ActorClassName']}" for item in actors] + [f"placement group {item}" for item in groups]


def main(words: list[str]) -> None:
    """Holds a cluster until its input ends."""
    from tests.cluster.raylets import Raylets

    with Raylets(dashboard="dashboard" in words) as raylets:
        cluster = raylets._cluster
        nodes = [raylets.add(cpus=int(word)) for word in words if word.isdigit()]
        found = {
            "address": raylets.address,
            "dashboard": cluster.webui_url,
            "raylets": [node.all_processes["raylet"][0].process.pid for node in nodes],
        }
        print(json.dumps(found), flush=True)
        for _ in sys.stdin:
            print(json.dumps({"left": _left(cluster.global_state)}), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
