"""Classification: a labelled image set held in memory, normalised on the fly, cross-entropy."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from prunelib.data.datasets import read_images
from prunelib.errors import ConfigError
from prunelib.models.build import build
from prunelib.options import Count
from prunelib.registry import register
from prunelib.seeds import generator

Split = Literal["train", "val", "test"]


@register("task", "classify", loop="classify")
class Classify:
    """Classify the images of one data set: inputs (N, C, H, W) float32, targets (N,) int64, mean cross-entropy.

    Pixels are (x / 255 - mean) / std with the data set's per-channel figures of its training split.
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
    ) -> None:
        """Read the data set; ``batch_size`` is that of ``batches``, ``size`` resizes images to size × size pixels.

        ``crop``: the network sees crop × crop pixels of them, the central ones where nothing draws others at random
        (``prunelib.training.augment``). Raises ConfigError for a crop larger than the images.
        """
        images = read_images(data)
        smallest = size or min(images.images.shape[1:3])
        if crop is not None and crop > smallest:
            raise ConfigError(f"task.crop: got {crop}; the images of {data} have {smallest} pixels. Allowed: fewer.")
        self.model, self.seed, self.device = model, seed, torch.device(device)
        self.batch_size, self.side, self.crop = batch_size, size, crop
        self.classes, self.channels = len(images.classes), images.images.shape[3]
        # A whole array moves to the device once; pictures that stay in files are decoded batch by batch.
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

    def fold(
        self, split: Split, batch_size: int, order: torch.Generator | None = None, whole: bool = False
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield each image of a split once, in stored or (with a generator) random order; ``whole``: not yet cropped.

        The last batch may be short; in random order a single image left over is skipped (batch norm can't train on it).
        """
        index = self._splits[split]
        if order is not None:
            index = index[torch.randperm(len(index), generator=order)]
        for part in index.split(batch_size):
            if order is None or len(part) > 1 or batch_size == 1:
                images, labels = self._take(part)
                yield images if whole or self.crop is None else centre(images, self.crop), labels

    def _take(self, index: Tensor) -> tuple[Tensor, Tensor]:
        if isinstance(self._images, Tensor):
            pixels = self._images[index.to(self.device)]
        else:
            pixels = torch.from_numpy(self._images[index.numpy()]).to(self.device)
        images = (pixels.permute(0, 3, 1, 2).float() / 255 - self._mean) / self._std
        if self.side is not None:
            images = functional.interpolate(images, size=(self.side, self.side), mode="bilinear", antialias=True)
        return images.contiguous(), self._labels[index].to(self.device)


def centre(images: Tensor, side: int) -> Tensor:
    """Return the central side × side pixels of each image; of an odd rest, one more is left out below and right."""
    top, left = (images.shape[2] - side) // 2, (images.shape[3] - side) // 2
    return images[:, :, top : top + side, left : left + side]


def _per_channel(values: Any, device: torch.device) -> Tensor:
    return torch.as_tensor(np.asarray(values, dtype=np.float32), device=device).reshape(1, -1, 1, 1)
