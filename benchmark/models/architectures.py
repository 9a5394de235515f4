"""Names of models and the size of their input, known without loading torch or open_clip."""

from __future__ import annotations

import functools
import importlib.util
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from benchmark.errors import unknown

GUESSED_PARAMETERS = 150_000_000  # of a model whose towers are built by another library
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


def num_parameters(name: str) -> int:
    """Parameters of a model: exact for CLIP's own towers, a guess for towers of other libraries, which must be built.

    Raises:
        UnknownNameError: with the closest known names.
    """
    found = configuration(name)
    vision, text, embed = found["vision_cfg"], found["text_cfg"], found["embed_dim"]
    if "timm_model_name" in vision or "hf_model_name" in text:
        return GUESSED_PARAMETERS
    width, layers = text["width"], text["layers"]
    tokens = (text["vocab_size"] + text["context_length"]) * width
    language = tokens + layers * _block(width) + 2 * width + width * embed
    tower = _resnet if isinstance(vision["layers"], list | tuple) else _transformer
    return language + tower(vision, embed) + 1  # the logit scale


def _block(width: int, mlp_ratio: float = 4.0) -> int:
    """A transformer's block: attention, two layers of the MLP, two norms."""
    hidden = int(width * mlp_ratio)
    return 4 * width**2 + 4 * width + 2 * width * hidden + hidden + width + 4 * width


def _transformer(vision: Mapping[str, Any], embed: int) -> int:
    width, patch = vision["width"], vision["patch_size"]
    places = (vision.get("image_size", 224) // patch) ** 2 + 1
    ends = 3 * patch**2 * width + width + places * width + 4 * width  # patches, class, places, norms at both ends
    return ends + vision["layers"] * _block(width, vision.get("mlp_ratio", 4.0)) + width * embed


def _resnet(vision: Mapping[str, Any], embed: int) -> int:
    """CLIP's ResNet: a stem of three convolutions, bottlenecks, and attention that pools."""
    width = vision["width"]
    half = width // 2
    total = 9 * (3 * half + half * half + half * width) + 2 * (2 * half + width)
    before = width
    for stage, blocks in enumerate(vision["layers"]):
        planes = width * 2**stage
        for block in range(blocks):
            total += before * planes + 9 * planes**2 + 4 * planes**2 + 2 * (2 * planes + 4 * planes)
            if block == 0:  # what goes past is made as wide
                total += before * 4 * planes + 8 * planes
            before = 4 * planes
    places = (vision.get("image_size", 224) // 32) ** 2 + 1
    return total + places * before + 3 * (before**2 + before) + before * embed + embed


def _vision(name: str) -> dict[str, Any]:
    return configuration(name)["vision_cfg"]


@functools.cache
def configuration(name: str) -> dict[str, Any]:
    """What open_clip builds a model from: embed_dim, vision_cfg, text_cfg.

    Raises:
        UnknownNameError: with the closest known names.
    """
    if name in TINY:
        return TINY[name]
    files = configurations()
    if name not in files:
        raise unknown("model", name, [*TINY, *files])
    return json.loads(files[name].read_text())


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
