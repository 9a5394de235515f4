"""Memory: how much a streamed epoch adds to the process, for 10,000 rows and for 100,000.

Each size runs in a process of its own (`python -m benchmark.perf.memory FOLDER ROWS`) over local Parquet files of
small JPEGs, every row with a caption of its own, which is the hard case: nothing that is remembered can be shared.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from benchmark.perf.report import Line, Settings

FEW, MANY = 10_000, 100_000
TOLERANCE_MIB = 16  # the tokenizer's memory fills up, 3 MiB; decoded, the 90,000 rows between them are 264 MiB
BATCH, SHARD_ROWS, DISTINCT = 256, 10_000, 1000


def run(settings: Settings) -> list[Line]:
    """Writes the rows once and streams both numbers of them."""
    with tempfile.TemporaryDirectory() as name:
        _write(Path(name), settings)
        few, many = (_grown(Path(name), rows) for rows in (FEW, MANY))
    return [
        Line(
            f"an epoch adds (MiB): {MANY:,} rows beside {FEW:,}",
            f"{many:.0f}",
            f"{few:.0f}",
            many / few,
            f"<= +{TOLERANCE_MIB}",
            many - few <= TOLERANCE_MIB,
        )
    ]


def _write(folder: Path, settings: Settings) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    from benchmark.perf.photos import load_photos

    photos = load_photos(settings.data, DISTINCT)
    for shard in range(MANY // SHARD_ROWS):
        rows = range(shard * SHARD_ROWS, (shard + 1) * SHARD_ROWS)
        columns = {
            "image": [{"bytes": photos.encoded[row % DISTINCT], "path": None} for row in rows],
            "caption": [f"{photos.captions[row % DISTINCT]} number {row}" for row in rows],
        }
        for size in (FEW, MANY):
            if rows[0] < size:
                (folder / str(size)).mkdir(exist_ok=True)
                pq.write_table(pa.table(columns), folder / str(size) / f"train-{shard:05d}.parquet")


def _grown(folder: Path, rows: int) -> float:
    command = [sys.executable, "-m", __name__, str(folder / str(rows)), str(rows)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return float(json.loads(done.stdout.splitlines()[-1])["grown_mib"])


def _stream(folder: Path, rows: int) -> float:
    """Peak memory that an epoch adds, MiB: read, decoded, batched and tokenized; imports and the model come before."""
    from benchmark.config.spec import ModelSpec
    from benchmark.data.streamed_pool import StreamedPool
    from benchmark.datasets.hugging_face.dataset import HuggingFace
    from benchmark.models.clip import build
    from benchmark.training.views import make_inputs

    model = build(ModelSpec(), seed=0)
    dataset = HuggingFace(path=str(folder), streaming=True, expected_rows={"train": rows})
    pool = StreamedPool(dataset, model.image_size, np.empty(0, np.int64), rows)
    before = _peak_mib()
    for batch in pool.epoch(seed=0, epoch=0, batch_size=BATCH):
        make_inputs(batch, frozenset({"image", "text"}), model, seed=0, epoch=0, text_frozen=False)
    return _peak_mib() - before


def _peak_mib() -> float:
    """The highest resident memory of this process so far."""
    if sys.platform == "linux":
        # not ru_maxrss: it starts at what the parent held when it forked, and would hide the growth
        status = Path("/proc/self/status").read_text()
        return int(status.partition("VmHWM:")[2].split()[0]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1 << 20)  # bytes on macOS


if __name__ == "__main__":
    print(json.dumps({"grown_mib": _stream(Path(sys.argv[1]), int(sys.argv[2]))}))
