"""Drawing of `shapes`: signed distance fields of the classes on batched grids, and the scene around them.

Coordinates: x to the right, y down, the shape's half side is 1. A field is negative inside; its slope is about one,
so that `0.5 - field / pixel` is a pixel's coverage.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

Field = Callable[[np.ndarray, np.ndarray], np.ndarray]
Place = tuple[np.ndarray, np.ndarray, np.ndarray]  # centre across, centre down, half side, as shares of the side

COLOURS = {
    "red": (0.86, 0.13, 0.13),
    "green": (0.13, 0.66, 0.20),
    "blue": (0.16, 0.27, 0.88),
    "yellow": (0.95, 0.87, 0.15),
    "purple": (0.55, 0.18, 0.72),
    "orange": (0.96, 0.55, 0.10),
    "pink": (0.98, 0.58, 0.75),
    "cyan": (0.15, 0.80, 0.85),
    "white": (0.97, 0.97, 0.97),
    "black": (0.05, 0.05, 0.05),
    "brown": (0.47, 0.29, 0.13),
    "grey": (0.52, 0.52, 0.52),
}
_NAMES = tuple(COLOURS)
_PALETTE = np.array(list(COLOURS.values()), np.float32)
TEXTURE_GRID = 6


class Drawing(NamedTuple):
    """How scenes are drawn; see the fields of `Shapes`."""

    size: int  # pixels
    extent: tuple[float, float]  # shares of the side
    rotation: float  # radians
    stretch: float
    contrast: float
    texture: float
    clutter: int
    occlusion: float


class Scene(NamedTuple):
    """Drawn scenes, before the noise of pixels."""

    canvas: np.ndarray  # (B, H, W, 3) float32
    colours: list[str]
    widths: np.ndarray  # (B,) 0 small, 1 medium, 2 large
    places: np.ndarray  # (B,) 0 to 8, row by row from the top left


def _circle(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return np.hypot(x, y) - 0.95


def _square(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return np.maximum(np.abs(x), np.abs(y)) - 0.82


def _triangle(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return np.maximum(0.866 * np.abs(x) - 0.5 * y - 0.45, y - 0.8)


def _star(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    sector = np.pi / 5
    angle = np.abs(np.mod(np.arctan2(x, -y) + sector, 2 * sector) - sector)
    radius = np.hypot(x, y)
    # one edge of a point: from the tip (radius 1) to the notch (radius 0.42)
    px, py = radius * np.cos(angle), radius * np.sin(angle)
    nx, ny = 0.42 * np.cos(sector), 0.42 * np.sin(sector)
    length = np.hypot(1 - nx, ny)
    return ((px - 1) * ny + py * (1 - nx)) / length


def _cross(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    x, y = np.abs(x), np.abs(y)
    return np.maximum(np.minimum(x, y) - 0.28, np.maximum(x, y) - 0.92)


def _ring(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return np.abs(np.hypot(x, y) - 0.72) - 0.2


def _heart(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    x = np.abs(x)
    lobe = np.hypot(x - 0.44, y + 0.3) - 0.48
    # the tip: both lobes' outer tangents meet at (0, 0.9)
    tip = np.maximum(0.74 * x + 0.673 * y - 0.606, -y - 0.18)
    return np.minimum(lobe, tip)


def _diamond(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return 0.857 * np.abs(x) + 0.514 * np.abs(y) - 0.514


def _crescent(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return np.maximum(np.hypot(x, y) - 0.95, 0.8 - np.hypot(x - 0.5, y))


def _arrow(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    y = np.abs(y)
    head = np.maximum(0.72 * x + 0.694 * y - 0.69, 0.02 - x)
    shaft = np.maximum(np.abs(x + 0.42) - 0.52, y - 0.24)
    return np.minimum(head, shaft)


def _hexagon(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    x, y = np.abs(x), np.abs(y)
    return np.maximum(0.866 * x + 0.5 * y, y) - 0.85


def _hourglass(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return np.maximum(0.78 * np.abs(x) - 0.62 * np.abs(y) - 0.06, np.abs(y) - 0.88)


FIELDS: dict[str, Field] = {
    "circle": _circle,
    "square": _square,
    "triangle": _triangle,
    "star": _star,
    "cross": _cross,
    "ring": _ring,
    "heart": _heart,
    "diamond": _diamond,
    "crescent": _crescent,
    "arrow": _arrow,
    "hexagon": _hexagon,
    "hourglass": _hourglass,
}
CLASS_NAMES = tuple(FIELDS)


def draw(
    drawing: Drawing, labels: np.ndarray, uniforms: np.ndarray, *, copies: tuple[np.ndarray, np.ndarray] | None = None
) -> Scene:
    """Draws one scene per row.

    Args:
        drawing: how.
        labels: (B,) int64 classes.
        uniforms: (B, 64) float32 in [0, 1), the rows' only randomness; column 0 is taken by the class.
        copies: (B,) int64, how often each row's shape is there (1 to 4), and (B, 2) uniforms that place the copies;
            None: once.
    """
    u = np.moveaxis(uniforms, 1, 0)
    low, high = drawing.extent
    half = (low + (high - low) * u[1]) / 2
    free = np.maximum(0.5 - 0.9 * half, 0)
    centre_x, centre_y = 0.5 + (2 * u[2] - 1) * free, 0.5 + (2 * u[3] - 1) * free
    colour = (u[4] * len(_PALETTE)).astype(np.int64)
    ground = _PALETTE[(colour + 1 + (u[5] * (len(_PALETTE) - 1)).astype(np.int64)) % len(_PALETTE)]
    ground = 0.25 + 0.5 * ground  # duller than shapes
    canvas = _texture(drawing, ground, uniforms)
    for k in range(drawing.clutter):
        _distract(drawing, canvas, uniforms[:, 40 + 4 * k : 44 + 4 * k], share=(k + 1) / (drawing.clutter + 1))
    jitter = (uniforms[:, 6:9] - 0.5) * 0.16
    paint = ground + drawing.contrast * (np.clip(_PALETTE[colour] + jitter, 0, 1) - ground)
    if copies is None:
        _stamp(drawing, canvas, labels, paint, (centre_x, centre_y, half), u[9:11])
    else:
        for rows, place in _spots(*copies, (centre_x, centre_y, half)):
            part = canvas[rows]
            _stamp(drawing, part, labels[rows], paint[rows], place, u[9:11, rows])
            canvas[rows] = part
    _occlude(drawing, canvas, (centre_x, centre_y, half), uniforms)
    widths = np.digitize((half * 2 - low) / max(high - low, 1e-6), (0.33, 0.67))
    places = 3 * np.digitize(centre_y, (0.42, 0.58)) + np.digitize(centre_x, (0.42, 0.58))
    return Scene(canvas, [_NAMES[c] for c in colour], widths, places)


def _spots(counts: np.ndarray, uniforms: np.ndarray, place: Place) -> list[tuple[np.ndarray, Place]]:
    """Rows and places of the first copies, of the second ones, and so on; several share the picture by quarters."""
    several = counts > 1
    first = (uniforms[:, 0] * 4).astype(np.int64)  # the quarter of the first copy; the others follow it around
    shift = (uniforms[:, 1] - 0.5) * 0.04
    found: list[tuple[np.ndarray, Place]] = []
    for copy in range(int(counts.max(initial=1))):
        down, across = np.divmod((first + copy) % 4, 2)
        x = np.where(several, 0.27 + 0.46 * across + shift, place[0])
        y = np.where(several, 0.27 + 0.46 * down + shift, place[1])
        half = np.where(several, place[2] / 2, place[2])
        rows = np.flatnonzero(counts > copy)
        found.append((rows, (x[rows], y[rows], half[rows])))
    return found


def _grid(size: int) -> np.ndarray:
    return (np.arange(size, dtype=np.float32) + 0.5) / size


def _texture(drawing: Drawing, ground: np.ndarray, uniforms: np.ndarray) -> np.ndarray:
    """A coarse random grid, upsampled bilinearly: (B, H, W, 3) float32."""
    n = TEXTURE_GRID
    weights = np.maximum(1 - np.abs(_grid(drawing.size)[:, None] * (n - 1) - np.arange(n)), 0).astype(np.float32)
    # n * n values from n + n uniforms and a hash-like fold: cheap, and no two rows share a pattern
    fold = (uniforms[:, 12 : 12 + n, None] * 7.31 + uniforms[:, 20 : 20 + n][:, None, :] * 13.7) % 1
    light = np.einsum("hi,bij,wj->bhw", weights, fold - 0.5, weights, optimize=True)
    tint = 0.6 + 0.8 * uniforms[:, None, None, 28:31]
    return ground[:, None, None, :] + drawing.texture * light[..., None] * tint


def _blend(canvas: np.ndarray, field: np.ndarray, pixel: np.ndarray | float, paint: np.ndarray) -> None:
    cover = np.clip(0.5 - field / pixel, 0, 1)[..., None]
    canvas += cover * (paint[:, None, None, :] - canvas)


def _stamp(
    drawing: Drawing,
    canvas: np.ndarray,
    labels: np.ndarray,
    paint: np.ndarray,
    place: Place,
    turns: np.ndarray,
) -> None:
    """Draws each row's shape, class by class."""
    axis = _grid(drawing.size)
    angle = ((2 * turns[0] - 1) * drawing.rotation).astype(np.float32)
    squeeze = np.exp((2 * turns[1] - 1) * drawing.stretch).astype(np.float32)
    cos, sin = np.cos(angle)[:, None, None], np.sin(angle)[:, None, None]
    half = place[2][:, None, None].astype(np.float32)
    dx = (axis[None, None, :] - place[0][:, None, None].astype(np.float32)) / half
    dy = (axis[None, :, None] - place[1][:, None, None].astype(np.float32)) / half
    x = (cos * dx + sin * dy) * squeeze[:, None, None]
    y = (cos * dy - sin * dx) / squeeze[:, None, None]
    field = np.empty_like(x)
    for label, name in enumerate(CLASS_NAMES):
        rows = np.flatnonzero(labels == label)
        if len(rows):
            field[rows] = FIELDS[name](x[rows], y[rows])
    _blend(canvas, field, 1 / (drawing.size * half), paint)


