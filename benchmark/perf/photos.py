"""The photographs that the benches read: JPEGs with captions, from a folder or rendered from drawn shapes."""

from __future__ import annotations

import io
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from benchmark.data.images import decode, stack
from benchmark.data.pools import CachedPool
from benchmark.data.prepare import captions_for
from benchmark.datasets.known import Cifar10
from benchmark.datasets.shapes.dataset import Shapes
from benchmark.types.source import Source

SIZE = 32  # pixels, the input of the tiny models
QUALITY = 90


class Photos(NamedTuple):
    """Encoded photographs."""

    encoded: list[bytes]
    captions: list[str]
    labels: np.ndarray  # (N,) int64
    class_names: tuple[str, ...]
    evaluation_templates: tuple[str, ...]


def load_photos(folder: Path | None, count: int) -> Photos:
    """Reads `count` photographs; not more than the set has."""
    if folder is not None:
        return _from_folder(folder, count)
    source = Shapes(num_rows=count).open(image_size=SIZE)
    samples = source.read(np.arange(count))
    return _photos(source, [jpeg(image) for image in samples.images], samples.captions, samples.labels)


def _from_folder(folder: Path, count: int) -> Photos:
    source = Cifar10(path=str(folder), expected_rows={}).open(image_size=SIZE)
    pairs = [(item, item.image) for item in islice(source.stream(seed=None), count) if isinstance(item.image, bytes)]
    captions, labels = [item.caption for item, _ in pairs], np.array([item.label for item, _ in pairs])
    return _photos(source, [image for _, image in pairs], captions, labels)


def _photos(source: Source, encoded: list[bytes], captions: list[str], labels: np.ndarray) -> Photos:
    texts = captions_for(source, np.arange(len(encoded)), captions, labels, 0)
    return Photos(encoded, texts, labels, source.class_names, source.evaluation_templates)


def jpeg(image: np.ndarray) -> bytes:
    """Encodes an (H, W, 3) uint8 image."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=QUALITY)
    return buffer.getvalue()


def decoded(photos: Photos) -> CachedPool:
    """Decodes each photograph once, in this thread, as the cache does."""
    images = [image for data in photos.encoded if (image := decode(data, SIZE)) is not None]
    return CachedPool(stack(images, SIZE), photos.captions, photos.labels)
