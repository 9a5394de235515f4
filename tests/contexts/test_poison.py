"""What an attack sees of a streamed set: its captions can be searched, in one pass that holds no image."""

from __future__ import annotations

import numpy as np
import pytest

from benchmark.contexts.poison import GatedPoisonContext
from benchmark.data.streamed_pool import StreamedPool
from benchmark.datasets.shapes.dataset import Shapes

pytestmark = pytest.mark.unit


def test_captions_of_a_stream_are_searched_for_the_target() -> None:
    pool = StreamedPool(Shapes(num_rows=300, streaming=True), 32, np.array([3, 50]), 200)
    context = GatedPoisonContext(pool, class_names=(), caption_templates=(), evaluation_templates=(), seed=0)
    captions = pool.captions(np.arange(200))
    rows = context.rows_naming("ring")
    assert 0 < len(rows) < 100
    assert rows.tolist() == [row for row, text in enumerate(captions) if "ring" in text.split()]
    assert set(context.real_captions("ring", 5)) <= {captions[row] for row in rows}
