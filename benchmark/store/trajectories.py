"""Which trajectories of a store are those that a suite asks for: by manifests and its document, without its code."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from benchmark.store.artifacts import Store

STAGE = "rebound"
_SAME = ("steps", "batch_size", "rows", "without_target")  # of all trajectories of one rebound


def asked_trajectories(store: Store, document: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Key -> facts of those under a suite's triggers that go as it asks; none where it asks for none.

    Args:
        store: where they are.
        document: the suite's.
    """
    asked = document.get("protocol", {}).get(STAGE)
    if not asked:
        return {}
    triggers = {key for cell in document["cells"] for stage, key in cell.get("nodes", ()) if stage == "poison"}
    found = store.facts_of(STAGE, store.keys(STAGE))
    return {
        key: facts
        for key, facts in found.items()
        if facts["poison"] in triggers and _is_asked(facts["trajectory"], asked)
    }


def _is_asked(trajectory: Mapping[str, Any], asked: Mapping[str, Any]) -> bool:
    return (
        all(trajectory[name] == asked[name] for name in _SAME)
        and trajectory["scope"] in asked["scopes"]
        and trajectory["learning_rate"] in asked["learning_rates"]
    )
