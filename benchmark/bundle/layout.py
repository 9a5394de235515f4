"""Where the parts of a bundle stand.

    <folder>/suite.json             the suite's document, as a store has it
    <folder>/seed-<n>/bundle.json   format, suite, seed, and the hash of every file of this part
                     /artifacts.parquet   stage, key, attempt, facts and file hashes of what the numbers come from
                     /records.parquet, trials.parquet, front.parquet   the tables of all records, below each other
                     /outcomes/<record>.parquet   zero-shot outcomes on test, see `outcomes.narrow`
                     /rebound.parquet   numbers of all trajectories, where the suite asks for a rebound
                     /weights/<model>.safetensors, .json   pre-trained models in bf16, where they were asked for

A seed is a unit: its part is written once, whole, and never touches another's.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pyarrow as pa

from benchmark.errors import UserError
from benchmark.store.schemas import FRONT, REBOUND, RECORDS, TRIALS

FORMAT = 1
DOCUMENT, HEAD, ARTIFACTS, OUTCOMES = "suite.json", "bundle.json", "artifacts.parquet", "outcomes"
TRAJECTORIES, WEIGHTS = "rebound.parquet", "weights"
TRAJECTORY = pa.schema([("trajectory", pa.string()), *REBOUND])  # key of the artifact
TABLES = {"records.parquet": RECORDS, "trials.parquet": TRIALS, "front.parquet": FRONT}
ARTIFACT = pa.schema([(name, pa.string()) for name in ("stage", "key", "attempt", "facts", "files")])  # two are JSON


def part_of(seed: int) -> str:
    """Folder of a seed's part."""
    return f"seed-{seed}"


def parts(folder: Path) -> list[Path]:
    """Parts that are there, by seed."""
    found = (head.parent for head in folder.glob(f"seed-*/{HEAD}"))
    return sorted(found, key=lambda part: (len(part.name), part.name))


def hashes(part: Path) -> dict[str, str]:
    """SHA-256 of each file of a part but its head, by path."""
    files = sorted(path for path in part.rglob("*") if path.is_file() and path != part / HEAD)
    return {path.relative_to(part).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def head_of(part: Path) -> dict[str, Any]:
    """A part's head.

    Raises:
        UserError: it is none of this format.
    """
    try:
        head = json.loads((part / HEAD).read_text(encoding="utf-8"))
        known = head["format"] == FORMAT and isinstance(head["files"], dict)
    except (OSError, ValueError, KeyError, TypeError):
        known, head = False, {}
    if not known:
        raise UserError(f"bundle {part}: {HEAD} must be one of format {FORMAT}; upgrade Backstop, or pack it again")
    return head
