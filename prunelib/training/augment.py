"""Random changes to a batch of training images, drawn on the CPU from a generator of their own."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

from prunelib.tasks.classify import centre


def augment(images: Tensor, kind: str, generator: torch.Generator, crop: int | None = None) -> Tensor:
    """Return the batch (N, C, H, W) changed by ``kind``: "none", "flip", "shift" (move) or "crop-flip" (move, mirror).

    "crop-flip-rotate" also turns by up to 180°, as the ising papers' code does with Flowers (its nearest pixel, zeros
    outside); "crop-flip-rotate-cutout" also cuts a square out: everything that their README names.
    Without ``crop`` each image moves by up to an eighth of its side (at least one pixel; 4 of 32) on both axes. Images
    come normalised, so the zeros that move in have the data set's mean colour (expanders, augmentation after
    normalisation). With ``crop`` an image that moves is a random window of crop × crop pixels, and one that does not is
    the central one; nothing moves in.
    """
    parts = kind.split("-")
    if "shift" in parts or "crop" in parts:
        reach = max(1, images.shape[-1] // 8)
        images = shift(images, reach, generator) if crop is None else windows(images, crop, crop, generator)
    elif crop is not None:
        images = centre(images, crop)
    images = flip(images, generator) if "flip" in parts else images
    images = turn(images, 180.0, generator) if "rotate" in parts else images
    return cut_out(images, images.shape[-1] // 2, generator) if "cutout" in parts else images


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


def turn(images: Tensor, most: float, generator: torch.Generator) -> Tensor:
    """Turn each square image about its centre by its own angle, uniform in 0..most degrees; zeros fill the corners."""
    angles = math.radians(most) * torch.rand(len(images), generator=generator)
    rows = torch.stack([angles.cos(), -angles.sin(), angles.sin(), angles.cos()], dim=1).reshape(-1, 2, 2)
    grid = functional.affine_grid(functional.pad(rows, (0, 1)), list(images.shape), align_corners=False)
    return functional.grid_sample(images, grid.to(images.device), mode="nearest", align_corners=False)


def cut_out(images: Tensor, side: int, generator: torch.Generator) -> Tensor:
    """Set a square of side × side pixels in each image to zero, its centre anywhere (DeVries & Taylor 2017: Cutout)."""
    height, width = images.shape[2:]
    inside = []
    for length in (height, width):
        start = torch.randint(0, length, (len(images), 1), generator=generator) - side // 2
        place = torch.arange(length)
        inside.append((place >= start) & (place < start + side))
    hole = inside[0][:, :, None] & inside[1][:, None, :]
    return images.masked_fill(hole[:, None].to(images.device), 0.0)
