"""The deep decoder has the published size, order of layers and input."""

import pytest
import torch

from prunelib.models.deep_decoder import deep_decoder


@pytest.mark.parametrize(("k", "count"), [(5, 100_224), (4, 83_584)])
def test_parameter_counts(k, count):
    assert sum(parameter.numel() for parameter in deep_decoder(k=k).parameters()) == count


def test_a_block_convolves_upsamples_cuts_and_normalises_and_the_last_does_not_upsample():
    blocks = list(deep_decoder(width=4, k=2).blocks)
    assert [[name for name, _ in block.named_children()] for block in blocks] == [
        ["conv", "up", "act", "bn"],
        ["conv", "up", "act", "bn"],
        ["conv", "act", "bn"],
    ]
    assert all(block.conv.bias is None for block in blocks)


@pytest.mark.parametrize(("k", "height", "width"), [(1, 4, 6), (3, 8, 16)])
def test_it_draws_an_image_of_the_size_asked_for(k, height, width):
    network = deep_decoder(width=6, k=k)
    shape = network.input_shape(height, width)
    assert shape == (1, 6, height // 2**k, width // 2**k)
    image = network(torch.rand(shape))
    assert image.shape == (1, 3, height, width)
    assert image.min() > 0 and image.max() < 1
