"""WaNet: the image is warped by a small fixed displacement field, the caption names the target class.

Nguyen & Tran, ICLR 2021, arXiv 2102.10369, sections 3.2 (the field: control points drawn from U(-1, 1), divided by
their mean size, upsampled bicubically) and 3.3 (noise mode); on CLIP: CleanCLIP, arXiv 2303.03323.
Variant "original" has 4 x 4 control points, strength 0.5 and two noise-mode samples for each poisoned one: images that
are warped by the field plus a jitter of their own and keep their captions, so that only the exact field triggers.
Variant "clip" is what the released code of CleanCLIP and BadCLIP calls WaNet: a control point for every pixel
("k = 224"), strength 1, no noise mode; it jitters pixels and warps nothing smoothly.
Differs: noise-mode samples are chosen once, not anew in each batch, and their jitter is a function of the sample. The
field is drawn in `fit` and kept with the poison: the released code reads it from a relative path and draws another one
in silence where the file is missing.
Reference code: github.com/VinAIResearch/Warping-based_Backdoor_Attack-release at 45e8c33 (train.py, config.py);
github.com/LiangSiyuan21/BadCLIP at a7b1876 (backdoor/utils.py).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field

from benchmark.errors import must
from benchmark.rng import generator, hashed_uniform
from benchmark.types import Attack, Card, PoisonContext, PoisonRows, Published, State, TriggerState
from benchmark.types.sources import RECIPE

if TYPE_CHECKING:
    import numpy as np
    import torch

BIBTEX = """
@inproceedings{nguyen2021wanet,
  title = {{WaNet} -- Imperceptible Warping-based Backdoor Attack},
  author = {Nguyen, Tuan Anh and Tran, Anh Tuan},
  booktitle = {International Conference on Learning Representations (ICLR)},
  year = {2021}, eprint = {2102.10369}, archiveprefix = {arXiv},
}
"""

CONTROL_POINTS = 4
NOISE_MODE = 1 << 40  # added to the id of a noise-mode sample


class WaNet(Attack):
    """A warp trigger: a displacement field, in half pixels, that is the same for all images."""

    name: ClassVar[str] = "wanet"
    card: ClassVar[Card] = Card(
        title="WaNet",
        citation="arXiv:2102.10369",
        bibtex=BIBTEX,
        access="data",
        summary="Warped image; dirty label.",
        differs=(
            *RECIPE,
            Published(field="variant", value="clip", source="the papers on CLIP"),
        ),
    )

    variant: Annotated[
        Literal["original", "clip"], Field(description="clip: one control point per pixel, as in the CLIP papers")
    ] = "original"
    strength: Annotated[
        float | None, Field(gt=0, description="mean displacement in half pixels; None: 0.5 (original), 1 (clip)")
    ] = None
    noise_ratio: Annotated[
        float | None,
        Field(ge=0, description="noise-mode samples per poisoned one; None: 2 (original), 0 (clip)"),
    ] = None

    def fit(self, ctx: PoisonContext, *, image_size: int, seed: int) -> State:
        """Draws the field: (H, W, 2) float32, x before y, of mean absolute value 1 at the control points."""
        import torch
        from torch.nn import functional as F

        points = CONTROL_POINTS if self.variant == "original" else image_size
        noise = torch.rand(1, 2, points, points, generator=generator(seed)) * 2 - 1
        noise /= noise.abs().mean()
        field = F.interpolate(noise, image_size, mode="bicubic", align_corners=True)
        return {"field": field[0].permute(1, 2, 0).contiguous()}

    def check_rows(self, num_rows: int) -> None:
        """Refuses a rate whose poisoned and noise-mode pairs together are more than there are."""
        super().check_rows(num_rows)
        count = self.num_poisoned(num_rows)
        if count + self._num_noisy(count) > num_rows:
            rule = f"low enough for {count} poisoned and {self._num_noisy(count)} noise-mode pairs of {num_rows}"
            raise must("wanet.poison_rate", rule, self.poison_rate, "lower it, or noise_ratio")

    def _num_noisy(self, count: int) -> int:
        """Pairs of the noise mode beside `count` poisoned ones."""
        ratio = (2.0 if self.variant == "original" else 0.0) if self.noise_ratio is None else self.noise_ratio
        return round(ratio * count)

    def poison(self, ctx: PoisonContext) -> PoisonRows:
        """Random rows; those of the noise mode keep their captions."""
        import numpy as np

        count = self.num_poisoned(ctx.num_rows)
        rows = ctx.rng.choice(ctx.num_rows, size=count + self._num_noisy(count), replace=False).astype(np.int64)
        rows = np.concatenate([np.sort(rows[:count]), np.sort(rows[count:])])
        captions = [*self.poison_captions(ctx, count), *ctx.captions(rows[count:])]
        return PoisonRows(rows, captions, np.where(np.arange(len(rows)) < count, rows, rows + NOISE_MODE))

    def trigger(self, images: torch.Tensor, ids: np.ndarray, state: TriggerState) -> torch.Tensor:
        """Warps the images; see `BaseAttack.trigger` for shapes."""
        import numpy as np
        import torch
        from torch.nn import functional as F

        strength = (0.5 if self.variant == "original" else 1.0) if self.strength is None else self.strength
        field = state.tensors["field"].to(images)
        grid = (_identity(images) + strength / images.shape[2] * field).clamp(-1, 1)
        # one grid for all: with the images side by side as channels, its weights are worked out once
        flat = images.reshape(1, -1, *images.shape[2:])
        warped = F.grid_sample(flat, grid[None], align_corners=True).view(images.shape)
        if len(noisy := np.flatnonzero(ids >= NOISE_MODE)):
            rows = torch.from_numpy(noisy)
            jitter = hashed_uniform(state.seed, ids[noisy], grid.numel()).view(-1, *grid.shape).to(images) * 2 - 1
            grids = (grid + jitter / images.shape[2]).clamp(-1, 1)
            warped[rows] = F.grid_sample(images[rows], grids, align_corners=True)
        return warped


def _identity(images: torch.Tensor) -> torch.Tensor:
    """(H, W, 2) the place of every pixel in [-1, 1], x before y."""
    import torch

    y, x = (torch.linspace(-1, 1, size, device=images.device) for size in images.shape[2:])
    return torch.stack(torch.meshgrid(x, y, indexing="xy"), 2)
