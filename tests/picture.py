"""A smooth made-up photograph, and a tiny generator that draws it in milliseconds."""

from pathlib import Path
from typing import Any

import numpy as np

from prunelib.data.datasets import Photo, write
from prunelib.recipes import FitRecipe
from prunelib.tasks.denoise import Denoise

SIDE = 24
MODEL = {"builder": "hourglass", "options": {"channels": [6, 8]}}
RECIPE = FitRecipe(loop="fit_image", steps=60, log_every=10).model_dump()


def write_picture(path: Path, height: int = SIDE, width: int = SIDE) -> Path:
    """Write a photograph of smooth colour gradients and one dark square."""
    rows, columns = np.mgrid[0:height, 0:width] / max(height, width)
    image = np.stack([rows, columns, 0.5 + 0.4 * np.sin(4 * rows + 3 * columns)], axis=-1)
    image[4:10, 4:10] = 0.1
    write(path, Photo("made-up", (image * 255).round().astype(np.uint8), "made up"))
    return path


def denoise(path: Path, seed: int = 0, model: dict[str, Any] = MODEL, **options: Any) -> Denoise:
    """The task of denoising the photograph at ``path``."""
    return Denoise(path, model, seed, **options)
