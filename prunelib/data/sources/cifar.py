"""CIFAR-10 and CIFAR-100 from their official archives (Krizhevsky, 2009)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from prunelib.data.archives import contents
from prunelib.data.datasets import ImageSet, assemble
from prunelib.data.download import Remote, obtain
from prunelib.data.images import resize_all
from prunelib.data.pickles import load_plain
from prunelib.data.splits import assign
from prunelib.errors import DataError
from prunelib.options import Count, Share
from prunelib.registry import register

# Sizes and checksums as published with Keras 3 (keras.datasets) and equal to those in torchvision's prototype datasets.
FILES = {
    "cifar10": Remote(
        "https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz",
        "6d958be074577803d12ecdefd02955f39262c83c16fe9348329d7fe0b5c001ce",
        170_498_071,
    ),
    "cifar100": Remote(
        "https://www.cs.toronto.edu/~kriz/cifar-100-python.tar.gz",
        "85cd44d02ba6437773c5bbd22e183051d648de2e7d6b014e1ef29b855ba677a7",
        169_001_437,
    ),
}


@register("data", "cifar10")
def cifar10(seed: int, *, side: Count = 32, val_share: Share = 0.1, mirror: str | None = None) -> ImageSet:
    """CIFAR-10: 50 000 training and 10 000 test images of 32 x 32 RGB, ten classes.

    ``val_share`` of the training images is held out per class; ``side`` resizes; ``mirror`` is a directory or address
    that holds the official archive.
    """
    train = [f"cifar-10-batches-py/data_batch_{part}" for part in range(1, 6)]
    test = ["cifar-10-batches-py/test_batch"]
    return _cifar("cifar10", seed, train, test, "cifar-10-batches-py/batches.meta", side, val_share, mirror)


@register("data", "cifar100")
def cifar100(seed: int, *, side: Count = 32, val_share: Share = 0.1, mirror: str | None = None) -> ImageSet:
    """CIFAR-100: 50 000 training and 10 000 test images of 32 x 32 RGB, 100 (fine) classes; options as cifar10."""
    folder = "cifar-100-python"
    return _cifar("cifar100", seed, [f"{folder}/train"], [f"{folder}/test"], f"{folder}/meta", side, val_share, mirror)


def _cifar(
    name: str,
    seed: int,
    train: Sequence[str],
    test: Sequence[str],
    meta: str,
    side: int,
    val_share: float,
    mirror: str | None,
) -> ImageSet:
    remote = FILES[name]
    archive = obtain(remote, mirror)
    wanted = {*train, *test, meta}
    found = dict(contents(archive, wanted))
    if missing := wanted - found.keys():
        raise DataError(f"{archive}: lacks {', '.join(sorted(missing))}.")
    key = {"cifar10": b"label_names", "cifar100": b"fine_label_names"}[name]
    classes = read_classes(found[meta], key, f"{archive}: {meta}")
    parts = [read_batch(found[member], len(classes), f"{archive}: {member}") for member in (*train, *test)]
    pixels, labels = (np.concatenate([part[index] for part in parts]) for index in (0, 1))
    count = sum(len(part[1]) for part in parts[: len(train)])
    given = {"train": np.arange(count), "test": np.arange(count, len(labels))}
    splits = assign(labels, given, seed, val_share, None, name)
    images = np.ascontiguousarray(pixels.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1))
    return assemble(name, resize_all(images, side), labels, splits, classes, remote.url, {remote.name: remote.sha256})


def read_classes(content: bytes, key: bytes, where: str) -> list[str]:
    """Return the names of the classes in a file of CIFAR; raises DataError for anything else."""
    words = load_plain(content, where).get(key)
    if not isinstance(words, list) or not all(isinstance(word, bytes) and word.isascii() for word in words):
        raise DataError(f"{where}: names no classes.")
    return [word.decode() for word in words]


def read_batch(content: bytes, classes: int, where: str) -> tuple[np.ndarray, np.ndarray]:
    """Return pixels uint8 (n, 3072), channel by channel, and labels (n,) of a batch; raises DataError otherwise."""
    batch = load_plain(content, where)
    pixels, labels = batch.get(b"data"), batch.get(b"labels", batch.get(b"fine_labels"))
    labelled = isinstance(labels, list) and all(type(label) is int and 0 <= label < classes for label in labels)
    shaped = isinstance(pixels, np.ndarray) and pixels.dtype == np.uint8
    if not labelled or not shaped or pixels.shape != (len(labels), 3072):
        raise DataError(f"{where}: is not a batch of CIFAR images with labels below {classes}.")
    return pixels, np.array(labels, dtype=np.int64)
