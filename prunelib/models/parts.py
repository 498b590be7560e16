"""Modules that tracing can't see through, as plug-ins: what goes inside them when one of their channels goes."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from prunelib.models.attention import attention_of
from prunelib.models.widths import Side


@dataclass(frozen=True)
class Slot:
    """Where a part's channels lie: on one side of a layer in it, or on one axis of a parameter.

    ``runs``: the channels follow one another this many times (a 2 × 2 patch merge has four neighbours' channels).
    """

    path: str
    side: Side = "out"
    axis: int | None = None
    runs: int = 1


@dataclass(frozen=True)
class Part:
    """A module that is traced as one node. ``blocks``: equal runs (heads) into which its channels are divided.

    Where ``inputs`` is ``outputs``, both are the same channels: an input can't go without the output of its number.
    """

    inputs: tuple[Slot, ...]
    outputs: tuple[Slot, ...]
    blocks: int = 1


MERGES = {  # Swin's patch merging: tracing sees only a reshape where four neighbours' channels are put in a row
    "timm.models.swin_transformer.PatchMerging": Part(
        (Slot("norm", runs=4), Slot("reduction", "in", runs=4)), (Slot("reduction"),)
    ),
    "timm.models.swin_transformer_v2.PatchMerging": Part(
        (Slot("reduction", "in", runs=4),), (Slot("reduction"), Slot("norm"))
    ),
}
JOINT = (  # inputs and outputs of attention whose forward wants them as wide as all heads together
    Slot("in_proj_weight", axis=1),
    Slot("in_proj_weight", axis=0, runs=3),
    Slot("in_proj_bias", axis=0, runs=3),
    Slot("out_proj", "in"),
    Slot("out_proj"),
)


def part_of(module: nn.Module) -> Part | None:
    """Return the plug-in of a module that is traced as one node, and None for any other.

    Attention counts as one where its projections' weights are used without calling the layers.
    """
    if isinstance(module, nn.MultiheadAttention):
        whole = module.in_proj_weight is not None and module.in_proj_bias is not None and module.bias_k is None
        return Part(JOINT, JOINT, module.num_heads) if whole else None
    found = attention_of(module)
    if found is not None:
        return Part(tuple(Slot(name, "in") for name in found.projections), (Slot(found.output),))
    return MERGES.get(f"{type(module).__module__}.{type(module).__qualname__}")


def is_merge(module: nn.Module) -> bool:
    """Return True for a module which no tracing sees through."""
    return f"{type(module).__module__}.{type(module).__qualname__}" in MERGES
