"""`shapes`: a procedural world of plane figures, so that everything runs offline.

A figure is a list of strokes ``(outline, ink)``: ``outline`` is an (n, 2) array of x, y in the unit square
[-1, 1]^2 (y down) and ``ink`` says whether the polygon is painted (True) or cut out (False); strokes are applied in
order. `FIGURES` maps every word to its figure, and the words fall into four disjoint groups:

- `ID_WORDS`: the classes of the data set;
- `VOCABULARY`: what else the embedded generator, its CLIP and its tokenizer know (anchors come from here);
- `VALIDATION_WORDS` and `TEST_WORDS`: held out of the generator, CLIP and the vocabulary.

Every image is a pure function of (word, split, seed, index).
"""

from __future__ import annotations

import hashlib
import math
from functools import cache
from itertools import pairwise

import numpy as np
from PIL import Image, ImageDraw, ImageFont

SIZE_PX = 32
SUPERSAMPLING = 4
MIN_CONTRAST = 0.5
"""Smallest Euclidean distance between figure and ground colour, RGB in [0, 1]."""

Stroke = tuple[np.ndarray, bool]
Figure = list[Stroke]


# --- outlines ---------------------------------------------------------------------------------------------------
def _arc(radius_x: float, radius_y: float, start: float, stop: float, n: int = 40, cx: float = 0, cy: float = 0):
    angle = np.radians(np.linspace(start, stop, n))
    return np.stack([cx + radius_x * np.cos(angle), cy + radius_y * np.sin(angle)], axis=1)


def _disc(radius: float = 0.9, cx: float = 0, cy: float = 0, radius_y: float | None = None):
    return _arc(radius, radius if radius_y is None else radius_y, 0, 360, 48, cx, cy)


def _regular(n: int, radius: float = 0.95, turn: float = -90.0, cx: float = 0, cy: float = 0):
    return _arc(radius, radius, turn, turn + 360, n + 1, cx, cy)[:-1]


def _star(points: int, inner: float, radius: float = 0.98):
    angle = np.radians(-90 + np.arange(2 * points) * 180 / points)
    length = np.where(np.arange(2 * points) % 2 == 0, radius, radius * inner)
    return np.stack([length * np.cos(angle), length * np.sin(angle)], axis=1)


def _box(x0: float, y0: float, x1: float, y1: float):
    return np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]])


def _points(*coordinates: tuple[float, float]):
    return np.array(coordinates, dtype=float)


def _bar(x0: float, y0: float, x1: float, y1: float, width: float):
    direction = np.array([x1 - x0, y1 - y0])
    normal = np.array([-direction[1], direction[0]]) / np.linalg.norm(direction) * width / 2
    a, b = np.array([x0, y0]), np.array([x1, y1])
    return np.stack([a - normal, b - normal, b + normal, a + normal])


def _line(points, width: float) -> list[np.ndarray]:
    """A thick polyline with round joints."""
    bars = [_bar(*a, *b, width) for a, b in pairwise(points)]
    return bars + [_disc(width / 2, *p) for p in points]


def _ink(*outlines) -> Figure:
    return [(outline, True) for outline in outlines]


def _cut(*outlines) -> Figure:
    return [(outline, False) for outline in outlines]


def _turned(outline: np.ndarray, degrees: float) -> np.ndarray:
    c, s = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    return outline @ np.array([[c, s], [-s, c]])


def _around(outline: np.ndarray, n: int) -> list[np.ndarray]:
    return [_turned(outline, 360 * k / n) for k in range(n)]


def _heart():
    t = np.linspace(0, 2 * math.pi, 60)
    x = 16 * np.sin(t) ** 3
    y = -(13 * np.cos(t) - 5 * np.cos(2 * t) - 2 * np.cos(3 * t) - np.cos(4 * t))
    return np.stack([x / 17.5, y / 17.5], axis=1)


def _spiral():
    t = np.linspace(0.6, 4.6 * math.pi, 70)
    return np.stack([t * np.cos(t), t * np.sin(t)], axis=1) / (4.6 * math.pi) * 0.85


def _sine():
    x = np.linspace(-0.9, 0.9, 40)
    return np.stack([x, 0.45 * np.sin(x * 2 * math.pi / 0.9)], axis=1)


