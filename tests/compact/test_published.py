"""Compaction of full-size generators under masks with the layer counts of the published ones."""

import copy
import csv
from pathlib import Path

import pytest
import torch

from benchmarks.published_masks import HEAD_BIASES, NORMS, WEIGHTS, published_like
from prunelib.compact.shrink import shrunk
from prunelib.compact.slim import compacted
from prunelib.masks.mask import Mask
from prunelib.measure.cost import macs, parameters
from prunelib.models.hourglass import hourglass

LAYERS = Path(__file__).parents[3] / "shared" / "facts" / "oes" / "oes_mask_layers.csv"
# GMAC of one pass at 512 x 512 that the published masks leave; stated to two digits.
PUBLISHED = {"baboon": 5.11, "barbara": 5.14, "lena": 3.94, "pepper": 3.76}
KEPT, PARAMETERS, DENSE = 150_443, 3_008_867, 12.63


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return hourglass()


@pytest.fixture(scope="module")
def example():
    return 0.1 * torch.rand(1, 32, 192, 192, generator=torch.Generator().manual_seed(0))  # the smallest there is


def _gmac(network):
    """At 512 x 512, without computing anything."""
    return macs(copy.deepcopy(network).to("meta"), torch.zeros(1, 32, 512, 512, device="meta")) / 1e9


def test_the_dense_network_costs_what_the_paper_has(model):
    assert _gmac(model) == pytest.approx(DENSE, abs=0.005)


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_compacted_generator_costs_what_the_published_mask_leaves(model, example, name):
    mask = published_like(name)
    assert (mask.kept, mask.size) == (KEPT, PARAMETERS)
    small = compacted(model, mask, example)
    assert _gmac(small) == pytest.approx(PUBLISHED[name], abs=0.005)
    masked = copy.deepcopy(model)
    mask.apply_(masked)
    for mode in (False, True):  # generators are used in training mode: their norms see one image
        with torch.no_grad():
            difference = small.train(mode)(example) - masked.train(mode)(example)
        assert difference.abs().max() <= 1e-5
    widths = [layer.num_features for layer in small.modules() if isinstance(layer, torch.nn.BatchNorm2d)]
    assert len(widths) == 24 and sum(widths) == sum(NORMS[name]) + sum(NORMS[name][11:17])


def test_training_can_use_what_is_left_of_a_published_mask(model, example):
    mask = published_like("pepper")
    small = shrunk(model, mask, example)
    assert parameters(small.network) == small.mask.size < 0.35 * PARAMETERS
    assert small.mask.kept == mask.kept  # all weights lie between live channels
    with torch.no_grad():
        masked = copy.deepcopy(model)
        mask.apply_(masked)
        assert (small.network(example) - masked(example)).abs().max() <= 1e-5


def test_filters_that_keep_nothing_empty_their_channels(model, example):
    """A live scale behind an empty filter without shift still gives nothing but zeros."""
    tensors = dict(published_like("lena"))
    tensors["encoder.level2.conv2.weight"] = tensors["encoder.level2.conv2.weight"].clone()
    live = tensors["encoder.level2.bn2.weight"].nonzero().flatten()
    tensors["encoder.level2.conv2.weight"][live[:5]] = False
    small = compacted(model, Mask(tensors), example)
    assert small.encoder.level2.bn2.num_features == len(live) - 5
    masked = copy.deepcopy(model)
    Mask(tensors).apply_(masked)
    with torch.no_grad():
        assert (small.train()(example) - masked(example)).abs().max() <= 1e-5


@pytest.mark.skipif(not LAYERS.exists(), reason=f"no table of the published masks at {LAYERS}")
@pytest.mark.parametrize("name", PUBLISHED)
def test_the_counts_are_those_of_the_table(name):
    column = f"{name}_5pct"
    with open(LAYERS, encoding="utf-8") as file:
        kept = [(row["our_name"], row["shape"].count("x"), int(row[column])) for row in csv.DictReader(file)]
    assert sum(count for *_, count in kept) == KEPT
    assert [count for layer, axes, count in kept if axes == 3] == WEIGHTS[name]
    scales = [(layer, count) for layer, axes, count in kept if "bn" in layer and layer.endswith(".weight")]
    assert [count for layer, count in scales if "upbn" not in layer] == NORMS[name]
    assert [count for layer, count in scales if "upbn" in layer] == NORMS[name][11:17]
    assert kept[-1][2] == HEAD_BIASES[name]
    layers = list(published_like(name).layers())
    assert [count for *_, count in kept] == [count for _, _, count, _ in layers]
