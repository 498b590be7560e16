"""AlexNet (Krizhevsky 2014, the one-column form), by torchvision, for any number of input channels."""

from __future__ import annotations

from torch import nn
from torchvision import models

from prunelib.options import Share
from prunelib.registry import register

IMAGENET_CHANNELS = 3


@register("model", "alexnet")
def alexnet(classes: int, in_channels: int, *, dropout: Share = 0.5) -> models.AlexNet:
    """AlexNet without norms, torchvision's: (N, in_channels, 224, 224) -> (N, classes); sides from 63 pixels work."""
    network = models.AlexNet(num_classes=classes, dropout=dropout)
    if in_channels != IMAGENET_CHANNELS:
        network.features[0] = nn.Conv2d(in_channels, 64, 11, stride=4, padding=2)
    return network
