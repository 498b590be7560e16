"""Compaction: outputs equal those of the masked network, sizes are the expected ones, what is not dead stays."""

import copy

import pytest
import torch
from torch import nn

from prunelib.compact.slim import compacted, compacted_size, slim_run
from prunelib.errors import MethodError
from prunelib.masks.mask import Mask
from prunelib.measure.cost import macs, parameters
from prunelib.models.alexnet import alexnet
from prunelib.models.deep_decoder import deep_decoder
from prunelib.models.hourglass import hourglass
from prunelib.models.resnet import resnet18, resnet50, resnet_small
from prunelib.models.squeezenet import squeezenet
from prunelib.models.structure import load_structure
from prunelib.models.vgg import vgg
from prunelib.storage.weights import load_weights
from prunelib.tasks.base import prunable
from prunelib.training.run import train_run
from tests.tiny import recipe, settings, write_squares

CLASSIFIERS = {
    "resnet_small": (lambda: resnet_small(3, 2, width=8, blocks=2), (2, 2, 8, 8)),
    "resnet18": (lambda: resnet18(10, 3, width=8), (2, 3, 16, 16)),
    "resnet50": (lambda: resnet50(10, 3, width=4), (2, 3, 16, 16)),
    "vgg": (lambda: vgg(10, 3, plan=[8, "M", 16, 16], hidden=12), (2, 3, 8, 8)),
    "squeezenet": (lambda: squeezenet(10, 3), (2, 3, 32, 32)),
}
GENERATORS = {
    "hourglass": (lambda: hourglass(channels=(8, 16)), (1, 32, 16, 16)),
    "deep_decoder": (lambda: deep_decoder(k=2, width=16), None),
}


def _network(name):
    torch.manual_seed(3)
    build, shape = (CLASSIFIERS | GENERATORS)[name]
    model = build()
    random = torch.Generator().manual_seed(5)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.copy_(0.1 * torch.randn(module.running_mean.shape, generator=random))
            module.weight.data.add_(0.2 * torch.randn(module.weight.shape, generator=random))
            module.bias.data.copy_(0.2 * torch.randn(module.bias.shape, generator=random))
    if shape is None:
        shape = model.input_shape(16, 16)
    return model, torch.randn(shape, generator=random)


def _filters_off(model, share, seed=0):
    """A mask that shuts whole filters: their weights, biases, and scale and shift of all norms as wide as they are."""
    random, masks = torch.Generator().manual_seed(seed), Mask.ones(dict(model.named_parameters()))
    last = list(prunable(model))[-1].removesuffix(".weight")
    tensors = dict(masks)
    for name, module in model.named_modules():
        if isinstance(module, nn.Conv2d | nn.BatchNorm2d) and name != last:
            width = len(module.weight)
            shared = torch.Generator().manual_seed(width)  # the same channels wherever the width is the same
            off = torch.rand(width, generator=shared) < share
            off &= torch.rand(width, generator=random) < 2.0
            for part in ("weight", "bias"):
                if f"{name}.{part}" in tensors:
                    bits = tensors[f"{name}.{part}"].clone()
                    bits[off] = False
                    tensors[f"{name}.{part}"] = bits
    return Mask(tensors)


def _masked(model, mask):
    network = copy.deepcopy(model).eval()
    Mask(mask).apply_(network)
    return network


@pytest.mark.parametrize("name", [*CLASSIFIERS, *GENERATORS])
def test_shut_filters_are_removed_and_the_output_stays(name):
    model, example = _network(name)
    mask = _filters_off(model, 0.5)
    small = compacted(model, mask, example)
    with torch.no_grad():
        torch.testing.assert_close(small(example), _masked(model, mask)(example), rtol=1e-5, atol=1e-5)
    assert compacted_size(model, mask, example) == (parameters(small), macs(small, example))
    assert parameters(small) < 0.5 * parameters(model) and macs(small, example) < 0.7 * macs(model, example)
    for module in small.modules():
        if isinstance(module, nn.Conv2d) and len(module.weight) > 1:
            assert (module.weight != 0).flatten(1).any(dim=1).all()


@pytest.mark.parametrize("name", [*CLASSIFIERS, *GENERATORS])
def test_scattered_weights_leave_the_network_as_it_is(name):
    model, example = _network(name)
    random = torch.Generator().manual_seed(0)
    mask = {key: torch.rand(p.shape, generator=random) < 0.9 for key, p in prunable(model).items()}
    before = copy.deepcopy(model.state_dict())
    assert compacted_size(model, mask, example) == (parameters(model), macs(model, example))
    assert all(torch.equal(tensor, before[key]) for key, tensor in model.state_dict().items())
    assert model.training


def test_training_mode_statistics_agree_too():
    """The untrained generators always normalise by their one image."""
    model, example = _network("hourglass")
    mask = _filters_off(model, 0.4)
    small, masked = compacted(model, mask, example), _masked(model, mask)
    torch.testing.assert_close(small.train()(example), masked.train()(example), rtol=1e-4, atol=1e-5)


def _chain(padding=0):
    torch.manual_seed(0)
    layers = [nn.Conv2d(2, 4, 3, padding=padding), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 3, 3), nn.Flatten()]
    return nn.Sequential(*layers, nn.Linear(3 * 16 if padding == 0 else 3 * 36, 2)), torch.randn(2, 2, 8, 8)


def _shut(model, **entries):
    masks = {name: torch.ones_like(p, dtype=torch.bool) for name, p in model.named_parameters()}
    for name, index in entries.items():
        masks[name.replace("_", ".")][index] = False
    return masks


