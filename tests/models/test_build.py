"""A seed fixes a network's initial weights, whatever else has been drawn."""

import pytest
import torch

from prunelib.errors import ConfigError
from prunelib.models.build import NUMBERS, TENSORS, Undrawn, build, global_stream

SMALL = {"builder": "resnet_small", "options": {"width": 4, "blocks": 1}}


def _state(seed):
    return build(SMALL, seed, classes=3, in_channels=1).state_dict()


def test_equal_seeds_give_equal_bits_whatever_was_drawn_before():
    first = _state(5)
    torch.rand(17)
    second = _state(5)
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert any(not torch.equal(first[name], _state(6)[name]) for name in first)


def test_building_leaves_the_global_generator_where_it_was():
    torch.manual_seed(1)
    before = torch.get_rng_state()
    _state(0)
    assert torch.equal(before, torch.get_rng_state())


def test_global_streams_differ_by_purpose_and_part():
    draws = set()
    for purpose, part in [("dropout", 0), ("dropout", 1), ("init", 0)]:
        with global_stream(0, purpose, part):
            draws.add(torch.rand(1).item())
    assert len(draws) == 3


def test_a_missing_fact_is_named():
    with pytest.raises(ConfigError, match="'resnet_small' needs classes, in_channels"):
        build(SMALL, 0)


def test_facts_a_builder_does_not_take_are_left_out():
    assert build(SMALL, 0, classes=3, in_channels=1, unused=9).fc.out_features == 3


@pytest.mark.parametrize("name", ["vit_7b_patch16_dinov3", "eva02_enormous_patch14_clip_224", "mvitv2_huge_cls"])
def test_the_largest_networks_of_timm_may_come_from_a_file(name: str) -> None:
    """6.7 * 10^9 and 4.3 * 10^9 numbers, 1850 tensors; without memory for any."""
    with torch.device("meta"), Undrawn() as counted:
        build({"builder": "timm", "options": {"name": name}}, 0, classes=1000, in_channels=3)
    assert NUMBERS / 20 < counted.numbers <= NUMBERS
    assert counted.tensors <= TENSORS
