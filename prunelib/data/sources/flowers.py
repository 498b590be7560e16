"""Flowers-102 (Nilsback & Zisserman, 2008) from its official files."""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import Literal

import numpy as np

from prunelib.data.archives import contents
from prunelib.data.datasets import ImageSet, assemble
from prunelib.data.download import Remote, obtain
from prunelib.data.images import Form, decode_all, read_bytes
from prunelib.data.matlab import read_numbers
from prunelib.errors import DataError
from prunelib.options import Count
from prunelib.registry import register

OFFICIAL = "https://www.robots.ox.ac.uk/~vgg/data/flowers/102/"

# Sizes and checksums as published with TensorFlow Datasets (url_checksums).
FILES = {
    "images": Remote(
        OFFICIAL + "102flowers.tgz",
        "2d01ecc807db462958cfe3d92f57a8c252b4abd240eb955770201e45f783b246",
        344_862_509,
    ),
    "labels": Remote(
        OFFICIAL + "imagelabels.mat",
        "4903e94206bac23bf772aadf06451916df56b58fc483a62db32a97b82656651d",
        502,
    ),
    "splits": Remote(
        OFFICIAL + "setid.mat",
        "46b8678f91fd95d3c8f4feab80d271a6c834a1dd896fe29fd3e6ad9ce5c8dccd",
        14_989,
    ),
}


@register("data", "flowers102")
def flowers102(
    seed: int,
    *,
    side: Count = 32,
    splits: Literal["official", "swapped"] = "official",
    mirror: str | None = None,
) -> ImageSet:
    """Flowers-102: 8189 photographs in 102 classes, the central square of each resized to side x side.

    ``official`` splits train 1020, val 1020, test 6149; ``swapped`` trains on the 6149 and tests on the 1020, as
    IPruning and EDropout did. ``mirror`` is a directory or address that holds the official files.
    """
    local = {key: obtain(remote, mirror) for key, remote in FILES.items()}
    labels = read_ids(local["labels"], "labels") - 1
    train, test = ("trnid", "tstid") if splits == "official" else ("tstid", "trnid")
    found = {
        name: read_ids(local["splits"], key) - 1 for name, key in (("train", train), ("val", "valid"), ("test", test))
    }
    count = len(labels)
    if not np.array_equal(np.sort(np.concatenate(list(found.values()))), np.arange(count)) or labels.min() < 0:
        raise DataError(f"{local['splits']}: its splits do not hold each of the {count} labelled images once.")
    rows = {f"jpg/image_{number + 1:05d}.jpg": number for number in range(count)}
    images = decode_all(contents(local["images"], rows), rows, Form(side), "flowers102")
    classes = [f"flower {number + 1:03d}" for number in range(int(labels.max()) + 1)]
    inputs = {remote.name: remote.sha256 for remote in FILES.values()}
    ordered = {name: np.sort(index) for name, index in found.items()}
    return assemble("flowers102", images, labels, ordered, classes, OFFICIAL, inputs)


def read_ids(path: Path, key: str) -> np.ndarray:
    """Return one vector of whole numbers, int64, from a Matlab file."""
    try:
        values = read_numbers(read_bytes(path), key)
        if not np.isfinite(values).all():
            raise ValueError("not all of them are numbers")
        return values.astype(np.int64)
    except (ValueError, LookupError, zlib.error) as error:
        raise DataError(f"{path}: no Matlab file that holds '{key}' ({error}).") from None
