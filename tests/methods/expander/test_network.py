"""The network as one graph: marks and path counts against products of matrices, and the card's layer collapse."""

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from scipy import sparse
from torch import nn

from prunelib.methods.expander.draw import Rules, draw
from prunelib.methods.expander.layers import Layer, graphs_of, mask_of, modules_of
from prunelib.methods.expander.network import flow
from prunelib.models.build import build
from prunelib.models.resnet import BasicBlock, resnet_small
from prunelib.models.vgg import vgg

EXAMPLE = torch.zeros(1, 3, 32, 32)


def rules(family, **options):
    settings = {"candidates": 1, "allocation": "degree", "share_graphs": False, "dense_first": False}
    return Rules(family, **{**settings, "shortcuts": True, "only": None, "dense": None, **options})


def drawn(family, model, degree, seed=0, **options):
    return draw(rules(family, **options), model, {"kind": "degree", "value": degree}, seed, True)


def weighted(graphs, model):
    return graphs_of(mask_of(graphs, model), model)


def biadjacency(rows):
    return sparse.csr_array(np.array(rows))


def chain(*widths):
    """Convolutions in a row, with norms, pooling and a classifier."""
    layers = []
    for n_in, n_out in pairwise(widths[:-1]):
        layers += [nn.Conv2d(n_in, n_out, 3, padding=1), nn.BatchNorm2d(n_out), nn.ReLU(), nn.MaxPool2d(2)]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(widths[-2], widths[-1]))


def test_paths_of_a_chain_are_products_of_its_matrices():
    model = chain(3, 8, 12, 5)
    graphs = drawn("random_pairs", model, 2)
    first, second = (graph.toarray().astype(int) for graph in graphs.values())
    found = flow(weighted(graphs, model), model, torch.zeros(1, 3, 16, 16))
    names = list(modules_of(model))
    reached, product = first.sum(0) > 0, first @ second
    assert np.array_equal(found.out[names[0]], reached)
    assert np.array_equal(found.out[names[1]], product.sum(0) > 0)
    assert np.array_equal(found.on[names[0]], second.sum(1) > 0)
    assert found.log10_paths[names[0]] == pytest.approx(math.log10(first.sum()))
    assert found.log10_paths[names[1]] == pytest.approx(math.log10(product.sum()))
    assert found.log10_paths[names[2]] == pytest.approx(math.log10(5 * product.sum()))
    assert found.effective[names[1]] == 9 * int(second[reached].sum())
    assert found.effective[names[0]] == 9 * int(first[:, second.sum(1) > 0].sum())
    values = np.linalg.svd(product.astype(float), compute_uv=False)
    assert found.mixing == pytest.approx(values[1] / values[0])


def test_shortcuts_add_paths_and_keep_channels_alive():
    block = BasicBlock(4, 4, 1)
    model = nn.Sequential(block, nn.Conv2d(4, 2, 1))
    empty = sparse.csr_array((4, 4), dtype=np.int64)
    graphs = {"0.conv1.weight": biadjacency(9 * np.eye(4, dtype=int)), "0.conv2.weight": empty}
    found = flow(graphs, model, torch.zeros(1, 4, 8, 8))
    assert found.log10_paths["1.weight"] == pytest.approx(math.log10(4 * 2))  # the identity alone
    assert not found.on["0.conv1.weight"].any()
    assert found.effective == {"0.conv1.weight": 0, "0.conv2.weight": 0}
    ones = {**graphs, "0.conv2.weight": biadjacency(np.ones((4, 4), dtype=int))}
    found = flow(ones, model, torch.zeros(1, 4, 8, 8))
    assert found.log10_paths["1.weight"] == pytest.approx(math.log10(2 * (4 + 16)))
    assert found.effective == {"0.conv1.weight": 36, "0.conv2.weight": 16}


def test_a_dead_layer_kills_everything_behind_and_before_it():
    model = chain(3, 8, 12, 5)
    names = list(modules_of(model))
    found = flow({names[1]: sparse.csr_array((8, 12), dtype=np.int64)}, model, torch.zeros(1, 3, 16, 16))
    assert found.out[names[0]].all()
    assert not found.out[names[1]].any()
    assert not found.on[names[0]].any()
    assert found.on[names[1]].all()
    assert found.log10_paths[names[2]] == -math.inf
    assert found.mixing == 1


