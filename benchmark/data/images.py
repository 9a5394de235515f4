"""Encoded images to uint8 arrays: RGB, shorter side to the model's size (bicubic), centre crop.

Squashed instead, the whole image is resized to a square, whatever its shape.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import repeat
from typing import TYPE_CHECKING, Literal, TypeVar

import numpy as np

from benchmark.types.source import Item, Samples

if TYPE_CHECKING:
    from PIL.Image import Image

    from benchmark.types import Dataset

DECODE_THREADS = 2  # Pillow decodes without the interpreter's lock
SHUFFLE_BUFFER = 4096
T = TypeVar("T")
Decoder = Literal["pillow", "pillow_full"]


def decoder_of(dataset: Dataset) -> Decoder:
    """How a set asks its images to be decoded; one that has no such field draws them."""
    return getattr(dataset, "decoder", "pillow")


def decode(
    image: bytes | np.ndarray | None, size: int, *, squash: bool = False, decoder: Decoder = "pillow"
) -> np.ndarray | None:
    """Decodes one image.

    Args:
        image: an encoded image, or an array (H, W, 3) uint8 that needs no decoding.
        size: pixels of the result's sides.
        squash: resize both sides to `size` instead of cropping.
        decoder: "pillow_full" decodes every pixel of a JPEG however large it is.

    Returns:
        (size, size, 3) uint8; None where the image is missing or broken.
    """
    from PIL import Image

    if image is None:
        return None
    if isinstance(image, np.ndarray) and image.shape == (size, size, 3) and image.dtype == np.uint8:
        return image
    try:
        opened = Image.open(io.BytesIO(image)) if isinstance(image, bytes) else Image.fromarray(image)
        if decoder == "pillow" and min(opened.size) >= 4 * size:
            # JPEG can be decoded at a fraction of its size; twice the target keeps the bicubic filter honest
            opened.draft("RGB", (2 * size, 2 * size))
        shape = _squash if squash else _crop
        return np.asarray(shape(opened.convert("RGB"), size))
    except Exception:  # Pillow's plug-ins raise many kinds of errors on broken bytes; all mean the same here
        return None


def _crop(image: Image, size: int) -> Image:
    from PIL.Image import Resampling

    width, height = image.size
    if (width, height) != (size, size):
        scale = size / min(width, height)
        width, height = max(size, round(width * scale)), max(size, round(height * scale))
        left, top = (width - size) // 2, (height - size) // 2
        image = image.resize((width, height), Resampling.BICUBIC)
        image = image.crop((left, top, left + size, top + size))
    return image


def _squash(image: Image, size: int) -> Image:
    from PIL.Image import Resampling

    return image if image.size == (size, size) else image.resize((size, size), Resampling.BICUBIC)


def decode_all(
    images: Sequence[bytes | np.ndarray | None], size: int, *, squash: bool = False, decoder: Decoder = "pillow"
) -> list[np.ndarray | None]:
    """Decodes a chunk with a few threads; see `decode`."""
    one = partial(decode, size=size, squash=squash, decoder=decoder)
    if len(images) < 2 * DECODE_THREADS or any(isinstance(image, np.ndarray) for image in images):
        return [one(image) for image in images]
    step = -(-len(images) // DECODE_THREADS)
    with ThreadPoolExecutor(DECODE_THREADS) as threads:
        parts = threads.map(
            lambda start: [one(image) for image in images[start : start + step]],
            range(0, len(images), step),
        )
        return [image for part in parts for image in part]


def stack(images: Sequence[np.ndarray], size: int) -> np.ndarray:
    """(B, size, size, 3) uint8, also for B = 0."""
    return np.stack(images) if len(images) else np.empty((0, size, size, 3), np.uint8)


def decode_items(items: Sequence[Item], image_size: int, *, decoder: Decoder = "pillow") -> Samples:
    """Decodes items; those that do not decode are named in `broken`."""
    images = decode_all([item.image for item in items], image_size, decoder=decoder)
    good = [(item, image) for item, image in zip(items, images, strict=True) if image is not None]
    return Samples(
        rows=np.array([item.row for item, _ in good], np.int64),
        images=stack([image for _, image in good], image_size),
        captions=[item.caption for item, _ in good],
        labels=np.array([item.label for item, _ in good], np.int64),
        keys=[item.key for item, _ in good],
        broken=[item.key for item, image in zip(items, images, strict=True) if image is None],
    )


def chunks(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """Cuts an iterable into lists of `size`; the last may be shorter."""
    chunk: list[T] = []
    for item in items:
        chunk.append(item)
        if len(chunk) == size:
            yield chunk
            chunk = []
    if chunk:
        yield chunk


def shuffle(
    items: Iterable[Item], *, seed: int, buffer: int = SHUFFLE_BUFFER, num_rows: int | None = None
) -> Iterator[Item]:
    """Shuffles a stream through a buffer of fixed size: each row leaves from a random place of the buffer.

    Rows that are not there take part as gaps, so that the order of the others does not depend on which are read.

    Args:
        items: in the order of their rows.
        seed: decides the order.
        buffer: rows, gaps included, that are held.
        num_rows: of the whole stream; None: the last item ends it.
    """
    rng = np.random.Generator(np.random.PCG64(seed))
    held: list[Item | None] = []
    for chunk in chunks(_with_gaps(items, num_rows), 1024):
        draws = rng.integers(buffer, size=len(chunk)).tolist()
        for item, place in zip(chunk, draws, strict=True):
            if len(held) < buffer:
                held.append(item)
            else:
                leaving, held[place] = held[place], item
                if leaving is not None:
                    yield leaving
    for place in rng.permutation(len(held)).tolist():
        leaving = held[place]
        if leaving is not None:
            yield leaving


def _with_gaps(items: Iterable[Item], num_rows: int | None) -> Iterator[Item | None]:
    """Puts None in the place of each row that is not there."""
    at = 0
    for item in items:
        yield from repeat(None, item.row - at)
        yield item
        at = item.row + 1
    if num_rows is not None:
        yield from repeat(None, num_rows - at)
