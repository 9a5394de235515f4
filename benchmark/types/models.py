"""What a method may do with a CLIP model. The engine's own is `benchmark.models.clip.ClipModel`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, Self

if TYPE_CHECKING:
    import torch
    from torch import nn


class Model(Protocol):
    """A CLIP model with its tokenizer and normalisation; images come in as uint8 or as float in [0, 1]."""

    @property
    def network(self) -> nn.Module:
        """The network with its parameters, buffers and state dict; its mode is that of the model."""
        ...

    @property
    def visual(self) -> nn.Module:
        """The image tower, a part of `network`."""
        ...

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        ...

    @property
    def image_size(self) -> int:
        """Pixels of an image's sides."""
        ...

    @property
    def embed_dim(self) -> int:
        """Size D of the shared embedding."""
        ...

    @property
    def mean(self) -> torch.Tensor:
        """(3,) float32 mean of each channel, which `normalise` takes off images in [0, 1]."""
        ...

    @property
    def std(self) -> torch.Tensor:
        """(3,) float32, by which `normalise` divides then."""
        ...

    @property
    def training(self) -> bool:
        """Whether the network is in training mode."""
        ...

    def train(self, mode: bool = True) -> Self:
        """Switches the network's mode; returns itself."""
        ...

    def eval(self) -> Self:
        """Switches the network to evaluation mode; returns itself."""
        ...

    def to(self, device: torch.device | str) -> Self:
        """Moves the network; returns itself."""
        ...

    def clone(self) -> Self:
        """A deep copy that shares nothing with this model: what a repair starts from."""
        ...

    def add_adapter(self, name: str, **options: Any) -> Self:
        """Adds a registered adapter, e.g. "prompts", to the network, in place; returns itself.

        Raises:
            NotApplicable: the architecture cannot hold it.
        """
        ...

    def logit_scale(self) -> torch.Tensor:
        """() float tensor, exponentiated."""
        ...

    def normalise(self, images: torch.Tensor) -> torch.Tensor:
        """(B, 3, H, W) uint8 or float in [0, 1] -> float32, normalised, on the model's device."""
        ...

    def encode_images(self, images: torch.Tensor, *, normalised: bool = True) -> torch.Tensor:
        """(B, 3, H, W) uint8 or float in [0, 1] -> (B, D) float32, L2-normalised unless asked otherwise."""
        ...

    def encode_captions(self, captions: list[str], *, normalised: bool = True) -> torch.Tensor:
        """(B,) captions -> (B, D) float32, L2-normalised unless asked otherwise."""
        ...

    def tokenize(self, captions: list[str]) -> torch.Tensor:
        """(B,) captions -> (B, L) int64 on the CPU."""
        ...

    def encode_tokens(self, tokens: torch.Tensor, *, normalised: bool = True) -> torch.Tensor:
        """(B, L) int64 -> (B, D) float32, L2-normalised unless asked otherwise."""
        ...
