"""What a training step is fed with: a batch in parts, each one forward pass, shared out among the processes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset

from prunelib.errors import ConfigError
from prunelib.seeds import generator
from prunelib.tasks.classify import Classify
from prunelib.tasks.loading import loader
from prunelib.training.augment import augment
from prunelib.training.distributed import World
from prunelib.training.streams import library_stream


@dataclass(frozen=True)
class Part:
    """Images and labels of one forward pass: the ``number``-th of its step, with this ``weight`` in the step's mean.

    Weight 0 is of a part that another process counts; this one only keeps pace.
    """

    images: Tensor
    labels: Tensor
    number: int
    weight: float


Cut = tuple[int, int, int, float]  # number, first and last + 1 of the batch's images, weight


def cuts(count: int, size: int | None, world: World) -> list[Cut]:
    """Share a batch of ``count`` images out: parts of ``size`` (None: all), in turn to each process, at least one.

    A single image left over is skipped, as at the end of an epoch: batch norm can't train on it.
    """
    size = size or count
    edges = [(start, min(start + size, count)) for start in range(0, count, size)]
    edges = [(start, end) for start, end in edges if end - start > 1 or size == 1]
    whole = edges[-1][1]
    found = [(number, start, end, (end - start) / whole) for number, (start, end) in enumerate(edges)]
    return found[world.rank :: world.size] or [(*found[0][:3], 0.0)]


def feed(
    task: Classify, recipe: Mapping[str, Any], epoch: int, world: World, layout: torch.memory_format
) -> Iterator[list[Part]]:
    """Yield this process's parts of every step of an epoch; order and changes are streams of (seed, purpose, epoch)."""
    source = _pictures if recipe["transform"] else _tensors
    for batch in source(task, recipe, epoch, world):
        yield [
            Part(images.contiguous(memory_format=layout), labels, number, weight)
            for images, labels, number, weight in batch
        ]


def steps(task: Classify, recipe: Mapping[str, Any]) -> int:
    """Return how many steps an epoch has."""
    whole, rest = divmod(task.count("train"), recipe["batch_size"])
    return whole + (rest > 1)


Batch = list[tuple[Tensor, Tensor, int, float]]


def _tensors(task: Classify, recipe: Mapping[str, Any], epoch: int, world: World) -> Iterator[Batch]:
    """Change whole batches at once; every process draws for all of one, so that its parts are those of any number."""
    order, changes = generator(task.seed, "order", epoch), generator(task.seed, "augment", epoch)
    for images, labels in task.fold("train", recipe["batch_size"], order, whole=True, copies=recipe["repeats"]):
        images = augment(images, recipe["augment"], changes, task.crop)
        shares = cuts(len(labels), recipe["micro_batch"], world)
        yield [(images[start:end], labels[start:end], number, weight) for number, start, end, weight in shares]


def _pictures(task: Classify, recipe: Mapping[str, Any], epoch: int, world: World) -> Iterator[Batch]:
    """Change picture by picture; a process makes its own parts only."""
    rows = task.order("train", generator(task.seed, "order", epoch), recipe["repeats"])
    size, shares, keys = recipe["batch_size"], [], []
    for step in range(steps(task, recipe)):
        first = step * size
        for cut in cuts(min(size, len(rows) - first), recipe["micro_batch"], world):
            shares.append((step, cut))
            keys.append([(place, int(rows[place])) for place in range(first + cut[1], first + cut[2])])
    batch: Batch = []
    now = 0
    for (step, (number, _, _, weight)), (images, rows_of) in zip(
        shares, loader(Changed(task, recipe["transform"], epoch), keys, task.device), strict=True
    ):
        if step != now:
            yield batch
            batch, now = [], step
        batch.append((images.to(task.device, non_blocking=True), task.labels(rows_of), number, weight))
    if batch:
        yield batch


class Changed(Dataset[tuple[Tensor, int]]):
    """Randomly changed pictures: item (place, row) is the one in that row, float32 (3, side, side), and the row.

    Its draws are a stream of (seed, "augment", epoch, place), whichever process makes it.
    """

    def __init__(self, task: Classify, transform: Mapping[str, Any], epoch: int) -> None:
        """Change pictures of ``task`` by timm's transform; raises ConfigError for grey ones."""
        if task.channels != 3:
            raise ConfigError(f"recipe.transform: needs pictures in colour; these have {task.channels} channel(s).")
        self.task, self.epoch = task, epoch
        self.change = picture_transform(transform, task)

    def __getitem__(self, key: tuple[int, int]) -> tuple[Tensor, int]:
        place, row = key
        with library_stream(self.task.seed, "augment", self.epoch, place):
            return self.change(self.task.picture(row)), row


def picture_transform(transform: Mapping[str, Any], task: Classify) -> Any:
    """Return timm's training transform (a picture -> its tensor) of a recipe's ``transform`` for what ``task`` shows.

    Raises ConfigError for a policy that timm does not know.
    """
    from timm.data import create_transform  # takes a second, which only recipes with a transform should spend

    try:
        return create_transform(
            task.example.shape[-1],
            is_training=True,
            scale=tuple(transform["scale"]),
            ratio=tuple(transform["ratio"]),
            hflip=transform["flip"],
            color_jitter=transform["jitter"] or None,
            auto_augment=transform["auto"],
            interpolation=transform["interpolation"],
            mean=task.mean,
            std=task.std,
            re_prob=transform["erase"],
            re_mode=transform["erase_mode"],
        )
    except (AssertionError, ValueError, KeyError) as error:
        raise ConfigError(f"recipe.transform.auto: timm can't read '{transform['auto']}' ({error}).") from None
