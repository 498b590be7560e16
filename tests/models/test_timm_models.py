"""Vision transformers and timm by name."""

import pytest
import torch

from prunelib.errors import ConfigError
from prunelib.measure.cost import parameters
from prunelib.models.build import build


def make(builder, classes=10, in_channels=1, **options):
    return build({"builder": builder, "options": options}, 0, classes=classes, in_channels=in_channels)


def test_vit_has_the_size_its_options_say():
    model = make("vit", image_side=8, patch=2, width=24, depth=2, heads=3, mlp_ratio=2.0)
    embed = 4 * 24 + 24 + 24 + 17 * 24  # patches, bias, class token, positions
    block = 2 * 2 * 24 + (24 * 72 + 72) + (24 * 24 + 24) + (24 * 48 + 48) + (48 * 24 + 24)
    assert parameters(model) == embed + 2 * block + 2 * 24 + 24 * 10 + 10
    assert model(torch.randn(2, 1, 8, 8)).shape == (2, 10)


def test_a_seed_fixes_the_weights():
    first, second = (make("vit", image_side=8, width=24, heads=3) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))


@pytest.mark.parametrize("options", [{"image_side": 9, "patch": 2}, {"width": 30, "heads": 4}])
def test_sizes_that_do_not_divide_are_refused(options):
    with pytest.raises(ConfigError, match=r"patch must divide image_side and heads must divide width"):
        make("vit", **options)


def test_timm_by_name():
    model = make("timm", classes=7, in_channels=3, name="mobilenetv2_050")
    assert model.eval()(torch.randn(1, 3, 32, 32)).shape == (1, 7)


def test_an_unknown_name_gets_a_hint():
    with pytest.raises(ConfigError, match=r"no architecture 'mobilenetv2_10'.*Did you mean 'mobilenetv2_1"):
        make("timm", in_channels=3, name="mobilenetv2_10")


def test_options_that_an_architecture_lacks_are_refused():
    with pytest.raises(ConfigError, match="'resnet18' does not take these options"):
        make("timm", in_channels=3, name="resnet18", image_side=64)
