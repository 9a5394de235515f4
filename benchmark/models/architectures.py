"""Names of models and the size of their input, known without loading torch or open_clip."""

from __future__ import annotations

import functools
import importlib.util
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from benchmark.errors import unknown

_TEXT = {"context_length": 16, "vocab_size": 4096, "width": 64, "heads": 2, "layers": 1}
TINY: dict[str, dict[str, Any]] = {
    "tiny-resnet": {
        "embed_dim": 64,
        "vision_cfg": {"layers": (1, 1, 1, 1), "width": 8, "image_size": 32, "patch_size": None},
        "text_cfg": _TEXT,
    },
    "small-resnet": {
        "embed_dim": 128,
        "vision_cfg": {"layers": (2, 2, 2, 2), "width": 24, "image_size": 32, "patch_size": None},
        "text_cfg": _TEXT | {"width": 128, "layers": 2},
    },
    "tiny-vit": {
        "embed_dim": 64,
        "vision_cfg": {"layers": 2, "width": 64, "head_width": 32, "image_size": 32, "patch_size": 8},
        "text_cfg": _TEXT,
    },
}


@functools.cache
def configurations() -> dict[str, Path]:
    """open_clip's own configuration files, found without importing it."""
    spec = importlib.util.find_spec("open_clip")
    folder = Path(spec.origin).parent / "model_configs" if spec and spec.origin else Path("/nonexistent")
    return {file.stem: file for file in folder.glob("*.json")}


def image_size(name: str) -> int:
    """Side in pixels of the square input of a model.

    Raises:
        UnknownNameError: with the closest known names.
    """
    size = _vision(name).get("image_size", 224)
    return int(size[0] if isinstance(size, list) else size)


def is_resnet(name: str) -> bool:
    """Whether a model's image tower is CLIP's ResNet, which has BatchNorm; towers of timm must be built to know.

    Raises:
        UnknownNameError: with the closest known names.
    """
    return isinstance(_vision(name).get("layers"), list | tuple)


def _vision(name: str) -> dict[str, Any]:
    if name in TINY:
        return TINY[name]["vision_cfg"]
    files = configurations()
    if name not in files:
        raise unknown("model", name, [*TINY, *files])
    return json.loads(files[name].read_text())["vision_cfg"]


def threads_for(names: Iterable[str], environment: Mapping[str, str]) -> int | None:
    """How many threads torch should take in a process that has the machine to itself.

    The largest model decides. Tiny ones run on one thread: more gain them little on a quiet machine, cost them half
    beside other work, and round otherwise than a slot of Ray, which has one.

    Args:
        names: of the models that the process trains.
        environment: of the process; where it holds OMP_NUM_THREADS, the user has decided.

    Returns:
        The number; None: as many as torch takes by itself, all cores.
    """
    tiny = all(name.startswith("tiny-") for name in names)
    return 1 if tiny and "OMP_NUM_THREADS" not in environment else None
