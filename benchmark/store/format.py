"""`format.json`: which version of the store's layout a root has."""

from __future__ import annotations

import json

from benchmark.errors import UserError
from benchmark.store.roots import Root, parse_json

FORMAT_VERSION = 1


def write_format(place: Root) -> None:
    """Says once that a root is a store."""
    if place.read("format.json") is None:
        place.write("format.json", json.dumps({"version": FORMAT_VERSION}))


def require_store(place: Root) -> None:
    """Refuses a place where nothing was ever written: a command that looks after a store was given another address."""
    if place.read("format.json") is None:
        raise _no_store(f"store {place.url}")


def _no_store(place: str) -> UserError:
    return UserError(f"{place} must be a store, got no format.json there; check the address")


def check_format(place: Root, *, behind: bool) -> None:
    """Refuses what is no store, and a store that a newer version made."""
    if place.local is not None and place.local.is_file():
        raise UserError(f"store {place.url} must be a folder or a URL, got a file; choose another with --store")
    data = place.read_first("format.json")
    if data is None:
        if behind:
            raise _no_store(f"--from {place.url}")
        return
    try:
        version = parse_json(data)["version"]
        newer = version > FORMAT_VERSION
    except (ValueError, TypeError, KeyError):
        raise UserError(
            f'store {place.url}: format.json must be {{"version": {FORMAT_VERSION}}}, got something else; write that '
            "into it, or choose another store with --store"
        ) from None
    if newer:
        raise UserError(
            f"store {place.url}: format.version must be at most {FORMAT_VERSION}, got {version}; "
            "it was made by a newer Backstop: upgrade, or choose another store with --store"
        )
