"""The clean data of an audit: any local set that the data set `hf` reads, split into clean pairs and validation."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np

from benchmark.audit.options import assigned
from benchmark.config.notation import literal
from benchmark.config.spec import Splits
from benchmark.data.pools import CachedPool, open_split
from benchmark.data.prepare import Progress, prepare_data
from benchmark.datasets.hugging_face.dataset import HuggingFace
from benchmark.errors import UserError, must, unknown
from benchmark.evaluation.evaluate import HeldOut
from benchmark.stages.work.method_inputs import held_out
from benchmark.store.artifact import Artifact
from benchmark.validation import validated

COLUMNS = ("image", "caption", "label", "key", "group")
SIZES = ("clean", "validation")
FEWEST = 100  # rows in all: with fewer an accuracy says little
MOST_CLEAN, MOST_VALIDATION = 10_000, 2_000


class CleanPairs(HuggingFace):
    """Local files; errors call the set what the option is called."""

    name: ClassVar[str] = "data"


class Pairs(NamedTuple):
    """What the defender holds."""

    clean: CachedPool  # for detectors and repairs
    validation: HeldOut  # for clean accuracy
    class_names: tuple[str, ...]  # () where nobody named any
    templates: tuple[str, ...]
    facts: dict[str, Any]

    @property
    def labelled(self) -> bool:
        """Whether every clean image and at least one validation image has a class."""
        return self.clean.labels is not None and bool((self.validation.labels >= 0).any())


class Request(NamedTuple):
    """What the user said about the data."""

    path: str
    classes: str | None = None
    settings: Sequence[str] = ()  # FIELD=VALUE

    def dataset(self, *, templates: Sequence[str] = ()) -> tuple[CleanPairs, dict[str, int]]:
        """The set, not opened yet, and the sizes of splits that were asked for.

        Args:
            templates: evaluation prompts of the model, where it brought some.

        Raises:
            UserError: no such path, an unknown field or a bad value.
        """
        path = Path(self.path).expanduser()
        if not path.exists():
            raise must("--data", "a folder or a file", self.path, "no such path: give an existing one")
        fields: dict[str, Any] = {"path": str(path)}
        sizes: dict[str, int] = {}
        for name, text in assigned(self.settings, "--set").items():
            name = name.removeprefix("data.").removeprefix("splits.")
            if name in SIZES:
                sizes[name] = _size(name, text)
            else:
                fields[_field(name)] = literal(text)
        if self.classes:
            fields["class_names"] = _class_names(self.classes)
        if templates:
            given = tuple(str(text) for text in fields.get("caption_templates", ()))
            free = [text for text in templates if text not in given]
            fields = {"evaluation_templates": free} | fields if free else fields
        return validated(CleanPairs, fields, place="data"), sizes


def _field(name: str) -> str:
    known = [*COLUMNS, *SIZES, *(field for field in CleanPairs.model_fields if field != "path")]
    if name not in known:
        raise UserError(f"--set: {unknown('field', name, known)}")
    return f"{name}_column" if name in COLUMNS else name


def _size(name: str, text: str) -> int:
    if not re.fullmatch("[1-9][0-9]*", text):
        raise must(f"--set {name}", "a number of rows above 0", text, "change it")
    return int(text)


def _class_names(text: str) -> list[str]:
    """Names with commas between them, or a file with one name a line."""
    file = Path(text).expanduser()
    try:
        lines = file.read_text(encoding="utf-8").splitlines() if file.is_file() else text.split(",")
    except (OSError, UnicodeDecodeError):
        raise must("--classes", "names with commas between them, or a text file", text, "give another") from None
    names = [name.strip() for name in lines if name.strip()]
    if len(names) < 2 or len(set(names)) < len(names):
        raise must("--classes", "at least two different names", text, "give them in the order of the labels")
    return names


def prepare(
    dataset: CleanPairs,
    sizes: Mapping[str, int],
    *,
    image_size: int,
    seed: int,
    folder: Path,
    progress: Progress | None = None,
) -> Pairs:
    """Splits, decodes and opens the set; everything is written under `folder`, which must outlive the pairs.

    Raises:
        UserError: files, columns or labels that are not as they should be, or too few rows.
    """
    source = dataset.open(image_size=image_size)
    fixed = sum(map(len, source.fixed_splits.values()))
    rows = source.num_rows - fixed if source.groups is None else len(np.unique(source.groups))
    if rows < FEWEST:
        raise must("--data", f"at least {FEWEST} clean images", rows, "add more: the audit splits them in two")
    validation = sizes.get("validation", min(MOST_VALIDATION, rows // 3))
    clean = sizes.get("clean", max(1, min(MOST_CLEAN, rows - validation - 1)))
    # the data stage wants a test split, which no audit reads
    splits = Splits(clean=clean, validation=validation, test=1, seed=seed)
    facts = prepare_data(dataset, splits, image_size=image_size, held_out_only=True, folder=folder, progress=progress)
    found = Artifact("data", "", facts, folder)
    pool = open_split(folder, facts, "clean")
    names, templates = tuple(facts["class_names"]), tuple(facts["evaluation_templates"])
    return Pairs(pool, held_out(found, "validation"), names, templates, facts)
