"""Decoding: crop, conversion, broken images, JPEG's draft mode; the buffer that shuffles a stream."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image

from benchmark.data.images import decode, shuffle
from benchmark.types.source import Item
from tests.helpers.datasets import encoded


def test_decode_crops_the_centre_and_converts() -> None:
    wide = Image.new("RGB", (40, 10), (255, 0, 0))
    wide.paste((0, 255, 0), (15, 0, 25, 10))
    buffer = io.BytesIO()
    wide.save(buffer, "PNG")
    middle = decode(buffer.getvalue(), 10)
    assert middle is not None
    assert (middle == [0, 255, 0]).all()
    buffer = io.BytesIO()
    Image.new("L", (30, 20), 77).save(buffer, "PNG")
    assert np.array_equal(decode(buffer.getvalue(), 8), np.full((8, 8, 3), 77, np.uint8))
    assert decode(encoded(1)[:40], 8) is None
    assert decode(b"", 8) is None


def test_large_jpeg_through_draft_mode_stays_close_to_the_full_decode() -> None:
    ramp = np.linspace(0, 255, 400, dtype=np.uint8)
    picture = Image.fromarray(np.stack([np.tile(ramp, (300, 1)), np.tile(ramp[:300, None], (1, 400))] * 2, 2)[..., :3])
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=95)
    small = decode(buffer.getvalue(), 32)
    whole = picture.resize((43, 32), Image.Resampling.BICUBIC).crop((5, 0, 37, 32))
    assert small is not None
    assert np.abs(small.astype(int) - np.asarray(whole)).mean() < 3


def test_shuffle_buffer_is_a_permutation_that_the_seed_decides() -> None:
    items = [Item(row, None, "", -1, "") for row in range(3000)]
    first = [item.row for item in shuffle(iter(items), seed=1, buffer=100)]
    assert sorted(first) == list(range(3000))
    assert first == [item.row for item in shuffle(iter(items), seed=1, buffer=100)]
    assert first != [item.row for item in shuffle(iter(items), seed=2, buffer=100)]
    assert np.mean(np.abs(np.array(first) - np.arange(3000))) > 50
