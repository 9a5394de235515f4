"""Small sets of one-coloured images, written as Parquet, WebDataset tars, and CIFAR-10's own layout."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path
from typing import Any

import datasets
from PIL import Image


def encoded(value: int, size: tuple[int, int] = (12, 8), format: str = "PNG") -> bytes:
    """An image of one colour; `value` is its red."""
    buffer = io.BytesIO()
    Image.new("RGB", size, (value, 100, 200)).save(buffer, format)
    return buffer.getvalue()


def write_parquet(file: Path, columns: dict[str, list[Any]], features: dict[str, Any]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    datasets.Dataset.from_dict(columns, features=datasets.Features(features)).to_parquet(file)


def write_tar(file: Path, samples: list[dict[str, bytes]]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(file, "w") as tar:
        for place, sample in enumerate(samples):
            for suffix, data in sample.items():
                entry = tarfile.TarInfo(f"{place:06d}.{suffix}")
                entry.size = len(data)
                tar.addfile(entry, io.BytesIO(data))


def as_stored(values: list[bytes]) -> list[dict[str, Any]]:
    return [{"bytes": value, "path": f"{place}.png"} for place, value in enumerate(values)]


def mini_cifar(folder: Path, train: int = 30, test: int = 10) -> Path:
    names = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
    features = {"img": datasets.Image(), "label": datasets.ClassLabel(names=names)}
    for split, count in (("train", train), ("test", test)):
        columns = {
            "img": as_stored([encoded(k, (32, 32)) for k in range(count)]),
            "label": [k % 10 for k in range(count)],
        }
        write_parquet(folder / "plain_text" / f"{split}-00000-of-00001.parquet", columns, features)
    return folder
