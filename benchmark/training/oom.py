"""Out of memory shrinks the micro-batch, never the global batch."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import torch

from benchmark.errors import UserError

T = TypeVar("T")


def retry_with_smaller_micro_batch(run: Callable[[int | None], T], *, batch_size: int, micro_batch: int | None) -> T:
    """Calls `run(micro_batch)`, again with half of it after each out-of-memory error.

    Args:
        run: starts from scratch or its last checkpoint each time.
        batch_size: the global batch; the first half is of this where `micro_batch` is None.
        micro_batch: where to begin; None: the whole batch.

    Raises:
        torch.OutOfMemoryError: when no smaller micro-batch is possible (two samples, or a whole norm group).
    """
    shortage: torch.OutOfMemoryError | None = None
    while True:
        try:
            return run(micro_batch)
        except torch.OutOfMemoryError as error:
            shortage, micro_batch = error, (micro_batch or batch_size) // 2
            if micro_batch < 2:
                raise
        except UserError:
            if shortage is None:
                raise
            raise shortage from None  # BatchNorm does not allow a smaller forward
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
