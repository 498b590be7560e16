"""SqueezeNet 1.1 (Iandola et al. 2016), by torchvision, for any number of input channels."""

from __future__ import annotations

from torch import nn
from torchvision import models

from prunelib.options import Share
from prunelib.registry import register

IMAGENET_CHANNELS = 3


@register("model", "squeezenet")
def squeezenet(classes: int, in_channels: int, *, dropout: Share = 0.5) -> models.SqueezeNet:
    """SqueezeNet 1.1 without norms, torchvision's: (N, in_channels, 224, 224) -> (N, classes); sides from 17 work.

    Of another number of input channels the first convolution is drawn as torchvision draws it (Kaiming uniform).
    """
    network = models.SqueezeNet("1_1", num_classes=classes, dropout=dropout)
    if in_channels != IMAGENET_CHANNELS:
        network.features[0] = nn.Conv2d(in_channels, 64, 3, stride=2)
        nn.init.kaiming_uniform_(network.features[0].weight)
        nn.init.zeros_(network.features[0].bias)
    return network
