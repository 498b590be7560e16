"""Which channels can be pruned together, and which can't be pruned, with the reason."""

from __future__ import annotations

import copy

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from prunelib.channels.checks import sound
from prunelib.channels.coupling import Fixed, Group
from prunelib.channels.tracing import Tracer
from prunelib.models.widths import NORMS


def find_groups(model: nn.Module, example: Tensor) -> tuple[list[Group], list[Fixed]]:
    """Trace one forward pass and return every prunable group, in traversal order, and every other one with its reason.

    A group is fixed when it holds the model's outputs (so a classifier keeps any number of classes), when it has a
    single channel, when a layer in it can't be cut, or when a trial on a copy shows that tracing was wrong about it.
    The model is left in evaluation mode. Raises MethodError where the network can't be traced at all.
    """
    found = list(Tracer(model, example).groups())
    groups, refused = sound(model, example, [group for group in found if isinstance(group, Group)])
    return groups, [group for group in found if isinstance(group, Fixed)] + refused


def single_groups(model: nn.Module, example: Tensor) -> list[Group]:
    """Return the groups of which any single channels can go, whatever they are; traced without computing anything.

    No norm mixes their channels, and no layer divides them into runs of equal length. There are no trials: who removes
    channels compares the outputs.
    """
    found = Tracer(copy.deepcopy(model).to("meta"), example.to("meta")).groups()
    return [group for group in found if isinstance(group, Group) and _single(model, group)]


def _single(model: nn.Module, group: Group) -> bool:
    modules = [model.get_submodule(member.name) for member in group.members if member.axis is None]
    mixed = any(isinstance(module, NORMS) and not isinstance(module, _BatchNorm) for module in modules)
    return group.blocks == 1 and not mixed and len(modules) == len(group.members)
