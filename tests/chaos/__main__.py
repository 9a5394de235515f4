"""`python -m tests.chaos [--only NAME,…] [--out FOLDER] [--again]`: puts faults into runs, and prints one table."""

from __future__ import annotations

import argparse
import json
import shutil
import signal
import sys
import time
import traceback
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tests.chaos.attempt import Attempt, Calm, Hung
from tests.chaos.fault import Fault, Missed
from tests.chaos.faults import FAULTS

RESULTS = Path("chaos-results")


def main(words: list[str]) -> int:
    """Runs the faults that have no result yet; 1 where any run did not end in the undisturbed one's records."""
    names = [fault.name for fault in FAULTS]
    parser = argparse.ArgumentParser(prog="make chaos", description=__doc__)
    parser.add_argument("--only", help=f"of {', '.join(names)}; several with commas")
    parser.add_argument("--out", type=Path, default=RESULTS, help="where results are kept, one file for each fault")
    parser.add_argument("--again", action="store_true", help="those too that have a result")
    given = parser.parse_args(words)
    only = given.only.split(",") if given.only else names
    wrong = sorted(set(only) - set(names))
    if wrong:
        parser.error(f"--only must be of {', '.join(names)}, got {', '.join(wrong)}")
    given.out.mkdir(parents=True, exist_ok=True)
    _listen()
    for fault in FAULTS:
        if fault.name in only:
            _run(fault, given.out, again=given.again)
    results = [json.loads(file.read_text()) for name in names for file in sorted(given.out.glob(f"{name}.[0-9]*.json"))]
    print("\n".join(table(results)))
    return int(not results or any(not good(item) for item in results))


def _listen() -> None:
    """Has an end from outside clean up first, and runs hear Ctrl-C where a shell in the background ignores it."""
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    signal.signal(signal.SIGINT, signal.default_int_handler)


def _run(fault: Fault, out: Path, *, again: bool) -> None:
    if fault.needs and not shutil.which(fault.needs):
        print(f"{fault.name}: left out, there is no {fault.needs}", flush=True)
        return
    files = [out / f"{fault.name}.{number}.json" for number in range(fault.times)]
    for number, file in enumerate(files):
        if file.exists() and not again:
            continue
        file.write_text(json.dumps(result := once(fault, out, number), indent=1))
        print(row(result), flush=True)


def _calm(calm: Calm, out: Path) -> Path:
    """The store of an undisturbed run, which is made where it is not there."""
    store = (out / calm.name).resolve()
    if not store.exists():
        print("an undisturbed run …", flush=True)
        with Attempt(calm.how, store, calm.cells) as run:
            code, complaints = run.finish()
            if code:
                raise RuntimeError(f"an undisturbed run ended with {code}: {complaints}")
            shutil.copytree(run.root, begun := out / f"{calm.name}.begun", dirs_exist_ok=True)
        begun.rename(store)
    return store


def once(fault: Fault, out: Path, number: int) -> dict[str, Any]:
    """One fault and what came of it, whatever goes wrong meanwhile."""
    began = time.monotonic()
    found: dict[str, Any] = {"fault": fault.name, "number": number}
    try:
        with Attempt(fault.how, _calm(fault.calm, out), fault.calm.cells) as run:
            found |= _ended(fault, run, number)
    except Missed as missed:
        found |= {"missed": str(missed)[-200:]}
    except Exception as error:  # the table goes on
        why = str(error) if isinstance(error, Hung) else traceback.format_exc()[-400:]
        found |= {"done": "not told", "equal": False, "differs": why, "left": [], "traceback": False}
    return found | {"seconds": round(time.monotonic() - began, 1)}


def _ended(fault: Fault, run: Attempt, number: int) -> dict[str, Any]:
    """What a fault did, and how the same command ended after it."""
    done = fault.inject(run, number)
    code, complaints = run.finish()
    differs = run.differs() if code == 0 else f"rc {code}"
    return {
        "done": done,
        "code": code,
        "traceback": "Traceback" in complaints or "Traceback" in done,
        "equal": not differs,
        "differs": differs,
        "left": run.left(),
        "complaints": complaints[-400:] if differs else "",
    }


def good(result: dict[str, Any]) -> bool:
    """Whether a run ended as it should; a fault that came too late says nothing."""
    return "missed" in result or (result["equal"] and not result["left"] and not result["traceback"])


def row(result: dict[str, Any]) -> str:
    """One line of the table."""
    if "missed" in result:
        why = " ".join(result["missed"].split())[:80]
        return f"| {result['fault']} {result['number']} | came too late: {why} | | | {result['seconds']:.0f} s |"
    left = "; ".join(result["left"])[:120] or "nothing"
    equal = "equal" if result["equal"] else f"**{' '.join(result['differs'].split())}**"
    return f"| {result['fault']} {result['number']} | {result['done']} | {equal} | {left} | {result['seconds']:.0f} s |"


def table(results: Iterable[dict[str, Any]]) -> list[str]:
    """All results, and how many there are."""
    results = list(results)
    counted = [item for item in results if "missed" not in item]
    minutes = sum(item["seconds"] for item in results) / 60
    head = [
        "| fault | what was done, and what the run said | after the same command | left over | took |",
        "|---|---|---|---|---|",
    ]
    late = len(results) - len(counted)
    sums = f"{len(counted)} faults: {sum(map(good, counted))} as it should be; {late} came too late; {minutes:.0f} min"
    return [*head, *map(row, results), "", sums]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
