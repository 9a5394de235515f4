"""CC3M and ImageNet in miniature: drawn shapes in the files and columns of the hub sets, one class called banana."""

from __future__ import annotations

import io
from pathlib import Path

import datasets
import numpy as np
from PIL import Image

from benchmark.datasets.shapes.dataset import Shapes
from tests.helpers.datasets import as_stored, write_parquet, write_tar

OTHER_NAMES = {"ring": "banana", "star": "mushroom"}  # the targets of the published suites
Drawn = tuple[list[bytes], list[str], list[int], list[str]]  # encoded images, captions, labels, class names


def drawn(count: int, seed: int) -> Drawn:
    """Encoded images with their captions and labels."""
    source = Shapes(num_rows=count, seed=seed).open(image_size=40)
    found = source.read(np.arange(count))
    names = [OTHER_NAMES.get(name, name) for name in source.class_names]
    captions = [f"a drawing of a {names[label]}, number {row}" for row, label in enumerate(found.labels.tolist())]
    return [_jpeg(image) for image in found.images], captions, found.labels.tolist(), names


def _jpeg(image: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=95)
    return buffer.getvalue()


def write_pairs(folder: Path, *, name: str, count: int) -> Path:
    """A streamed set of pairs in the layout of `cc3m` and `cc12m`."""
    images, captions, _, _ = drawn(count, seed=1)
    samples = [{"jpg": image, "txt": text.encode()} for image, text in zip(images, captions, strict=True)]
    half = count // 2
    write_tar(folder / f"{name}-train-0000.tar", samples[:half])
    write_tar(folder / f"{name}-train-0001.tar", samples[half:])
    return folder


def write_imagenet(folder: Path, *, train: int, validation: int) -> Path:
    """A labelled set in the layout of `imagenet-1k`, with ten classes."""
    images, _, labels, names = drawn(train + validation, seed=2)
    features = {"image": datasets.Image(), "label": datasets.ClassLabel(names=names)}
    for split, part in (("train", slice(None, train)), ("validation", slice(train, None))):
        columns = {"image": as_stored(images[part]), "label": labels[part]}
        write_parquet(folder / "data" / f"{split}-00000-of-00001.parquet", columns, features)
    return folder
