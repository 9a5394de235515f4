"""The index over boards: every suite and version that stands in a folder, each by what its board says of itself."""

from __future__ import annotations

import base64
import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from reports.answer import Answer
from reports.compile import Frame, Results
from reports.labels import plain
from reports.ranking import Ranking
from reports.span import placed, span

SUMMARY = "summary.json"
FORM = 1
TEMPLATES = Path(__file__).parent / "templates"


class Entry(NamedTuple):
    """One board."""

    folder: str  # beside the index
    suite: str
    title: str
    key: str  # of the suite: another one is another version of it
    answer: str
    detail: str
    datasets: str
    models: str
    objectives: int
    attacks: int
    defenses: int
    seeds: int
    cells: int
    statuses: str
    code: str
    methods: list[dict[str, Any]]  # see `span.placed`


def write_summary(results: Results, answers: Sequence[Answer], rankings: Sequence[Ranking], out: Path) -> None:
    """`summary.json` of a board, from which an index is made."""
    suite, cells = results.suite, results.cells
    every: Frame = pd.concat([cells, results.detections], ignore_index=True)
    first = answers[0] if answers else None
    number = f"{first.number} points of front area {first.interval}".strip() if first and first.number else ""
    counts = every["status"].value_counts()
    summary = {
        "form": FORM,
        "suite": plain(suite["suite"]),
        "title": plain(suite.get("title") or suite["suite"]),
        "key": plain(suite.get("key", "")),
        "answer": number or "no answer yet",
        "detail": " ".join(first.reading[:1]) if first else "no searched repair after two pre-training objectives",
        "datasets": ", ".join(sorted(map(plain, set(cells["dataset"])))),
        "models": ", ".join(sorted(map(plain, set(cells["model"])))),
        "objectives": int(every["objective"].nunique()),
        "attacks": int((every["attack"].drop_duplicates() != "none").sum()),
        "defenses": sum(int((every[kind].drop_duplicates() != "none").sum()) for kind in ("repair", "detector")),
        "seeds": int(every["seed"].nunique()),
        "cells": int(every["order"].nunique()),
        "statuses": ", ".join(f"{count} {status.replace('_', ' ')}" for status, count in counts.items()),
        "code": ", ".join(sorted({plain(version) for version in every["code_version"].dropna()})),
        "methods": placed(rankings),
    }
    (out / SUMMARY).write_text(json.dumps(summary, ensure_ascii=False, indent=1), encoding="utf-8")


def write_index(root: Path) -> Path | None:
    """Writes `index.html` of a folder of boards; None where there is no board in it.

    A folder that somebody put there counts too, so that versions of a suite can stand side by side.
    """
    found = (_entry(folder) for folder in sorted(root.iterdir()) if folder.is_dir())
    entries = sorted(filter(None, found), key=lambda entry: (entry.suite, entry.folder))
    if not entries:
        return None
    script = (TEMPLATES / "js" / "index.js").read_text(encoding="utf-8")
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES, encoding="utf-8"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    page = environment.get_template("index.html.j2").render(
        entries=entries,
        span=span([entry._asdict() for entry in entries]),
        script=Markup(script),  # ours, from the templates' folder
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
    )
    temporary = root / ".index.html.part"
    temporary.write_text(page, encoding="utf-8")
    os.replace(temporary, root / "index.html")
    return root / "index.html"


def _entry(folder: Path) -> Entry | None:
    """What a board says of itself; None where it is no board, or one of another form."""
    try:
        told: Mapping[str, Any] = json.loads((folder / SUMMARY).read_text(encoding="utf-8"))
        if told["form"] != FORM or not (folder / "index.html").is_file():
            return None
        return Entry(folder.name, *(told[name] for name in Entry._fields[1:]))
    except (OSError, ValueError, KeyError, TypeError):
        return None
