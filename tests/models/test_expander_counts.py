"""The expanders' table of parameters and kept weights, row by row: families, degrees, architectures, both data sets.

Kept weights follow the graphs of each network's own layers; the networks are built without memory.
"""

from dataclasses import dataclass
from functools import cache

import numpy as np
import pytest
import torch

from prunelib.methods.expander.budgets import edges_at, kept
from prunelib.methods.expander.draw import Rules, draw
from prunelib.methods.expander.graphs import stubs
from prunelib.methods.expander.layers import Layer, masked_layers
from prunelib.models.build import build

CLASSES = (10, 200)


@dataclass(frozen=True)
class Net:
    """How a network is built, and what its layers count: maskable weights, sparse layers, parameters always dense."""

    builder: str
    options: tuple[tuple[str, object], ...]
    maskable: int
    sparse: int
    dense: tuple[int, int]


IMAGENET = (("stem", "imagenet"),)
NETS = {
    "VGG": Net("vgg", (("conv_bias", False),), 14_972_608, 14, (14_090, 111_560)),
    "R18": Net("resnet18", IMAGENET, 11_157_504, 19, (24_138, 121_608)),
    "R34": Net("resnet34", IMAGENET, 21_258_240, 35, (31_562, 129_032)),
    "R50": Net("resnet50", IMAGENET, 23_445_504, 52, (83_018, 472_328)),
    "R101": Net("resnet101", IMAGENET, 42_385_408, 103, (135_242, 524_552)),
    "R152": Net("resnet152", IMAGENET, 57_982_976, 154, (181_322, 570_632)),
}

# network, degree, kept weights of: rreg_merge (a mean of draws), xnet and random, rreg
TABLE = [
    ("VGG", 3, 114_813, 101_841, 115_584),
    ("VGG", 15, 557_848, 509_205, 571_008),
    ("VGG", 30, 1_086_657, 1_018_410, 1_140_288),
    ("VGG", 60, 2_066_425, 2_036_820, 2_278_848),
    ("R18", 3, 106_001, 92_928, 106_368),
    ("R18", 15, 514_965, 464_640, 531_840),
    ("R34", 3, 205_926, 193_152, 206_592),
    ("R34", 15, 1_002_232, 965_760, 1_032_960),
    ("R50", 3, 197_544, 158_208, 198_144),
    ("R50", 15, 964_091, 791_040, 990_720),
    ("R101", 3, 418_738, 340_992, 420_096),
    ("R101", 15, 2_044_860, 1_704_960, 2_100_480),
    ("R152", 3, 613_876, 502_272, 615_936),
    ("R152", 15, 2_995_575, 2_511_360, 3_079_680),
]

# network, degree: all parameters of rreg_merge and of xnet with 10 classes, and with 200 (in percent of the dense one)
TOTALS = {
    ("VGG", 3): ((128_903, 0.860, 115_931, 0.773), (226_373, 1.50, 213_401, 1.41)),
    ("VGG", 15): ((571_938, 3.82, 523_295, 3.49), (669_408, 4.44, 620_765, 4.11)),
    ("VGG", 30): ((1_100_747, 7.34, 1_032_500, 6.89), (1_198_217, 7.94, 1_129_970, 7.49)),
    ("VGG", 60): ((2_080_515, 13.88, 2_050_910, 13.68), (2_177_985, 14.4, 2_148_380, 14.2)),
    ("R18", 3): ((130_139, 1.16, 117_066, 1.05), (227_609, 2.02, 214_536, 1.90)),
    ("R18", 15): ((539_103, 4.82, 488_778, 4.37), None),
    ("R34", 3): ((237_488, 1.12, 224_714, 1.06), (334_958, 1.57, 322_184, 1.51)),
    ("R34", 15): ((1_033_794, 4.86, 997_322, 4.69), None),
    ("R50", 3): ((280_562, 1.19, 241_226, 1.03), (669_872, 2.80, 630_536, 2.64)),
    ("R50", 15): ((1_047_109, 4.45, 874_058, 3.72), None),
    ("R101", 3): ((553_980, 1.30, 476_234, 1.12), (943_290, 2.20, 865_544, 2.02)),
    ("R101", 15): ((2_180_102, 5.13, 1_840_202, 4.33), None),
    ("R152", 3): ((795_198, 1.37, 683_594, 1.18), (1_184_508, 2.02, 1_072_904, 1.83)),
    ("R152", 15): ((3_176_897, 5.46, 2_692_682, 4.63), None),
}
DENSE = {  # parameters of the dense networks, whose VGG has biases
    "VGG": (14_990_922, 15_088_392),
    "R18": (11_181_642, 11_279_112),
    "R34": (21_289_802, 21_387_272),
    "R50": (23_528_522, 23_917_832),
    "R101": (42_520_650, 42_909_960),
    "R152": (58_164_298, 58_553_608),
}


@cache
def network(name, classes=10, **options):
    net = NETS[name]
    with torch.device("meta"):
        return build(
            {"builder": net.builder, "options": dict(net.options) | options}, 0, classes=classes, in_channels=3
        )


@cache
def layers(name):
    """The paper's choice: all of VGG but its classifier; of a ResNet neither the stem nor the classifier."""
    return masked_layers(network(name), classifier=True, dense_first=name != "VGG")


def drawn(family, name, degree, seed=0):
    """Weights kept along the graphs that a network gets."""
    rules = Rules(family, 1, "degree", False, name != "VGG", True, None, None)
    graphs = draw(rules, network(name), {"kind": "degree", "value": degree}, seed, True)
    return sum(graph.nnz * layers(name)[layer].kernel for layer, graph in graphs.items())


def parameters(model):
    return sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)


