"""Layer widths: cut channels out of a layer, and set a layer's attributes from the shapes of its tensors.

Removal is our own because torch-pruning 1.6.1 orders the kept entries of a LayerNorm by iterating a Python set, which
permutes them against every other layer once few are left.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd

from prunelib.errors import MethodError

Side = Literal["out", "in"]
NORMS = (_BatchNorm, nn.LayerNorm, nn.GroupNorm)
# Widths that other modules note down about their layers: attribute -> (layer, side, how often its channels repeat)
ATTRIBUTES: dict[str, dict[str, tuple[str, Side, int]]] = {
    "torchvision.models.vision_transformer.VisionTransformer": {"hidden_dim": ("conv_proj", "out", 1)},
    "timm.models.swin_transformer.PatchMerging": {
        "dim": ("reduction", "in", 4),
        "out_dim": ("reduction", "out", 1),
    },
    "timm.models.swin_transformer_v2.PatchMerging": {
        "dim": ("reduction", "in", 4),
        "out_dim": ("reduction", "out", 1),
    },
}


def is_depthwise(layer: nn.Module) -> bool:
    """Return True for a convolution which filters every channel by itself (one in, one out)."""
    return isinstance(layer, _ConvNd) and 1 < layer.groups == layer.in_channels == layer.out_channels


def channel_axis(layer: nn.Module, side: Side) -> int:
    """Return the axis of ``layer.weight`` that holds its output or input channels; other layers raise MethodError."""
    if isinstance(layer, _ConvNd):
        return int((side == "in") != layer.transposed) if not is_depthwise(layer) else 0
    if isinstance(layer, nn.Linear):
        return int(side == "in")
    if isinstance(layer, NORMS):
        return 0
    allowed = "convolutions, linear layers, batch, layer and group norms"
    raise MethodError(f"{type(layer).__name__}: not a layer whose channels can be cut. Allowed: {allowed}.")


def width(layer: nn.Module, side: Side) -> int:
    """Return the number of channels on one side of a layer."""
    if isinstance(layer, _ConvNd):
        return layer.out_channels if side == "out" else layer.in_channels
    if isinstance(layer, nn.Linear):
        return layer.out_features if side == "out" else layer.in_features
    return next(tensor.shape[0] for tensor in _channel_tensors(layer))


def keep_(layer: nn.Module, side: Side, kept: Tensor) -> None:
    """Keep only the channels listed in ``kept`` (ascending) on one side of a layer, in place."""
    axis = channel_axis(layer, side)
    if side == "in" and isinstance(layer, _ConvNd) and not is_depthwise(layer):
        kept = _within_one_group(layer, kept)
    elif isinstance(layer, _ConvNd) and layer.groups > 1 and not is_depthwise(layer):
        _within_one_group(layer, kept, layer.out_channels)
    biased = side == "out" or isinstance(layer, NORMS)
    for name, tensor in [*layer.named_parameters(recurse=False), *layer.named_buffers(recurse=False)]:
        if tensor.dim() and (name == "weight" or biased):
            replace_(layer, name, tensor.detach().index_select(axis if name == "weight" else 0, kept.to(tensor.device)))
    settle_(layer)


def replace_(owner: nn.Module, name: str, tensor: Tensor) -> None:
    """Put a tensor of another shape in the place of a parameter or buffer, keeping which of the two it is."""
    old = getattr(owner, name)
    fresh = tensor.detach().clone().contiguous()
    setattr(owner, name, nn.Parameter(fresh, old.requires_grad) if isinstance(old, nn.Parameter) else fresh)


def settle_(layer: nn.Module) -> None:
    """Set a layer's width attributes (in/out features or channels, groups, ...) from the shapes of its tensors."""
    if isinstance(layer, _ConvNd):
        first, second = layer.weight.shape[:2]
        if is_depthwise(layer):
            layer.groups = layer.in_channels = layer.out_channels = first
        elif layer.transposed:
            layer.in_channels, layer.out_channels = first, second * layer.groups
        else:
            layer.out_channels, layer.in_channels = first, second * layer.groups
    elif isinstance(layer, nn.Linear):
        layer.out_features, layer.in_features = layer.weight.shape
    elif isinstance(layer, NORMS):
        _settle_norm(layer)
    elif isinstance(layer, nn.MultiheadAttention):
        layer.embed_dim = layer.kdim = layer.vdim = layer.out_proj.weight.shape[0]
        layer.head_dim = layer.embed_dim // layer.num_heads
    for attribute, (path, side, runs) in ATTRIBUTES.get(f"{type(layer).__module__}.{type(layer).__name__}", {}).items():
        inner = layer.get_submodule(path)  # perhaps not settled yet, so its tensor is asked
        setattr(layer, attribute, inner.weight.shape[channel_axis(inner, side)] // runs)


def _settle_norm(layer: nn.Module) -> None:
    tensors = _channel_tensors(layer)
    if isinstance(layer, nn.LayerNorm) and tensors:
        layer.normalized_shape = tuple(tensors[0].shape)
    elif isinstance(layer, nn.GroupNorm) and tensors:
        layer.num_channels = tensors[0].shape[0]
    elif isinstance(layer, _BatchNorm) and tensors:
        layer.num_features = tensors[0].shape[0]


def _channel_tensors(layer: nn.Module) -> list[Tensor]:
    tensors = [*layer.parameters(recurse=False), *layer.buffers(recurse=False)]
    return [tensor for tensor in tensors if tensor.dim()]


def _within_one_group(layer: _ConvNd, kept: Tensor, channels: int | None = None) -> Tensor:
    """Return the kept positions inside one channel group; every group must keep the same ones."""
    size = (channels or layer.in_channels) // layer.groups
    inner = kept[kept < size]
    repeated = torch.cat([inner + size * group for group in range(layer.groups)])
    if not torch.equal(repeated, kept):
        raise MethodError(f"{layer}: its {layer.groups} channel groups would keep different channels.")
    return inner