def test_trained_weights_biases_and_norms_do_not_matter():
    model = resnet_small(10, 3, width=8, blocks=1)
    graphs = weighted(drawn("xnet", model, 2), model)
    before = flow(graphs, model, EXAMPLE)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.uniform_(-1, 1, generator=torch.Generator().manual_seed(0))
    after = flow(graphs, model, EXAMPLE)
    assert before.effective == after.effective
    assert before.log10_paths == after.log10_paths


def test_dense_deep_networks_do_not_overflow():
    model = build({"builder": "resnet101", "options": {"width": 16}}, 0, classes=10, in_channels=3)
    found = flow({}, model, torch.zeros(1, 3, 8, 8))
    inner = [(16, 64, 3), (32, 128, 4), (64, 256, 23), (128, 512, 3)]
    total, incoming = math.log10(3 * 16), 16
    for width, outgoing, blocks in inner:
        for _ in range(blocks):  # through the block, or through its shortcut: a projection, later the identity
            shortcut = outgoing if incoming != outgoing else 1
            total += math.log10(width * width * outgoing + shortcut)
            incoming = outgoing
    assert found.log10_paths["fc.weight"] == pytest.approx(total + 1, abs=0.01)


def test_counts_and_layouts_survive_groups_and_transposition():
    model = nn.Sequential(nn.Conv2d(8, 12, 3, groups=4), nn.ConvTranspose2d(12, 6, 4, stride=2, groups=2))
    rng = torch.Generator().manual_seed(0)
    for name, module in modules_of(model).items():
        layer = Layer.of(module)
        kept = torch.rand(module.weight.shape, generator=rng) < 0.3
        graph = layer.graph(kept)
        assert graph.shape == (layer.n_in * layer.groups, layer.n_out * layer.groups)
        assert graph.sum() == kept.sum()
        whole = kept.flatten(2).any(2)[..., None, None].expand_as(kept)
        assert torch.equal(mask_of({name: graph}, model)[name], whole)
        assert (graph.data > 0).all()


def collapse(family, degree, draws=4):
    """Mean over draws: the share of channels reached behind each convolution, and of weights on a path."""
    model = vgg(10, 3, conv_bias=False)
    reached, effective = [], []
    for seed in range(draws):
        graphs = weighted(drawn(family, model, degree, seed), model)
        found = flow(graphs, model, EXAMPLE)
        reached.append([found.out[name].mean() for name in list(graphs)[:13]])
        effective.append(sum(found.effective.values()) / sum(graph.sum() for graph in graphs.values()))
    return np.mean(reached, axis=0), np.mean(effective)


# The card's section 1.6, last paragraph: VGG16 with masks applied, 20 draws.
@pytest.mark.parametrize(
    ("family", "shares", "effective"),
    [
        ("xnet", [0.13, 0.33, 0.39, 0.70, 0.65, 0.86, 0.93, 0.75, 0.90, 0.94], 0.83),
        ("random_pairs", [0.13, 0.31, 0.37, 0.66, 0.63, 0.84, 0.92, 0.75, 0.90, 0.93], 0.78),
    ],
)
def test_vgg16_collapses_at_degree_three(family, shares, effective):
    reached, on_path = collapse(family, 3)
    assert reached[:10] == pytest.approx(shares, abs=0.1)
    assert reached[5:10] == pytest.approx(shares[5:], abs=0.04)
    assert on_path == pytest.approx(effective, abs=0.04)


@pytest.mark.parametrize("family", ["rreg_merge", "rreg"])
def test_biregular_graphs_keep_every_channel_of_vgg16(family):
    reached, on_path = collapse(family, 3, draws=2)
    assert reached.min() == 1
    assert on_path == 1


def test_at_degree_fifteen_only_the_first_layer_suffers():
    reached, on_path = collapse("xnet", 15, draws=2)
    assert reached[0] == pytest.approx(0.55, abs=0.08)
    assert reached[1:].min() == 1
    assert on_path == pytest.approx(0.992, abs=0.003)