@pytest.mark.parametrize("name", NETS)
def test_maskable_weights_layers_and_dense_parameters(name):
    net = NETS[name]
    assert len(layers(name)) == net.sparse
    assert sum(layer.size for layer in layers(name).values()) == net.maskable
    assert tuple(parameters(network(name, classes)) - net.maskable for classes in CLASSES) == net.dense
    biases = {"conv_bias": True} if name == "VGG" else {}
    assert tuple(parameters(network(name, classes, **biases)) for classes in CLASSES) == DENSE[name]


@pytest.mark.parametrize(("name", "degree", "merged", "left", "simple"), TABLE)
def test_kept_weights_of_every_row(name, degree, merged, left, simple):
    assert drawn("rreg", name, degree) == simple
    assert drawn("xnet", name, degree) == drawn("random", name, degree) == left
    assert drawn("rreg_merge", name, degree) == pytest.approx(merged, rel=0.004)
    if degree == 3:
        spread = sum(layer.kernel**2 * stubs("random", layer.n_in, layer.n_out, 3) for layer in layers(name).values())
        assert drawn("random_pairs", name, degree) == pytest.approx(left, abs=4 * spread**0.5)
    edges = {at: edges_at("rreg", layer, degree) for at, layer in layers(name).items()}
    assert kept(edges, layers(name)) == simple


@pytest.mark.parametrize(("name", "degree", "merged", "left", "simple"), TABLE)
def test_total_parameters_of_every_row(name, degree, merged, left, simple):
    for index, row in enumerate(TOTALS[name, degree]):
        if row is None:
            continue
        merged_total, merged_share, left_total, left_share = row
        whole = parameters(network(name, CLASSES[index]))  # the authors' counter: parameters - zeros of the masks
        zeros = NETS[name].maskable - left
        assert whole - zeros == left_total
        assert whole - (NETS[name].maskable - merged) == merged_total
        assert 100 * left_total / DENSE[name][index] == pytest.approx(left_share, rel=0.006)
        assert 100 * merged_total / DENSE[name][index] == pytest.approx(merged_share, rel=0.006)
        found = whole - NETS[name].maskable + drawn("rreg_merge", name, degree)
        assert found == pytest.approx(merged_total, rel=0.004)


@pytest.mark.parametrize("name", list(NETS)[1:])
def test_the_small_stem_changes_nothing_but_the_stem(name):
    small = network(name, 10, stem="cifar")
    assert masked_layers(small, True, dense_first=True) == layers(name)
    assert parameters(network(name)) - parameters(small) == 64 * 3 * (49 - 9)
    stem = Layer.of(small.conv1)
    assert (stem.n_in, stem.n_out, stem.sides) == (3, 64, (3, 3))


def test_distinct_shapes_of_the_networks():
    distinct = {name: len({(layer.n_in, layer.n_out) for layer in layers(name).values()}) for name in NETS}
    assert distinct["VGG"] == 8
    assert distinct["R18"] == distinct["R34"] == 7
    assert distinct["R50"] == distinct["R101"] == distinct["R152"] == 18


def test_a_single_draw_of_the_authors_lies_in_the_spread():
    vgg, r18 = (np.array([drawn("rreg_merge", name, 3, seed) for seed in range(8)]) for name in ("VGG", "R18"))
    assert abs(114_736 - vgg.mean()) < 4 * vgg.std()
    assert abs(105_908 - r18.mean()) < 4 * r18.std()


# Layer patterns on networks of timm and torchvision: which layers, how many weights.
def test_patterns_on_a_timm_network():
    with torch.device("meta"):
        model = build({"builder": "timm", "options": {"name": "mobilenetv2_050"}}, 0, classes=10, in_channels=3)
    every = masked_layers(model, classifier=True)
    depthwise = masked_layers(model, classifier=True, only=[":depthwise"])
    pointwise = masked_layers(model, classifier=True, only=[":pointwise"])
    assert len(every) == len(depthwise) + len(pointwise) + 1  # and the stem
    assert len(depthwise) == 17
    assert all((layer.n_in, layer.n_out, layer.kernel) == (1, 1, 9) for layer in depthwise.values())
    expanding = masked_layers(model, classifier=True, only=["blocks.?.*.conv_pw"], dense=["blocks.[0-4].*"])
    assert list(expanding) == [f"blocks.{at}.conv_pw.weight" for at in ("5.0", "5.1", "5.2", "6.0")]
    rules = Rules("rreg", 1, "degree", False, False, True, [":pointwise"], ["blocks.0.*"])
    graphs = draw(rules, model, {"kind": "degree", "value": 2}, 0, True)
    assert set(pointwise) - set(graphs) == {"blocks.0.0.conv_pw.weight"}
    assert all(graph.nnz == 2 * max(graph.shape) for graph in graphs.values())


def test_patterns_on_a_torchvision_network():
    with torch.device("meta"):
        model = build({"builder": "alexnet", "options": {}}, 0, classes=10, in_channels=3)
    linear = masked_layers(model, classifier=True, only=[":linear"])
    assert {name: (layer.n_in, layer.n_out) for name, layer in linear.items()} == {
        "classifier.1.weight": (9216, 4096),
        "classifier.4.weight": (4096, 4096),
    }
    convolutions = masked_layers(model, classifier=True, only=["features.*"], dense_first=True)
    assert [layer.sides for layer in convolutions.values()] == [(5, 5), (3, 3), (3, 3), (3, 3)]
    graphs = draw(
        Rules("xnet", 1, "erk", False, True, True, ["features.*"], None), model, {"kind": "degree", "value": 4}, 0, True
    )
    expected = sum(4 * layer.n_in * layer.kernel for layer in convolutions.values())
    found = sum(graph.nnz * convolutions[name].kernel for name, graph in graphs.items())
    assert expected - 4 * 25 <= found <= expected