# --- the words --------------------------------------------------------------------------------------------------
FIGURES: dict[str, Figure] = {
    # classes
    "circle": _ink(_disc()),
    "square": _ink(_box(-0.8, -0.8, 0.8, 0.8)),
    "triangle": _ink(_points((0, -0.9), (0.92, 0.75), (-0.92, 0.75))),
    "star": _ink(_star(5, 0.42)),
    "cross": _ink(_box(-0.3, -0.92, 0.3, 0.92), _box(-0.92, -0.3, 0.92, 0.3)),
    "heart": _ink(_heart()),
    "arrow": _ink(_points((-0.95, -0.22), (0.1, -0.22), (0.1, -0.7), (0.95, 0), (0.1, 0.7), (0.1, 0.22), (-0.95, 0.22))),
    "ring": _ink(_disc(0.92)) + _cut(_disc(0.55)),
    # vocabulary
    "ellipse": _ink(_disc(0.95, radius_y=0.52)),
    "pentagon": _ink(_regular(5)),
    "hexagon": _ink(_regular(6, turn=0)),
    "ankh": _ink(_disc(0.45, 0, -0.48), _box(-0.16, -0.1, 0.16, 0.98), _box(-0.7, 0.05, 0.7, 0.35)) + _cut(_disc(0.22, 0, -0.48)),
    "rectangle": _ink(_box(-0.95, -0.48, 0.95, 0.48)),
    "rhombus": _ink(_points((0, -0.95), (0.55, 0), (0, 0.95), (-0.55, 0))),
    "trapezoid": _ink(_points((-0.45, -0.6), (0.45, -0.6), (0.95, 0.6), (-0.95, 0.6))),
    "parallelogram": _ink(_points((-0.45, -0.55), (0.98, -0.55), (0.45, 0.55), (-0.98, 0.55))),
    "kite": _ink(_points((0, -0.95), (0.62, -0.35), (0, 0.95), (-0.62, -0.35))),
    "semicircle": _ink(_arc(0.95, 0.95, 180, 360, cy=0.45)),
    "crescent": _ink(_disc(0.92)) + _cut(_disc(0.78, 0.42, -0.1)),
    "teardrop": _ink(_disc(0.6, 0, 0.33), _points((0, -0.98), (0.53, 0.06), (-0.53, 0.06))),
    "burst": _ink(_star(12, 0.6)),
    "gear": _ink(_disc(0.68), *_around(_box(-0.17, -0.95, 0.17, -0.5), 8)) + _cut(_disc(0.28)),
    "flower": _ink(*_around(_disc(0.36, 0, -0.56), 6), _disc(0.4)) + _cut(_disc(0.2)),
    "clover": _ink(*_around(_disc(0.42, 0, -0.47), 4), _disc(0.3)),
    "frame": _ink(_box(-0.85, -0.85, 0.85, 0.85)) + _cut(_box(-0.5, -0.5, 0.5, 0.5)),
    "bullseye": _ink(_disc(0.95)) + _cut(_disc(0.68)) + _ink(_disc(0.38)),
    "chevron": _ink(_points((-0.7, -0.9), (-0.1, -0.9), (0.7, 0), (-0.1, 0.9), (-0.7, 0.9), (0.1, 0))),
    "lightning": _ink(_points((0.25, -0.98), (-0.6, 0.12), (-0.08, 0.12), (-0.3, 0.98), (0.6, -0.25), (0.08, -0.25))),
    "house": _ink(_points((0, -0.95), (0.9, -0.1), (-0.9, -0.1)), _box(-0.65, -0.15, 0.65, 0.85)) + _cut(_box(-0.18, 0.25, 0.18, 0.86)),
    "hourglass": _ink(_points((-0.72, -0.92), (0.72, -0.92), (0.1, 0), (0.72, 0.92), (-0.72, 0.92), (-0.1, 0))),
    "spiral": _ink(*_line(_spiral(), 0.2)),
    "wave": _ink(*_line(_sine(), 0.26)),
    "zigzag": _ink(*_line(_points((-0.85, 0.4), (-0.42, -0.4), (0, 0.4), (0.42, -0.4), (0.85, 0.4)), 0.24)),
    "ladder": _ink(_box(-0.55, -0.95, -0.33, 0.95), _box(0.33, -0.95, 0.55, 0.95), *[_box(-0.4, y - 0.1, 0.4, y + 0.1) for y in (-0.6, 0, 0.6)]),
    "comb": _ink(_box(-0.9, -0.6, 0.9, -0.25), *[_box(x - 0.1, -0.3, x + 0.1, 0.7) for x in (-0.8, -0.4, 0, 0.4, 0.8)]),
    "key": _ink(_disc(0.42, -0.5, 0), _box(-0.2, -0.12, 0.95, 0.12), _box(0.45, 0, 0.62, 0.42), _box(0.76, 0, 0.93, 0.42)) + _cut(_disc(0.2, -0.5, 0)),
    "mushroom": _ink(_arc(0.92, 0.85, 180, 360, cy=0.02), _box(-0.26, 0, 0.26, 0.85)),
    "fish": _ink(_disc(0.65, -0.25, 0, 0.42), _points((0.25, 0), (0.95, -0.5), (0.95, 0.5))) + _cut(_disc(0.1, -0.58, -0.1)),
    "bone": _ink(_box(-0.6, -0.18, 0.6, 0.18), *[_disc(0.28, sx * 0.66, sy * 0.24) for sx in (-1, 1) for sy in (-1, 1)]),
    "crown": _ink(_points((-0.9, 0.65), (-0.9, -0.6), (-0.42, 0), (0, -0.8), (0.42, 0), (0.9, -0.6), (0.9, 0.65))),
    "umbrella": _ink(_arc(0.95, 0.8, 180, 360, cy=-0.05), _box(-0.09, -0.1, 0.09, 0.75), *_line(_arc(0.2, 0.2, 0, 180, 12, 0.2, 0.72), 0.17)),
    "mug": _ink(_box(-0.75, -0.7, 0.4, 0.8), _disc(0.42, 0.45, 0.05)) + _cut(_disc(0.22, 0.52, 0.05)) + _ink(_box(-0.75, -0.7, 0.4, 0.8)),
    "tree": _ink(_points((0, -0.98), (0.6, -0.15), (-0.6, -0.15)), _points((0, -0.5), (0.8, 0.5), (-0.8, 0.5)), _box(-0.16, 0.45, 0.16, 0.95)),
    "bell": _ink(_arc(0.5, 0.6, 180, 360, cy=-0.25), _points((-0.5, -0.27), (0.5, -0.27), (0.85, 0.55), (-0.85, 0.55)), _disc(0.2, 0, 0.66)),
    # held out: validation
    "magnet": _ink(np.vstack([_arc(0.85, 0.85, 0, 180, 30, 0, 0.05), _arc(0.4, 0.4, 180, 0, 30, 0, 0.05)]), _box(-0.85, -0.9, -0.4, 0.06), _box(0.4, -0.9, 0.85, 0.06)),
    "sector": _ink(np.vstack([_arc(0.92, 0.92, 40, 320), _points((0, 0))])),
    "tee": _ink(_box(-0.85, -0.9, 0.85, -0.38), _box(-0.27, -0.5, 0.27, 0.92)),
    "starlet": _ink(_star(4, 0.34)),
    "spade": _ink(_heart() * np.array([0.9, -0.8]) - np.array([0, 0.15]), _points((0, 0.1), (0.36, 0.95), (-0.36, 0.95))),
    "signpost": _ink(_points((-0.8, -0.75), (0.45, -0.75), (0.9, -0.35), (0.45, 0.05), (-0.8, 0.05)), _box(-0.2, 0, 0.06, 0.95)),
    "hoop": _ink(_disc(0.95, radius_y=0.6)) + _cut(_disc(0.62, radius_y=0.3)),
    "stairs": _ink(_points((-0.85, 0.85), (-0.85, 0.3), (-0.3, 0.3), (-0.3, -0.25), (0.3, -0.25), (0.3, -0.8), (0.85, -0.8), (0.85, 0.85))),
    # held out: test
    "pill": _ink(_box(-0.5, -0.42, 0.5, 0.42), _disc(0.42, -0.52, 0), _disc(0.42, 0.52, 0)),
    "shield": _ink(np.vstack([_points((-0.75, -0.85), (0.75, -0.85)), _arc(0.75, 1.15, 0, 90, 12, 0, -0.2), _arc(0.75, 1.15, 90, 180, 12, 0, -0.2)])),
    "asterisk": _ink(*[_turned(_box(-0.17, -0.95, 0.17, 0.95), a) for a in (0, 60, 120)]),
    "dart": _ink(_points((-0.85, -0.8), (0.95, 0), (-0.85, 0.8), (-0.4, 0))),
    "wheel": _ink(_disc(0.94)) + _cut(_disc(0.68)) + _ink(_box(-0.12, -0.8, 0.12, 0.8), _box(-0.8, -0.12, 0.8, 0.12)),
    "hook": _ink(*_line(np.vstack([_points((0.3, -0.85), (0.3, 0.2)), _arc(0.5, 0.5, 0, 180, 16, -0.2, 0.3)]), 0.3)),
    "elbow": _ink(_box(-0.8, -0.9, -0.2, 0.85), _box(-0.8, 0.27, 0.85, 0.85)),
    "propeller": _ink(*_around(_points((0, 0.1), (0.45, -0.7), (0.1, -0.98), (-0.4, -0.75)), 3), _disc(0.24)),
}  # fmt: skip

