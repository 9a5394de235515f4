"""Pictures of a recovered trigger: PNG files, and the same as data URIs for a page that stands alone."""

from __future__ import annotations

import base64
import io
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from benchmark.audit.inspection import Inspected

SIDE = 160  # pixels that a picture is enlarged to, at least


class Picture(NamedTuple):
    """One picture with what stands below it."""

    file: str  # name within the folder of pictures
    png: bytes
    alt: str
    caption: str

    @property
    def uri(self) -> str:
        """The picture itself, for an `src` attribute."""
        return f"data:image/png;base64,{base64.b64encode(self.png).decode()}"


def png(pixels: np.ndarray) -> bytes:
    """(H, W), (H, W, 3) or (H, W, 4) uint8, enlarged in whole steps so that single pixels can be seen."""
    from PIL import Image

    times = max(1, -(-SIDE // max(pixels.shape[:2])))
    large = pixels.repeat(times, axis=0).repeat(times, axis=1)
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(large)).save(buffer, format="PNG", optimize=True)
    return buffer.getvalue()


def trigger_pictures(found: Inspected, stem: str) -> list[Picture]:
    """The mask, and the trigger as far as it shows; none where none was recovered."""
    trigger = found.finding.trigger if found.finding is not None else {}
    if not {"mask", "pattern"} <= trigger.keys():
        return []
    mask = (trigger["mask"].detach().cpu()[0].numpy() * 255).round().astype(np.uint8)
    pattern = (trigger["pattern"].detach().cpu().permute(1, 2, 0).numpy() * 255).round().astype(np.uint8)
    seen = np.concatenate([pattern, mask[..., None]], axis=2)  # what shows through is transparent
    title = found.detector.card.title
    return [
        Picture(f"{stem}-trigger.png", png(seen), f"trigger that {title} recovered", "trigger"),
        Picture(f"{stem}-mask.png", png(mask), f"mask of the trigger that {title} recovered", "mask, white: replaced"),
    ]


def example_pictures(found: Inspected, stem: str) -> list[tuple[Picture, Picture]]:
    """Validation images, as they are and with the trigger."""
    pairs = []
    for number, example in enumerate(found.examples):
        names = [name or "no class names" for name in example.names]
        pairs.append(
            (
                Picture(
                    f"{stem}-{number}-clean.png", png(example.image), f"clean image, taken for {names[0]}", names[0]
                ),
                Picture(
                    f"{stem}-{number}-stamped.png",
                    png(example.stamped),
                    f"the same with the trigger, taken for {names[1]}",
                    names[1],
                ),
            )
        )
    return pairs
