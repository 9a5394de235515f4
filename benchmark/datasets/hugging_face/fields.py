"""What is said of a Hugging Face set: where it lies, its columns, classes, templates and splits; checked together."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

from pydantic import Field, field_validator, model_validator

from benchmark.data.images import Decoder
from benchmark.datasets import _templates
from benchmark.datasets.hugging_face.layouts import Format, Layout, find_layout
from benchmark.types import Dataset

Templates = tuple[str, ...]


class HuggingFaceFields(Dataset):
    """The fields of a set, which its tables, columns and loading read. A base: `HuggingFace` opens it."""

    hub: Annotated[str | None, Field(description="hub id, e.g. owner/name")] = None
    hub_revision: Annotated[str | None, Field(description="commit (40 digits) that pins the hub's content")] = None
    hub_config: Annotated[str | None, Field(description="configuration name on the hub")] = None
    path: Annotated[str | None, Field(description="local folder or file; takes the place of the hub")] = None
    format: Annotated[Format | None, Field(description="of local files; None: by their suffixes")] = None
    image_column: Annotated[str | None, Field(description="None: found by its type or usual names")] = None
    caption_column: Annotated[str | None, Field(description="None: found by usual names, if any")] = None
    label_column: Annotated[str | None, Field(description="None: the ClassLabel column or usual names, if any")] = None
    key_column: Annotated[str | None, Field(description="what names a row in manifests; None: the image's path")] = None
    group_column: Annotated[
        str | None, Field(description="rows that share its value (captions of one image) never cross a split")
    ] = None
    class_names: Annotated[tuple[str, ...], Field(description="(): from the ClassLabel column")] = ()
    caption_templates: Templates = _templates.CAPTIONS
    evaluation_templates: Templates = _templates.PROMPTS
    train_split: str = "train"
    test_split: Annotated[str | None, Field(description="fixed test split; None: test is drawn like the others")] = None
    streaming: Annotated[bool, Field(description="read as a stream: memory does not grow with the rows")] = False
    decoder: Annotated[
        Decoder,
        Field(
            description="pillow: JPEGs at least four times as large as the model's images are decoded at a fraction of "
            "their size; pillow_full: every pixel first, as open_clip does; slower"
        ),
    ] = "pillow"
    shuffle_buffer: Annotated[int, Field(ge=1, description="rows that a stream's shuffling holds")] = 4096
    held_out_window: Annotated[
        int | None, Field(ge=1, description="streams: draw held-out rows from the first rows only; None: from all")
    ] = None
    expected_rows: Annotated[dict[str, int], Field(description="rows by split at the pinned revision")] = {}
    licence: str = ""
    citation: str = ""

    @field_validator("caption_templates", "evaluation_templates")
    @classmethod
    def _one_place(cls, value: Templates) -> Templates:
        for template in value:
            if template.count("{}") != 1:
                raise ValueError(f"templates with one '{{}}' each ({template!r} has {template.count('{}')})")
        return value

    @model_validator(mode="after")
    def _consistent(self) -> HuggingFaceFields:
        if self.path is None and self.hub is None:
            raise ValueError("given a `path` (local files) or a `hub` id with its `hub_revision`")
        if self.path is None and not re.fullmatch("[0-9a-f]{40}", self.hub_revision or ""):
            raise ValueError("given `hub_revision`, the 40-digit commit that pins the hub set, or a local `path`")
        if self.streaming and self.group_column is not None:
            raise ValueError(
                "without `group_column` where it is streamed: groups need all rows; set one of them to null"
            )
        both = {text.casefold().strip() for text in self.caption_templates}
        shared = sorted(text for text in self.evaluation_templates if text.casefold().strip() in both)
        if shared:
            raise ValueError(f"of disjoint caption and evaluation templates (both hold {shared[0]!r})")
        return self

    @property
    def splits(self) -> tuple[str, ...]:
        """Names of the splits that are read: the rows' own, then the fixed test split."""
        return (self.train_split, self.test_split) if self.test_split else (self.train_split,)

    def layout(self) -> Layout:
        """The local files; only where `path` is given.

        Raises:
            UserError: missing files or splits.
        """
        return find_layout(Path(str(self.path)), format=self.format, splits=self.splits, place=self.name)

    def display_name(self, name: str) -> str:
        """What a class is called in captions and prompts; sets with long names shorten them here."""
        return name
