"""What a cell shows that no record holds: attack success by class, and the epochs of a repair that was not searched."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmark.store.artifacts import Store
from reports.compile import HEADLINE_READOUT

MOST = 2000  # rows of the grid up to which outcome tables are read: more would take longer than all the rest


def class_rates(store: Store, target: int | None, sources: Sequence[Any]) -> list[list[int]] | None:
    """Of each class that has triggered images: its number, how many are taken for the target, and how many there are.

    Args:
        store: where the outcomes are.
        target: class that triggered images are to be taken for; None where the attack has not one.
        sources: of a record's row, structs of `schemas.SOURCE`.

    Returns:
        Rows (class, hits, images), the target's class left out; None where no such outcomes are in the store, or they
        have no one target.
    """
    named = (source for source in sources if source["role"] == "own_triggered")
    source = next((one for one in named if one["split"] == "test" and one["transform"] is None), None)
    if source is None or target is None:
        return None
    with contextlib.suppress(OSError, KeyError, ValueError, pa.ArrowException):
        artifact = store.find(source["stage"], source["key"])
        if artifact is None:
            return None
        with pq.ParquetFile(artifact.path(source["file"])) as file:
            table = file.read(columns=["readout", "true_class", "predicted"], use_threads=False).to_pandas()
        own = table[(table["readout"] == HEADLINE_READOUT) & (table["true_class"] != target)]
        true, hit = own["true_class"].to_numpy(), (own["predicted"] == target).to_numpy()
        size = int(true.max()) + 1 if len(true) else 0
        images, hits = np.bincount(true, minlength=size), np.bincount(true[hit], minlength=size)
        return [[int(k), int(hits[k]), int(images[k])] for k in np.flatnonzero(images)]
    return None


def epochs_of(store: Store, sources: Sequence[Any]) -> list[list[float | None]] | None:
    """(epoch, CA, ASR) on validation of every measured epoch, ASR None without an attack; None where none is stored.

    Args:
        store: where the table is.
        sources: of a record's row, structs of `schemas.SOURCE`.
    """
    source = next((one for one in sources if one["role"] == "epochs"), None)
    if source is None:
        return None
    with contextlib.suppress(OSError, KeyError, ValueError, pa.ArrowException):
        artifact = store.find(source["stage"], source["key"])
        if artifact is not None:
            columns = ["epoch", "validation_accuracy", "validation_asr"]
            table = pq.read_table(artifact.path(source["file"]), columns=columns).to_pydict()
            return [list(row) for row in zip(*(table[name] for name in columns), strict=True)] or None
    return None
