"""WEIGHTS: what a user may point at, and the model that it is.

A safetensors file (with our sidecar, or bare and with the architecture's name), a folder in Hugging Face layout, a
model artifact of a store (its folder, or its key), or NAME:TAG of weights that open_clip publishes.
"""

from __future__ import annotations

import hashlib
import json
import logging
import re
import textwrap
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch

from benchmark.audit.formats import check_file, read_tensors
from benchmark.audit.layouts import open_folder
from benchmark.config.spec import ModelSpec
from benchmark.errors import UserError, must
from benchmark.models.clip import ClipModel, build, fit_tensors, load_delta
from benchmark.stages.work.weights import optimizer_of
from benchmark.store.artifacts import Store
from benchmark.types import Training
from benchmark.validation import validated

if TYPE_CHECKING:
    OptimizerState = Callable[[], tuple[dict[str, torch.Tensor], Training]]

KEY = re.compile("[0-9a-f]{32}")
FORMS = "a safetensors file, a folder in Hugging Face layout, an artifact's folder or key, or NAME:TAG of open_clip"


class Suspect(NamedTuple):
    """A checkpoint that was opened, and what it says about itself."""

    model: ClipModel
    kind: str
    place: str  # as the user gave it
    file: Path | None = None
    class_names: tuple[str, ...] = ()  # what it was evaluated on, where it is known
    templates: tuple[str, ...] = ()
    optimizer_state: OptimizerState | None = None

    @property
    def sha256(self) -> str | None:
        """Of the file of weights, where there is one."""
        if self.file is None:
            return None
        with open(self.file, "rb") as opened:
            return hashlib.file_digest(opened, "sha256").hexdigest()


def open_weights(text: str, *, architecture: str | None, store: Store) -> Suspect:
    """Opens what the user points at.

    Args:
        text: see above.
        architecture: name of a bare file's model.
        store: where keys, and the bases of models that are kept as differences, are looked up.

    Raises:
        UserError: nothing there, not a checkpoint, pickled, of unknown architecture, or tensors that do not fit.
    """
    path = Path(text).expanduser()
    if path.is_dir():
        return _folder(path, text, architecture, store)
    if path.exists():
        return _file(path, text, architecture, store)
    if KEY.fullmatch(text):
        return _stored(text, store)
    name, colon, tag = text.partition(":")
    if colon and "/" not in name and tag:
        return _published(text, name, tag)
    remedy = f"no such path; for published weights give their tag too, e.g. {text}:openai"
    raise must("WEIGHTS", FORMS, text, "no such path" if "/" in text or "." in text else remedy)


def _published(text: str, name: str, tag: str) -> Suspect:
    spec = ModelSpec(name=name, pretrained=tag)
    logging.disable(logging.ERROR)  # the hub's library tells of every attempt
    try:
        return Suspect(build(spec, seed=0).eval(), "published weights", text)
    except UserError:
        raise
    except Exception as error:  # a download has many ways to fail, each with its own class
        reason = textwrap.shorten(str(error) or type(error).__name__, 90, placeholder=" …")
        raise UserError(
            f"WEIGHTS {text!r} cannot be fetched ({reason}); connect to the network, or give a local safetensors file"
        ) from error
    finally:
        logging.disable(logging.NOTSET)


def _file(file: Path, text: str, architecture: str | None, store: Store) -> Suspect:
    check_file(file)
    sidecar = _sidecar(file.with_suffix(".json"))
    if sidecar is not None and architecture is None:
        return _described(file, sidecar, text, store)
    if architecture is None:
        raise UserError(f"WEIGHTS {text!r} has no sidecar {file.stem}.json; name its architecture with --model")
    return Suspect(_filled(architecture, read_tensors(file), text), "safetensors file", text, file)


def _filled(architecture: str, tensors: Mapping[str, torch.Tensor], text: str) -> ClipModel:
    model = build(ModelSpec(name=architecture), seed=0)
    if not hasattr(model.network, "text_projection"):
        raise UserError(f"--model {architecture}: its text tower must be CLIP's own, got another; choose a plain CLIP")
    fit_tensors(model, tensors, place=f"WEIGHTS {text!r} as {architecture}", complete=True)
    return model.eval()


def _sidecar(file: Path) -> dict[str, Any] | None:
    """Our own sidecar; None where the file is not there or another program's."""
    found = _object(file)
    return found if {"format", "model", "base"} <= found.keys() else None


def _object(file: Path) -> dict[str, Any]:
    """The JSON object in a file; an empty one where it is not there or holds something else."""
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _described(file: Path, sidecar: Mapping[str, Any], text: str, store: Store) -> Suspect:
    """A file of tensors with our sidecar: a whole model, or what differs from a base in a store."""
    validated(ModelSpec, sidecar["model"], place=f"{file.stem}.json: model")
    folder = file.parent.resolve()
    around = Store(folder.parents[2]) if (folder.parents[2] / "format.json").is_file() else None

    def find(key: str) -> Path:
        for place in (around, store):
            found = place.find("pretrain", key) if place is not None else None
            if found is not None:
                return found.folder
        raise UserError(f"WEIGHTS {text!r} is kept as a difference from model {key}; name its store with --store")

    read_tensors(file)  # a damaged file is told before anything is built
    model = load_delta(file.parent, name=file.stem, find=find)
    with_pixels(model, sidecar.get("mean"), sidecar.get("std"))
    facts = _object(folder.parent / "manifest.json").get("facts") or {}  # where the folder is an artifact's
    state = None
    if around is not None and folder.parents[1].name == "pretrain" and "training" in facts:
        state = _optimizer(around, folder.parent.name, facts)
    return Suspect(
        *(model.eval(), "Backstop model", text, file),
        class_names=tuple(facts.get("class_names") or ()),
        templates=tuple(facts.get("evaluation_templates") or ()),
        optimizer_state=state,
    )


def _optimizer(store: Store, key: str, facts: Mapping[str, Any]) -> OptimizerState | None:
    tensors = optimizer_of(store, key)
    return None if tensors is None else lambda: (tensors, Training.model_validate(facts["training"]))


def _folder(folder: Path, text: str, architecture: str | None, store: Store) -> Suspect:
    place = folder / str(_object(folder / "manifest.json").get("attempt", ""))  # of an artifact; else the folder itself
    own = sorted(file for file in place.glob("*.json") if _sidecar(file) is not None)
    if own:  # of a repair's epochs, the last
        return _file(own[-1].with_suffix(".safetensors"), text, None, store)
    if architecture is not None:
        raise UserError(
            f"WEIGHTS {text!r} is a folder, which says itself what it holds; name the file, or drop --model"
        )
    found = open_folder(place)
    model = _filled(found.architecture, found.tensors, text)
    return Suspect(with_pixels(model, found.mean, found.std), found.kind, text, found.file)


def _stored(key: str, store: Store) -> Suspect:
    for stage in ("pretrain", "defend"):
        found = store.find(stage, key)
        if found is not None:
            return _folder(found.folder, key, None, store)
    raise UserError(f"WEIGHTS {key!r}: no model of that key in store {store.root}; name its store with --store")


def with_pixels(model: ClipModel, mean: object, std: object) -> ClipModel:
    """Has the model normalise pixels with these values per channel, copies of it too; None keeps its own."""
    visual: Any = model.network.visual
    if mean is not None and std is not None:
        visual.image_mean, visual.image_std = tuple(mean), tuple(std)  # type: ignore[arg-type]
        model.mean, model.std = torch.tensor(visual.image_mean), torch.tensor(visual.image_std)
    return model
