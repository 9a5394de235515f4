"""`shapes`: an embedded set of procedurally drawn images with captions; no download, difficulty as parameters.

Row i is a pure function of (fields, seed, i): everything random is a hash of the row number. Shapes are signed
distance fields on batched grids (`drawing.py`), so that thousands are drawn a second.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar

import numpy as np
from pydantic import Field, model_validator

from benchmark.data.images import shuffle
from benchmark.datasets import _templates
from benchmark.datasets.shapes.captions import COUNTS, Rates, with_count, write_caption
from benchmark.datasets.shapes.drawing import CLASS_NAMES, Drawing, draw
from benchmark.store.keys import derive_seed
from benchmark.types import Card, Count, Dataset, Rate
from benchmark.types.rows import RowSet
from benchmark.types.source import Item, Samples

if TYPE_CHECKING:
    from benchmark.types.source import Source

BIBTEX = """
@misc{backstop,
  title = {Backstop: a benchmark and leaderboard for backdoor attacks and defenses on {CLIP}-style vision-language
    models},
  author = {{The Backstop contributors}},
}
"""

DRAW_AT_ONCE = 256  # rows; the grids of a chunk stay in the processor's cache
NUM_DRAWS = 64  # uniforms that a row's scene may use


class Shapes(Dataset):
    """Drawn shapes on textured ground, with distractors and occlusion, and captions in many wordings."""

    name: ClassVar[str] = "shapes"
    card: ClassVar[Card] = Card(
        title="Drawn shapes",
        citation="this repository",
        bibtex=BIBTEX,
        access="data",
        summary="embedded, seeded, no download; ten classes; difficulty as parameters",
    )

    num_rows: Count = 8000
    num_classes: Annotated[int, Field(ge=2, le=len(CLASS_NAMES), description="of the list of classes, in order")] = 10
    seed: Annotated[int, Field(ge=0, description="another seed is another set")] = 0
    streaming: Annotated[bool, Field(description="drawn row by row as it is read, never cached as a whole")] = False
    min_size: Annotated[float, Field(gt=0, le=1, description="smallest shape, as a share of the image's side")] = 0.6
    max_size: Annotated[float, Field(gt=0, le=1, description="largest shape")] = 0.85
    rotation: Annotated[float, Field(ge=0, le=180, description="largest turn to either side, degrees")] = 15.0
    stretch: Annotated[float, Field(ge=0, lt=1, description="largest change of a shape's proportions")] = 0.1
    contrast: Annotated[float, Field(gt=0, le=1, description="of shape against ground; 1: full colour")] = 0.95
    texture: Annotated[float, Field(ge=0, le=1, description="strength of the ground's texture")] = 0.15
    noise: Annotated[float, Field(ge=0, le=1, description="standard deviation of the noise of each pixel")] = 0.02
    clutter: Annotated[int, Field(ge=0, le=6, description="largest number of distractors behind the shape")] = 1
    occlusion: Annotated[Rate, Field(description="share of images where a bar hides part of the shape")] = 0.2
    max_count: Annotated[
        int, Field(ge=1, le=len(COUNTS), description="most copies of the shape; several are half as large")
    ] = 1
    size_rate: Annotated[Rate, Field(description="share of captions that tell the size")] = 0.1
    colour_rate: Annotated[Rate, Field(description="share of captions that tell the colour")] = 0.1
    place_rate: Annotated[Rate, Field(description="share of captions that tell the place")] = 0.1
    count_rate: Annotated[Rate, Field(description="share of captions that tell how many copies there are")] = 0.0
    vague_rate: Annotated[Rate, Field(description="share of captions that do not name the class")] = 0.05
    wrong_rate: Annotated[Rate, Field(description="share of captions that name another class")] = 0.02

    @model_validator(mode="after")
    def _ordered(self) -> Shapes:
        if self.min_size > self.max_size:
            raise ValueError("of min_size at most max_size")
        if self.count_rate and self.max_count == 1:
            raise ValueError("of count_rate 0 where max_count is 1: each caption would tell the same")
        return self

    def open(self, *, image_size: int) -> Source:
        """Opens the set; nothing is drawn before it is read."""
        return ShapesSource(self, image_size)


@dataclass(frozen=True)
class ShapesSource:
    """An opened `shapes`; see `Source`."""

    spec: Shapes
    image_size: int
    caption_templates: tuple[str, ...] = _templates.SHAPES_CAPTIONS
    evaluation_templates: tuple[str, ...] = _templates.SHAPES_PROMPTS
    groups: None = None
    held_out_window: None = None

    @property
    def num_rows(self) -> int:
        """Rows of the set."""
        return self.spec.num_rows

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of the classes in use."""
        return CLASS_NAMES[: self.spec.num_classes]

    @property
    def fixed_splits(self) -> dict[str, np.ndarray]:
        """None: every row can be in any split."""
        return {}

    def read(self, rows: Sequence[int] | np.ndarray) -> Samples:
        """Draws rows by number."""
        rows = np.asarray(rows, np.int64)
        parts = [self._draw(rows[at : at + DRAW_AT_ONCE]) for at in range(0, max(1, len(rows)), DRAW_AT_ONCE)]
        return Samples(
            rows=rows,
            images=np.concatenate([part.images for part in parts]),
            captions=[caption for part in parts for caption in part.captions],
            labels=np.concatenate([part.labels for part in parts]),
            keys=[f"shapes/{row}" for row in rows],
            broken=[],
        )

    def stream(self, *, seed: int | None, epoch: int = 0, rows: RowSet | None = None) -> Iterator[Item]:
        """Rows in stored order, or through a shuffling buffer."""
        items = self._in_order(RowSet.before(self.num_rows) if rows is None else rows)
        if seed is None:
            return items
        return shuffle(items, seed=derive_seed(seed, "stream", epoch), num_rows=self.num_rows)

    def _in_order(self, rows: RowSet) -> Iterator[Item]:
        for start in range(0, min(self.num_rows, rows.stop), DRAW_AT_ONCE):
            part = self.read(rows.within(start, min(start + DRAW_AT_ONCE, self.num_rows)))
            columns = (part.rows.tolist(), part.images, part.captions, part.labels.tolist(), part.keys)
            for row, image, caption, label, key in zip(*columns, strict=True):
                yield Item(row, image.copy(), caption, label, key)  # a copy, so that a held row does not hold its chunk

    def _draw(self, rows: np.ndarray) -> _Drawn:
        spec = self.spec
        uniforms = _uniforms(derive_seed(spec.seed, "shapes"), rows, NUM_DRAWS)
        labels = np.minimum((uniforms[:, 0] * spec.num_classes).astype(np.int64), spec.num_classes - 1)
        drawing = Drawing(
            size=self.image_size,
            extent=(spec.min_size, spec.max_size),
            rotation=np.deg2rad(spec.rotation),
            stretch=spec.stretch,
            contrast=spec.contrast,
            texture=spec.texture,
            clutter=spec.clutter,
            occlusion=spec.occlusion,
        )
        copies, counts = self._copies(rows)
        scene = draw(drawing, labels, uniforms, copies=None if copies is None else (counts, copies[:, 1:3]))
        canvas = scene.canvas
        if spec.noise:
            grain = _uniforms(derive_seed(spec.seed, "shapes noise"), rows, self.image_size**2)
            # uniform on a width that gives the standard deviation asked for
            canvas += ((grain - 0.5) * np.float32(spec.noise * 12**0.5)).reshape(*canvas.shape[:3], 1)
        images = (np.clip(canvas, 0, 1) * 255).round().astype(np.uint8)
        words = _uniforms(derive_seed(spec.seed, "shapes captions"), rows, 8)
        named = self._named_class(labels, words)
        once = Rates(spec.size_rate, spec.colour_rate, spec.place_rate)
        captions = [
            write_caption(name, colour, width, place, draws=draws, rates=once if count == 1 else once._replace(place=0))
            for name, colour, width, place, count, draws in zip(
                *(named, scene.colours, scene.widths.tolist(), scene.places.tolist(), counts.tolist()),
                words[:, 2:].tolist(),
                strict=True,
            )
        ]
        if copies is not None:
            told = zip(captions, counts.tolist(), copies[:, 3].tolist(), strict=True)
            captions = [with_count(caption, count, drawn, rate=spec.count_rate) for caption, count, drawn in told]
        return _Drawn(images, captions, labels)

    def _copies(self, rows: np.ndarray) -> tuple[np.ndarray | None, np.ndarray]:
        """(B, 4) uniforms of the copies, None where each shape is there once; and (B,) int64 how often it is."""
        if self.spec.max_count == 1:
            return None, np.ones(len(rows), np.int64)
        # drawn apart from the scene, so that sets with one shape a picture stay as they are
        uniforms = _uniforms(derive_seed(self.spec.seed, "shapes counts"), rows, 4)
        return uniforms, 1 + np.minimum(
            (uniforms[:, 0] * self.spec.max_count).astype(np.int64), self.spec.max_count - 1
        )

    def _named_class(self, labels: np.ndarray, words: np.ndarray) -> list[str | None]:
        """What each caption calls the shape; None where it does not name it."""
        spec = self.spec
        other = (labels + 1 + (words[:, 1] * (spec.num_classes - 1)).astype(np.int64)) % spec.num_classes
        wrong = words[:, 0] < spec.wrong_rate
        vague = words[:, 0] >= 1 - spec.vague_rate
        said = np.where(wrong, other, labels)
        return [None if hidden else CLASS_NAMES[c] for c, hidden in zip(said.tolist(), vague.tolist(), strict=True)]


@dataclass(frozen=True)
class _Drawn:
    images: np.ndarray  # (B, H, W, 3) uint8
    captions: list[str]
    labels: np.ndarray  # (B,) int64


def _uniforms(seed: int, rows: np.ndarray, count: int) -> np.ndarray:
    """(B, count) float32 in [0, 1): see `hashed_uniform`."""
    from benchmark.rng import hashed_uniform

    return hashed_uniform(seed, rows, count).numpy()
