"""Folders in Hugging Face layout: which architecture their configuration describes, and their tensors by our names.

Two kinds: open_clip's own (`open_clip_config.json`), and CLIP of the library transformers (`config.json`), whose
tensors are renamed. An architecture is known by its sizes; one that open_clip has no name for is refused.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from benchmark.audit.formats import CONVERT, PICKLE_SUFFIXES, read_tensors
from benchmark.errors import UserError
from benchmark.models.architectures import TINY, configurations

if TYPE_CHECKING:
    import torch

WEIGHTS = ("open_clip_model.safetensors", "open_clip_pytorch_model.safetensors", "model.safetensors")
# what open_clip takes where a configuration is silent
DEFAULTS: dict[str, Any] = {
    "quick_gelu": False,
    **{f"vision_cfg.{name}": value for name, value in (("layers", 12), ("width", 768), ("head_width", 64))},
    **{f"vision_cfg.{name}": value for name, value in (("mlp_ratio", 4.0), ("patch_size", 16), ("image_size", 224))},
    **{f"text_cfg.{name}": value for name, value in (("context_length", 77), ("vocab_size", 49408), ("width", 512))},
    **{f"text_cfg.{name}": value for name, value in (("heads", 8), ("layers", 12))},
}
# and transformers
TEXT: dict[str, Any] = {
    "hidden_size": 512,
    "num_hidden_layers": 12,
    "num_attention_heads": 8,
    "intermediate_size": 2048,
}
TEXT |= {"max_position_embeddings": 77, "vocab_size": 49408}
VISION: dict[str, Any] = {
    "hidden_size": 768,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "intermediate_size": 3072,
}
VISION |= {"patch_size": 32, "image_size": 224}
ACTIVATIONS = {"quick_gelu": True, "gelu": False}


class Described(NamedTuple):
    """What a folder holds."""

    kind: str
    architecture: str
    tensors: dict[str, torch.Tensor]
    file: Path
    mean: tuple[float, ...] | None  # of the pixels, per channel
    std: tuple[float, ...] | None


def open_folder(folder: Path) -> Described:
    """Reads a folder in one of the two layouts.

    Raises:
        UserError: a file that is missing, pickled or damaged, or an architecture without a name.
    """
    place = f"WEIGHTS {str(folder)!r}"
    if (folder / "open_clip_config.json").is_file():
        config = _read(folder / "open_clip_config.json")
        file = _weights(folder, WEIGHTS)
        pixels = config.get("preprocess_cfg") or {}
        name = architecture_of(config.get("model_cfg") or {}, place=place)
        return Described("open_clip folder", name, read_tensors(file), file, *_pixels(pixels, "mean", "std"))
    config = _read(folder / "config.json") if (folder / "config.json").is_file() else {}
    if config.get("model_type") != "clip":
        raise UserError(_nothing_known(folder, config))
    name = architecture_of(translated(config, place=place), place=place)
    file = _weights(folder, WEIGHTS[-1:])
    extra = folder / "preprocessor_config.json"
    pixels = _read(extra) if extra.is_file() else {}
    tensors = renamed(read_tensors(file), place=place)
    return Described("transformers folder", name, tensors, file, *_pixels(pixels, "image_mean", "image_std"))


def _nothing_known(folder: Path, config: Mapping[str, Any]) -> str:
    place = f"WEIGHTS {str(folder)!r}"
    if config:
        kind = config.get("model_type")
        return f"{place} must hold a CLIP model (model_type 'clip'), got {kind!r}; give another folder"
    if pickled := _pickled(folder):
        return f"{place} must hold safetensors, got {pickled!r}, which is pickled; {CONVERT}"
    return (
        f"{place} must hold open_clip_config.json or config.json and a safetensors file, or an artifact of a store, "
        "got none of them; name the safetensors file itself and its architecture with --model"
    )


def _read(file: Path) -> dict[str, Any]:
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise UserError(f"WEIGHTS: {str(file)!r} must be a JSON object, got something else; copy it again")
    return found


def _weights(folder: Path, names: tuple[str, ...]) -> Path:
    for name in names:
        if (folder / name).is_file():
            return folder / name
    if any(folder.glob("*.safetensors.index.json")):
        raise UserError(
            f"WEIGHTS {str(folder)!r} must hold one safetensors file, got shards; join them into {names[-1]}"
        )
    if pickled := _pickled(folder):
        raise UserError(
            f"WEIGHTS {str(folder)!r} must hold {' or '.join(names)}, got {pickled!r}, which is pickled; {CONVERT}"
        )
    raise UserError(f"WEIGHTS {str(folder)!r} must hold {' or '.join(names)}, got neither; add the file")


def _pickled(folder: Path) -> str | None:
    """Name of the first file that looks pickled; None where none does."""
    return min((file.name for file in folder.iterdir() if file.suffix.lower() in PICKLE_SUFFIXES), default=None)


def _pixels(config: Mapping[str, Any], *names: str) -> list[tuple[float, ...] | None]:
    found = [config.get(name) for name in names]
    return [tuple(map(float, value)) if isinstance(value, list) and len(value) == 3 else None for value in found]


def architecture_of(config: Mapping[str, Any], *, place: str) -> str:
    """The name that a configuration has in open_clip.

    Raises:
        UserError: it has none (with the closest), or it is not a plain CLIP.
    """
    if config.get("custom_text") or (config.get("text_cfg") or {}).get("hf_model_name"):
        raise UserError(f"{place}: its text tower must be CLIP's own, got another; such models are not supported")
    wanted, known = _canonical(config), _known()
    for name, parts in known.items():
        if parts == wanted:
            return name

    def different(name: str) -> list[str]:
        return sorted(
            part
            for part in {*wanted, *known[name]}
            if wanted.get(part, DEFAULTS.get(part)) != known[name].get(part, DEFAULTS.get(part))
        )

    closest = min(known, key=lambda name: (len(different(name)), name))
    raise UserError(
        f"{place}: its configuration must be one that open_clip has a name for, got another; "
        f"closest: {closest}, which differs in {', '.join(different(closest)[:4])}"
    )


def _known() -> dict[str, dict[str, Any]]:
    files = {name: json.loads(file.read_text()) for name, file in sorted(configurations().items())}
    return {name: _canonical(config) for name, config in (files | TINY).items()}


def _canonical(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Parts by dotted name, without those that say what holds anyway."""
    found: dict[str, Any] = {}
    for name, value in config.items():
        path = f"{prefix}{name}"
        if isinstance(value, Mapping):
            found |= _canonical(value, f"{path}.")
        elif value is not None and DEFAULTS.get(path) != value:
            found[path] = tuple(value) if isinstance(value, list) else value
    return found