ID_WORDS = ("circle", "square", "triangle", "star", "cross", "heart", "arrow", "ring")
VALIDATION_WORDS = ("magnet", "sector", "tee", "starlet", "spade", "signpost", "hoop", "stairs")
TEST_WORDS = ("pill", "shield", "asterisk", "dart", "wheel", "hook", "elbow", "propeller")
VOCABULARY = tuple(w for w in FIGURES if w not in ID_WORDS + VALIDATION_WORDS + TEST_WORDS)
KNOWN_WORDS = ID_WORDS + VOCABULARY
"""What the embedded generator and its CLIP were trained on."""

GLYPHS = tuple("ABEFGHJKMNPQRSWYZ2345679&?@#%")
"""Characters that none of the figures resembles."""


# --- painting ---------------------------------------------------------------------------------------------------
def _generator(*key) -> np.random.Generator:
    digest = hashlib.sha256("\x1f".join(map(str, key)).encode()).digest()
    return np.random.Generator(np.random.Philox(key=int.from_bytes(digest[:16], "little")))


def _mask(figure: Figure, affine: np.ndarray, side_px: int) -> np.ndarray:
    """Coverage of ``figure`` under a (2, 3) ``affine`` of the unit square, anti-aliased: float (side, side) in [0, 1]."""
    canvas = Image.new("L", (side_px * SUPERSAMPLING,) * 2)
    draw = ImageDraw.Draw(canvas)
    half = side_px * SUPERSAMPLING / 2
    for outline, ink in figure:
        pixels = (outline @ affine[:, :2].T + affine[:, 2]) * half + half
        draw.polygon([tuple(p) for p in pixels], fill=255 if ink else 0)
    return np.asarray(canvas.reduce(SUPERSAMPLING), dtype=np.float32) / 255


