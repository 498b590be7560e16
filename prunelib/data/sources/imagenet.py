"""Pictures read in place, ImageNet's or any: the data file holds an index, the pictures stay where they are."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np

from prunelib.data.archives import names
from prunelib.data.datasets import ImageSet
from prunelib.data.images import Form
from prunelib.data.in_place import FileImages
from prunelib.data.sources.folder import Layout, arrange
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
    top = Path(root).expanduser().resolve()
    if not (top / "train").is_dir() or not (top / "val").is_dir():
        raise DataError(f"{root}: needs the folders train/ and val/, each with one folder per class.")
    layout = arrange([f"{part}/{name}" for part in ("train", "val") for name in names(top / part)], root)
    form = Form(side, shorter=shorter, interpolation=interpolation)
    return _indexed("imagenet", top, layout, form, seed, val_share, None)


@register("data", "folder_in_place")
def folder_in_place(
    seed: int,
    *,
    location: str,
    side: Count = 224,
    shorter: Count = 256,
    interpolation: Literal["bilinear", "bicubic"] = "bicubic",
    val_share: Share | None = None,
    test_share: Share | None = None,
) -> ImageSet:
    """Any directory of class folders (layouts and splits as for folder), with the means and deviations of ImageNet.

    For training with random windows of whole pictures, and for sets that don't fit into memory. Evaluation sees them
    as with imagenet: the shorter edge at ``shorter`` pixels, of that the central side x side.
    """
    top = Path(location).expanduser().resolve()
    if not top.is_dir():
        raise DataError(f"{location}: is no directory; source 'folder' reads archives.")
    layout = arrange(names(top), location)
    form = Form(side, shorter=shorter, interpolation=interpolation)
    return _indexed(top.name, top, layout, form, seed, val_share, test_share)


def _indexed(
    name: str, top: Path, layout: Layout, form: Form, seed: int, val_share: float | None, test_share: float | None
) -> ImageSet:
    """Index the pictures of a layout below ``top``; splits that are not in it are drawn per class."""
    if form.shorter < form.side:
        raise DataError(
            f"{top}: shorter = {form.shorter} leaves no central {form.side} x {form.side}; it must be at least side."
        )
    classes = sorted({label for _, label in layout.values()})
    number = {label: index for index, label in enumerate(classes)}
    labels = np.array([number[label] for _, label in layout.values()], dtype="<i8")
    parts = np.array([split for split, _ in layout.values()])
    given = {str(split): np.flatnonzero(parts == split) for split in np.unique(parts)}
    sizes = np.array([(top / path).stat().st_size for path in layout], dtype="<i8")
    images = FileImages(top, list(layout), sizes, form)
    splits = assign(labels, given, seed, val_share, test_share, str(top))
    mean, std = np.array(MEAN), np.array(STD)
    return ImageSet(name, images, labels, splits, classes, mean, std, str(top), images.digest(labels))
