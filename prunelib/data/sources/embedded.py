"""Real data that come inside the dependencies, so that everything can be tried without a network."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Literal

import numpy as np

from prunelib.data.datasets import ImageSet, Photo, assemble
from prunelib.data.images import photo_form, read, resize_all
from prunelib.data.splits import assign
from prunelib.options import Count, Share
from prunelib.registry import register
from prunelib.storage.files import sha256


@register("data", "digits")
def digits(seed: int, *, side: Count = 8, val_share: Share = 0.15, test_share: Share = 0.25) -> ImageSet:
    """Handwritten digits of scikit-learn: 1797 images of 8 x 8 pixels in 17 grey levels, ten classes.

    Levels 0 ... 16 become 0 ... 255. ``test_share`` of all images and ``val_share`` of the rest are drawn per class;
    ``side`` resizes. Source: UCI ML hand-written digits (Alpaydin & Kaynak, 1998), its test part.
    """
    from sklearn.datasets import load_digits

    found = load_digits()
    images = np.rint(found.images * (255 / 16)).astype(np.uint8)[..., None]
    splits = assign(found.target, {"train": np.arange(len(images))}, seed, val_share, test_share, "digits")
    classes = [str(digit) for digit in range(10)]
    return assemble("digits", resize_all(images, side), found.target, splits, classes, "scikit-learn digits", {})


@register("data", "photo")
def photo(
    seed: int,
    *,
    name: Literal["astronaut", "camera", "chelsea", "coffee", "coins", "moon", "rocket"] = "astronaut",
    side: Count | None = None,
    grey: bool = False,
    fit: Literal["crop", "stretch"] = "crop",
    legacy_resize: bool = False,
) -> Photo:
    """A photograph of scikit-image's own data, as RGB or grey.

    With ``side``, the central square (or, with ``stretch``, the whole picture) becomes side x side pixels by Lanczos.
    ``legacy_resize`` does what the code of OES (ICML 2024) does: the whole picture becomes a square of 256, 480 or 512
    pixels, whichever is nearest to its longer edge. Raises DataError for ``legacy_resize`` with a ``side``.
    """
    form = photo_form(side, grey, fit, legacy_resize)
    file = "rocket.jpg" if name == "rocket" else f"{name}.png"
    package = importlib.util.find_spec("skimage")  # its own loader may reach for the network
    path = Path(package.origin).parent / "data" / file
    image = read(path, form)
    return Photo(name, image, f"scikit-image {file}", {"inputs": {file: sha256(path)}})
