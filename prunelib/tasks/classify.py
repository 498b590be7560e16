"""Classification: a labelled image set held in memory, normalised on the fly, cross-entropy."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional

from prunelib.data.datasets import ImageSet, read_images
from prunelib.data.in_place import FileImages
from prunelib.errors import ConfigError
from prunelib.models.build import build
from prunelib.options import Count
from prunelib.registry import register
from prunelib.seeds import generator
from prunelib.tasks.loading import Stored, loader

Split = Literal["train", "val", "test"]
# Colour figures (mean, standard deviation per channel) that publications use whatever the data (ising: code, README).
FIGURES = {
    "none": ((0.0,), (1.0,)),  # pixels in [0, 1]
    "cifar": ((0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)),
    "imagenet": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
}


@register("task", "classify", loop="classify")
class Classify:
    """Classify the images of one data set: inputs (N, C, H, W) float32, targets (N,) int64, mean cross-entropy.

    Pixels are (x / 255 - mean) / std with the data set's per-channel figures of its training split, or other ones.
    """

    kind = "classify"

    def __init__(
        self,
        data: Path,
        model: Mapping[str, Any],
        seed: int,
        device: torch.device | str = "cpu",
        *,
        batch_size: Count = 128,
        size: Count | None = None,
        crop: Count | None = None,
        preprocess: Literal["data", "model", "none", "cifar", "imagenet"] = "data",
    ) -> None:
        """Read the data set; ``batch_size`` is that of ``batches``, ``size`` resizes images to size × size pixels.

        ``crop``: the network sees crop × crop pixels of them, the central ones where nothing draws others at random
        (``prunelib.training.augment``). ``preprocess`` "model": size, resizing and colour figures are those that the
        model's published weights are evaluated with (``prunelib.models.preprocessing``); size and crop stay out then.
        "none", "cifar" and "imagenet" are colour figures alone (``FIGURES``). Raises ConfigError for a crop larger than
        the images, figures of another number of channels, and for a model that has no such figures.
        """
        images = read_images(data)
        if preprocess == "model":
            if size is not None or crop is not None:
                raise ConfigError("task.preprocess: got 'model', which sets the size itself; leave size and crop out.")
            images, size = _as_the_model_wants(images, model)
        elif preprocess != "data":
            images = _with_figures(images, preprocess)
        smallest = size or min(images.images.shape[1:3])
        if crop is not None and crop > smallest:
            raise ConfigError(f"task.crop: got {crop}; the images of {data} have {smallest} pixels. Allowed: fewer.")
        self.model, self.seed, self.device = model, seed, torch.device(device)
        self.batch_size, self.side, self.crop = batch_size, size, crop
        self.classes, self.channels = len(images.classes), images.images.shape[3]
        self.mean, self.std = tuple(map(float, images.mean)), tuple(map(float, images.std))
        # A whole array moves to the device once; pictures that stay in files are decoded batch by batch.
        self._stored = images.images
        whole = isinstance(images.images, np.ndarray)
        self._images = torch.from_numpy(images.images).to(self.device) if whole else images.images
        self._labels = torch.from_numpy(images.labels)
        self._splits = {name: torch.from_numpy(index) for name, index in images.splits.items()}
        self._mean, self._std = (_per_channel(values, self.device) for values in (images.mean, images.std))
        self.example = next(self.fold("train", 2))[0]

    def build(self) -> nn.Module:
        """Return the network at its initial weights, in training mode, on the task's device."""
        return build(self.model, self.seed, classes=self.classes, in_channels=self.channels).to(self.device)

    def batches(self, purpose: str, count: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield ``count`` training batches in random order without replacement, reshuffled after each pass."""
        random = generator(self.seed, purpose, "batches")
        given = 0
        while given < count:
            for batch in self.fold("train", self.batch_size, random):
                yield batch
                given += 1
                if given == count:
                    return

    def loss(self, output: Tensor, target: Tensor) -> Tensor:
        """Return the mean cross-entropy of logits (N, classes) against labels (N,)."""
        return functional.cross_entropy(output, target)

    def count(self, split: Split) -> int:
        """Number of images of a split."""
        return len(self._splits[split])

    def order(self, split: Split, random: torch.Generator, copies: int = 1) -> Tensor:
        """Return the rows of a split in random order; each of the first ones ``copies`` times in a row.

        There are as many entries as images, so that with 3 copies a third of them come up.
        """
        rows = self._splits[split]
        rows = rows[torch.randperm(len(rows), generator=random)]
        return rows if copies == 1 else rows.repeat_interleave(copies)[: len(rows)]

    def fold(
        self,
        split: Split,
        batch_size: int,
        order: torch.Generator | None = None,
        whole: bool = False,
        *,
        copies: int = 1,
        shard: tuple[int, int] = (0, 1),
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield each image of a split once, in stored or (with a generator) random order.

        ``whole``: not yet cropped. ``copies``: those of ``order``. ``shard`` (i, n): every n-th batch from the i-th on.
        The last batch may be short; in random order a single image left over is skipped (batch norm can't train on it).
        """
        parts = (self._splits[split] if order is None else self.order(split, order, copies)).split(batch_size)
        fits = [part for part in parts if len(part) > (order is not None and batch_size > 1)]
        kept = fits[shard[0] :: shard[1]]
        for part, pixels in zip(kept, self._pixels(kept), strict=True):
            images = self._normalised(pixels)
            yield images if whole or self.crop is None else centre(images, self.crop), self.labels(part)

    def labels(self, rows: Tensor) -> Tensor:
        """Return the labels (n,) of rows of the data set, on the device."""
        return self._labels[rows].to(self.device)

    def picture(self, row: int) -> Image.Image:
        """Return one picture as it is stored, before any resizing; needs three channels."""
        stored = self._stored
        return stored.picture(row) if isinstance(stored, FileImages) else Image.fromarray(stored[row])

    def _pixels(self, parts: Sequence[Tensor]) -> Iterator[Tensor]:
        """Yield the pixels uint8 (n, H, W, C) of each list of rows."""
        if isinstance(self._images, Tensor):
            yield from (self._images[part.to(self.device)] for part in parts)
        else:
            batches = [part.tolist() for part in parts]
            yield from (pixels.to(self.device) for pixels in loader(Stored(self._images), batches, self.device))

    def _normalised(self, pixels: Tensor) -> Tensor:
        images = (pixels.permute(0, 3, 1, 2).float() / 255 - self._mean) / self._std
        if self.side is not None:
            images = functional.interpolate(images, size=(self.side, self.side), mode="bilinear", antialias=True)
        return images.contiguous()


def _as_the_model_wants(images: ImageSet, model: Mapping[str, Any]) -> tuple[ImageSet, int | None]:
    """Return the set with the model's colour figures and, for pictures in files, size; else the size to resize to."""
    from prunelib.models.preprocessing import own_preprocessing  # brings in timm, which few tasks need

    own = own_preprocessing(model)
    images = replace(images, mean=np.array(own.mean), std=np.array(own.std))
    if not isinstance(images.images, FileImages):
        return images, own.side
    form = replace(images.images.form, side=own.side, shorter=own.shorter, interpolation=own.interpolation)
    return replace(images, images=replace(images.images, form=form)), None


def _with_figures(images: ImageSet, name: str) -> ImageSet:
    mean, std = (np.array(values) for values in FIGURES[name])
    channels = np.ones(images.images.shape[3])
    if len(mean) not in (1, len(channels)):
        given = f"got '{name}', figures of {len(mean)} channels; the images have {len(channels)}"
        raise ConfigError(f"task.preprocess: {given}. Allowed: data, none.")
    return replace(images, mean=mean * channels, std=std * channels)


def centre(images: Tensor, side: int) -> Tensor:
    """Return the central side × side pixels of each image; of an odd rest, one more is left out below and right."""
    top, left = (images.shape[2] - side) // 2, (images.shape[3] - side) // 2
    return images[:, :, top : top + side, left : left + side]


def _per_channel(values: Any, device: torch.device) -> Tensor:
    return torch.as_tensor(np.asarray(values, dtype=np.float32), device=device).reshape(1, -1, 1, 1)
