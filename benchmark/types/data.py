"""Data sets: image-caption pairs and/or labelled images."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from benchmark.types.base import Method

if TYPE_CHECKING:
    from benchmark.types.source import Outline, Source


class Dataset(Method):
    """Image-caption pairs and/or labelled images.

    `open` reads and checks the source (never decodes it all); the engine splits it, decodes it once into a
    memory-mapped cache or streams it, and turns labels into captions.
    """

    kind: ClassVar[str] = "dataset"

    def open(self, *, image_size: int) -> Source:
        """Opens the set for images of `image_size` pixels.

        Raises:
            UserError: where files, columns or rows are not as the fields say.
        """
        raise NotImplementedError(f"{type(self).__name__} must define `open`")

    def outline(self, *, image_size: int) -> Outline | None:
        """What is known without reading a row or asking the network; None where nothing is. See `open`."""
        from benchmark.types.source import Outline

        return Outline.of(self.open(image_size=image_size))

    def revision(self) -> str:
        """What pins the content: a hub revision, a content hash of local files, or "" where the fields say all."""
        return ""
