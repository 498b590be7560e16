"""The side rules are known without torch and give the next side that a generator draws, found here by drawing."""

import itertools
import subprocess
import sys

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from prunelib.models.deep_decoder import deep_decoder
from prunelib.models.hourglass import hourglass
from prunelib.models.sizes import fitting_side


def _draws(network, side):
    """Whether the network turns the input for a square image into an image of that side."""
    try:
        return network(torch.rand(network.input_shape(side, side))).shape[-2:] == (side, side)
    except (RuntimeError, ValueError):
        return False


def _next_drawn(network, side):
    """The smallest side from ``side`` on that the network draws, found by trying."""
    return next(each for each in itertools.count(side) if _draws(network, each))


@given(levels=st.integers(1, 3), side=st.integers(1, 40))
@settings(deadline=None, max_examples=40)
def test_the_hourglass_gets_the_next_side_that_it_draws(levels, side):
    channels = [2] * levels
    assert fitting_side("hourglass", {"channels": channels}, side) == _next_drawn(hourglass(channels=channels), side)


@given(k=st.integers(1, 4), side=st.integers(1, 40))
@settings(deadline=None, max_examples=40)
def test_the_decoder_gets_the_next_side_that_it_draws(k, side):
    assert fitting_side("deep_decoder", {"k": k}, side) == _next_drawn(deep_decoder(width=2, k=k), side)


@pytest.mark.parametrize(("side", "fitting"), [(512, 512), (480, 512), (192, 192), (128, 192), (200, 256)])
def test_defaults_are_those_of_the_builder(side, fitting):
    assert fitting_side("hourglass", {}, side) == fitting


def test_other_models_take_any_side():
    assert fitting_side("resnet_small", {}, 7) == 7


def test_no_torch_is_needed():
    code = "import sys; from prunelib.models import sizes; sizes.fitting_side('hourglass', {}, 64)"
    code += "; print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"
