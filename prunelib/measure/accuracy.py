"""How well a classifier does on one split: top-k accuracy and mean cross-entropy over its images."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor
from torch.nn import functional

TOPS = (1, 3, 5)


@torch.no_grad()
def accuracy(
    forward: Callable[[Tensor], Tensor],
    batches: Iterable[tuple[Tensor, Tensor]],
    total: Callable[[Tensor], Tensor] | None = None,
) -> dict[str, float | None]:
    """Return top1, top3, top5 (fractions) and loss (mean cross-entropy) over all images of (input, label) batches.

    Every image counts once, however the batches are cut. top-k is None where there are at most k classes; all are None
    without images. ``forward`` gives logits (N, classes); put the network into evaluation mode first. ``total`` adds up
    a float64 vector over processes that each go through a part of the batches.
    """
    hits, loss, count, classes = torch.zeros(len(TOPS), dtype=torch.int64), 0.0, 0, 0
    for images, labels in batches:
        logits = forward(images)
        classes, count = logits.shape[1], count + len(labels)
        loss += float(functional.cross_entropy(logits, labels, reduction="sum"))
        ranked = logits.topk(min(max(TOPS), classes), dim=1).indices == labels[:, None]
        hits += torch.stack([ranked[:, :top].sum() for top in TOPS]).cpu()
    if total is not None:  # whole numbers below 2^53 stay exact
        # A process without a batch does not know how many classes there are, so they are weighed by images.
        sums = total(torch.tensor([loss, count, count * classes, *hits.tolist()], dtype=torch.float64)).tolist()
        loss, count, hits = sums[0], int(sums[1]), torch.tensor(sums[3:], dtype=torch.int64)
        classes = int(sums[2]) // max(1, count)
    if count == 0:
        return {**{f"top{top}": None for top in TOPS}, "loss": None}
    shares = {f"top{top}": int(hit) / count if classes > top else None for top, hit in zip(TOPS, hits, strict=True)}
    return {**shares, "loss": loss / count}
