"""Fashion-MNIST and KMNIST: four gzipped idx files each."""

from __future__ import annotations

import gzip
import math
import struct
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from prunelib.data.archives import unpacked_limit
from prunelib.data.datasets import ImageSet, assemble
from prunelib.data.download import Remote, obtain
from prunelib.data.images import resize_all
from prunelib.data.splits import assign
from prunelib.errors import DataError
from prunelib.options import Count, Share
from prunelib.registry import register

FASHION = "https://github.com/zalandoresearch/fashion-mnist/raw/master/data/fashion/"
KUZUSHIJI = "https://codh.rois.ac.jp/kmnist/dataset/kmnist/"

# Sizes and checksums as published with TensorFlow Datasets (url_checksums). Order: training, then test; images, labels.
FILES = {
    "fashion_mnist": (
        Remote(
            FASHION + "train-images-idx3-ubyte.gz",
            "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
            26_421_880,
        ),
        Remote(
            FASHION + "train-labels-idx1-ubyte.gz",
            "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
            29_515,
        ),
        Remote(
            FASHION + "t10k-images-idx3-ubyte.gz",
            "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
            4_422_102,
        ),
        Remote(
            FASHION + "t10k-labels-idx1-ubyte.gz",
            "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
            5_148,
        ),
    ),
    "kmnist": (
        Remote(
            KUZUSHIJI + "train-images-idx3-ubyte.gz",
            "51467d22d8cc72929e2a028a0428f2086b092bb31cfb79c69cc0a90ce135fde4",
            18_165_135,
        ),
        Remote(
            KUZUSHIJI + "train-labels-idx1-ubyte.gz",
            "e38f9ebcd0f3ebcdec7fc8eabdcdaef93bb0df8ea12bee65224341c8183d8e17",
            29_497,
        ),
        Remote(
            KUZUSHIJI + "t10k-images-idx3-ubyte.gz",
            "edd7a857845ad6bb1d0ba43fe7e794d164fe2dce499a1694695a792adfac43c5",
            3_041_136,
        ),
        Remote(
            KUZUSHIJI + "t10k-labels-idx1-ubyte.gz",
            "20bb9a0ef54c7db3efc55a92eef5582c109615df22683c380526788f98e42a1c",
            5_120,
        ),
    ),
}
CLOTHES = ["T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"]
SYLLABLES = ["o", "ki", "su", "tsu", "na", "ha", "ma", "ya", "re", "wo"]


@register("data", "fashion_mnist")
def fashion_mnist(seed: int, *, side: Count = 28, val_share: Share = 0.1, mirror: str | None = None) -> ImageSet:
    """Fashion-MNIST (Xiao et al., 2017): 60 000 training and 10 000 test images of 28 x 28 grey, ten classes.

    ``val_share`` of the training images is held out per class; ``side`` resizes; ``mirror`` is a directory or address
    that holds the official files.
    """
    return _idx_set("fashion_mnist", seed, CLOTHES, side, val_share, mirror)


@register("data", "kmnist")
def kmnist(seed: int, *, side: Count = 28, val_share: Share = 0.1, mirror: str | None = None) -> ImageSet:
    """Kuzushiji-MNIST (Clanuwat et al., 2018): same form and options as fashion_mnist, ten cursive syllables."""
    return _idx_set("kmnist", seed, SYLLABLES, side, val_share, mirror)


def _idx_set(name: str, seed: int, classes: Sequence[str], side: int, val_share: float, mirror: str | None) -> ImageSet:
    remotes = FILES[name]
    train, train_labels, test, test_labels = (read_idx(obtain(remote, mirror)) for remote in remotes)
    images, labels = np.concatenate([train, test]), np.concatenate([train_labels, test_labels]).astype(np.int64)
    if images.ndim != 3 or labels.shape != images.shape[:1] or labels.max() >= len(classes):
        raise DataError(f"{name}: {images.shape} images and {labels.shape} labels below {len(classes)} do not fit.")
    given = {"train": np.arange(len(train)), "test": np.arange(len(train), len(images))}
    splits = assign(labels, given, seed, val_share, None, name)
    inputs = {remote.name: remote.sha256 for remote in remotes}
    source = remotes[0].url.rsplit("/", 1)[0] + "/"
    return assemble(name, resize_all(images[..., None], side), labels, splits, list(classes), source, inputs)


def read_idx(path: Path) -> np.ndarray:
    """Read a gzipped idx file of unsigned bytes (two zeros, type 8, rank, sizes as big-endian 32 bits, values)."""
    try:
        with gzip.open(path) as stream:
            zeros, kind, rank = struct.unpack(">HBB", stream.read(4))
            if zeros or kind != 8 or not 1 <= rank <= 3:
                raise ValueError("no idx header of unsigned bytes")
            shape = struct.unpack(f">{rank}I", stream.read(4 * rank))
            size = math.prod(shape)
            if size > unpacked_limit(path):
                raise ValueError(f"{size:,} values are more than so small a file holds")
            content = stream.read(size + 1)  # one more, so that gzip reaches its end and checks its checksum
    except (OSError, EOFError, ValueError, struct.error, zlib.error) as error:
        raise DataError(f"{path}: not a whole gzipped idx file ({error}).") from None
    if len(content) != size:
        raise DataError(f"{path}: not a whole idx file; its values do not fill {shape}.")
    return np.frombuffer(content, dtype=np.uint8).reshape(shape)
