"""Data files: labelled image sets and photographs, as the later steps read them.

* images: ``images`` uint8 (N, H, W, C), ``labels`` int64 (N,), ``split/{train,val,test}`` int64, and the attributes
  name, classes (JSON), mean and std (per channel, of the training split, of values in [0, 1]), source, sha256,
  provenance (JSON).
* images in place: the same with ``paths`` and ``sizes`` instead of ``images``; the pictures stay where they are.
* photo: ``image`` uint8 (H, W, C) and the attributes name, source, sha256, provenance.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from prunelib.data.images import statistics
from prunelib.data.in_place import FileImages
from prunelib.data.splits import SPLITS, check
from prunelib.errors import ArtefactError, DataError
from prunelib.storage.hdf5 import creating, reading

IMAGES = "prunelib-images-1"
IN_PLACE = "prunelib-images-in-place-1"
PHOTO = "prunelib-photo-1"


@dataclass(frozen=True)
class ImageSet:
    """A labelled image set: pictures, labels (N,), splits (sorted indices by name) and figures of the training split.

    ``images`` is an array uint8 (N, H, W, C), or a FileImages that decodes what it is indexed with.
    """

    name: str
    images: np.ndarray | FileImages
    labels: np.ndarray
    splits: dict[str, np.ndarray]
    classes: list[str]
    mean: np.ndarray
    std: np.ndarray
    source: str
    sha256: str
    provenance: dict[str, Any] = field(default_factory=dict)

    def split(self, name: str) -> tuple[np.ndarray | FileImages, np.ndarray]:
        """Return (images, labels) of one split: "train", "val" or "test"."""
        index = self.splits[name]
        images = self.images
        return images.subset(index) if isinstance(images, FileImages) else images[index], self.labels[index]


@dataclass(frozen=True)
class Photo:
    """One photograph, uint8 (H, W, C)."""

    name: str
    image: np.ndarray
    source: str
    provenance: dict[str, Any] = field(default_factory=dict)


def assemble(
    name: str,
    images: np.ndarray,
    labels: np.ndarray,
    splits: Mapping[str, np.ndarray],
    classes: list[str],
    source: str,
    inputs: Mapping[str, str],
) -> ImageSet:
    """Make an ImageSet of decoded pictures, with its statistics and the sha256 of its pixel and label bytes."""
    labels = np.asarray(labels, dtype="<i8")
    check(splits, labels, name)
    digest = hashlib.sha256(np.ascontiguousarray(images))
    digest.update(labels.tobytes())
    mean, std = statistics(images, splits["train"])
    provenance = {"inputs": dict(inputs)}
    return ImageSet(name, images, labels, dict(splits), classes, mean, std, source, digest.hexdigest(), provenance)


def write(path: str | Path, made: ImageSet | Photo) -> None:
    """Write a data file atomically; the same content gives the same bytes."""
    if isinstance(made, Photo):
        with creating(path, PHOTO) as file:
            digest = hashlib.sha256(np.ascontiguousarray(made.image)).hexdigest()
            file.attrs.update({"name": made.name, "source": made.source, "sha256": digest})
            file.attrs["provenance"] = _json(made.provenance)
            file.create_dataset("image", data=made.image)
        return
    with creating(path, IN_PLACE if isinstance(made.images, FileImages) else IMAGES) as file:
        file.attrs.update({"name": made.name, "source": made.source, "sha256": made.sha256})
        file.attrs.update({"classes": _json(made.classes), "provenance": _json(made.provenance)})
        file.attrs.update({"mean": made.mean, "std": made.std})
        file.create_dataset("labels", data=made.labels)
        for name in SPLITS:
            file.create_dataset(f"split/{name}", data=made.splits[name])
        if isinstance(made.images, FileImages):
            made.images.store(file)
        else:
            file.create_dataset("images", data=made.images)


def read_images(path: str | Path) -> ImageSet:
    """Read an image set; a missing, torn, damaged or foreign file raises ArtefactError naming it."""
    with reading(path, IMAGES, IN_PLACE) as file:
        images = FileImages.load(file) if file.attrs["format"] == IN_PLACE else file["images"][()]
        found = ImageSet(
            name=file.attrs["name"],
            images=images,
            labels=file["labels"][()],
            splits={name: file["split"][name][()] for name in SPLITS},
            classes=json.loads(file.attrs["classes"]),
            mean=file.attrs["mean"],
            std=file.attrs["std"],
            source=file.attrs["source"],
            sha256=file.attrs["sha256"],
            provenance=json.loads(file.attrs["provenance"]),
        )
    try:
        check(found.splits, found.labels, str(path))
    except DataError as error:
        raise ArtefactError(str(error)) from None
    return found


def read_photo(path: str | Path) -> np.ndarray:
    """Return a photograph as uint8 (H, W, C); a missing, torn, damaged or foreign file raises ArtefactError."""
    with reading(path, PHOTO) as file:
        return file["image"][()]


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, sort_keys=True, allow_nan=False)