def _distract(drawing: Drawing, canvas: np.ndarray, u: np.ndarray, *, share: float) -> None:
    """One small blob, box or stroke behind the shape, on a share of the rows."""
    axis = _grid(drawing.size)
    dx = axis[None, None, :] - u[:, 0, None, None]
    dy = axis[None, :, None] - u[:, 1, None, None]
    radius = (0.03 + 0.07 * u[:, 2])[:, None, None]
    kind = (u[:, 3] * 300).astype(np.int64) % 3
    blob = dx * dx + dy * dy - radius * radius
    blob /= 2 * radius
    box = np.maximum(np.abs(dx), np.abs(dy)) - radius
    stroke = np.maximum(np.abs(dx + dy) * 0.707 - 0.02, np.abs(dx - dy) * 0.707 - 2 * radius)
    field = np.where((kind == 0)[:, None, None], blob, np.where((kind == 1)[:, None, None], box, stroke))
    paint = _PALETTE[(u[:, 3] * 7919).astype(np.int64) % len(_PALETTE)]
    hidden = ((u[:, 2] * 97) % 1) > 1 - share / 2
    field[hidden] = 1
    _blend(canvas, field, 1 / drawing.size, paint)


def _occlude(drawing: Drawing, canvas: np.ndarray, place: Place, uniforms: np.ndarray) -> None:
    """A bar over part of the shape, on a share of the rows."""
    rows = np.flatnonzero(uniforms[:, 32] < drawing.occlusion)
    if not len(rows):
        return
    u = uniforms[rows]
    axis = _grid(drawing.size)
    centre_x, centre_y, half = (value[rows][:, None, None] for value in place)
    dx = axis[None, None, :] - centre_x - ((2 * u[:, 33, None, None] - 1) * 0.8 * half)
    dy = axis[None, :, None] - centre_y - ((2 * u[:, 34, None, None] - 1) * 0.8 * half)
    angle = (u[:, 35] * np.pi)[:, None, None]
    along, across = np.cos(angle) * dx + np.sin(angle) * dy, np.cos(angle) * dy - np.sin(angle) * dx
    field = np.maximum(np.abs(along) - 0.9 * half, np.abs(across) - 0.22 * half)
    paint = _PALETTE[(u[:, 36] * len(_PALETTE)).astype(np.int64)]
    part = canvas[rows]
    _blend(part, field.astype(np.float32), 1 / drawing.size, paint)
    canvas[rows] = part
