"""torchvision's classifiers by name."""

import pytest
import torch

from prunelib.channels.groups import find_groups
from prunelib.errors import ConfigError
from prunelib.models.build import build


def make(classes=5, in_channels=3, **options):
    return build({"builder": "torchvision", "options": options}, 0, classes=classes, in_channels=in_channels)


def test_any_number_of_channels_and_classes():
    model = make(classes=7, in_channels=1, name="mobilenet_v2")
    assert model.eval()(torch.zeros(2, 1, 32, 32)).shape == (2, 7)


def test_card_sets_of_mobilenet():
    groups, _ = find_groups(make(classes=1000, name="mobilenet_v2"), torch.randn(1, 3, 32, 32))
    assert (len({group.signature for group in groups}), len(groups)) == (6, 25)


def test_a_seed_fixes_the_weights():
    first, second = (make(name="squeezenet1_1", in_channels=2).state_dict() for _ in range(2))
    assert all(torch.equal(tensor, second[name]) for name, tensor in first.items())


def test_auxiliary_classifiers_are_left_out():
    assert make(name="googlenet").train()(torch.zeros(2, 3, 64, 64)).shape == (2, 5)


def test_an_unknown_name_gets_a_hint():
    with pytest.raises(ConfigError, match=r"no architecture 'mobilenetv2' in torchvision.*Did you mean 'mobilenet_v2'"):
        make(name="mobilenetv2")


def test_options_that_an_architecture_lacks_are_refused():
    with pytest.raises(ConfigError, match="'resnet18' does not take these options"):
        make(name="resnet18", image_side=64)
