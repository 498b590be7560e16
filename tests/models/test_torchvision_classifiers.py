"""AlexNet and SqueezeNet: the papers' parameter counts, any number of input channels, a seed fixes the weights."""

import pytest
import torch

from prunelib.models.build import build

COUNTS = {
    "alexnet": {(10, 3): 57_044_810, (100, 3): 57_413_540, (102, 3): 57_421_734, (10, 1): 57_029_322},
    "squeezenet": {(10, 3): 727_626, (100, 3): 773_796, (102, 3): 774_822, (10, 1): 726_474},
}


@pytest.mark.parametrize("builder", COUNTS)
def test_parameter_counts(builder):
    for (classes, channels), count in COUNTS[builder].items():
        with torch.device("meta"):
            model = build({"builder": builder, "options": {}}, 0, classes=classes, in_channels=channels)
        assert sum(parameter.numel() for parameter in model.parameters()) == count


@pytest.mark.parametrize(("builder", "side"), [("alexnet", 63), ("squeezenet", 17)])
@pytest.mark.parametrize("channels", [1, 3])
def test_smallest_images(builder, side, channels):
    model = build({"builder": builder, "options": {"dropout": 0.0}}, 0, classes=4, in_channels=channels)
    assert model(torch.zeros(2, channels, side, side)).shape == (2, 4)
    with pytest.raises(RuntimeError, match="Output size is too small"):
        model(torch.zeros(2, channels, side - 1, side - 1))


def test_a_seed_fixes_the_weights():
    weights = [
        build({"builder": "squeezenet", "options": {}}, seed, classes=4, in_channels=1).state_dict()
        for seed in (0, 0, 1)
    ]
    assert all(torch.equal(tensor, weights[1][name]) for name, tensor in weights[0].items())
    assert not torch.equal(weights[0]["features.0.weight"], weights[2]["features.0.weight"])
