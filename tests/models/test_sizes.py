"""The side rules are known without torch and say exactly which sides the generators draw."""

import subprocess
import sys

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from prunelib.models.deep_decoder import deep_decoder
from prunelib.models.hourglass import hourglass
from prunelib.models.sizes import check_side


def _draws(network, side):
    """Whether the network turns the input for a square image into an image of that side."""
    try:
        return network(torch.rand(network.input_shape(side, side))).shape[-2:] == (side, side)
    except (RuntimeError, ValueError):
        return False


@given(levels=st.integers(1, 3), side=st.integers(1, 50))
@settings(deadline=None, max_examples=60)
def test_the_hourglass_rule_is_what_the_network_draws(levels, side):
    channels = [2] * levels
    assert (check_side("hourglass", {"channels": channels}, side) is None) == _draws(hourglass(channels=channels), side)


@given(k=st.integers(1, 4), side=st.integers(1, 50))
@settings(deadline=None, max_examples=60)
def test_the_decoder_rule_is_what_the_network_draws(k, side):
    assert (check_side("deep_decoder", {"k": k}, side) is None) == _draws(deep_decoder(width=2, k=k), side)


@pytest.mark.parametrize(("side", "fits"), [(512, True), (480, False), (192, True), (128, False), (200, False)])
def test_defaults_are_those_of_the_builder(side, fits):
    assert (check_side("hourglass", {}, side) is None) == fits


def test_the_sentence_names_what_is_allowed():
    assert check_side("hourglass", {"channels": [8, 8, 8]}, 20) == (
        "an hourglass of 3 levels needs a multiple of 8, at least 24 pixels."
    )
    assert check_side("deep_decoder", {"k": 4}, 20) == "a deep decoder with k = 4 needs a multiple of 16 pixels."


def test_other_models_take_any_side():
    assert check_side("resnet_small", {}, 7) is None


def test_no_torch_is_needed():
    code = "import sys; from prunelib.models import sizes; sizes.check_side('hourglass', {}, 64)"
    code += "; print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"
