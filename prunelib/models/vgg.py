"""VGG with batch norm (Simonyan & Zisserman 2015), in the form used for 32×32 images; small variants by options."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from torch import Tensor, nn

from prunelib.models.init import kaiming_fan_out_
from prunelib.options import Count, Natural, Share
from prunelib.registry import register

VGG16 = (64, 64, "M", 128, 128, "M", 256, 256, 256, "M", 512, 512, 512, "M", 512, 512, 512, "M")


class VGG(nn.Module):
    """3×3 convolutions with batch norm and ReLU, 2×2 max-pooling at each "M", global mean, hidden layer, classifier.

    (N, in_channels, H, W) -> (N, classes); H and W at least 2 to the power of the number of "M"s. Convolutions start
    Kaiming fan_out, linear layers N(0, 0.01²) with zero bias.
    """

    def __init__(
        self, classes: int, in_channels: int, plan: Sequence[int | str], hidden: int, dropout: float, bias: bool
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        channels = in_channels
        for step in plan:
            if isinstance(step, str):
                layers.append(nn.MaxPool2d(2))
            else:
                layers += [nn.Conv2d(channels, step, 3, padding=1, bias=bias), nn.BatchNorm2d(step), nn.ReLU()]
                channels = step
        self.features = nn.Sequential(*layers)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        head = [nn.Linear(channels, hidden), nn.ReLU(), nn.Dropout(dropout)] if hidden else []
        self.classifier = nn.Sequential(*head, nn.Linear(hidden or channels, classes))
        kaiming_fan_out_(self)
        for layer in self.classifier:
            if isinstance(layer, nn.Linear):
                nn.init.normal_(layer.weight, std=0.01)
                nn.init.zeros_(layer.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits of a batch of images."""
        return self.classifier(self.avgpool(self.features(x)).flatten(1))


@register("model", "vgg")
def vgg(
    classes: int,
    in_channels: int,
    *,
    plan: list[Count | Literal["M"]] | None = None,
    hidden: Natural = 512,
    dropout: Share = 0.5,
    conv_bias: bool = True,
) -> VGG:
    """VGG with batch norm: ``plan`` lists output channels and "M" for pooling; without one it is VGG-16 for 32×32.

    ``hidden`` 0 leaves the hidden linear layer out. Expanders prune the form without ``conv_bias``.
    """
    return VGG(classes, in_channels, plan or VGG16, hidden, dropout, conv_bias)
