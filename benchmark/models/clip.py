"""The only place that knows open_clip: builds, loads and saves models, and encodes images and captions.

A model artifact is a base (an open_clip name with fresh or pretrained weights, or another artifact) plus a delta:
the named tensors that differ from the base. Weights are safetensors; a JSON sidecar says how to build and feed it, and
which adapters (see `adapters`) were added to the base.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from benchmark.config.spec import ModelSpec
from benchmark.errors import UserError, unknown
from benchmark.models import adapters
from benchmark.models.architectures import TINY, image_size
from benchmark.models.batch_norm import use_group_norms
from benchmark.models.published import published_weights
from benchmark.models.tokenizer import TokenMemory, WordHashTokenizer
from benchmark.types import Model

MAX_LOG_SCALE = 4.6052  # ln 100, as published
_MEAN, _STD = (0.4815, 0.4578, 0.4082), (0.2686, 0.2613, 0.2758)  # of OpenAI CLIP


class ClipModel:
    """A CLIP network with its tokenizer and normalisation. Images come in as uint8 or as float in [0, 1]."""

    def __init__(self, spec: ModelSpec, network: nn.Module, tokenize: Callable[[list[str]], torch.Tensor]) -> None:
        self.spec, self.network, self._tokenize = spec, network, tokenize
        visual: Any = network.visual
        size = visual.image_size
        self.image_size: int = size[0] if isinstance(size, tuple) else size
        self.mean = torch.tensor(getattr(visual, "image_mean", None) or _MEAN)
        self.std = torch.tensor(getattr(visual, "image_std", None) or _STD)
        self._tokens = TokenMemory(tokenize)
        self.adapters: dict[str, dict[str, Any]] = {}  # what was added to the architecture: options by name

    @property
    def visual(self) -> nn.Module:
        """The image tower."""
        tower = self.network.visual
        assert isinstance(tower, nn.Module)
        return tower

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.network.parameters()).device

    @property
    def embed_dim(self) -> int:
        """Size D of the shared embedding."""
        projection: Any = self.network.text_projection
        return int(projection.out_features if isinstance(projection, nn.Linear) else projection.shape[-1])

    def logit_scale(self) -> torch.Tensor:
        """() float tensor, exponentiated."""
        scale: Any = self.network.logit_scale
        return scale.exp()

    def train(self, mode: bool = True) -> ClipModel:
        """Switches the network's mode; returns itself."""
        self.network.train(mode)
        return self

    def eval(self) -> ClipModel:
        """Switches the network to evaluation mode; returns itself."""
        return self.train(False)

    @property
    def training(self) -> bool:
        """Whether the network is in training mode."""
        return self.network.training

    def to(self, device: torch.device | str) -> ClipModel:
        """Moves the network; returns itself."""
        self.network.to(device)
        return self

    def clone(self) -> ClipModel:
        """A deep copy that shares nothing with this model."""
        twin = ClipModel(self.spec, copy.deepcopy(self.network), self._tokenize)
        twin.adapters = copy.deepcopy(self.adapters)
        return twin

    def add_adapter(self, name: str, **options: Any) -> ClipModel:
        """Adds an adapter (see `adapters.INSTALLERS`) to the network, in place; returns itself. Saved models keep it.

        Raises:
            NotApplicable: the architecture cannot hold it.
            UserError: an unknown adapter, or one that is already there.
        """
        if name in self.adapters:
            raise UserError(f"model adapter {name!r} must be added once, and it is there already; start from the base")
        adapters.install(self.network, name, options)
        self.adapters[name] = options
        return self

    def tokenize(self, captions: list[str]) -> torch.Tensor:
        """(B,) captions -> (B, L) int64 on the CPU; a caption that was met lately is not tokenized again."""
        return self._tokens(captions)

    def normalise(self, images: torch.Tensor) -> torch.Tensor:
        """(B, 3, H, W) uint8 or float in [0, 1] -> float32, normalised, on the model's device."""
        images = images.to(self.device, non_blocking=True)
        scale = 255.0 if images.dtype == torch.uint8 else 1.0
        # laid out as one image is: broadcasting a value per channel would walk channels-last pixels three at a time
        factor, shift = (
            torch.empty_like(images[:1], dtype=torch.float32).copy_(values.to(images.device).view(3, 1, 1))
            for values in (1 / (scale * self.std), self.mean / self.std)
        )
        # bytes become floats of our own, which may be changed in place
        scaled = images.float().mul_(factor) if images.dtype == torch.uint8 else images.float() * factor
        return scaled.sub_(shift)

    def encode_images(self, images: torch.Tensor, *, normalised: bool = True) -> torch.Tensor:
        """(B, 3, H, W) uint8 or float in [0, 1] -> (B, D) float32, L2-normalised unless asked otherwise."""
        return self.network.encode_image(self.normalise(images), normalize=normalised).float()  # type: ignore[operator]

    def encode_captions(self, captions: list[str], *, normalised: bool = True) -> torch.Tensor:
        """(B,) captions -> (B, D) float32, L2-normalised unless asked otherwise."""
        return self.encode_tokens(self.tokenize(captions), normalised=normalised)

    def encode_tokens(self, tokens: torch.Tensor, *, normalised: bool = True) -> torch.Tensor:
        """(B, L) int64 -> (B, D) float32, L2-normalised unless asked otherwise."""
        return self.network.encode_text(tokens.to(self.device), normalize=normalised).float()  # type: ignore[operator]


