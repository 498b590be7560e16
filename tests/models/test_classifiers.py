"""Parameter counts of the classifiers, exactly those of the papers' networks, and their initial weights."""

import math

import pytest
import torch
from torch import nn

from prunelib.measure.cost import macs
from prunelib.models.build import build
from prunelib.tasks.base import prunable

# (10 classes, 200 classes), counted on the expanders' networks; 224-pixel ResNets are torchvision's.
DENSE = {
    "resnet18": (11_181_642, 11_279_112),
    "resnet34": (21_289_802, 21_387_272),
    "resnet50": (23_528_522, 23_917_832),
    "resnet101": (42_520_650, 42_909_960),
    "resnet152": (58_164_298, 58_553_608),
}


def _meta(builder, classes, **options):
    """Build without memory: counts need shapes only."""
    with torch.device("meta"):
        return build({"builder": builder, "options": options}, 0, classes=classes, in_channels=3)


def _count(model):
    return sum(parameter.numel() for parameter in model.parameters())


@pytest.mark.parametrize(("builder", "counts"), DENSE.items())
def test_residual_networks_with_the_large_stem(builder, counts):
    assert tuple(_count(_meta(builder, classes, stem="imagenet")) for classes in (10, 200)) == counts


@pytest.mark.parametrize(("builder", "counts"), DENSE.items())
def test_the_small_stem_has_3x3_instead_of_7x7_filters(builder, counts):
    assert _count(_meta(builder, 10, stem="cifar")) == counts[0] - 64 * 3 * (49 - 9)


def test_vgg16():
    assert _count(_meta("vgg", 10)) == 14_990_922
    assert _count(_meta("vgg", 200)) == 15_088_392
    bare = _meta("vgg", 10, conv_bias=False)
    assert _count(bare) == 14_990_922 - 4_224
    assert sum(weight.numel() for weight in prunable(bare).values()) == 14_972_608 + 512 * 10


def test_macs_of_known_networks():
    with torch.device("meta"):
        assert macs(_meta("resnet50", 1000, stem="imagenet"), torch.zeros(2, 3, 224, 224)) == 4_089_184_256
        assert macs(_meta("resnet18", 10, stem="cifar"), torch.zeros(1, 3, 32, 32)) == 555_422_720
        assert macs(_meta("vgg", 10), torch.zeros(2, 3, 32, 32)) == 313_463_808


def test_resnet20_has_the_parameters_of_the_published_one_and_its_projections():
    projections = 16 * 32 + 2 * 32 + 32 * 64 + 2 * 64
    assert _count(_meta("resnet_small", 10)) == 269_722 + projections


@pytest.mark.parametrize("side", [8, 16, 32])
def test_small_networks_take_small_images(side):
    for builder, options in [("resnet_small", {"width": 4}), ("vgg", {"plan": [4, "M", 4], "hidden": 0})]:
        network = build({"builder": builder, "options": options}, 0, classes=7, in_channels=1)
        assert network(torch.zeros(2, 1, side, side)).shape == (2, 7)


def test_vgg_hidden_zero_has_one_linear_layer():
    network = build({"builder": "vgg", "options": {"plan": [4], "hidden": 0}}, 0, classes=7, in_channels=1)
    assert [layer.in_features for layer in network.modules() if isinstance(layer, nn.Linear)] == [4]


def test_initial_weights_follow_the_cards():
    network = build({"builder": "vgg", "options": {"plan": [64, 256], "hidden": 512}}, 0, classes=10, in_channels=64)
    convolutions = [module for module in network.modules() if isinstance(module, nn.Conv2d)]
    for layer in convolutions:
        assert layer.weight.std().item() == pytest.approx(math.sqrt(2 / (9 * layer.out_channels)), rel=0.02)
        assert not layer.bias.any()
    hidden = network.classifier[0]
    assert hidden.weight.std().item() == pytest.approx(0.01, rel=0.02)
    residual = build({"builder": "resnet_small", "options": {}}, 0, classes=10, in_channels=3)
    norms = [module for module in residual.modules() if isinstance(module, nn.BatchNorm2d)]
    assert all(bool((norm.weight == 1).all()) and not norm.bias.any() for norm in norms)
    assert residual.fc.weight.abs().max().item() <= 1 / math.sqrt(64)


# Card of the ising papers, section 2.4: small stem; (10, 100, 102 classes in colour, 10 classes in grey).
ISING = {
    "resnet18": (11_173_962, 11_220_132, 11_221_158, 11_172_810),
    "resnet34": (21_282_122, 21_328_292, 21_329_318, 21_280_970),
    "resnet50": (23_520_842, 23_705_252, 23_709_350, 23_519_690),
    "resnet101": (42_512_970, 42_697_380, 42_701_478, 42_511_818),
}


@pytest.mark.parametrize(("builder", "counts"), ISING.items())
def test_the_ising_papers_networks(builder, counts):
    assert tuple(_count(_meta(builder, classes)) for classes in (10, 100, 102)) == counts[:3]
    with torch.device("meta"):
        assert _count(build({"builder": builder, "options": {}}, 0, classes=10, in_channels=1)) == counts[3]