def translated(config: Mapping[str, Any], *, place: str) -> dict[str, Any]:
    """A configuration of transformers as open_clip would write it.

    Raises:
        UserError: a part that open_clip's CLIP cannot express.
    """
    text, vision = TEXT | (config.get("text_config") or {}), VISION | (config.get("vision_config") or {})
    for tower in (text, vision):
        activation = tower.get("hidden_act", "quick_gelu")
        told = [(activation, tuple(ACTIVATIONS), "hidden_act"), (tower.get("layer_norm_eps", 1e-5), (1e-5,), "eps")]
        told.append((tower["intermediate_size"], (4 * tower["hidden_size"],), "intermediate_size"))
        for value, allowed, name in told:
            if value not in allowed:
                choices = " or ".join(map(str, allowed))
                raise UserError(f"{place}: {name} must be {choices}, got {value!r}; open_clip cannot build it")
    if text.get("hidden_act", "quick_gelu") != vision.get("hidden_act", "quick_gelu"):
        raise UserError(f"{place}: both towers must have one hidden_act, got two; open_clip cannot build it")
    return {
        "embed_dim": config.get("projection_dim", 512),
        "quick_gelu": ACTIVATIONS[text.get("hidden_act", "quick_gelu")],
        "vision_cfg": {
            "image_size": vision["image_size"],
            "layers": vision["num_hidden_layers"],
            "width": vision["hidden_size"],
            "head_width": vision["hidden_size"] // vision["num_attention_heads"],
            "patch_size": vision["patch_size"],
        },
        "text_cfg": {
            "context_length": text["max_position_embeddings"],
            "vocab_size": text["vocab_size"],
            "width": text["hidden_size"],
            "heads": text["num_attention_heads"],
            "layers": text["num_hidden_layers"],
        },
    }


