"""A small canvas for pictures of environments: world coordinates in metres, smooth edges, no window."""

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw

# Okabe & Ito's colours, told apart by colour-blind readers too
BLACK, GREY, WHITE = "#000000", "#999999", "#ffffff"
ORANGE, SKY, GREEN, BLUE, VERMILION = "#e69f00", "#56b4e9", "#009e73", "#0072b2", "#d55e00"

Point = tuple[float, float]
_FINER = 4  # drawn this many times too large and averaged down: that is what smooths the edges


class Canvas:
    """A picture of ``width`` x ``height`` pixels, with ``centre`` (m) in the middle and ``scale`` pixels to the metre."""

    def __init__(self, width: int, height: int, scale: float, centre: Point = (0.0, 0.0), background: str = WHITE):
        self._image = Image.new("RGB", (width * _FINER, height * _FINER), background)
        self._draw = ImageDraw.Draw(self._image)
        self._scale, self._centre = scale * _FINER, centre
        self._middle = ((width * _FINER - 1) / 2, (height * _FINER - 1) / 2)  # Pillow counts pixels, not their edges

    def _pixel(self, point: Point) -> Point:
        # y points up in the world and down in an image
        x, y = point[0] - self._centre[0], point[1] - self._centre[1]
        return self._middle[0] + self._scale * x, self._middle[1] - self._scale * y

    def disc(self, centre: Point, radius: float, colour: str) -> None:
        """A filled circle."""
        (x, y), r = self._pixel(centre), self._scale * radius
        self._draw.ellipse((x - r, y - r, x + r, y + r), fill=colour)

    def rod(self, start: Point, end: Point, thickness: float, colour: str) -> None:
        """A thick line with round ends."""
        width = round(self._scale * thickness)
        self._draw.line((*self._pixel(start), *self._pixel(end)), fill=colour, width=width)
        for point in (start, end):
            self.disc(point, thickness / 2, colour)

    def box(self, centre: Point, size: Point, colour: str, corner: float = 0.0) -> None:
        """A filled upright rectangle of ``size`` (width, height), its corners rounded with radius ``corner``."""
        (x, y), (w, h) = self._pixel(centre), (self._scale * size[0] / 2, self._scale * size[1] / 2)
        self._draw.rounded_rectangle((x - w, y - h, x + w, y + h), radius=self._scale * corner, fill=colour)

    def polygon(self, points: Sequence[Point], colour: str) -> None:
        """A filled polygon."""
        self._draw.polygon([self._pixel(point) for point in points], fill=colour)

    def pixels(self) -> np.ndarray:
        """The picture, uint8 [height, width, 3]."""
        return np.asarray(self._image.reduce(_FINER))