def _glyph_mask(character: str, affine: np.ndarray, side_px: int) -> np.ndarray:
    """Coverage of a character of Pillow's built-in font, same conventions as `_mask`."""
    side = side_px * SUPERSAMPLING
    canvas = Image.new("L", (side, side))
    font = ImageFont.load_default(size=side * 0.95)
    ImageDraw.Draw(canvas).text((side / 2, side / 2), character, fill=255, font=font, anchor="mm")
    half = side / 2
    linear = np.linalg.inv(affine[:, :2])
    offset = half - linear @ (affine[:, 2] * half + half)
    matrix = np.column_stack([linear, offset]).ravel()
    placed = canvas.transform((side, side), Image.Transform.AFFINE, tuple(matrix), Image.Resampling.BILINEAR)
    return np.asarray(placed.reduce(SUPERSAMPLING), dtype=np.float32) / 255


def _pose(rng: np.random.Generator) -> np.ndarray:
    """A random (2, 3) affine: rotation within 30 degrees, mirror, scale 0.62 to 0.88, mild aspect, shift inside the frame."""
    angle = math.radians(rng.uniform(-30, 30))
    scale = rng.uniform(0.62, 0.88)
    aspect = math.exp(rng.uniform(-0.12, 0.12))
    mirror = rng.choice([-1.0, 1.0])
    c, s = math.cos(angle), math.sin(angle)
    linear = np.array([[c, -s], [s, c]]) @ np.diag([scale * aspect * mirror, scale / aspect])
    shift = rng.uniform(-1, 1, 2) * (0.95 - scale) * 0.8
    return np.column_stack([linear, shift])


