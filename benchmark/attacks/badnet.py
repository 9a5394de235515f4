"""BadNet: a small patch on the image, a caption of the target class.

Gu et al. 2017, arXiv 1708.06733; on CLIP: Carlini & Terzis, arXiv 2106.09667, and CleanCLIP, arXiv 2303.03323.
Differs: the released CLIP code adds N(0, 1) to each image's channel means, does not clip, and wraps in the byte cast,
which gives uniform noise; that is pattern "uniform" with mode "fresh" and location "random". Pattern "clamped" is the
same noise clipped to [0, 1].
Reference code: github.com/nishadsinghi/CleanCLIP at d6e2f1d (backdoor/utils.py).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field

from benchmark.errors import must
from benchmark.rng import hashed_uniform
from benchmark.types import Attack, BaseAttack, Card, Published, TriggerState
from benchmark.types.sources import RECIPE

if TYPE_CHECKING:
    import numpy as np
    import torch


BIBTEX = """
@article{gu2017badnets,
  title = {{BadNets}: Identifying Vulnerabilities in the Machine Learning Model Supply Chain},
  author = {Gu, Tianyu and Dolan-Gavitt, Brendan and Garg, Siddharth},
  journal = {arXiv preprint arXiv:1708.06733},
  year = {2017}, eprint = {1708.06733}, archiveprefix = {arXiv},
}
"""


class Patch(BaseAttack):
    """A patch trigger: what is on it, whether it changes from image to image, and where it sits."""

    size: Annotated[int, Field(ge=1, description="side of the patch in pixels of the model's input")] = 16
    pattern: Literal["uniform", "clamped", "checkerboard", "yellow", "white"] = "uniform"
    mode: Annotated[
        Literal["fixed", "fresh"], Field(description="fresh: noise is drawn anew per image, in training and test")
    ] = "fixed"
    location: Literal["random", "center", "bottom_right", "four_corners"] = "bottom_right"

    def check_image_size(self, image_size: int) -> None:
        """Refuses images that are smaller than the patch."""
        if self.size > image_size:
            raise must(f"{self.name}.size", f"at most the image's {image_size} px", self.size, "lower it")

    def trigger(self, images: torch.Tensor, ids: np.ndarray, state: TriggerState) -> torch.Tensor:
        """Pastes the patch; see `BaseAttack.trigger` for shapes."""
        import torch

        height, width = images.shape[2:]
        self.check_image_size(min(height, width))
        patch = self._patch(images, ids, state.seed)
        stamped = images.clone()
        tops, lefts = self._corners(ids, state.seed, height, width)
        span = torch.arange(self.size)
        batch = torch.arange(len(images))[:, None, None]
        for top, left in zip(tops, lefts, strict=True):
            rows, columns = top[:, None, None] + span[:, None], left[:, None, None] + span[None, :]
            stamped[batch, :, rows, columns] = patch.permute(0, 2, 3, 1)
        return stamped

    def _patch(self, images: torch.Tensor, ids: np.ndarray, seed: int) -> torch.Tensor:
        """(B, 3, size, size) on the images' device."""
        import torch

        size, count = self.size, len(images)
        if self.pattern in ("uniform", "clamped"):
            streams = ids if self.mode == "fresh" else ids * 0
            noise = hashed_uniform(seed, streams, 2 * 3 * size * size).to(images.device)
            first, second = (part.reshape(count, 3, size, size) for part in noise.chunk(2, dim=1))
            if self.pattern == "uniform":
                return first
            normal = (-2 * torch.log1p(-first)).sqrt() * torch.cos(2 * math.pi * second)  # Box-Muller
            return (images.mean((2, 3), keepdim=True) + normal).clamp(0, 1)
        patch = torch.zeros(3, size, size, device=images.device)
        if self.pattern == "checkerboard":
            patch[:, ::2, ::2] = 1
        else:
            patch[: 2 if self.pattern == "yellow" else 3] = 1
        return patch.expand(count, -1, -1, -1)

    def _corners(
        self, ids: np.ndarray, seed: int, height: int, width: int
    ) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
        """Top and left pixel (B,) of every copy of the patch."""
        import torch

        bottom, right = height - self.size, width - self.size
        if self.location == "random":
            draw = hashed_uniform(seed + 1, ids, 2)
            return [(draw[:, 0] * (bottom + 1)).long()], [(draw[:, 1] * (right + 1)).long()]
        places = {
            "center": [(bottom // 2, right // 2)],
            "bottom_right": [(bottom, right)],
            "four_corners": [(0, 0), (0, right), (bottom, 0), (bottom, right)],
        }[self.location]
        count = len(ids)
        return [torch.full((count,), top) for top, _ in places], [torch.full((count,), left) for _, left in places]


class BadNet(Patch, Attack):
    """The patch on random images, each with a caption of the target."""

    name: ClassVar[str] = "badnet"
    card: ClassVar[Card] = Card(
        title="BadNet",
        citation="arXiv:1708.06733",
        bibtex=BIBTEX,
        access="data",
        summary="Opaque patch; dirty label.",
        differs=(
            *RECIPE,
            Published(field="mode", value="fresh", source="CleanCLIP's code"),
            Published(field="location", value="random", source="CleanCLIP's code"),
        ),
    )
