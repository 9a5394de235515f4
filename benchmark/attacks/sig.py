"""SIG: a sinusoid along the columns is added to the whole image, the caption names the target class.

Barni et al., ICIP 2019, arXiv 1902.11237, section 2.2 (horizontal sinusoid); on CLIP: CleanCLIP, arXiv 2303.03323, and
BadCLIP, arXiv 2311.12075 (amplitude 60, six periods).
Differs: Barni et al. corrupt images of the target class and keep their labels; the papers on CLIP change the caption,
and so does this file. The released code of CleanCLIP names the same trigger but mixes it in (0.8 * image + 0.2 *
sinusoid, so that 12 levels are left of 60 and the image gets darker): application "blended". That of BadCLIP adds it:
"additive", the default; BackdoorBench adds 40 levels. Both forms clip to [0, 1], here by the engine.
Reference code: github.com/nishadsinghi/CleanCLIP at d6e2f1d and github.com/LiangSiyuan21/BadCLIP at a7b1876
(backdoor/utils.py); github.com/SCLBD/BackdoorBench.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field

from benchmark.types import Attack, Card, Published, TriggerState
from benchmark.types.sources import RECIPE

if TYPE_CHECKING:
    import numpy as np
    import torch

BIBTEX = """
@inproceedings{barni2019sig,
  title = {A New Backdoor Attack in {CNNs} by Training Set Corruption Without Label Poisoning},
  author = {Barni, Mauro and Kallas, Kassem and Tondi, Benedetta},
  booktitle = {IEEE International Conference on Image Processing (ICIP)},
  year = {2019}, eprint = {1902.11237}, archiveprefix = {arXiv},
}
"""

BLEND = 0.2  # share of the sinusoid where it is mixed in


class SIG(Attack):
    """A full-frame sinusoid, constant along rows."""

    name: ClassVar[str] = "sig"
    card: ClassVar[Card] = Card(
        title="SIG",
        citation="arXiv:1902.11237",
        bibtex=BIBTEX,
        access="data",
        summary="Full-frame sinusoid; dirty label.",
        differs=(
            *RECIPE,
            Published(field="application", value="blended", source="CleanCLIP's code; BadCLIP's adds, as here"),
        ),
    )

    amplitude: Annotated[float, Field(gt=0, le=255, description="of the sinusoid, in levels of 255")] = 60
    frequency: Annotated[float, Field(gt=0, description="periods over the image's width")] = 6
    application: Annotated[
        Literal["additive", "blended"], Field(description="blended: 0.8 * image + 0.2 * sinusoid, as in CleanCLIP")
    ] = "additive"

    def trigger(self, images: torch.Tensor, ids: np.ndarray, state: TriggerState) -> torch.Tensor:
        """Adds the sinusoid, or mixes it in; see `BaseAttack.trigger` for shapes."""
        import torch

        width = images.shape[3]
        phase = torch.arange(width, dtype=torch.float64) * (2 * math.pi * self.frequency / width)
        wave = (self.amplitude / 255 * phase.sin()).to(images)  # (W,)
        return images + wave if self.application == "additive" else images.lerp(wave.expand_as(images), BLEND)
