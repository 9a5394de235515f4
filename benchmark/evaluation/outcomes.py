"""Outcomes: what is shown to a model, and a row of `schemas.OUTCOMES` for every sample and read-out."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import torch

from benchmark.evaluation import readouts as reading
from benchmark.evaluation.readouts import Neighbours, Scores, TextHead
from benchmark.evaluation.retrieval import retrieve, retrieve_target
from benchmark.store.schemas import OUTCOMES
from benchmark.types.readouts import RETRIEVAL, RETRIEVAL_TARGET, SIMILARITY, SIMILARITY_SQUARE


class HeldOut(NamedTuple):
    """A split to evaluate on, or to fit read-outs on."""

    images: torch.Tensor  # (N, 3, H, W) uint8
    labels: np.ndarray  # (N,) int64; -1: not labelled
    captions: list[str]  # (N,); "": no caption
    ids: np.ndarray  # (N,) int64


class Condition(NamedTuple):
    """How test images are shown: as they are ("clean"), with an attack's trigger, or others in their place.

    Others are an attack's own victims, or the same images squashed.
    """

    name: str  # "clean", "squash" or the attack's label
    target: int | None = None  # class index of the trigger's target
    apply: Callable[[torch.Tensor, np.ndarray], torch.Tensor] | None = None  # uint8 (B, 3, H, W), ids -> uint8
    shown: HeldOut | None = None  # instead of the split
    targets: np.ndarray | None = None  # (V,) int64 class that each of `shown` is to be taken for; None: `target`


class Fitted(NamedTuple):
    """What the read-outs know before the first test image."""

    head: TextHead
    logit_scale: float
    probe: reading.Probe | None
    known: Neighbours | None  # features of the labelled clean split
    num_neighbours: int  # 0: kNN is not read out


class Captions(NamedTuple):
    """The captions that images are matched with."""

    rows: np.ndarray  # (P,) int64 places in the split
    features: torch.Tensor  # (P, D)
    labels: torch.Tensor  # (P,) int64; -1: not labelled


def class_tables(features: torch.Tensor, shown: HeldOut, fitted: Fitted, condition: Condition) -> list[pa.Table]:
    """Zero-shot, probe and kNN: the predicted class of every image."""
    target: reading.Target = condition.target
    if condition.targets is not None:
        target = torch.from_numpy(condition.targets).to(features.device)
    found = {"zero_shot": reading.zero_shot(features, fitted.head, logit_scale=fitted.logit_scale, target=target)}
    if fitted.probe is not None:
        found["probe"] = reading.probe(features, fitted.probe, target=target)
    if fitted.known is not None and fitted.num_neighbours:
        size, near = len(fitted.head.weights), fitted.num_neighbours
        found["knn"] = reading.knn(features, fitted.known, neighbours=near, num_classes=size, target=target)
    return [
        _table(scores, shown.ids, shown.labels, names=(condition.name, readout), targets=condition.targets)
        for readout, scores in found.items()
    ]


def retrieval_tables(features: torch.Tensor, test: HeldOut, captions: Captions, condition: Condition) -> list[pa.Table]:
    """Clean: both directions over the captioned pairs. Triggered: how much of the target the others retrieve."""
    rows = captions.rows
    if condition.apply is None:
        images = features[torch.from_numpy(rows).to(features.device)]
        directions = ((images, captions.features), (captions.features, images))
        return [
            _table(retrieve(*sides), test.ids[rows], np.arange(len(rows)), names=(condition.name, readout))
            for readout, sides in zip(RETRIEVAL, directions, strict=True)
        ]
    others = np.flatnonzero((test.labels >= 0) & (test.labels != condition.target))
    if condition.target is None or not bool((captions.labels >= 0).all()) or not len(others):
        return []
    queries = features[torch.from_numpy(others).to(features.device)]
    found = retrieve_target(queries, captions.features, captions.labels, target=condition.target)
    return [_table(found, test.ids[others], test.labels[others], names=(condition.name, RETRIEVAL_TARGET))]


def spread_tables(features: torch.Tensor, test: HeldOut, condition: Condition, samples: int) -> list[pa.Table]:
    """How close the first samples lie to one another; triggered, those of the target class are left out."""
    kept = np.arange(len(test.ids))
    if condition.apply is not None:
        kept = np.flatnonzero(test.labels != condition.target)
    kept = kept[:samples]
    if len(kept) < 2:
        return []
    names = (SIMILARITY, SIMILARITY_SQUARE)
    nothing = np.full(len(kept), -1, np.int32)
    return [
        _table(Scores(nothing, nothing, values), test.ids[kept], test.labels[kept], names=(condition.name, readout))
        for readout, values in zip(names, reading.spread(features[torch.from_numpy(kept)]), strict=True)
    ]


def _table(
    scores: Scores,
    ids: np.ndarray,
    truth: np.ndarray,
    *,
    names: tuple[str, str],
    targets: np.ndarray | None = None,
) -> pa.Table:
    """Rows of schemas.OUTCOMES; `names` are condition and read-out, `targets` those of the rows themselves."""
    constant = [pa.repeat(pa.scalar(name, pa.string()), len(ids)) for name in names]
    aims = pa.repeat(pa.scalar(-1, pa.int32()), len(ids)) if targets is None else pa.array(targets.astype(np.int32))
    columns = [pa.array(ids, pa.int64()), *constant, pa.array(truth.astype(np.int32)), *map(pa.array, scores)]
    return pa.Table.from_arrays([*columns[:-1], aims, columns[-1]], schema=OUTCOMES)
