"""Which channels can be pruned together, and which can't be pruned, with the reason."""

from __future__ import annotations

from torch import Tensor, nn

from prunelib.methods.isomorphic.checks import sound
from prunelib.methods.isomorphic.coupling import Fixed, Group, Member, removed_positions
from prunelib.methods.isomorphic.tracing import Tracer

__all__ = ["Fixed", "Group", "Member", "find_groups", "removed_positions"]


def find_groups(model: nn.Module, example: Tensor) -> tuple[list[Group], list[Fixed]]:
    """Trace one forward pass and return every prunable group, in traversal order, and every other one with its reason.

    A group is fixed when it holds the model's outputs (so a classifier keeps any number of classes), when it has a
    single channel, when a layer in it can't be cut, or when a trial on a copy shows that tracing was wrong about it.
    The model is left in evaluation mode. Raises MethodError where the network can't be traced at all.
    """
    found = list(Tracer(model, example).groups())
    groups, refused = sound(model, example, [group for group in found if isinstance(group, Group)])
    return groups, [group for group in found if isinstance(group, Fixed)] + refused
