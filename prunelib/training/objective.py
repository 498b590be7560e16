"""What a forward pass of training is to match: labels, smoothed or mixed, and a teacher's opinion."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from prunelib.training.streams import library_stream


class Objective:
    """The loss of one part of a step; with a teacher, hard distillation on the student's second head where it has one.

    loss = (1 - share) · CE(first head, labels) + share · CE(last head, argmax of the teacher), labels and the teacher's
    choice smoothed; without a teacher CE(output, labels). Source: Touvron et al. 2021 (DeiT), section 4.
    """

    def __init__(self, recipe: Mapping[str, Any], classes: int, seed: int, teacher: nn.Module | None) -> None:
        """Take a recipe's label_smoothing, mix and distill; the teacher is used as it is, without gradients."""
        mix, distill = recipe["mix"], recipe["distill"]
        self.smoothing, self.classes, self.seed = recipe["label_smoothing"], classes, seed
        self.share = distill["share"] if distill else 0.0
        self.teacher = teacher.eval() if teacher is not None else None
        self.mixing = _mixing(mix, self.smoothing, classes) if mix else None

    def mixed(self, images: Tensor, labels: Tensor, *stream: int) -> tuple[Tensor, Tensor]:
        """Return mixed images and their targets (N, classes); the given ones where the recipe mixes nothing.

        Each image is mixed with its mirror image in the part; of an odd number, the last one stays as it is.
        """
        if self.mixing is None:
            return images, labels
        mix, unmixed = self.mixing
        even = len(labels) - len(labels) % 2
        with library_stream(self.seed, "mix", *stream):
            mixed, targets = mix(images[:even].clone(), labels[:even])
        alone = unmixed(labels[even:], self.classes, 1.0, self.smoothing)
        return torch.cat([mixed, images[even:]]), torch.cat([targets, alone])

    def __call__(self, output: Tensor | tuple[Tensor, Tensor], images: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """Return the mean loss of a network's output, (N, classes) or two of them, and the (first) logits."""
        first, last = output if isinstance(output, tuple) else (output, output)
        loss = self._entropy(first, target)
        if self.teacher is not None:
            with torch.no_grad():
                opinion = self.teacher(images).argmax(1)
            loss = (1 - self.share) * loss + self.share * self._entropy(last, opinion)
        return loss, first

    def _entropy(self, logits: Tensor, target: Tensor) -> Tensor:
        smoothing = 0.0 if target.is_floating_point() else self.smoothing  # mixed targets are smooth already
        return functional.cross_entropy(logits.float(), target, label_smoothing=smoothing)


def _mixing(mix: Mapping[str, Any], smoothing: float, classes: int) -> tuple[Callable[..., Any], Callable[..., Tensor]]:
    """Return timm's mixing of (images, labels), and its targets (N, classes) of labels that are not mixed."""
    from timm.data.mixup import Mixup, mixup_target  # takes a second, which only recipes that mix should spend

    names = {"mixup_alpha": "mixup", "cutmix_alpha": "cutmix", "prob": "prob", "switch_prob": "switch", "mode": "mode"}
    options = {theirs: mix[ours] for theirs, ours in names.items()}
    return Mixup(**options, label_smoothing=smoothing, num_classes=classes), mixup_target


def separate_heads_(model: nn.Module, apart: bool) -> None:
    """Have a network with a distillation head give both heads' logits in training, or their mean; others stay."""
    if hasattr(model, "set_distilled_training"):
        model.set_distilled_training(apart)
