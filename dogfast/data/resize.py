"""How an image of any size becomes the square that a classifier sees."""

from __future__ import annotations

from dataclasses import dataclass

from PIL import Image

from dogfast.config.data import SMALL_PX

FILTERS = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}
"""Pillow's, which smooth where they shrink."""


@dataclass(frozen=True)
class Resize:
    """``filter``: a name of `FILTERS`. ``share``: what of the shorter side is kept above `SMALL_PX`, where up to it all is.

    A share of 0.875 is ImageNet's "resize to 256, cut the centre of 224". ``centre_px``: of images slightly larger than that
    the centre is cut first, unresampled (0 = never).
    """

    filter: str = "bicubic"
    share: float = 1.0
    centre_px: int = 0

    def says(self, side_px: int) -> str:
        """What is done to reach ``side_px``, for records."""
        cut = f"centre of {self.centre_px} px, then " if self.centre_px else ""
        shorter = round(side_px / self._kept(side_px))
        return f"{cut}{self.filter}, shorter side to {shorter} px, centre of {side_px} px; unchanged where that is its size"

    def _kept(self, side_px: int) -> float:
        return self.share if side_px > SMALL_PX else 1.0

    def squared(self, image: Image.Image, side_px: int) -> Image.Image:
        """The centre of ``image``, ``side_px`` on each side; not resampled where its shorter side is that already.

        The same pixels as of the whole image resized and then cut, but a strip of a thousand to one costs no more than a square.
        """
        image = self._centre(image)
        short = min(image.size)
        if short == side_px:
            return image.crop(_box(image, short))
        box = _box(image, short * self._kept(side_px))
        return image.resize((side_px, side_px), FILTERS[self.filter], box=box)

    def _centre(self, image: Image.Image) -> Image.Image:
        framed = self.centre_px < min(image.size) and max(image.size) < 1.5 * self.centre_px
        return image.crop(_box(image, self.centre_px)) if framed else image


WHOLE = Resize()
"""What images go through that no protocol speaks of."""


def _box(image: Image.Image, side: float) -> tuple[float, float, float, float]:
    left, top = (image.width - side) // 2, (image.height - side) // 2
    return left, top, left + side, top + side
