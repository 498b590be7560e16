"""Tiny ImageNet (Stanford CS231n, 2015) from its official archive."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from prunelib.data.archives import contents, names
from prunelib.data.datasets import ImageSet, assemble
from prunelib.data.download import Remote, obtain
from prunelib.data.images import Form, decode_all
from prunelib.data.splits import assign
from prunelib.errors import DataError
from prunelib.options import Count, Share
from prunelib.registry import register

# Size and checksum as several independent users of the official file have recorded them.
FILE = Remote(
    "https://cs231n.stanford.edu/tiny-imagenet-200.zip",
    "6198c8ae015e2b3e007c7841da39ec069199b9aa3bfa943a462022fe5e43c821",
    248_100_043,
)
TOP = "tiny-imagenet-200"


@register("data", "tiny_imagenet")
def tiny_imagenet(seed: int, *, side: Count = 64, val_share: Share = 0.1, mirror: str | None = None) -> ImageSet:
    """Tiny ImageNet: 100 000 training images of 64 x 64 RGB in 200 classes, and 10 000 test images.

    The official test set has no labels, so the official validation set is the test set here and ``val_share`` of the
    training images is held out per class. Classes are the sorted WordNet ids; ``side`` resizes; ``mirror`` is a
    directory or address that holds the official archive.
    """
    archive = obtain(FILE, mirror)
    wnid = _labelled(archive)
    classes = sorted(set(wnid.values()))
    rows = {name: row for row, name in enumerate(sorted(wnid))}
    labels = np.array([classes.index(wnid[name]) for name in rows], dtype=np.int64)
    training = np.array([name.startswith(f"{TOP}/train/") for name in rows])
    given = {"train": np.flatnonzero(training), "test": np.flatnonzero(~training)}
    splits = assign(labels, given, seed, val_share, None, "tiny_imagenet")
    images = decode_all(contents(archive, rows), rows, Form(side), "tiny_imagenet")
    return assemble("tiny_imagenet", images, labels, splits, classes, FILE.url, {FILE.name: FILE.sha256})


def _labelled(archive: Path) -> dict[str, str]:
    """Return the WordNet id of every labelled picture: a training picture's folder, a validation picture's line."""
    pattern = re.compile(rf"{TOP}/train/([^/]+)/images/[^/]+\.JPEG")
    found = {name: match.group(1) for name in names(archive) if (match := pattern.fullmatch(name))}
    table = f"{TOP}/val/val_annotations.txt"
    text = b"".join(content for _, content in contents(archive, {table})).decode("utf-8", errors="replace")
    for line in text.splitlines():
        fields = line.split("\t")
        if len(fields) < 2:
            raise DataError(f"{archive}: line {line[:80]!r} of {table} holds no picture and class.")
        found[f"{TOP}/val/images/{fields[0]}"] = fields[1]
    if not text or len(found) == len(text.splitlines()):
        raise DataError(f"{archive}: lacks {TOP}/train/ or {table}.")
    return found