_TRANSPOSED = {"text_projection.weight": "text_projection", "visual_projection.weight": "visual.proj"}
_SINGLE = {
    "logit_scale": "logit_scale",
    "text_model.embeddings.token_embedding.weight": "token_embedding.weight",
    "text_model.embeddings.position_embedding.weight": "positional_embedding",
    "text_model.final_layer_norm.weight": "ln_final.weight",
    "text_model.final_layer_norm.bias": "ln_final.bias",
    "vision_model.embeddings.class_embedding": "visual.class_embedding",
    "vision_model.embeddings.patch_embedding.weight": "visual.conv1.weight",
    "vision_model.embeddings.position_embedding.weight": "visual.positional_embedding",
    "vision_model.pre_layrnorm.weight": "visual.ln_pre.weight",  # spelt so there
    "vision_model.pre_layrnorm.bias": "visual.ln_pre.bias",
    "vision_model.post_layernorm.weight": "visual.ln_post.weight",
    "vision_model.post_layernorm.bias": "visual.ln_post.bias",
}
_LAYER = re.compile(r"(text|vision)_model\.encoder\.layers\.(\d+)\.(.+)\.(weight|bias)")
_IN_LAYER = {"layer_norm1": "ln_1", "layer_norm2": "ln_2", "self_attn.out_proj": "attn.out_proj"}
_IN_LAYER |= {"mlp.fc1": "mlp.c_fc", "mlp.fc2": "mlp.c_proj"}
_ATTENTION = tuple(f"self_attn.{part}_proj" for part in "qkv")


def renamed(tensors: Mapping[str, torch.Tensor], *, place: str) -> dict[str, torch.Tensor]:
    """CLIP's tensors from transformers' names to open_clip's; query, key and value become one matrix.

    Raises:
        UserError: a tensor that CLIP does not have, or one of the three that is missing.
    """
    import torch

    found: dict[str, torch.Tensor] = {}
    for name, tensor in tensors.items():
        layer = _LAYER.fullmatch(name)
        if name in _SINGLE:
            found[_SINGLE[name]] = tensor
        elif name in _TRANSPOSED:
            found[_TRANSPOSED[name]] = tensor.T.contiguous()
        elif layer is None:
            close = difflib.get_close_matches(name, [*_SINGLE, *_TRANSPOSED], n=1, cutoff=0)[0]
            raise UserError(
                f"{place}: tensor {name!r} must be one of a CLIP model (closest: {close}); give another folder"
            )
        else:
            tower, number, part, kind = layer.groups()
            block = f"{'visual.' if tower == 'vision' else ''}transformer.resblocks.{number}"
            if part == _ATTENTION[0]:
                names = [name.replace(_ATTENTION[0], other) for other in _ATTENTION]
                if absent := [other for other in names if other not in tensors]:
                    raise UserError(f"{place} must hold {absent[0]!r}, lacks it; give a complete checkpoint")
                found[f"{block}.attn.in_proj_{kind}"] = torch.cat([tensors[other] for other in names])
            elif part in _IN_LAYER:
                found[f"{block}.{_IN_LAYER[part]}.{kind}"] = tensor
            elif part not in _ATTENTION:
                raise UserError(f"{place}: tensor {name!r} must be one of a CLIP model; give another folder")
    return found