def test_a_constant_channel_is_not_dead():
    """A zero filter before a norm with a shift gives a constant that the next layer sees."""
    model, example = _chain()
    nn.init.constant_(model[1].bias, 0.3)
    mask = _shut(model, **{"0_weight": 1, "0_bias": 1})
    assert compacted_size(model, mask, example)[0] == parameters(model)
    small = compacted(model, mask | _shut(model, **{"1_weight": 1, "1_bias": 1}), example)
    assert small[0].out_channels == 3


def test_a_channel_that_nobody_reads_is_dead():
    model, example = _chain()
    mask = _shut(model, **{"3_weight": (slice(None), [0, 2])})
    small = compacted(model, mask, example)
    assert (small[0].out_channels, small[1].num_features, small[3].in_channels) == (2, 2, 2)
    torch.testing.assert_close(small(example), _masked(model, mask)(example))


def test_flattened_channels_go_by_all_their_places():
    model, example = _chain()
    columns = torch.arange(16)  # of channel 0
    small = compacted(model, _shut(model, **{"5_weight": (slice(None), columns)}), example)
    assert (small[3].out_channels, small[5].in_features) == (2, 32)
    partly = _shut(model, **{"5_weight": (slice(None), columns[:15])})
    assert compacted(model, partly, example)[3].out_channels == 3


def test_death_spreads():
    """The only reader of a channel is unread itself, so both go; a layer keeps one channel at least."""
    model, example = _chain()
    mask = _shut(
        model, **{"3_weight": ([1, 2], slice(None)), "5_weight": (slice(None), slice(16, 48)), "3_bias": [1, 2]}
    )
    mask["3.weight"][0, 1] = False
    small = compacted(model, mask, example)
    assert (small[0].out_channels, small[3].out_channels) == (3, 1)
    torch.testing.assert_close(small(example), _masked(model, mask)(example))
    mask["5.weight"][:] = False
    smallest = compacted(model, mask, example)
    assert (smallest[0].out_channels, smallest[3].out_channels) == (1, 1)
    torch.testing.assert_close(smallest(example), _masked(model, mask)(example))


def test_a_residual_stream_loses_a_channel_only_when_all_its_producers_do():
    model, example = _network("resnet_small")
    producers = ["bn1", "stages.0.0.bn2", "stages.0.1.bn2"]
    masks = {name: torch.ones_like(p, dtype=torch.bool) for name, p in model.named_parameters()}
    for number, producer in enumerate(producers):
        masks[f"{producer}.weight"][[2, 5]] = masks[f"{producer}.bias"][[2, 5]] = False
        small = compacted(model, masks, example)
        assert small.conv1.out_channels == (6 if number == 2 else 8)
        torch.testing.assert_close(small(example), _masked(model, masks)(example), rtol=1e-5, atol=1e-5)


def test_norms_that_mix_channels_keep_them():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(2, 4, 1), nn.GroupNorm(2, 4), nn.Conv2d(4, 3, 1))
    mask = _shut(model, **{"2_weight": (slice(None), 1)})
    assert compacted(model, mask, torch.randn(2, 2, 4, 4))[0].out_channels == 4


def test_an_operation_that_turns_zero_into_something_is_noticed():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(2, 4, 1), nn.Sigmoid(), nn.Conv2d(4, 3, 1))
    with pytest.raises(MethodError, match="changes its output"):
        compacted(model, _shut(model, **{"0_weight": 1, "0_bias": 1}), torch.randn(2, 2, 4, 4))


@pytest.mark.slow
def test_alexnet():
    torch.manual_seed(0)
    model, example = alexnet(10, 3), torch.randn(2, 3, 64, 64)
    mask = _filters_off(model, 0.5)
    small = compacted(model, mask, example)
    with torch.no_grad():
        torch.testing.assert_close(small(example), _masked(model, mask)(example), rtol=1e-5, atol=1e-5)
    assert small.classifier[1].in_features == 36 * small.features[10].out_channels < 9216


def test_a_run_is_slimmed_and_built_again(tmp_path):
    data = write_squares(tmp_path / "squares.h5")
    options = {
        "energy": "margin", "rule": "paper", "count": "true", "candidates": 4, "p0": 0.5, "mutation": 0.1,
        "crossover": 0.9, "reevaluate": False, "search_epochs": 1, "search_every": 1, "patience": 100,
    }  # fmt: skip
    given = settings(
        model={"builder": "resnet_small", "options": {"width": 4, "blocks": 1}},
        method={"uses": "ising", "options": options},
        budget={"kind": "density", "value": 0.4},
        recipe=recipe(epochs=2),
    )
    outputs = {name: tmp_path / name for name in ("weights", "history", "metrics", "mask")}
    places = {"checkpoints": tmp_path / "checkpoints", "checkpoint_seconds": 60.0, "device": "cpu"}
    train_run(given, data, outputs, mask=None, start=None, structure=None, **places)
    slim = {"weights": tmp_path / "slim.safetensors", "record": tmp_path / "slim.json"}
    slim_run(given, data, outputs, slim)
    network = load_structure(slim["weights"], slim["record"]).eval()
    dense = resnet_small(3, 1, width=4, blocks=1).eval()
    assert parameters(network) < 0.7 * parameters(dense)
    dense.load_state_dict(load_weights(outputs["weights"]))
    images = torch.randn(5, 1, 8, 8)
    torch.testing.assert_close(network(images), dense(images), rtol=1e-5, atol=1e-5)
