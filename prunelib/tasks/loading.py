"""Pictures that are decoded or changed one by one: items by key, brought together by torch's data loader."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from prunelib.data.in_place import FileImages
from prunelib.storage.provenance import cores

MOST_WORKERS = 16


class Stored(Dataset[Tensor]):
    """Pictures in files as evaluation sees them: item ``row`` is uint8 (side, side, channels)."""

    def __init__(self, images: FileImages) -> None:
        """Decode from ``images``."""
        self.images = images

    def __getitem__(self, row: int) -> Tensor:
        return torch.from_numpy(self.images[np.array([row])][0])


def loader(items: Dataset[Any], batches: Sequence[Sequence[Any]], device: torch.device) -> DataLoader[Any]:
    """Return an iterable of the collated items of each batch of keys.

    A GPU is fed by processes of its own, as many as there are cores for each of those that train here; on a CPU, where
    training itself takes the cores, items are made when they are asked for. The result is the same: an item's draws are
    its own.
    """
    on_gpu = device.type == "cuda"
    workers = min(MOST_WORKERS, cores() // int(os.environ.get("LOCAL_WORLD_SIZE", 1))) if on_gpu else 0
    # A generator of its own, because the loader draws from the global one otherwise.
    return DataLoader(items, batch_sampler=batches, num_workers=workers, pin_memory=on_gpu, generator=torch.Generator())
