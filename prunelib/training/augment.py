"""Random changes to a batch of training images, drawn on the CPU from a generator of their own."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def augment(images: Tensor, kind: str, generator: torch.Generator) -> Tensor:
    """Return the batch (N, C, H, W) changed by ``kind``: "none", "shift" (move) or "crop-flip" (move, mirror).

    Each image moves by up to an eighth of its side (at least one pixel; 4 of 32) on both axes. Images come normalised,
    so the zeros that move in have the data set's mean colour (expanders, augmentation after normalisation).
    """
    if kind == "none":
        return images
    images = shift(images, max(1, images.shape[-1] // 8), generator)
    return flip(images, generator) if kind == "crop-flip" else images


def shift(images: Tensor, reach: int, generator: torch.Generator) -> Tensor:
    """Translate each image by its own uniform offset of -reach..reach pixels per axis, padding with zeros."""
    count, _, height, width = images.shape
    offsets = torch.randint(0, 2 * reach + 1, (2, count), generator=generator).to(images.device)
    padded = functional.pad(images, (reach, reach, reach, reach))
    rows = offsets[0, :, None] + torch.arange(height, device=images.device)
    columns = offsets[1, :, None] + torch.arange(width, device=images.device)
    batch = torch.arange(count, device=images.device)
    return padded.permute(0, 2, 3, 1)[batch[:, None, None], rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)


def flip(images: Tensor, generator: torch.Generator) -> Tensor:
    """Mirror each image left to right with probability one half."""
    mirrored = torch.rand(len(images), generator=generator) < 0.5
    return torch.where(mirrored.to(images.device)[:, None, None, None], images.flip(-1), images)
