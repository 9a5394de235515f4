"""Rows and classes of a set before it is opened: remembered for local files, as declared for a hub set."""

from __future__ import annotations

import json
from itertools import chain

import numpy as np

from benchmark.datasets.hugging_face.content import remembered
from benchmark.datasets.hugging_face.fields import HuggingFaceFields
from benchmark.store.keys import canonical_json, digest
from benchmark.types.source import Outline, Source


def find_outline(spec: HuggingFaceFields, image_size: int) -> Outline | None:
    """What is known of a set. Local files are opened once; a hub set is never asked for over the network.

    Raises:
        UserError: see `HuggingFace.open`.
    """
    if spec.path is None:
        return _declared(spec)
    if spec.group_column is not None:  # groups are as many as rows: not worth remembering
        return Outline.of(_open(spec, image_size))
    layout = spec.layout()
    files = list(dict.fromkeys(chain.from_iterable(layout.splits.values())))
    what = f"outline {digest(canonical_json([spec.name, spec.model_dump(mode='json')]))}"
    found = json.loads(remembered(what, files, lambda: _told(_open(spec, image_size))))
    return _outline(spec, found["counts"], tuple(found["class_names"]))


def _declared(spec: HuggingFaceFields) -> Outline | None:
    if any(split not in spec.expected_rows for split in spec.splits):
        return None
    return _outline(spec, [spec.expected_rows[split] for split in spec.splits], spec.class_names or None)


def _outline(spec: HuggingFaceFields, counts: list[int], classes: tuple[str, ...] | None) -> Outline:
    fixed = {"test": np.arange(counts[0], sum(counts))} if spec.test_split else {}
    return Outline(sum(counts), classes, fixed, held_out_window=spec.held_out_window if spec.streaming else None)


def _open(spec: HuggingFaceFields, image_size: int) -> Source:
    from benchmark.datasets.hugging_face.tables import open_source

    return open_source(spec, image_size)


def _told(source: Source) -> str:
    """The counts of the splits and the class names, as text."""
    fixed = [len(rows) for rows in source.fixed_splits.values()]
    return json.dumps({"counts": [source.num_rows - sum(fixed), *fixed], "class_names": source.class_names})
