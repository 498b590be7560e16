from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from prunelib import registry
from prunelib.errors import MethodError
from prunelib.methods.expander.graphs import sample
from prunelib.methods.expander.layers import graphs_of
from prunelib.methods.expander.mask import expander
from prunelib.models.resnet import resnet18, resnet_small
from prunelib.models.vgg import vgg
from prunelib.seeds import generator

FAMILIES = registry.names("family")


def tiny():
    return vgg(10, 1, plan=[16, 32, "M", 64, 64], hidden=64, dropout=0.0, conv_bias=False)


def find(family, build=tiny, budget=3, kind="degree", seed=0, task="classify", **options):
    """Run the method as the find-mask step does, on a network instead of a data set."""
    stand_in = SimpleNamespace(kind=task, seed=seed, build=build)
    budget = {"kind": kind, "value": budget}
    return expander(stand_in, budget, generator(seed, "search"), family=family, **options)


def sides(mask, build=tiny):
    """Inputs, outputs and edges of every masked layer's graph, as columns; the classifier is left out."""
    graphs = list(graphs_of(mask, build()).values())[:-1]
    return (np.array(column) for column in zip(*[(*graph.shape, graph.nnz) for graph in graphs], strict=True))


@pytest.mark.parametrize("family", FAMILIES)
def test_whole_kernels_follow_the_graph_of_their_layer(family):
    mask = find(family, seed=5, candidates=1)
    for name, n_in, n_out in [
        ("features.0.weight", 1, 16),
        ("features.3.weight", 16, 32),
        ("classifier.0.weight", 64, 64),
    ]:
        graph = sample(family, n_in, n_out, 3, 5, name).toarray()
        kept = mask[name].reshape(n_out, n_in, -1)
        assert torch.equal(kept.any(2), kept.all(2))
        assert np.array_equal(kept.any(2).numpy().T, graph)


@pytest.mark.parametrize("family", FAMILIES)
def test_all_convolutions_and_hidden_layers_are_sparse_and_the_classifier_is_dense(family):
    mask = find(family, candidates=1)
    kept = {name: (count, size) for name, _, count, size in mask.layers()}
    assert list(kept) == [f"features.{i}.weight" for i in (0, 3, 7, 10)] + [
        "classifier.0.weight",
        "classifier.3.weight",
    ]
    assert kept["classifier.3.weight"] == (640, 640)
    assert all(count < size / 4 for count, size in list(kept.values())[1:-1])
    *_, edges = sides(mask)
    assert (edges * [9, 9, 9, 9, 1]).tolist() == [count for count, _ in list(kept.values())[:-1]]


def test_exact_counts_of_a_small_network():
    # rreg: 16·1 (a grey image clamps the degree), then 3 edges per channel of the larger side; xnet: 3 edges per input
    assert find("rreg").kept == 9 * (16 + 3 * (32 + 64 + 64)) + 3 * 64 + 640
    assert find("xnet").kept == 9 * 3 * (1 + 16 + 32 + 64) + 3 * 64 + 640


@pytest.mark.parametrize(("degree", "simple", "left"), [(3, 115_584, 101_841), (15, 571_008, 509_205)])
def test_kept_weights_of_vgg16(degree, simple, left):
    build = lambda: vgg(10, 3, conv_bias=False)  # noqa: E731
    assert find("rreg", build, degree).kept == simple + 5_120
    assert find("random", build, degree).kept == left + 5_120
    mask = find("xnet", build, degree)
    assert mask.kept == left + 5_120
    assert mask.size == 14_972_608 + 5_120


def test_kept_weights_of_resnet18_with_a_dense_stem():
    build = lambda: resnet18(10, 3, stem="imagenet")  # noqa: E731
    mask = find("rreg", build, dense_first=True)
    stem, classifier = 7 * 7 * 3 * 64, 512 * 10
    assert mask.kept == 106_368 + stem + classifier
    assert mask.size == 11_157_504 + stem + classifier
    assert find("xnet", build, dense_first=True).kept == 92_928 + stem + classifier


def test_stem_and_shortcuts_stay_dense_on_demand():
    build = lambda: resnet_small(10, 3, width=8, blocks=1)  # noqa: E731
    dense = lambda mask: {name for name, _, kept, size in mask.layers() if kept == size}  # noqa: E731
    shortcuts = {f"stages.{i}.0.downsample.0.weight" for i in (1, 2)}
    assert dense(find("xnet", build)) == {"fc.weight"}
    assert dense(find("xnet", build, dense_first=True)) == {"fc.weight", "conv1.weight"}
    assert dense(find("xnet", build, shortcuts=False)) == {"fc.weight"} | shortcuts


@pytest.mark.parametrize("family", ["rreg", "xnet", "random"])
@pytest.mark.parametrize("density", [0.03, 0.1, 0.25, 0.5, 0.9])
def test_a_density_is_met_by_one_common_degree(family, density):
    mask = find(family, budget=density, kind="density")
    assert mask.kept <= int(density * mask.size)
    assert mask.kept == pytest.approx(density * mask.size, abs=3 * 9)  # one kernel in each of the few layers that round
    inputs, outputs, edges = sides(mask)
    larger = np.maximum(inputs, outputs) if family == "rreg" else inputs
    degrees = (edges / larger)[edges < inputs * outputs]
    assert np.ptp(degrees) <= 1  # rounding to whole edges, at most half an edge on a side with one channel


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("allocation", ["degree", "erk"])
def test_every_family_meets_a_density_by_either_allocation(family, allocation):
    mask = find(family, budget=0.1, kind="density", allocation=allocation, candidates=1)
    assert mask.kept <= int(0.1 * mask.size)
    assert mask.kept == pytest.approx(0.1 * mask.size, abs=3 * 9)
    *_, edges = sides(mask)
    assert min(edges) >= 1


