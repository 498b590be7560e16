"""Vision transformers of any size, and every architecture of timm by name, without pretrained weights."""

from __future__ import annotations

import timm
from timm.models.vision_transformer import VisionTransformer
from torch import nn

from prunelib.errors import ConfigError, nearest
from prunelib.models.first_weights import timm_with_weights
from prunelib.options import Count, Positive, Share, Word
from prunelib.registry import register


@register("model", "vit")
def vit(
    classes: int,
    in_channels: int,
    *,
    image_side: Count = 32,
    patch: Count = 4,
    width: Count = 64,
    depth: Count = 4,
    heads: Count = 4,
    mlp_ratio: Positive = 2.0,
) -> VisionTransformer:
    """Vision transformer (timm's) for square images of ``image_side`` pixels cut into ``patch`` × ``patch`` tokens.

    (N, in_channels, image_side, image_side) -> (N, classes). mlp_ratio: hidden width of a block's MLP over ``width``.
    Raises ConfigError when patches don't tile the image or heads don't divide the width.
    """
    if image_side % patch or width % heads:
        given = f"image_side {image_side}, patch {patch}, width {width}, heads {heads}"
        raise ConfigError(f"model vit: got {given}. patch must divide image_side and heads must divide width.")
    return VisionTransformer(
        img_size=image_side,
        patch_size=patch,
        in_chans=in_channels,
        num_classes=classes,
        embed_dim=width,
        depth=depth,
        num_heads=heads,
        mlp_ratio=mlp_ratio,
    )


@register("model", "timm")
def timm_model(
    classes: int,
    in_channels: int,
    *,
    name: Word,
    image_side: Count | None = None,
    drop_rate: Share = 0.0,
    drop_path_rate: Share = 0.0,
    weights: str | None = None,
) -> nn.Module:
    """Any timm architecture by name (for example deit_tiny_distilled_patch16_224).

    image_side: for architectures with a fixed image size; None = that of the name. weights: a local safetensors file of
    the architecture's first weights, whatever classes they are for (results/pretrained/timm/<name>.safetensors is made
    from the published ones); None = random. Raises ConfigError for a name that timm does not have or an option that the
    architecture does not take, ArtefactError for weights that don't fit.
    """
    if not timm.is_model(name):
        hint = nearest(name, timm.list_models())
        raise ConfigError(f"model timm: no architecture '{name}' in timm {timm.__version__}.{hint}")
    wanted = {"img_size": image_side, "drop_rate": drop_rate or None, "drop_path_rate": drop_path_rate or None}
    given = {key: value for key, value in wanted.items() if value is not None}
    try:
        if weights is not None:
            return timm_with_weights(name, weights, classes, in_channels, given)
        return timm.create_model(name, pretrained=False, num_classes=classes, in_chans=in_channels, **given)
    except TypeError as error:
        raise ConfigError(f"model timm: '{name}' does not take these options ({error}).") from None
