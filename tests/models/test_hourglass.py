"""The hourglass is the published generator, tensor by tensor, and any other list of levels works the same way."""

import pytest
import torch
from torch import nn

from prunelib.errors import ConfigError
from prunelib.models.hourglass import Decoder, Encoder, hourglass
from prunelib.seeds import generator

CHANNELS = [16, 32, 64, 128, 128, 128]


def _expected():
    """The published parameter tensors in mask order: encoders from the top, decoders from the bottom, the head."""

    def conv(outside, inside, kernel):
        return [(outside, inside, kernel, kernel), (outside,)]

    def norm(width):
        return [(width,), (width,)]

    shapes = []
    for inside, width in zip([32, *CHANNELS], CHANNELS, strict=False):
        shapes += conv(width, inside, 5) + norm(width) + conv(width, width, 5) + norm(width)
    for width, below in reversed(list(zip(CHANNELS, [*CHANNELS[1:], 128], strict=True))):
        shapes += norm(below) + conv(width, below, 3) + norm(width)
    return shapes + conv(3, 16, 1)


def test_default_has_the_published_tensors_in_the_published_order():
    parameters = list(hourglass().parameters())
    assert [tuple(parameter.shape) for parameter in parameters] == _expected()
    assert len(parameters) == 86
    assert sum(parameter.numel() for parameter in parameters) == 3_008_867


def test_default_splits_into_the_published_kinds():
    counts = {"conv weight": 0, "conv bias": 0, "norm weight": 0, "norm bias": 0}
    network = hourglass()
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.BatchNorm2d):
            kind = "conv" if isinstance(module, nn.Conv2d) else "norm"
            counts[f"{kind} weight"] += module.weight.numel()
            counts[f"{kind} bias"] += module.bias.numel()
    assert counts == {"conv weight": 3_003_184, "conv bias": 1491, "norm weight": 2096, "norm bias": 2096}
    assert sum(parameter.numel() for parameter in network.encoder.parameters()) == 2_466_976


def test_names_tell_the_place_of_a_tensor():
    names = [name for name, _ in hourglass().named_parameters()]
    assert names[0] == "encoder.level0.conv1.weight"
    assert names[48:50] == ["decoder.level5.upbn.weight", "decoder.level5.upbn.bias"]
    assert names[-2:] == ["head.weight", "head.bias"]


@pytest.mark.parametrize(("channels", "height", "width"), [([4], 6, 8), ([5, 7], 12, 20), ([4, 4, 9], 24, 32)])
def test_any_levels_draw_an_image_of_the_input_s_size(channels, height, width):
    network = hourglass(channels=channels)
    shape = network.input_shape(height, width)
    assert shape == (1, 32, height, width)
    image = network(torch.rand(shape))
    assert image.shape == (1, 3, height, width)
    assert image.min() > 0 and image.max() < 1


def test_downsampling_pools_after_the_convolution():
    level = hourglass(channels=[4, 4]).encoder.level0
    assert [name for name, _ in level.named_children()] == ["conv1", "pool", "bn1", "act1", "conv2", "bn2", "act2"]
    assert level.act1.negative_slope == 0.2
    assert level.conv1.padding_mode == "reflect" and level.conv1.stride == (1, 1)


def test_no_levels_is_an_error():
    with pytest.raises(ConfigError, match="channels"):
        hourglass(channels=[])


@pytest.mark.parametrize(("kind", "norms"), [(Encoder, ("bn1", "bn2")), (Decoder, ("upbn", "bn"))])
def test_training_and_evaluation_forms_of_a_level_agree(kind, norms):
    """A strided 6x6 convolution is the 5x5 one and the average pool; a norm may come before nearest upsampling."""
    level = kind(3, 5).double()
    for norm in map(level.get_submodule, norms):  # without statistics of its own a norm acts alike in both modes
        norm.track_running_stats, norm.running_mean, norm.running_var = False, None, None
    x = torch.rand(1, 3, 12, 20, dtype=torch.float64, generator=generator(0, "input"), requires_grad=True)
    slopes = []
    for mode in (True, False):
        output = level.train(mode)(x)
        slopes.append([output, *torch.autograd.grad(output.square().sum(), [x, *level.parameters()])])
    assert all(torch.allclose(one, other, rtol=0, atol=1e-10) for one, other in zip(*slopes, strict=True))