def test_erk_at_a_degree_keeps_as_many_weights_and_favours_small_layers():
    by_degree, by_erk = (find("rreg", budget=4, allocation=allocation) for allocation in ("degree", "erk"))
    assert by_degree.kept - 5 * 9 <= by_erk.kept <= by_degree.kept
    inputs, outputs, edges = sides(by_erk)
    share = edges / (inputs * outputs)
    assert share[0] == 1
    assert list(share[:4]) == sorted(share[:4], reverse=True)
    *_, even = sides(by_degree)
    assert edges.tolist() != even.tolist()


def test_layers_of_the_same_sides_share_their_graph_on_demand():
    own, shared = (find("rreg", share_graphs=share) for share in (False, True))
    graph = lambda mask, name: mask[name].flatten(2).any(2) if mask[name].ndim > 2 else mask[name]  # noqa: E731
    for mask, equal in [(own, False), (shared, True)]:
        assert torch.equal(graph(mask, "features.10.weight"), graph(mask, "classifier.0.weight")) is equal


def test_patterns_say_which_layers_are_pruned():
    sparse = lambda **options: {n for n, _, kept, size in find("rreg", **options).layers() if kept < size}  # noqa: E731
    deep = {"features.3.weight", "features.7.weight", "features.10.weight"}
    assert sparse() == deep | {"classifier.0.weight"}
    assert sparse(only=[":linear"]) == {"classifier.0.weight"}
    assert sparse(dense=["classifier.*"]) == deep
    assert sparse(only=[":conv"], dense=["features.1?", "features.3"]) == {"features.7.weight"}
    with pytest.raises(MethodError, match=r"rreg: layer pattern 'feature.3' fits none of the 6 layers"):
        find("rreg", only=["feature.3"])
    with pytest.raises(MethodError, match="xnet: all 6 layers of this network stay dense"):
        find("xnet", dense=["*"])


def test_full_density_keeps_everything():
    assert find("rreg", budget=1.0, kind="density").density == 1


def test_a_density_below_the_dense_layers_is_refused():
    with pytest.raises(MethodError, match=r"density 0\.001 is too small.*take 677 of 64784 .*: 0\.01045 or more"):
        find("rreg", budget=0.001, kind="density")


def test_a_degree_below_one_is_refused_with_the_layer():
    with pytest.raises(MethodError, match=r"features\.0\.weight: degree 0 is not possible"):
        find("rreg", budget=0)


def test_a_network_that_is_one_classifier_has_nothing_to_prune():
    with pytest.raises(MethodError, match="all 1 layers of this network stay dense"):
        find("xnet", lambda: nn.Sequential(nn.Flatten(), nn.Linear(64, 10)))


def test_a_network_without_a_classifier_is_sparse_to_the_last_layer():
    build = lambda: nn.Sequential(nn.Conv2d(8, 16, 3), nn.ReLU(), nn.Conv2d(16, 8, 1))  # noqa: E731
    mask = find("rreg", build, budget=2, task="denoise")
    assert [kept for *_, kept, _ in mask.layers()] == [2 * 16 * 9, 2 * 16]


def test_groups_have_one_graph_each():
    layer = lambda: nn.Sequential(nn.Conv2d(16, 32, 3, groups=4), nn.Conv2d(32, 32, 5, groups=32))  # noqa: E731
    mask = find("rreg", layer, budget=2, task="denoise")
    grouped, depthwise = mask.values()
    assert grouped.shape == (32, 4, 3, 3)
    assert torch.all(grouped[:, :, 0, 0].sum(1) == 2)
    assert torch.all(grouped[:, :, 0, 0].reshape(4, 8, 4).sum(1) == 4)
    assert depthwise.all()
    assert len({tuple(block.flatten().tolist()) for block in grouped[:, :, 0, 0].split(8)}) > 1


def test_transposed_convolutions_are_laid_out_like_their_weight():
    mask = find("xnet", lambda: nn.Sequential(nn.ConvTranspose2d(6, 10, 4)), budget=2, task="denoise")
    kernels = mask["0.weight"][:, :, 0, 0]
    assert kernels.shape == (6, 10)
    assert kernels.sum(1).tolist() == [2] * 6  # every input feeds two outputs


@pytest.mark.parametrize("family", FAMILIES)
def test_a_seed_fixes_the_mask_and_another_seed_changes_every_sparse_layer(family):
    first, again, other = (find(family, seed=seed, candidates=2) for seed in (0, 0, 1))
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert all(not torch.equal(first[name], other[name]) for name in list(first)[1:-1])


def test_a_family_brings_its_own_number_of_candidates():
    assert registry.entry("family", "rreg_merge").facts["candidates"] == 100
    layer = lambda: nn.Sequential(nn.Conv2d(4, 6, 1))  # noqa: E731
    by_default, said, one = (
        find("rreg_merge", layer, budget=2, task="denoise", candidates=count) for count in (None, 100, 1)
    )
    assert torch.equal(by_default["0.weight"], said["0.weight"])
    assert not torch.equal(by_default["0.weight"], one["0.weight"])
