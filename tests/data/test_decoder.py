"""The decoder of a set: what it changes, that every way to an image obeys it, and that it is in the set's key."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from benchmark.config.spec import Splits
from benchmark.data.images import Decoder, decode
from benchmark.data.pools import StreamedPool
from benchmark.data.prepare import prepare_data
from benchmark.data.squash import squash_split
from benchmark.datasets.hugging_face.dataset import HuggingFace

pytestmark = pytest.mark.unit

DECODERS: tuple[Decoder, ...] = ("pillow", "pillow_full")
ROWS, SIZE = 12, 8


def _photograph(seed: int) -> bytes:
    """A noisy JPEG six times as large as the model's images."""
    pixels = np.random.Generator(np.random.PCG64(seed)).integers(0, 255, (6 * SIZE, 6 * SIZE, 3), np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=95)
    return buffer.getvalue()


def _set(folder: Path, decoder: Decoder, *, streaming: bool = False) -> HuggingFace:
    images = [{"bytes": _photograph(row), "path": None} for row in range(ROWS)]
    pq.write_table(pa.table({"image": images, "caption": [f"row {row}" for row in range(ROWS)]}), folder / "t.parquet")
    return HuggingFace(path=str(folder), decoder=decoder, test_split=None, streaming=streaming)


def _expected(decoder: Decoder, *, squash: bool = False) -> np.ndarray:
    images = [decode(_photograph(row), SIZE, squash=squash, decoder=decoder) for row in range(ROWS)]
    return np.stack([image for image in images if image is not None])


def test_a_full_decoding_is_what_open_clip_does() -> None:
    data = _photograph(0)
    full = Image.open(io.BytesIO(data)).convert("RGB").resize((SIZE, SIZE), Image.Resampling.BICUBIC)
    assert np.array_equal(np.asarray(full), decode(data, SIZE, decoder="pillow_full"))
    assert not np.array_equal(np.asarray(full), decode(data, SIZE))


def test_small_images_are_decoded_alike() -> None:
    data = _photograph(0)
    assert np.array_equal(*(decode(data, 2 * SIZE, decoder=decoder) for decoder in DECODERS))


@pytest.mark.parametrize("decoder", DECODERS)
def test_every_way_to_an_image_obeys(tmp_path: Path, decoder: Decoder) -> None:
    files = tmp_path / "set"
    files.mkdir()
    cached, streamed = (_set(files, decoder, streaming=streaming) for streaming in (False, True))
    assert np.array_equal(cached.open(image_size=SIZE).read(np.arange(ROWS)).images, _expected(decoder))
    pool = StreamedPool(streamed, SIZE, np.empty(0, np.int64), ROWS)
    (batch,) = pool.in_order(ROWS)
    assert np.array_equal(batch.images.permute(0, 2, 3, 1).numpy(), _expected(decoder))
    splits = Splits(pretrain=3, clean=3, validation=3, test=3)
    for dataset in (cached, streamed):
        folder = tmp_path / f"cache-{dataset.streaming}"
        folder.mkdir()
        prepare_data(dataset, splits, image_size=SIZE, held_out_only=dataset.streaming, folder=folder)
        rows = pq.read_table(folder / "rows.parquet", columns=["row", "split"]).to_pydict()
        images = np.load(folder / "images.npy")[: len(rows["row"])]
        assert np.array_equal(images, _expected(decoder)[rows["row"]])
        squash_split(dataset, folder, "test", image_size=SIZE, file=folder / "squashed.npy")
        test = [row for row, split in zip(rows["row"], rows["split"], strict=True) if split == "test"]
        assert np.array_equal(np.load(folder / "squashed.npy"), _expected(decoder, squash=True)[test])


def test_it_is_part_of_a_sets_identity_where_it_is_not_the_usual_one(tmp_path: Path) -> None:
    usual, full = (_set(tmp_path, decoder) for decoder in DECODERS)
    assert "decoder" not in usual.identity()["fields"]
    assert full.identity()["fields"]["decoder"] == "pillow_full"
