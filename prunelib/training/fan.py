"""Initial weights for a masked network: as large as those of a dense layer of the fan that the mask leaves."""

from __future__ import annotations

import torch
from torch import nn

from prunelib.masks.mask import Mask
from prunelib.tasks.base import prunable


@torch.no_grad()
def effective_fan_(model: nn.Module, mask: Mask) -> None:
    """Multiply the masked weights of each convolution and linear layer by sqrt(size / kept), in place.

    Initialisers draw weights of variance c / fan, the fan of the dense layer; where a mask leaves a share s of the fan,
    signals shrink by sqrt(s) per layer, unless a norm follows. This restores c / (s * fan), s taken over the whole
    layer: exact where every channel keeps as many weights as any other (biregular graphs). Layers that keep nothing
    stay as they are, and so do biases and norms.
    """
    for name, weight in prunable(model).items():
        if name in mask and mask[name].any():
            weight.mul_((mask[name].numel() / int(mask[name].sum())) ** 0.5)
