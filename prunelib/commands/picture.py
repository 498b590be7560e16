"""A user's picture: what must be kept of it besides its pixels, and the cleaned one in its place."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from prunelib.data.images import FORMATS, Form, decode, read_bytes
from prunelib.errors import DataError
from prunelib.storage.files import atomic_path

LEAST = 16  # pixels; a shorter side leaves an hourglass of two levels nothing to draw
MOST = 2**24  # pixels: 2 kB of memory for each, and half a minute per step on two CPU cores
GREY = ("1", "L", "LA", "La")


@dataclass(frozen=True)
class Picture:
    """A picture file: size in pixels when held upright, whether it is grey, its alpha channel and colour profile."""

    path: Path
    height: int
    width: int
    grey: bool
    alpha: Image.Image | None
    profile: bytes | None

    @property
    def mode(self) -> str:
        """L, LA, RGB or RGBA: the mode of the cleaned picture."""
        return ("L" if self.grey else "RGB") + ("" if self.alpha is None else "A")


def look(path: Path) -> Picture:
    """Read a picture's form; raises DataError when it is missing, no picture, or its size can't be worked with."""
    if path.is_dir():
        raise DataError(f"{path}: is a directory; name the picture files in it.")
    content = read_bytes(path)
    height, width, _ = decode(content, Form(upright=True), str(path)).shape
    if min(width, height) < LEAST or width * height > MOST:
        raise DataError(
            f"{path}: {width} x {height} pixels; a side has at least {LEAST} and the picture at most {MOST:,} pixels. "
            "Make it smaller or cut it into parts."
        )
    image = ImageOps.exif_transpose(Image.open(io.BytesIO(content), formats=FORMATS))
    grey = image.mode in GREY or image.mode.startswith("I;16")
    alpha = image.convert("RGBA").getchannel("A") if image.has_transparency_data else None
    profile = image.info.get("icc_profile") if image.mode in ("L", "LA", "RGB", "RGBA") else None
    return Picture(path, height, width, grey, alpha, profile)


def save(pixels: np.ndarray, like: Picture, output: Path) -> None:
    """Write cleaned pixels, uint8 (H, W, 1 or 3), as PNG with the mode, alpha and colour profile of ``like``."""
    image = Image.fromarray(pixels[..., 0] if like.grey else pixels)
    if like.alpha is not None:
        image.putalpha(like.alpha)
    with atomic_path(output) as temporary:
        image.save(temporary, format="PNG", icc_profile=like.profile)
