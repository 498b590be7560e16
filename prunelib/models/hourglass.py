"""The hourglass: an encoder-decoder without skip paths, the untrained image generator that OES prunes."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional

from prunelib.errors import ConfigError
from prunelib.options import Count
from prunelib.registry import register

INPUT_CHANNELS = 32
IMAGE_CHANNELS = 3
LEAK = 0.2


class Encoder(nn.Sequential):
    """One level down: conv 5x5, average pool 2x2, norm, LeakyReLU, conv 5x5, norm, LeakyReLU; H -> H/2."""

    def __init__(self, inside: int, outside: int) -> None:
        """Take ``inside`` channels to ``outside`` channels."""
        super().__init__(
            OrderedDict(
                conv1=nn.Conv2d(inside, outside, 5, padding=2, padding_mode="reflect"),
                pool=nn.AvgPool2d(2),
                bn1=nn.BatchNorm2d(outside),
                act1=nn.LeakyReLU(LEAK),
                conv2=nn.Conv2d(outside, outside, 5, padding=2, padding_mode="reflect"),
                bn2=nn.BatchNorm2d(outside),
                act2=nn.LeakyReLU(LEAK),
            )
        )

    def forward(self, x: Tensor) -> Tensor:
        """Run the level; in training, its first convolution and the pool are one convolution of 0.36 times the MACs."""
        if not self.training:  # the published form, which is what counts as the network's MACs
            return super().forward(x)
        x = functional.conv2d(functional.pad(x, (2, 2, 2, 2), "reflect"), self._pooled(), self.conv1.bias, stride=2)
        return self.act2(self.bn2(self.conv2(self.act1(self.bn1(x)))))

    def _pooled(self) -> Tensor:
        """Return the 6x6 kernel that, at stride 2, is the 5x5 kernel followed by the 2x2 average: four shifts of it."""
        kernel = self.conv1.weight
        return sum(functional.pad(kernel, (x, 1 - x, y, 1 - y)) for x in (0, 1) for y in (0, 1)) / 4


class Decoder(nn.Sequential):
    """One level up: nearest upsampling by 2, norm, conv 3x3, norm, LeakyReLU; H -> 2H."""

    def __init__(self, inside: int, outside: int) -> None:
        """Take ``inside`` channels to ``outside`` channels."""
        super().__init__(
            OrderedDict(
                up=nn.Upsample(scale_factor=2, mode="nearest"),
                upbn=nn.BatchNorm2d(inside),
                conv=nn.Conv2d(inside, outside, 3, padding=1, padding_mode="reflect"),
                bn=nn.BatchNorm2d(outside),
                act=nn.LeakyReLU(LEAK),
            )
        )

    def forward(self, x: Tensor) -> Tensor:
        """Run the level; in training the norm comes before the copies of each pixel, which change no mean or variance.

        Only the running variance differs, by the factor (n - 1) / (n - 1/4) for n pixels; nothing here reads it.
        """
        if not self.training:
            return super().forward(x)
        return self.act(self.bn(self.conv(self.up(self.upbn(x)))))


class Hourglass(nn.Sequential):
    """Levels down, the same levels up, a 1x1 head with a sigmoid: (1, 32, H, W) -> (1, 3, H, W) in (0, 1).

    Parameters stand in the order encoder level 0..n-1, decoder level n-1..0, head, which is the order of a flat mask.
    H and W are multiples of 2^n and at least 3 * 2^n. Always used in train mode: with a batch of one image the norms
    act per instance.
    """

    def __init__(self, channels: Sequence[int]) -> None:
        """Build one level per entry of ``channels``."""
        wide = [INPUT_CHANNELS, *channels]
        below = [*channels[1:], channels[-1]]
        levels = range(len(channels))
        super().__init__(
            OrderedDict(
                encoder=nn.Sequential(OrderedDict((f"level{i}", Encoder(wide[i], wide[i + 1])) for i in levels)),
                decoder=nn.Sequential(
                    OrderedDict((f"level{i}", Decoder(below[i], channels[i])) for i in reversed(levels))
                ),
                head=nn.Conv2d(channels[0], IMAGE_CHANNELS, 1),
                sigmoid=nn.Sigmoid(),
            )
        )

    def input_shape(self, height: int, width: int) -> tuple[int, int, int, int]:
        """Return the shape of the input that draws an image of this size (pixels)."""
        return 1, INPUT_CHANNELS, height, width


@register("model", "hourglass")
def hourglass(*, channels: list[Count] = [16, 32, 64, 128, 128, 128]) -> Hourglass:  # noqa: B006 (never changed)
    """Build an hourglass generator, one level per entry of ``channels``.

    The default has 86 parameter tensors and 3 008 867 parameters (OES, ICML 2024, the generator of all its
    experiments). Raises ConfigError when ``channels`` is empty.
    """
    if not channels:
        raise ConfigError("hourglass: 'channels' is empty; it lists the channels of each level, such as [16, 32, 64].")
    return Hourglass(channels)