def _colours(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    while True:
        figure, ground = rng.uniform(0, 1, (2, 3))
        if np.linalg.norm(figure - ground) >= MIN_CONTRAST:
            return figure, ground


def _gradient(colour: np.ndarray, rng: np.random.Generator, side_px: int) -> np.ndarray:
    """``colour`` with a soft linear shade across the frame: float (side, side, 3)."""
    axis = np.linspace(-1, 1, side_px)
    direction = rng.uniform(0, 2 * math.pi)
    ramp = axis[None, :] * math.cos(direction) + axis[:, None] * math.sin(direction)
    return colour + rng.uniform(0, 0.12) * ramp[..., None]


def _composite(mask: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    side = mask.shape[0]
    figure, ground = _colours(rng)
    alpha = mask[..., None]
    image = _gradient(figure, rng, side) * alpha + _gradient(ground, rng, side) * (1 - alpha)
    return (image.clip(0, 1) * 255 + 0.5).astype(np.uint8)


def render(word: str, split: str, seed: int, index: int, side_px: int = SIZE_PX) -> np.ndarray:
    """Image ``index`` of ``word`` in ``split`` ("train", "val", "test", …): uint8 (side, side, 3)."""
    rng = _generator("shapes", word, split, seed, index)
    return _composite(_mask(FIGURES[word], _pose(rng), side_px), rng)


def render_glyph(split: str, index: int, side_px: int = SIZE_PX) -> np.ndarray:
    """A letter, digit or sign in the figures' colours and poses: uint8 (side, side, 3)."""
    rng = _generator("glyphs", split, 0, index)
    return _composite(_glyph_mask(GLYPHS[index % len(GLYPHS)], _pose(rng), side_px), rng)


def render_stripes(split: str, index: int, side_px: int = SIZE_PX) -> np.ndarray:
    """Parallel bands of random width and direction: uint8 (side, side, 3)."""
    rng = _generator("stripes", split, 0, index)
    axis = np.arange(side_px)
    direction = rng.uniform(0, math.pi)
    ramp = axis[None, :] * math.cos(direction) + axis[:, None] * math.sin(direction)
    wave = np.sin(2 * math.pi * (ramp / rng.uniform(4, 14) + rng.uniform()))
    return _composite((wave * 2 + 0.5).clip(0, 1).astype(np.float32), rng)


def render_checkers(split: str, index: int, side_px: int = SIZE_PX) -> np.ndarray:
    """A turned chessboard of random pitch: uint8 (side, side, 3)."""
    rng = _generator("checkers", split, 0, index)
    axis = np.arange(side_px)
    direction, pitch = rng.uniform(0, math.pi / 2), rng.uniform(8, 20)
    c, s = math.cos(direction), math.sin(direction)
    along = axis[None, :] * c + axis[:, None] * s
    across = axis[:, None] * c - axis[None, :] * s
    phase = rng.uniform(0, 1, 2)
    wave = np.sin(2 * math.pi * (along / pitch + phase[0])) * np.sin(2 * math.pi * (across / pitch + phase[1]))
    return _composite((wave * 3 + 0.5).clip(0, 1).astype(np.float32), rng)


# --- how alike two words are ------------------------------------------------------------------------------------
_PROBE_PX = 40
_PROBE_ANGLES = range(0, 360, 15)
_PROBE_SCALES = (0.7, 0.8, 0.9, 1.0, 1.1, 1.25, 1.4)


def _similarity_affine(degrees: float, scale: float) -> np.ndarray:
    c, s = math.cos(math.radians(degrees)) * scale, math.sin(math.radians(degrees)) * scale
    return np.array([[c, -s, 0.0], [s, c, 0.0]])


@cache
def _unit_mask(word: str) -> np.ndarray:
    return _mask(FIGURES[word], _similarity_affine(0, 0.65), _PROBE_PX)


@cache
def _probe_masks(word: str) -> np.ndarray:
    poses = [_similarity_affine(angle, 0.65 * scale) for angle in _PROBE_ANGLES for scale in _PROBE_SCALES]
    return np.stack([_mask(FIGURES[word], pose, _PROBE_PX) for pose in poses])


def distance(a: str, b: str) -> float:
    """1 - the best intersection over union of the two unit masks over rotation and scale; 0 for equal figures, symmetric."""
    if a == b:
        return 0.0
    a, b = sorted((a, b))
    fixed, moved = _unit_mask(a), _probe_masks(b)
    overlap = np.minimum(fixed, moved).sum((1, 2)) / np.maximum(fixed, moved).sum((1, 2))
    return float(1 - overlap.max())
