"""Whole blocks of a network: lists of interchangeable blocks are shortened, and what drops out at random is listed.

A block that is one of a ``Sequential`` or ``ModuleList`` and adds its output to its input can be left out.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn
from torch.nn.modules.dropout import _DropoutNd

from prunelib.errors import MethodError

RATES = ("drop_prob", "p")  # attributes that hold the rate of timm's DropPath and of torchvision's StochasticDepth


def keep_blocks_(model: nn.Module, path: str, kept: Sequence[int]) -> None:
    """Keep only the blocks ``kept`` (ascending positions) of the list at ``path``; those that stay are renumbered.

    Raises MethodError when there is no such list, or when positions are none, unsorted or out of range.
    """
    try:
        blocks = model.get_submodule(path)
    except AttributeError:
        raise MethodError(f"{path}: the network has no list of blocks of that name.") from None
    if not isinstance(blocks, nn.Sequential | nn.ModuleList):
        raise MethodError(f"{path}: is a {type(blocks).__name__}, not a list of blocks.")
    if not kept or list(kept) != sorted(set(kept)) or not 0 <= kept[0] <= kept[-1] < len(blocks):
        raise MethodError(f"{path}: can't keep the blocks {list(kept)}; allowed: ascending, of 0 to {len(blocks) - 1}.")
    for position in sorted(set(range(len(blocks))) - set(kept), reverse=True):
        del blocks[position]


def drop_rates(model: nn.Module) -> dict[str, float]:
    """Return the rate of every dropout and drop-path module by name: the share of what it sets to zero in training."""
    found = {}
    for name, module in model.named_modules():
        if (attribute := _rate_attribute(module)) is not None:
            found[name] = float(getattr(module, attribute))
    return found


def set_drop_rate_(model: nn.Module, name: str, rate: float) -> None:
    """Set the rate, 0 to 1, of one dropout or drop-path module; raises MethodError when ``name`` is none."""
    modules = dict(model.named_modules())
    attribute = _rate_attribute(modules[name]) if name in modules else None
    if attribute is None or not 0 <= rate <= 1:
        raise MethodError(f"{name}: can't be given the drop rate {rate!r}; it must be a dropout module and 0 to 1.")
    setattr(modules[name], attribute, rate)


def _rate_attribute(module: nn.Module) -> str | None:
    if isinstance(module, _DropoutNd):
        return "p"
    if not type(module).__name__.startswith(("DropPath", "StochasticDepth")):
        return None
    return next((name for name in RATES if isinstance(getattr(module, name, None), float | int)), None)
