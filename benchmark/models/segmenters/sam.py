"""Segment Anything (Kirillov et al. 2023, arXiv 2304.02643), asked for everything with a grid of points.

Weights are a local folder in Hugging Face layout: `config.json` and `model.safetensors`. Nothing is downloaded, no
pickle is read and no code of a repository is run. Needs the library `transformers`.
Masks are kept as in the paper's automatic mode: predicted IoU, stability of the mask when its threshold moves, and no
two masks that are nearly the same. Crops of the image at several scales are left out.
"""

from __future__ import annotations

import importlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch.nn import functional

from benchmark.errors import NotApplicable
from benchmark.models.segmenters.weights import READ

POINTS_AT_ONCE = 64
STABILITY_OFFSET = 1.0  # of the logits
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of the published weights


def _refused(why: str) -> NotApplicable:
    return NotApplicable(f"segmenter 'sam' needs `weights`, a local folder with {' and '.join(READ)} of a SAM; {why}")


@dataclass
class Sam:
    """A SAM model with the thresholds of its automatic mode."""

    model: Any
    grid: int = 16  # points per side
    least_iou: float = 0.88
    least_stability: float = 0.95
    same: float = 0.7  # intersection over union from which two masks are one

    name: str = "sam"

    @classmethod
    def load(cls, weights: str | None) -> Sam:
        """Loads the model from a folder.

        Raises:
            NotApplicable: no folder, no such files, not a SAM model, or no library.
        """
        folder = Path(weights) if weights else None
        if folder is None or not all((folder / name).is_file() for name in READ):
            raise _refused(f"got {weights!r}")
        try:
            transformers: Any = importlib.import_module("transformers")
        except ImportError:
            raise NotApplicable("segmenter 'sam' needs the library transformers; install backstop-bench[sam]") from None
        try:
            kind = json.loads((folder / READ[0]).read_text()).get("model_type")
            options = {"local_files_only": True, "use_safetensors": True, "output_loading_info": True}
            model, info = transformers.SamModel.from_pretrained(folder, **options)
        except (OSError, ValueError, AttributeError, TypeError, RuntimeError, SafetensorError) as error:
            raise _refused(f"{weights!r} cannot be read: {' '.join(str(error).split())[:120]}") from None
        if kind != "sam" or info["missing_keys"]:  # what is missing would be drawn at random
            raise _refused(f"{weights!r} holds {kind!r}, and lacks {len(info['missing_keys'])} tensors")
        return cls(model.eval().to("cuda" if torch.cuda.is_available() else "cpu"))

    @torch.inference_mode()
    def regions(self, images: torch.Tensor) -> list[torch.Tensor]:
        """(B, 3, H, W) uint8 -> per image (R, H, W) bool, the surest region first."""
        return [self._one(image) for image in images]

    def _one(self, image: torch.Tensor) -> torch.Tensor:
        """(3, H, W) uint8 -> (R, H, W) bool."""
        height, width = image.shape[1:]
        side = int(self.model.config.vision_config.image_size)
        factor = side / max(height, width)
        size = (round(height * factor), round(width * factor))
        mean, std = (torch.tensor(values).view(3, 1, 1) for values in (MEAN, STD))
        device = self.model.device
        pixels = functional.interpolate(image[None].float() / 255, size=size, mode="bilinear", antialias=True)
        padded = functional.pad((pixels - mean) / std, (0, side - size[1], 0, side - size[0]))
        embedding = self.model.get_image_embeddings(padded.to(device))
        steps = (torch.arange(self.grid) + 0.5) / self.grid
        points = torch.cartesian_prod(steps * size[1], steps * size[0]).to(device)  # (P, 2) as x, y
        masks, sure = [], []
        for part in points.split(POINTS_AT_ONCE):
            found = self.model(image_embeddings=embedding, input_points=part.view(1, -1, 1, 2), multimask_output=True)
            logits = found.pred_masks[0].flatten(0, 1)  # (3 per point, h, w) of the padded square
            scores = found.iou_scores[0].flatten()
            kept = (scores >= self.least_iou) & (stability(logits) >= self.least_stability)
            large = functional.interpolate(logits[kept].unsqueeze(1), size=(side, side), mode="bilinear")
            cut = large[:, :, : size[0], : size[1]]
            masks.append(functional.interpolate(cut, size=(height, width), mode="bilinear").squeeze(1) > 0)
            sure.append(scores[kept])
        return apart(torch.cat(masks), torch.cat(sure), same=self.same).clone().cpu()


def stability(logits: torch.Tensor) -> torch.Tensor:
    """(M, h, w) mask logits -> (M,): area at a high threshold over area at a low one."""
    high, low = (logits > STABILITY_OFFSET).flatten(1).sum(1), (logits > -STABILITY_OFFSET).flatten(1).sum(1)
    return high / low.clamp(min=1)


def apart(masks: torch.Tensor, scores: torch.Tensor, *, same: float) -> torch.Tensor:
    """(M, H, W) bool, best first, without empty ones and those that overlap a better one by `same` or more."""
    masks = masks[scores.argsort(descending=True, stable=True)]
    flat = masks.flatten(1).float()
    kept: list[int] = []
    for place, one in enumerate(flat):
        both = flat[kept] @ one
        union = flat[kept].sum(1) + one.sum() - both
        if bool(one.any()) and not bool((both >= same * union).any()):
            kept.append(place)
    return masks[kept]
