"""Random changes to a batch of training images, drawn on the CPU from a generator of their own."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from prunelib.tasks.classify import centre


def augment(images: Tensor, kind: str, generator: torch.Generator, crop: int | None = None) -> Tensor:
    """Return the batch (N, C, H, W) changed by ``kind``: "none", "flip", "shift" (move) or "crop-flip" (move, mirror).

    Without ``crop`` each image moves by up to an eighth of its side (at least one pixel; 4 of 32) on both axes. Images
    come normalised, so the zeros that move in have the data set's mean colour (expanders, augmentation after
    normalisation). With ``crop`` an image that moves is a random window of crop × crop pixels, and one that does not is
    the central one; nothing moves in.
    """
    if kind in ("shift", "crop-flip"):
        reach = max(1, images.shape[-1] // 8)
        images = shift(images, reach, generator) if crop is None else windows(images, crop, crop, generator)
    elif crop is not None:
        images = centre(images, crop)
    return flip(images, generator) if kind in ("flip", "crop-flip") else images


def shift(images: Tensor, reach: int, generator: torch.Generator) -> Tensor:
    """Translate each image by its own uniform offset of -reach..reach pixels per axis, padding with zeros."""
    return windows(functional.pad(images, (reach, reach, reach, reach)), *images.shape[2:], generator)


def windows(images: Tensor, height: int, width: int, generator: torch.Generator) -> Tensor:
    """Cut a window of height × width pixels out of each image, every place equally likely."""
    count, room = len(images), (images.shape[2] - height + 1, images.shape[3] - width + 1)
    down, right = (torch.randint(0, places, (count,), generator=generator).to(images.device) for places in room)
    rows = down[:, None] + torch.arange(height, device=images.device)
    columns = right[:, None] + torch.arange(width, device=images.device)
    batch = torch.arange(count, device=images.device)
    return images.permute(0, 2, 3, 1)[batch[:, None, None], rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)


def flip(images: Tensor, generator: torch.Generator) -> Tensor:
    """Mirror each image left to right with probability one half."""
    mirrored = torch.rand(len(images), generator=generator) < 0.5
    return torch.where(mirrored.to(images.device)[:, None, None, None], images.flip(-1), images)