def as_clip(model: Model) -> ClipModel:
    """What a method handed back, as the engine's own model.

    Raises:
        TypeError: it is no model of the engine.
    """
    if not isinstance(model, ClipModel):
        raise TypeError(f"a method must give a model of its context, got {type(model).__name__}")
    return model


def build(spec: ModelSpec, *, seed: int) -> ClipModel:
    """Builds a model with fresh, pretrained or local weights.

    Args:
        spec: name and start.
        seed: decides fresh weights; the global generator is left as it was.

    Raises:
        UserError: unknown name or tag, or weights of another shape.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network, tokenize = _tiny(spec) if spec.name in TINY else _open_clip(spec)
    use_group_norms(network)
    model = ClipModel(spec, network.to(memory_format=torch.channels_last), tokenize)
    if spec.weights:
        load_weights(model, Path(spec.weights))
    return model


def _tiny(spec: ModelSpec) -> tuple[nn.Module, Callable[[list[str]], torch.Tensor]]:
    from open_clip.model import CLIP

    config = TINY[spec.name]
    text = config["text_cfg"]
    with published_weights(spec):  # there are none
        network = CLIP(**copy.deepcopy(config))
    return network, WordHashTokenizer(text["vocab_size"], text["context_length"])


def _open_clip(spec: ModelSpec) -> tuple[nn.Module, Callable[[list[str]], torch.Tensor]]:
    import open_clip

    image_size(spec.name)  # refuses an unknown name
    with published_weights(spec):
        network = open_clip.create_model(spec.name, pretrained=spec.pretrained, pretrained_text=False)
    return network, open_clip.get_tokenizer(spec.name)


def load_weights(model: ClipModel, file: Path) -> None:
    """Loads a full set of tensors from a safetensors file.

    Raises:
        UserError: no such file, not safetensors, or tensors that do not fit the model.
    """
    if not file.is_file():
        raise UserError(f"model.weights {str(file)!r}: no such file; give a safetensors file")
    try:
        tensors = load_file(file)
    except (SafetensorError, OSError):
        raise UserError(
            f"model.weights {str(file)!r} must be a safetensors file, got another format; convert it first"
        ) from None
    fit_tensors(model, tensors, place=f"model.weights {str(file)!r}", complete=True)


def fit_tensors(model: ClipModel, tensors: Mapping[str, torch.Tensor], *, place: str, complete: bool) -> None:
    """Puts named tensors into a model.

    Args:
        model: what they go into.
        tensors: by name in its state dict.
        place: what the tensors are, for the error.
        complete: every tensor of the model must be there.

    Raises:
        UserError: an unknown name, another shape, or one that is missing.
    """
    own = model.network.state_dict()
    for name, tensor in tensors.items():
        if name not in own:
            raise UserError(f"{place}: {unknown('tensor', name, own)}")
        if own[name].shape != tensor.shape:
            raise UserError(
                f"{place}: {name} must be of shape {tuple(own[name].shape)}, got {tuple(tensor.shape)}; "
                f"the checkpoint is not of model {model.spec.name!r}"
            )
    absent = sorted(set(own) - set(tensors))
    if complete and absent:
        raise UserError(f"{place} must hold every tensor of {model.spec.name!r}, lacks {absent[0]!r}; use a full one")
    model.network.load_state_dict(dict(tensors), strict=False)


def save_delta(
    model: ClipModel, folder: Path, *, name: str = "model", base: Mapping[str, Any], of: ClipModel | None = None
) -> None:
    """Writes `<name>.safetensors` (the tensors that differ from `of`) and the sidecar `<name>.json`.

    Args:
        model: what to save.
        folder: an existing folder.
        name: stem of both files.
        base: how to get the base: `{"artifact": key}`, or `{}` for a full set of tensors.
        of: the base itself; None writes every tensor.
    """
    state = model.network.state_dict()
    before = of.network.state_dict() if of is not None else {}
    changed = {k: v.detach().cpu().contiguous() for k, v in state.items() if k not in before or _differs(v, before[k])}
    save_file(changed, folder / f"{name}.safetensors")
    sidecar = {
        "format": 1,
        "model": model.spec.model_dump(mode="json"),
        "base": dict(base),
        "delta": "tensors",
        "parts": model.adapters,
        "image_size": model.image_size,
        "mean": model.mean.tolist(),
        "std": model.std.tolist(),
        "tokenizer": "word-hash-1" if model.spec.name in TINY else f"open_clip:{model.spec.name}",
        "logit_scale": float(model.logit_scale().detach()),
    }
    (folder / f"{name}.json").write_text(json.dumps(sidecar, indent=1, sort_keys=True))


def _differs(a: torch.Tensor, b: torch.Tensor) -> bool:
    return not torch.equal(a.cpu(), b.cpu())


def load_delta(folder: Path, *, name: str = "model", find: Callable[[str], Path]) -> ClipModel:
    """Builds the model that an artifact's folder describes; `find` turns a base artifact's key into its folder."""
    sidecar = json.loads((folder / f"{name}.json").read_text())
    spec = ModelSpec.model_validate(sidecar["model"]).model_copy(
        update={"weights": None, "pretrained": None, "start_from": None}
    )
    key = sidecar["base"].get("artifact")
    model = load_delta(find(key), find=find) if key else build(spec, seed=0)
    for adapter, options in sidecar.get("parts", {}).items():
        if adapter not in model.adapters:
            model.add_adapter(adapter, **options)
    fit_tensors(model, load_file(folder / f"{name}.safetensors"), place=str(folder), complete=not key)
    return model
