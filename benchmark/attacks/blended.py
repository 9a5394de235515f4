"""Blended: the whole image is mixed with a pattern, the caption names the target class.

Chen et al. 2017, arXiv 1712.05526, section 4; on CLIP: CleanCLIP, arXiv 2303.03323 (0.8 * image + 0.2 * noise).
Differs: the released code draws the noise anew for every image, so that there is no fixed pattern: mode "fresh". Mode
"fixed" keeps one noise image; "stripes" and "checkerboard" are drawn patterns in place of the papers' photographs.
Reference code: github.com/nishadsinghi/CleanCLIP at d6e2f1d (backdoor/utils.py).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field

from benchmark.rng import hashed_uniform
from benchmark.types import Attack, Card, Published, TriggerState
from benchmark.types.sources import RECIPE

if TYPE_CHECKING:
    import numpy as np
    import torch


BIBTEX = """
@article{chen2017targeted,
  title = {Targeted Backdoor Attacks on Deep Learning Systems Using Data Poisoning},
  author = {Chen, Xinyun and Liu, Chang and Li, Bo and Lu, Kimberly and Song, Dawn},
  journal = {arXiv preprint arXiv:1712.05526},
  year = {2017}, eprint = {1712.05526}, archiveprefix = {arXiv},
}
"""


class Blended(Attack):
    """A full-frame trigger: `(1 - strength) * image + strength * pattern`."""

    name: ClassVar[str] = "blended"
    card: ClassVar[Card] = Card(
        title="Blended",
        citation="arXiv:1712.05526",
        bibtex=BIBTEX,
        access="data",
        summary="Full-frame pattern mixed into the image; dirty label.",
        differs=(
            *RECIPE,
            Published(field="mode", value="fresh", source="CleanCLIP's code"),
        ),
    )

    strength: Annotated[float, Field(gt=0, le=1, description="share of the pattern in the mix")] = 0.2
    pattern: Literal["noise", "stripes", "checkerboard"] = "noise"
    mode: Annotated[
        Literal["fixed", "fresh"], Field(description="fresh: noise is drawn anew per image, in training and test")
    ] = "fixed"

    def trigger(self, images: torch.Tensor, ids: np.ndarray, state: TriggerState) -> torch.Tensor:
        """Mixes the pattern in; see `BaseAttack.trigger` for shapes."""
        return images.lerp(self._pattern(images, ids, state.seed).expand_as(images), self.strength)

    def _pattern(self, images: torch.Tensor, ids: np.ndarray, seed: int) -> torch.Tensor:
        """(B or 1, 3, H, W) in [0, 1] on the images' device."""
        import torch

        height, width = images.shape[2:]
        if self.pattern == "noise":
            streams = ids if self.mode == "fresh" else ids[:1] * 0
            noise = hashed_uniform(seed, streams, 3 * height * width)
            return noise.reshape(-1, 3, height, width).to(images.device)
        rows, columns = torch.arange(height)[:, None], torch.arange(width)[None, :]
        cells = (columns // 2 + 0 * rows) if self.pattern == "stripes" else (rows // 4 + columns // 4)
        return (cells % 2).float().expand(1, 3, height, width).to(images.device)
