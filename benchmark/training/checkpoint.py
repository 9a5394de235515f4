"""Checkpoints of a running training: named tensors in one file, replaced in one piece, resumed to the same bits."""

from __future__ import annotations

import json
import logging
import os
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

_log = logging.getLogger(__name__)
FILE = "checkpoint.safetensors"
_PARTS = ("network", "optimizer", "objective", "parameters", "best")


Share = Callable[[Path, int], None]  # file, epoch


class Snapshot(NamedTuple):
    """State after `epoch` whole epochs."""

    epoch: int
    step: int
    history: list[dict[str, float]]
    network: dict[str, torch.Tensor]
    optimizer: dict[str, torch.Tensor]
    objective: dict[str, torch.Tensor]  # its state
    parameters: dict[str, torch.Tensor]  # its own, learnt with the model
    best: dict[str, torch.Tensor] = {}  # of the epoch with the lowest validation loss, where that one is taken


def save(folder: Path, snapshot: Snapshot, *, share: Share | None = None) -> None:
    """Writes a snapshot over the last one; a reader sees the old one or the new one, never half of it.

    Args:
        folder: made where it is not there.
        snapshot: what to write.
        share: given the file and its epoch before it takes the last one's place.
    """
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {
        f"{part}|{name}": tensor.detach().cpu().contiguous()
        for part in _PARTS
        for name, tensor in getattr(snapshot, part).items()
    }
    facts = {"epoch": snapshot.epoch, "step": snapshot.step, "history": snapshot.history}
    temporary = folder / f".{FILE}.{uuid.uuid4().hex}"  # folders are shared by machines, whose process numbers meet
    try:
        save_file(tensors, temporary, metadata={"facts": json.dumps(facts)})
        if share:
            share(temporary, snapshot.epoch)
        os.replace(temporary, folder / FILE)
    finally:
        temporary.unlink(missing_ok=True)


def load(folder: Path) -> Snapshot | None:
    """Reads the last snapshot; None where there is none, or none that can be read: that one is dropped."""
    file = folder / FILE
    if not file.exists():
        return None
    try:
        return _read(file)
    except (SafetensorError, ValueError, KeyError, TypeError) as error:
        _log.warning("backstop: checkpoint %s cannot be read (%s); it is dropped, training starts anew", file, error)
        file.unlink(missing_ok=True)
        return None


def _read(path: Path) -> Snapshot:
    parts: dict[str, dict[str, torch.Tensor]] = {part: {} for part in _PARTS}
    with safe_open(path, framework="pt") as file:
        facts = json.loads(file.metadata()["facts"])
        for key in file.keys():  # noqa: SIM118  (not a dict)
            part, _, name = key.partition("|")
            parts[part][name] = file.get_tensor(key)
    return Snapshot(facts["epoch"], facts["step"], facts["history"], **parts)
