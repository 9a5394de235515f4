"""Rows that a prepared set left out: how many, why, and the first of them, for the terminal, records and the board."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

KEYS_TOLD = 3  # of each kind; the data artifact names more
KINDS = {"broken": "with a missing or broken image", "empty_captions": "with neither caption nor label"}


def skipped(name: str, facts: Mapping[str, Any]) -> dict[str, Any] | None:
    """What a data artifact left out.

    Args:
        name: of the set.
        facts: the artifact's.

    Returns:
        `dataset`, `rows` (read for the cache, skipped ones included), and count and first keys by kind; None where
        nothing was left out.
    """
    counts = {kind: facts[kind]["count"] for kind in KINDS}
    if not any(counts.values()):
        return None
    sizes = dict(facts["splits"])
    if facts["held_out_only"]:
        sizes.pop("pretrain", None)  # streamed later
    left_out = {kind: {"count": counts[kind], "keys": facts[kind]["keys"][:KEYS_TOLD]} for kind in KINDS}
    return {"dataset": name, "rows": sum(sizes.values()) + sum(counts.values())} | left_out


def told(found: Mapping[str, Any]) -> str:
    """One line: `cifar10: skipped 3 of 12,000 rows: 2 with a missing or broken image (a.png, b.png), 1 …`."""
    parts = []
    for kind, text in KINDS.items():
        count, keys = found[kind]["count"], found[kind]["keys"]
        more = ", …" if count > len(keys) else ""
        parts += [f"{count:,} {text} ({', '.join(keys)}{more})"] if count else []
    total = sum(found[kind]["count"] for kind in KINDS)
    return f"{found['dataset']}: skipped {total:,} of {found['rows']:,} rows: {', '.join(parts)}"
