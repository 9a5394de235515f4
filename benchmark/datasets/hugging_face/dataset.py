"""Any Hugging Face set: a hub id with a pinned revision, or local Parquet, WebDataset tar, image folder or CSV.

Memory-mapped random access by default; `streaming` for sets larger than memory or disk. Images are decoded by us, once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from benchmark.datasets.hugging_face.fields import HuggingFaceFields
from benchmark.store.keys import digest
from benchmark.types import Card

if TYPE_CHECKING:
    from benchmark.types.source import Outline, Source

BIBTEX = """
@inproceedings{lhoest2021datasets,
  title = {Datasets: A Community Library for Natural Language Processing},
  author = {Lhoest, Quentin and others},
  booktitle = {Conference on Empirical Methods in Natural Language Processing: System Demonstrations (EMNLP)},
  year = {2021}, eprint = {2109.02846}, archiveprefix = {arXiv},
}
"""

# Where the files lie and how the set is described never changes results.
NOT_IN_KEY = frozenset({"path", "expected_rows", "licence", "citation"})


class HuggingFace(HuggingFaceFields):
    """Pairs and/or labelled images through the Hugging Face `datasets` library."""

    name: ClassVar[str] = "hf"
    card: ClassVar[Card] = Card(
        title="Hugging Face set",
        citation="see the set's own page",
        bibtex=BIBTEX,
        access="data",
        summary="hub id with pinned revision, or local Parquet, WebDataset, image folder, CSV",
    )

    def revision(self) -> str:
        """The hub's commit, or the content hash of the local files, those that a table names by path included."""
        if self.path is None:
            return str(self.hub_revision)
        from benchmark.datasets.hugging_face.content import content_hash, named_hash
        from benchmark.datasets.hugging_face.referenced import referenced_images

        layout = self.layout()
        hashed = content_hash([file for files in layout.splits.values() for file in files], layout.root)
        images = referenced_images(self, layout)
        return digest(f"{hashed}\n{named_hash(images)}") if images else hashed

    def identity(self) -> dict[str, Any]:
        """The fields that may change results and the content's revision, without where the files lie."""
        parts = super().identity()
        drop = NOT_IN_KEY | ({"hub", "hub_revision", "hub_config"} if self.path is not None else frozenset())
        parts["fields"] = {name: value for name, value in parts["fields"].items() if name not in drop}
        return parts | {"revision": self.revision()}

    @property
    def label(self) -> str:
        """Short text for tables, without paths."""
        return self.hub or self.name if self.name == "hf" else self.name

    def outline(self, *, image_size: int) -> Outline | None:
        """Rows and classes: of local files as found once, of a hub set as `expected_rows` declares them."""
        from benchmark.datasets.hugging_face.outline import find_outline

        return find_outline(self, image_size)

    def open(self, *, image_size: int) -> Source:
        """Opens the set; local files never touch the network.

        Raises:
            UserError: missing files, columns or splits, or another number of rows than the pinned revision has.
        """
        from benchmark.datasets.hugging_face.tables import open_source

        return open_source(self, image_size)
