"""The squash control: a prepared split's images again, squashed to the model's size instead of cropped."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from benchmark.data.images import chunks, decode_all, decoder_of
from benchmark.data.prepare import CHUNK, new_images
from benchmark.errors import UserError
from benchmark.types.rows import RowSet

if TYPE_CHECKING:
    from benchmark.types import Dataset


def squash_split(dataset: Dataset, folder: Path, split: str, *, image_size: int, file: Path) -> None:
    """Decodes a cached split's images again, squashed instead of cropped.

    Args:
        dataset: the set.
        folder: its cache.
        split: which.
        image_size: pixels of the images' sides.
        file: where to write (N, H, W, 3) uint8, in the order of the cached split.

    Raises:
        UserError: an image that was read for the cache cannot be read any more.
    """
    import pyarrow.parquet as pq

    table = pq.read_table(folder / "rows.parquet", columns=["row", "split"])
    rows = table["row"].to_numpy()[table["split"].to_numpy() == split]
    place = {row: at for at, row in enumerate(rows.tolist())}
    shape = (len(rows), image_size, image_size, 3)
    images = new_images(file, shape)
    for items in chunks(dataset.open(image_size=image_size).stream(seed=None, rows=RowSet.of(rows)), CHUNK):
        decoded = decode_all([item.image for item in items], image_size, squash=True, decoder=decoder_of(dataset))
        for item, image in zip(items, decoded, strict=True):
            if image is not None:
                images[place.pop(item.row)] = image
    images.flush()
    if place:
        raise UserError(
            f"{dataset.name}: all {len(rows)} images of {split} must be read again for the squash control, but row "
            f"{min(place)} was not; put the files back as they were, or set readouts.squash to false"
        )
