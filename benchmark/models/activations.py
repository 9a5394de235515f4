"""What happens inside an image tower: the outputs of its stages, in one forward."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from benchmark.errors import NotApplicable
from benchmark.models.clip import ClipModel


def stages_of(model: ClipModel) -> dict[str, nn.Module]:
    """The image tower's stages by name: the four of a ResNet, or the blocks of a transformer.

    Raises:
        NotApplicable: a tower of another make.
    """
    visual: Any = model.network.visual
    if hasattr(visual, "layer1"):
        return {f"layer{number}": getattr(visual, f"layer{number}") for number in range(1, 5)}
    blocks = getattr(getattr(visual, "transformer", None), "resblocks", None)
    if blocks is None:
        raise NotApplicable(f"the stages of {model.spec.name!r} are not known; use a ResNet or a vision transformer")
    return {f"block{number}": block for number, block in enumerate(blocks)}


def stage_outputs(model: ClipModel, images: torch.Tensor) -> dict[str, torch.Tensor]:
    """Outputs of the stages, with gradient where it is enabled.

    Args:
        model: the model, in the mode it is in.
        images: (B, 3, H, W) uint8, or float in [0, 1].

    Returns:
        Convolutional: (B, C, h, w) per stage; transformer: (B, T, W) per block, the class token first.
    """
    found: dict[str, torch.Tensor] = {}
    batch_first = getattr(getattr(model.network.visual, "transformer", None), "batch_first", True)

    def keep(name: str) -> Any:
        def hook(_: nn.Module, __: Any, output: torch.Tensor) -> None:
            found[name] = output if batch_first else output.transpose(0, 1)

        return hook

    handles = [stage.register_forward_hook(keep(name)) for name, stage in stages_of(model).items()]
    try:
        model.encode_images(images)
    finally:
        for handle in handles:
            handle.remove()
    return found
