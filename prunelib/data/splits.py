"""Splits: disjoint index sets that together hold every image; the test set is never used to choose anything."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from prunelib.errors import DataError
from prunelib.seeds import numpy_generator

SPLITS = ("train", "val", "test")


def hold_out(
    labels: np.ndarray, pool: np.ndarray, share: float, random: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Divide the indices ``pool`` into (kept, held out), both sorted, with round(share * n) held out.

    Every class gives its share, rounded so that the total is exact (largest remainders first), and keeps one image at
    least. labels: (N,) integers; pool: (n,) indices into them; 0 <= share < 1.
    """
    held: list[np.ndarray] = []
    classes = [pool[labels[pool] == label] for label in np.unique(labels[pool])]
    counts = _counts(np.array([len(members) for members in classes], dtype=np.int64), share)
    for members, count in zip(classes, counts, strict=True):
        held.append(random.permutation(np.sort(members))[:count])
    drawn = np.sort(np.concatenate([*held, np.empty(0, dtype=np.int64)]).astype(np.int64))
    return np.setdiff1d(pool, drawn), drawn


def _counts(sizes: np.ndarray, share: float) -> np.ndarray:
    """Return how many to draw from groups of these sizes: largest remainders, at most size - 1 of each."""
    exact = sizes * share
    counts = np.floor(exact).astype(np.int64)
    missing = round(float(sizes.sum() * share)) - int(counts.sum())
    for group in np.argsort(counts - exact, kind="stable"):
        if missing > 0 and counts[group] < sizes[group] - 1:
            counts[group] += 1
            missing -= 1
    return counts


def assign(
    labels: np.ndarray,
    given: Mapping[str, np.ndarray],
    seed: int,
    val_share: float | None,
    test_share: float | None,
    where: str,
) -> dict[str, np.ndarray]:
    """Return the splits train, val and test from those a data set comes with (``given``, by name; train is required).

    * train, val, test given: taken as they are.
    * no val: ``val_share`` (0.1 when None) of the training images, drawn per class.
    * no test: a given val is the test set (as in ImageNet) and a new val is drawn from train; without a val either,
      ``test_share`` (0.2 when None) of all images is drawn before the val share.

    Raises DataError when a share is given for a split that already exists, or when a class has no training image.
    """
    splits = dict(given)
    if "val" in splits and "test" not in splits:
        splits["test"] = splits.pop("val")
    for name, share in (("val", val_share), ("test", test_share)):
        if name in splits and share is not None:
            raise DataError(f"{where}: {name}_share = {share}, but there is a {name} set already; leave it out.")
    for name, share, usual in (("test", test_share, 0.2), ("val", val_share, 0.1)):
        if name not in splits:
            random = numpy_generator(seed, "split", name)
            part = usual if share is None else share
            splits["train"], splits[name] = hold_out(labels, splits["train"], part, random)
    check(splits, labels, where)
    return {name: np.sort(splits[name]).astype(np.int64) for name in SPLITS}


def check(splits: Mapping[str, np.ndarray], labels: np.ndarray, where: str) -> None:
    """Raise DataError unless the splits hold each image exactly once and train holds every class."""
    together = np.concatenate([splits[name] for name in SPLITS])
    if not np.array_equal(np.sort(together), np.arange(len(labels))):
        raise DataError(f"{where}: its splits do not hold each of the {len(labels)} images exactly once.")
    missing = np.setdiff1d(labels, labels[splits["train"]])
    if len(missing):
        raise DataError(f"{where}: no training image of class {missing[0]} ({len(missing)} such classes).")
