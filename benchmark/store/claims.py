"""Claims: which driver makes an artifact, so that two on one store divide the work instead of doing it twice.

`claims/<stage>/<key>.json` names the owner; `claims/owners/<owner>.json` is written again every few seconds while it
lives. A claim is no lock: it saves work and guards nothing. An owner that is judged dead and is not makes an artifact
twice, with equal content.
"""

from __future__ import annotations

import json
import os
import platform
import threading
import time
import uuid
from contextlib import suppress
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from benchmark.store.roots import Root

BEAT_S = 10.0  # between two signs of life
STALE_S = 60.0  # without one, by the clock of who looks; clocks of machines are not compared


class Claims:
    """The claims of one driver at one place."""

    def __init__(self, root: Root) -> None:
        self._root, self._owner = root, uuid.uuid4().hex
        self._mine = set[tuple[str, str]]()
        self._beats: dict[str, tuple[object, float]] = {}  # by file: what stood there, and since when
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def claim(self, stage: str, key: str) -> bool:
        """Whether this driver may make an artifact now; another one is about to where not."""
        if (stage, key) in self._mine:
            return True
        self._begin()
        name = f"claims/{stage}/{key}.json"
        if not self._create(name) and not self._took_over(name):
            return False
        self._mine.add((stage, key))
        return True

    def release(self, stage: str, key: str) -> None:
        """Gives a claim back: the artifact is there, or could not be made."""
        if (stage, key) in self._mine:
            self._mine.remove((stage, key))
            self._root.remove(f"claims/{stage}/{key}.json")

    def close(self) -> None:
        """Gives back all of them."""
        if self._thread is None:
            return
        self._stop.set()
        self._thread.join()
        for stage, key in list(self._mine):
            self.release(stage, key)
        self._root.remove(self._own_file)
        self._thread, self._stop = None, threading.Event()

    @property
    def _own_file(self) -> str:
        return f"claims/owners/{self._owner}.json"

    def _begin(self) -> None:
        """Says who claims, before the first claim, and from now on that it lives."""
        if self._thread is None:
            self._beat()
            self._thread = threading.Thread(target=self._keep_beating, args=(self._stop,), daemon=True)
            self._thread.start()

    def _beat(self) -> None:
        facts = {"machine": _machine(), "host": platform.node(), "process": os.getpid(), "beat": uuid.uuid4().hex}
        self._root.write(self._own_file, json.dumps(facts | {"time": time.time()}))

    def _keep_beating(self, stop: threading.Event) -> None:
        while not stop.wait(BEAT_S):
            with suppress(Exception):  # a full disk or a lost connection: the run itself will say so
                self._beat()

    def _create(self, name: str) -> bool:
        return self._root.create(name, json.dumps({"owner": self._owner, "host": platform.node(), "time": time.time()}))

    def _took_over(self, name: str) -> bool:
        """Whether the claim that stands is this driver's now, since its owner is gone."""
        found = self._read(name)
        if found is not None:
            owner = str(found.get("owner", ""))
            if owner == self._owner:  # the answer to our own request was lost
                return True
            if not self._is_gone(owner, name):
                return False
            self._root.remove(name)
        return self._create(name)

    def _is_gone(self, owner: str, name: str) -> bool:
        file = f"claims/owners/{owner}.json" if owner else name  # of a claim that is torn, itself
        found = self._read(file)
        if found is None:
            return True
        if found.get("machine") == _machine() and not is_process(found.get("process")):
            return True
        seen, since = self._beats.setdefault(file, (found, time.monotonic()))
        if seen != found:
            self._beats[file] = (found, time.monotonic())
            return False
        return time.monotonic() - since > STALE_S

    def _read(self, name: str) -> dict[str, Any] | None:
        """A small document; empty where it is torn, None where it is not there."""
        data = self._root.read(name)
        try:
            return None if data is None else TypeAdapter(dict[str, Any]).validate_json(data)
        except ValidationError:
            return {}


def is_process(number: object) -> bool:
    """Whether a process of this machine lives."""
    if not isinstance(number, int) or number <= 0:
        return False
    try:
        os.kill(number, 0)
    except (ProcessLookupError, OverflowError):  # there is none, or no such number
        return False
    except PermissionError:  # somebody else's
        return True
    return True


def _machine() -> str:
    """Names what numbers of processes are of: a start of a machine, and on it a container."""
    places = ("/proc/sys/kernel/random/boot_id", "/proc/self/ns/pid")
    found = [platform.node()]
    with suppress(OSError):
        found += [Path(places[0]).read_text().strip(), os.readlink(places[1])]
    return " ".join(found)
