"""Residual networks (He et al. 2016), version 1.5: a bottleneck's stride sits on its 3×3 convolution."""

from __future__ import annotations

from typing import Literal

from torch import Tensor, nn
from torch.nn import functional

from prunelib.models.init import kaiming_fan_out_
from prunelib.options import Count
from prunelib.registry import register

Stem = Literal["imagenet", "cifar"]


class BasicBlock(nn.Module):
    """relu(norm(conv3×3) → relu → norm(conv3×3) + shortcut): (N, inputs, H, W) -> (N, width, H/stride, W/stride)."""

    expansion = 1

    def __init__(self, inputs: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, width, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.downsample = _shortcut(inputs, width, stride)

    def forward(self, x: Tensor) -> Tensor:
        """Add the shortcut to the block's output."""
        out = functional.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        return functional.relu(out + self.downsample(x))


class Bottleneck(nn.Module):
    """A 1×1, 3×3 (strided), 1×1 block: (N, inputs, H, W) -> (N, 4·width, H/stride, W/stride)."""

    expansion = 4

    def __init__(self, inputs: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, width * self.expansion, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(width * self.expansion)
        self.downsample = _shortcut(inputs, width * self.expansion, stride)

    def forward(self, x: Tensor) -> Tensor:
        """Add the shortcut to the block's output."""
        out = functional.relu(self.bn1(self.conv1(x)))
        out = functional.relu(self.bn2(self.conv2(out)))
        out = self.bn3(self.conv3(out))
        return functional.relu(out + self.downsample(x))


class ResNet(nn.Module):
    """Stem, stages of blocks (each after the first halves the image), global mean, linear classifier.

    (N, in_channels, H, W) -> (N, classes). Convolutions start Kaiming fan_out; the last norm of a block is not zeroed.
    """

    def __init__(
        self,
        classes: int,
        in_channels: int,
        block: type[BasicBlock] | type[Bottleneck],
        blocks: list[int],
        width: int,
        stem: Stem,
    ) -> None:
        super().__init__()
        large = stem == "imagenet"
        self.conv1 = nn.Conv2d(in_channels, width, 7 if large else 3, 2 if large else 1, 3 if large else 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.maxpool = nn.MaxPool2d(3, 2, 1) if large else nn.Identity()
        stages, inputs = [], width
        for index, count in enumerate(blocks):
            stages.append(_stage(block, inputs, width << index, count, 2 if index else 1))
            inputs = (width << index) * block.expansion
        self.stages = nn.Sequential(*stages)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(inputs, classes)
        kaiming_fan_out_(self)

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits of a batch of images."""
        x = self.maxpool(functional.relu(self.bn1(self.conv1(x))))
        return self.fc(self.avgpool(self.stages(x)).flatten(1))


def _shortcut(inputs: int, outputs: int, stride: int) -> nn.Module:
    if stride == 1 and inputs == outputs:
        return nn.Identity()
    return nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))


def _stage(
    block: type[BasicBlock] | type[Bottleneck], inputs: int, width: int, count: int, stride: int
) -> nn.Sequential:
    later = [block(width * block.expansion, width, 1) for _ in range(count - 1)]
    return nn.Sequential(block(inputs, width, stride), *later)


@register("model", "resnet18")
def resnet18(
    classes: int, in_channels: int, *, width: Count = 64, stem: Literal["imagenet", "cifar"] = "cifar"
) -> ResNet:
    """ResNet-18: basic blocks 2, 2, 2, 2; stem "imagenet" = 7×7/2 and max-pooling, "cifar" = 3×3."""
    return ResNet(classes, in_channels, BasicBlock, [2, 2, 2, 2], width, stem)


@register("model", "resnet34")
def resnet34(
    classes: int, in_channels: int, *, width: Count = 64, stem: Literal["imagenet", "cifar"] = "cifar"
) -> ResNet:
    """ResNet-34: basic blocks 3, 4, 6, 3; stem as in resnet18."""
    return ResNet(classes, in_channels, BasicBlock, [3, 4, 6, 3], width, stem)


@register("model", "resnet50")
def resnet50(
    classes: int, in_channels: int, *, width: Count = 64, stem: Literal["imagenet", "cifar"] = "cifar"
) -> ResNet:
    """ResNet-50: bottlenecks 3, 4, 6, 3; stem as in resnet18."""
    return ResNet(classes, in_channels, Bottleneck, [3, 4, 6, 3], width, stem)


@register("model", "resnet101")
def resnet101(
    classes: int, in_channels: int, *, width: Count = 64, stem: Literal["imagenet", "cifar"] = "cifar"
) -> ResNet:
    """ResNet-101: bottlenecks 3, 4, 23, 3; stem as in resnet18."""
    return ResNet(classes, in_channels, Bottleneck, [3, 4, 23, 3], width, stem)


@register("model", "resnet152")
def resnet152(
    classes: int, in_channels: int, *, width: Count = 64, stem: Literal["imagenet", "cifar"] = "cifar"
) -> ResNet:
    """ResNet-152: bottlenecks 3, 8, 36, 3; stem as in resnet18."""
    return ResNet(classes, in_channels, Bottleneck, [3, 8, 36, 3], width, stem)


@register("model", "resnet_small")
def resnet_small(classes: int, in_channels: int, *, width: Count = 16, blocks: Count = 3) -> ResNet:
    """Small residual network for images of 8 to 32 pixels: three stages of ``blocks`` basic blocks (3 = ResNet-20)."""
    return ResNet(classes, in_channels, BasicBlock, [blocks] * 3, width, "cifar")
