"""STRIP: an image whose prediction survives other images laid over it is suspicious; low entropy, averaged.

Gao et al., ACSAC 2019, arXiv:1902.06531, section 4; ported to CLIP by the softmax over the zero-shot head.
Differs: the overlays are drawn once per model, so that a score does not depend on the batch (released: anew for every
batch). Released code adds `weight` times the normalised overlay and neither scales nor clips ("additive"); the paper
blends two images ("convex"). Defaults are those of the released class; its own run uses weight 1 and 100 overlays.
Trained logit scales may leave every softmax peaked or flat: `scale="calibrated"` chooses the factor with which clean
images under clean overlays reach half of the highest entropy; it stands in the state as "scale".
Reference code: github.com/SCLBD/BackdoorBench at 3f4b1a9 (detection_infer/strip.py).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field

from benchmark.types import Card, DefenderContext, InputDetector, Model, Published, State

if TYPE_CHECKING:
    import torch

BIBTEX = """
@inproceedings{gao2019strip,
  title = {{STRIP}: A Defence Against Trojan Attacks on Deep Neural Networks},
  author = {Gao, Yansong and Xu, Chang and Wang, Derui and Chen, Shiping and Ranasinghe, Damith C. and Nepal,
    Surya},
  booktitle = {Annual Computer Security Applications Conference (ACSAC)},
  year = {2019}, eprint = {1902.06531}, archiveprefix = {arXiv},
}
"""

CALIBRATION_IMAGES = 16
AT_ONCE = 1024  # images of one encode pass
SMALL = 1e-8  # keeps the logarithm finite, as released


class STRIP(InputDetector):
    """Minus the mean entropy of the zero-shot prediction under overlays."""

    name: ClassVar[str] = "strip"
    card: ClassVar[Card] = Card(
        title="STRIP",
        citation="arXiv:1902.06531",
        bibtex=BIBTEX,
        access="outputs",
        needs=frozenset({"clean_pairs", "class_names"}),
        summary="Entropy of the prediction under 64 overlaid clean images; 64 forward passes an image.",
        differs=(
            Published(field="blend", value="convex", source="Gao et al."),
            Published(field="weight", value=1.0, source="BackdoorBench's own run"),
            Published(field="num_overlays", value=100, source="BackdoorBench's own run"),
        ),
    )

    num_overlays: Annotated[int, Field(ge=1, description="clean images laid over each input")] = 64
    weight: Annotated[float, Field(gt=0, le=1, description="of the overlay")] = 0.5
    blend: Literal["additive", "convex"] = "additive"
    scale: Annotated[
        Literal["trained", "calibrated"], Field(description="factor of the cosines before the softmax")
    ] = "trained"

    def fit(self, model: Model, ctx: DefenderContext) -> State:
        """Draws the overlays and builds the head; "overlays" (K, 3, H, W) float32, "head" (C, D), "scale" ()."""
        import torch

        pool = ctx.clean_pairs
        order = torch.randperm(pool.num_rows, generator=ctx.generator).numpy()
        overlays = pool.take(order[: self.num_overlays]).images.float() / 255
        state = {"overlays": overlays, "head": ctx.head(model), "scale": model.logit_scale().detach().clone()}
        if self.scale == "calibrated":
            rest = order[self.num_overlays :] if pool.num_rows > self.num_overlays else order
            images = pool.take(rest[:CALIBRATION_IMAGES]).images.float() / 255
            state["scale"] = calibrated(self._cosines(model, images, state, ctx).flatten(0, 1))
        return state

    def score(self, model: Model, images: torch.Tensor, state: State, ctx: DefenderContext) -> torch.Tensor:
        """(B,) float32, between minus log C and 0; see `InputDetector.score`."""
        return -entropy(self._cosines(model, images, state, ctx), state["scale"]).mean(1)

    def _cosines(self, model: Model, images: torch.Tensor, state: State, ctx: DefenderContext) -> torch.Tensor:
        """(B, K, C) cosines of each image under each overlay to the class prompts."""
        import torch

        overlays, head = state["overlays"].to(images.device), state["head"]
        if self.blend == "additive":  # of normalised images: (x - mean) / std + weight (o - mean) / std
            share, overlays = 1.0, overlays - model.mean.to(images.device).view(3, 1, 1)
        else:
            share = 1 - self.weight
        per_pass = max(1, AT_ONCE // len(overlays))
        with torch.no_grad():
            parts = [
                ctx.encode_images(model, (share * part[:, None] + self.weight * overlays).flatten(0, 1)) @ head.T
                for part in images.split(per_pass)
            ]
        return torch.cat(parts).unflatten(0, (len(images), len(overlays)))


def entropy(cosines: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
    """(..., C) -> (...): entropy of the softmax in nats."""
    shares = (scale * cosines).softmax(-1) + SMALL
    return -(shares * shares.log()).sum(-1)


def calibrated(cosines: torch.Tensor) -> torch.Tensor:
    """() the factor with which (n, C) cosines have a mean entropy of log(C) / 2, by bisection on its logarithm."""
    import torch

    goal = math.log(cosines.shape[1]) / 2
    low, high = torch.tensor(-3.0), torch.tensor(10.0)
    for _ in range(40):
        middle = (low + high) / 2
        flat = bool(entropy(cosines, middle.exp()).mean() > goal)
        low, high = (middle, high) if flat else (low, middle)
    return ((low + high) / 2).exp()
