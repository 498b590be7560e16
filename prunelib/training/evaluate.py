"""How a classifier does on one split, whichever processes share the work."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn

from prunelib.measure.accuracy import accuracy
from prunelib.methods.callbacks import Callback
from prunelib.tasks.classify import Classify, Split
from prunelib.training.distributed import current


def evaluate(
    task: Classify,
    model: nn.Module,
    split: Split,
    batch_size: int,
    callback: Callback | None = None,
    change: Callable[[Tensor], Tensor] | None = None,
) -> dict[str, float | None]:
    """Return top1, top3, top5 and loss of one split in evaluation mode; the modules' modes are put back.

    ``change`` is applied to the whole images of every batch, in place of cutting out their centre. Processes that train
    together share the batches, and each image counts once.
    """
    forward, world = (callback or Callback()).forward, current()
    training = [module for module in model.modules() if module.training]
    model.eval()
    if change is None:
        batches = task.fold(split, batch_size, shard=(world.rank, world.size))
    else:  # its draws go on from batch to batch, so every process goes through all of them
        batches = ((change(images), labels) for images, labels in task.fold(split, batch_size, whole=True))
    shared = world.total if change is None and world.size > 1 else None
    found = accuracy(lambda images: forward(model, images), batches, shared)
    for module in training:
        module.training = True
    return found
