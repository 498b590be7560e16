"""ImageNet, read in place: the data file holds an index, the pictures stay where they are."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np

from prunelib.data.archives import names
from prunelib.data.datasets import ImageSet
from prunelib.data.images import Form
from prunelib.data.in_place import FileImages
from prunelib.data.sources.folder import arrange
from prunelib.data.splits import assign
from prunelib.errors import DataError
from prunelib.options import Count, Share
from prunelib.registry import register

# Per channel over the training images, as every published ImageNet recipe uses them (torchvision, timm).
MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)


@register("data", "imagenet")
def imagenet(
    seed: int,
    *,
    root: str,
    side: Count = 224,
    shorter: Count = 256,
    interpolation: Literal["bilinear", "bicubic"] = "bicubic",
    val_share: Share = 0.02,
) -> ImageSet:
    """ImageNet, or a subset of the same form: <root>/train/<wnid>/* and <root>/val/<wnid>/*.

    The official validation set is the test set and ``val_share`` of the training images is held out per class. A
    picture's shorter edge is resized to ``shorter`` pixels and the central side x side is taken, when it is read.
    """
    if shorter < side:
        raise DataError(f"{root}: shorter = {shorter} leaves no central {side} x {side}; it must be at least side.")
    top = Path(root).expanduser().resolve()
    if not (top / "train").is_dir() or not (top / "val").is_dir():
        raise DataError(f"{root}: needs the folders train/ and val/, each with one folder per class.")
    parts = [f"{part}/{name}" for part in ("train", "val") for name in names(top / part)]
    layout = arrange(parts, root)
    classes = sorted({label for _, label in layout.values()})
    number = {label: index for index, label in enumerate(classes)}
    labels = np.array([number[label] for _, label in layout.values()], dtype="<i8")
    training = np.array([split == "train" for split, _ in layout.values()])
    given = {"train": np.flatnonzero(training), "test": np.flatnonzero(~training)}
    sizes = np.array([(top / name).stat().st_size for name in layout], dtype="<i8")
    images = FileImages(top, list(layout), sizes, Form(side, shorter=shorter, interpolation=interpolation))
    splits = assign(labels, given, seed, val_share, None, root)
    mean, std = np.array(MEAN), np.array(STD)
    return ImageSet("imagenet", images, labels, splits, classes, mean, std, str(top), images.digest(labels))
