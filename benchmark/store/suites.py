"""The documents of the suites that were run into a store."""

from __future__ import annotations

from typing import Any

from benchmark.errors import UserError, unknown
from benchmark.store.artifacts import Store


def suite_document(store: Store, name: str) -> Any:
    """The document of a suite that was run or planned into a store, or into one behind it.

    Raises:
        UserError: there is none of that name.
    """
    found = store.read_json(f"suites/{name}.json", behind=True)
    if found is None:
        known = [other for other in store.list_json("suites") if other != name]  # what is there but cannot be read
        never = f"unknown suite {name!r}; none was run in it yet; run it first with `backstop run {name}`"
        raise UserError(f"store {store.root}: {unknown('suite', name, known) if known else never}")
    return found
