"""The deep decoder: an under-parameterised generator of 1x1 convolutions and bilinear upsampling."""

from __future__ import annotations

from collections import OrderedDict

from torch import nn

from prunelib.options import Count
from prunelib.registry import register

IMAGE_CHANNELS = 3


class DeepDecoder(nn.Sequential):
    """k doublings of (conv 1x1, upsample, ReLU, norm), once more without upsampling, then a 1x1 head with a sigmoid.

    (1, width, H/2^k, W/2^k) -> (1, 3, H, W) in (0, 1). No convolution has a bias. H and W are multiples of 2^k.
    Source: Heckel and Hand, Deep Decoder (ICLR 2019), in the order conv, upsample, ReLU, norm that OES compares with.
    """

    def __init__(self, width: int, k: int) -> None:
        """Build k + 1 blocks of ``width`` channels."""
        blocks = OrderedDict((f"block{i}", _block(width, doubles=i < k)) for i in range(k + 1))
        super().__init__(
            OrderedDict(
                blocks=nn.Sequential(blocks), head=nn.Conv2d(width, IMAGE_CHANNELS, 1, bias=False), sigmoid=nn.Sigmoid()
            )
        )
        self.width, self.doublings = width, k

    def input_shape(self, height: int, width: int) -> tuple[int, int, int, int]:
        """Return the shape of the input that draws an image of this size (pixels)."""
        return 1, self.width, height >> self.doublings, width >> self.doublings


def _block(width: int, doubles: bool) -> nn.Sequential:
    block: OrderedDict[str, nn.Module] = OrderedDict(conv=nn.Conv2d(width, width, 1, bias=False))
    if doubles:
        block["up"] = nn.Upsample(scale_factor=2, mode="bilinear", align_corners=False)
    block["act"] = nn.ReLU()
    block["bn"] = nn.BatchNorm2d(width)
    return nn.Sequential(block)


@register("model", "deep_decoder")
def deep_decoder(*, width: Count = 128, k: Count = 5) -> DeepDecoder:
    """Build a deep decoder: 100 224 parameters with k = 5, 83 584 with k = 4 (width 128)."""
    return DeepDecoder(width, k)
