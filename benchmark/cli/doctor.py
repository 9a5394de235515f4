"""`backstop doctor`: versions, devices, disk, memory, and what is missing."""

from __future__ import annotations

import os
import platform
import shutil
import sys
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from typing import Literal, NamedTuple

from packaging.requirements import Requirement
from rich.console import Console
from rich.table import Table
from rich.text import Text

from benchmark.errors import UserError
from benchmark.output import print_json
from benchmark.store.artifacts import open_store


class Finding(NamedTuple):
    """One line of the diagnosis."""

    level: Literal["ok", "note", "bad"]
    what: str
    told: str


def doctor(path: str | None, *, as_json: bool) -> int:
    """Prints what a run would meet on this machine; 0 where nothing needed is missing."""
    found = diagnose(path)
    if as_json:
        print_json([item._asdict() for item in found])
    else:
        marks = {"ok": ("ok", "green"), "note": ("note", "cyan"), "bad": ("BAD", "bold red")}
        table = Table.grid(padding=(0, 2, 0, 0))
        for item in found:
            table.add_row(Text(*marks[item.level]), Text(item.what, "bold"), Text(item.told, overflow="fold"))
        Console().print(table)
        bad = sum(item.level == "bad" for item in found)
        print(f"\n{bad} to mend" if bad else "\nnothing is missing")
    sys.stdout.flush()
    return 1 if any(item.level == "bad" for item in found) else 0


def diagnose(store: str | None) -> list[Finding]:
    """Looks at everything and changes nothing."""
    return [_python(), *_packages(), *_devices(), _memory(), _store(store), _ray()]


def _python() -> Finding:
    good = (3, 11) <= tuple(map(int, platform.python_version_tuple()[:2])) < (3, 15)
    told = f"{platform.python_version()} on {platform.system()} {platform.machine()}, {os.cpu_count()} CPUs"
    return Finding("ok" if good else "bad", "python", told if good else told + "; it must be 3.11 to 3.14")


def _packages() -> list[Finding]:
    missing, found = [], []
    for text in requires("backstop-bench") or []:
        need = Requirement(text)
        if need.marker and not need.marker.evaluate({"extra": ""}):
            continue
        try:
            have = version(need.name)
        except PackageNotFoundError:
            missing.append(f"{need.name} is not installed")
            continue
        found.append(f"{need.name} {have}")
        if not need.specifier.contains(have, prereleases=True):
            missing.append(f"{need.name} must be {need.specifier}, got {have}")
    if missing:
        return [Finding("bad", "package", f"{text}; run `make setup`") for text in missing]
    return [Finding("ok", "packages", ", ".join(found))]


def _devices() -> list[Finding]:
    import torch

    if not torch.cuda.is_available():
        return [Finding("note", "device", f"no GPU; CPU threads: {torch.get_num_threads()}")]
    return [
        Finding("ok", "device", f"{torch.cuda.get_device_name(i)}, {torch.cuda.mem_get_info(i)[1] / 2**30:.0f} GiB")
        for i in range(torch.cuda.device_count())
    ]


def _memory() -> Finding:
    info = Path("/proc/meminfo")
    if not info.exists():
        return Finding("note", "memory", "unknown on this system")
    lines = dict(line.split(":", 1) for line in info.read_text().splitlines())
    free = int(lines["MemAvailable"].split()[0]) / 2**20
    return Finding("ok" if free >= 4 else "note", "memory", f"{free:.1f} GiB available; `smoke` takes 3")


def _store(path: str | None) -> Finding:
    try:
        store = open_store(path)
    except UserError as error:
        return Finding("bad", "store", str(error))
    if store.local_root is None:
        return Finding("note", "store", f"{store.root} (remote)")
    folder = store.local_root.resolve()
    parent = next(item for item in (folder, *folder.parents) if item.exists())
    if not os.access(parent, os.W_OK):
        return Finding("bad", "store", f"{folder} cannot be written; choose another with --store")
    free = shutil.disk_usage(parent).free / 2**30
    return Finding("ok" if free > 2 else "bad", "store", f"{folder}, {free:.0f} GiB free")


def _ray() -> Finding:
    address = os.environ.get("RAY_ADDRESS")
    return Finding("ok", "ray", f"cluster {address}" if address else "no RAY_ADDRESS: runs start Ray on this machine")
