"""The kept table: one row per measured epoch of a point of the grid, epoch 0 the model before any repair."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.feather as feather

Frame = Any  # a pandas DataFrame; its own annotations call every selection a frame, a series or a number
FILE = Path(__file__).with_name("surface.arrow")
SCHEMA = pa.schema(
    [
        ("objective", pa.string()),  # of pre-training
        ("seed", pa.int16()),
        ("trial", pa.int16()),  # place of the point in `world.grid`; -1: the model before any repair
        ("learning_rate", pa.float64()),
        ("ssl_weight", pa.float64()),
        ("epoch", pa.int16()),  # 1-based; 0: before any repair
        ("validation_accuracy", pa.float32()),
        ("validation_asr", pa.float32()),
        ("test_accuracy", pa.float32()),
        ("test_asr", pa.float32()),
        ("validation_floor", pa.float32()),  # ASR of the clean twin, which no poison was planted in
        ("test_floor", pa.float32()),
    ]
)


class Split(NamedTuple):
    """What one split says of a model and of its repairs."""

    start: np.ndarray  # (2,) CA and net ASR before any repair
    points: np.ndarray  # (trials, epochs, 2) CA and net ASR in [0, 1]; NaN where a trial had ended


class Curves(NamedTuple):
    """All trials of one searched model."""

    objective: str
    seed: int
    validation: Split  # decides
    test: Split  # is read

    @property
    def num_trials(self) -> int:
        """Trials of the whole grid."""
        return self.validation.points.shape[0]

    @property
    def num_epochs(self) -> int:
        """Epochs of a trial that is not stopped."""
        return self.validation.points.shape[1]


def load(file: Path = FILE) -> list[Curves]:
    """Reads the kept surface: its models by objective, then seed."""
    table = feather.read_table(file).to_pandas()
    groups: Any = table.groupby(["objective", "seed"], sort=True)
    return [_curves(objective, int(seed), part) for (objective, seed), part in groups]


def load_study(file: Path) -> list[Curves]:
    """Reads cleaning runs of arXiv 2311.14948 as that study published them: one split, which decides and is read.

    Args:
        file: CSV with pretrain_objective, cleaning_objective, trial, evaluation (0 = before any repair),
            clean_accuracy, asr (shares).

    Returns:
        One `Curves` for each pair of objectives; "objective" names both, seed is 0.
    """
    table = pd.read_csv(file)
    found, groups = [], cast("Any", table.groupby(["pretrain_objective", "cleaning_objective"], sort=True))
    for (before, cleaning), part in groups:
        start = part[part["evaluation"] == 0].iloc[0]
        split = Split(
            np.array([start["clean_accuracy"], start["asr"]]),
            _points(part[part["evaluation"] > 0], "evaluation", ("clean_accuracy", "asr")),
        )
        found.append(Curves(f"{before}, cleaned with {cleaning}", 0, split, split))
    return found


def _curves(objective: str, seed: int, part: Frame) -> Curves:
    return Curves(objective, seed, *(_split(part, name) for name in ("validation", "test")))


def _split(part: Frame, name: str) -> Split:
    net = (part[f"{name}_asr"] - part[f"{name}_floor"]).clip(0, 1)
    rows = part.assign(net=net)
    start = rows[rows["trial"] < 0].iloc[0]
    points = _points(rows[rows["trial"] >= 0], "epoch", (f"{name}_accuracy", "net"))
    return Split(np.array([start[f"{name}_accuracy"], start["net"]], np.float64), points)


def _points(rows: Frame, epoch: str, columns: tuple[str, str]) -> np.ndarray:
    wide = [rows.pivot(index="trial", columns=epoch, values=column).to_numpy(np.float64) for column in columns]
    return np.stack(wide, axis=-1)


def write(rows: list[dict[str, object]], file: Path) -> None:
    """Writes rows of the table, whole or not at all."""
    part = file.with_suffix(".part")
    feather.write_feather(pa.Table.from_pylist(rows, schema=SCHEMA), str(part), compression="zstd")
    part.replace(file)
