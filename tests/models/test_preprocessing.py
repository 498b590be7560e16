"""What published weights are evaluated with, as timm and torchvision say."""

import pytest

from prunelib.errors import ConfigError
from prunelib.models.preprocessing import own_preprocessing

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


@pytest.mark.parametrize(
    ("builder", "name", "expected"),
    [
        ("timm", "deit_tiny_distilled_patch16_224", (224, 248, "bicubic", *IMAGENET)),
        ("timm", "resnet50.tv_in1k", (224, 256, "bilinear", *IMAGENET)),
        ("timm", "vit_base_patch16_224.augreg_in21k", (224, 248, "bicubic", (0.5,) * 3, (0.5,) * 3)),
        ("torchvision", "mobilenet_v2", (224, 232, "bilinear", *IMAGENET)),
    ],
)
def test_size_resizing_and_colour_figures(builder, name, expected):
    found = own_preprocessing({"builder": builder, "options": {"name": name}})
    assert (found.side, found.shorter, found.interpolation, found.mean, found.std) == expected


def test_a_network_without_published_weights_does_not_say():
    with pytest.raises(ConfigError, match=r"task\.preprocess: got 'model', but model 'vgg'"):
        own_preprocessing({"builder": "vgg", "options": {}})
