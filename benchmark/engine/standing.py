"""Where each cell of a suite stands: by its record, by what a run says of itself, and by which nodes are there."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, NamedTuple

from benchmark.engine.journal import LastRun
from benchmark.stages.cells import Cell
from benchmark.stages.every import EVERY
from benchmark.stages.node import Ref
from benchmark.stages.rebound import Rebound
from benchmark.stages.repaired import Repaired
from benchmark.store.artifacts import Store
from benchmark.store.trajectories import STAGE, asked_trajectories

TITLES = {stage.name: stage.title for stage in reversed(EVERY)}


class Standing(NamedTuple):
    """One cell."""

    state: Literal["done", "running", "failed", "waiting"]
    what: str = ""  # what runs; the status and reason of the first cause; what it waits for
    statuses: Mapping[str, str] = {}  # of its record, by rule; empty without one


def standings(store: Store, entries: Sequence[Mapping[str, Any]], run: LastRun) -> list[Standing]:
    """How the cells stand that a suite's document lists, in its order. Needs no code of the suite."""
    facts = store.facts_of("record", [entry["record"] for entry in entries])
    left = [entry for entry in entries if not facts.get(entry["record"], {}).get("final")]
    made = made_of(store, (Ref(*ref) for entry in left for ref in entry.get("nodes", ())))
    return [_standing(entry, facts.get(entry["record"]), made, run) for entry in entries]


class Trajectories(NamedTuple):
    """Where the rebound of a suite stands, in trajectories."""

    there: int
    running: int
    failed: int  # in the last run, with weights that are gone


def trajectories_of(store: Store, document: Mapping[str, Any], run: LastRun) -> Trajectories | None:
    """Counts those of a suite's attacks, on the pairs and steps that it asks for; None where it asks for none."""
    if not document.get("protocol", {}).get(STAGE):
        return None
    there = asked_trajectories(store, document)
    ours = (Rebound.name, Repaired.name)
    running, failed = ([ref for ref in refs if ref.stage in ours] for refs in (run.running, run.failed))
    return Trajectories(len(there), len(running) if run.state == "alive" else 0, len(failed))


def unfinished(store: Store, cells: Sequence[Cell], *, whole: bool = False) -> list[Cell]:
    """Cells without a final record: those never finished, and those that failed and deserve another try.

    Args:
        store: where the records are.
        cells: those that are asked for.
        whole: a record with a damaged file counts as absent; every file is read for that. Else manifests are believed.
    """
    keys = [cell.keys.record for cell in cells]
    facts = store.facts_of("record", keys, whole=whole)
    # a crash may have been the machine's; a repair that failed by rule would only fail again
    return [cell for cell in cells if not (facts.get(cell.keys.record) or {}).get("final")]


def made_of(store: Store, refs: Iterable[Ref]) -> set[Ref]:
    """Which of these the store has; each stage's folder is listed once."""
    return {Ref(stage, key) for stage, mine in _by_stage(refs).items() for key in store.made(stage, mine)}


def facts_of_all(store: Store, refs: Iterable[Ref]) -> dict[Ref, Mapping[str, Any]]:
    """Facts of those that the store has, whole as far as that shows; of a remote store, many are asked for at once."""
    return {
        Ref(stage, key): facts
        for stage, mine in _by_stage(refs).items()
        for key, facts in store.facts_of(stage, mine, whole=True).items()
    }


def _by_stage(refs: Iterable[Ref]) -> dict[str, list[str]]:
    keys: dict[str, list[str]] = {}
    for stage, key in refs:
        keys.setdefault(stage, []).append(key)
    return keys


def _standing(entry: Mapping[str, Any], facts: Mapping[str, Any] | None, made: set[Ref], run: LastRun) -> Standing:
    statuses = facts["statuses"] if facts else {}
    if facts and facts.get("final", True):
        return Standing("done", statuses=statuses)
    nodes = [*(Ref(*ref) for ref in entry.get("nodes", ())), Ref("record", entry["record"])]
    running = next((ref for ref in nodes if ref in run.running), None) if run.state == "alive" else None
    if running:
        return Standing("running", f"{TITLES.get(running.stage, running.stage)}: {run.running[running]}", statuses)
    failed = next((run.failed[ref] for ref in nodes if ref in run.failed), None)
    if statuses or failed:  # a record that is not final tells of a failure
        status, reason = failed or (next(value for value in statuses.values() if value != "ok"), "")
        return Standing("failed", ": ".join(filter(None, (status.replace("_", " "), reason))), statuses)
    missing = next((ref.stage for ref in nodes[:-1] if ref not in made), "")
    return Standing("waiting", TITLES.get(missing, missing) or "a run that asks for its record", statuses)
