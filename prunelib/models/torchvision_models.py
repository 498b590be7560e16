"""Every classifier of torchvision by name."""

from __future__ import annotations

from typing import Any

import torchvision
from torch import nn

from prunelib.errors import ConfigError, nearest
from prunelib.models.first_weights import fill_
from prunelib.options import Count, Word
from prunelib.registry import register

AUXILIARY = ("googlenet", "inception_v3")  # have further classifiers for training, which a pruned network can't use


@register("model", "torchvision")
def torchvision_model(
    classes: int,
    in_channels: int,
    *,
    name: Word,
    image_side: Count | None = None,
    weights: str | None = None,
) -> nn.Module:
    """Any torchvision classifier by name (for example mobilenet_v2): (N, in_channels, H, W) -> (N, classes).

    image_side: for vision transformers, whose image size is fixed; None = that of the name. weights: a local
    safetensors file of the architecture's first weights, whatever classes they are for; None = random. Auxiliary
    classifiers are left out. Raises ConfigError for a name that torchvision does not have or an option that the
    architecture does not take, ArtefactError for weights that don't fit.
    """
    known = torchvision.models.list_models(module=torchvision.models)
    if name not in known:
        version = torchvision.__version__
        raise ConfigError(
            f"model torchvision: no architecture '{name}' in torchvision {version}.{nearest(name, known)}"
        )
    given: dict[str, Any] = {} if image_side is None else {"image_size": image_side}
    if name in AUXILIARY:
        given |= {"aux_logits": False, "init_weights": True}
    try:
        model = torchvision.models.get_model(name, weights=None, num_classes=classes, **given)
    except TypeError as error:
        raise ConfigError(f"model torchvision: '{name}' does not take these options ({error}).") from None
    if in_channels != 3:
        _look_at_(model, in_channels)
    if weights is not None:
        fill_(model, weights)
    return model


def _look_at_(model: nn.Module, in_channels: int) -> None:
    """Replace the first convolution, which takes the image, by one for another number of channels."""
    name, old = next((name, layer) for name, layer in model.named_modules() if isinstance(layer, nn.Conv2d))
    size = (old.kernel_size, old.stride, old.padding)
    path, _, attribute = name.rpartition(".")
    fresh = nn.Conv2d(in_channels, old.out_channels, *size, bias=old.bias is not None)
    nn.init.kaiming_normal_(fresh.weight, mode="fan_out", nonlinearity="relu")
    setattr(model.get_submodule(path), attribute, fresh)
