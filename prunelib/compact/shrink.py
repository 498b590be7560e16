"""Sparse training on a smaller network: what a mask makes dead for ever is cut out before and put back after it."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from prunelib.compact.dead import clear_dead_, may_shrink
from prunelib.compact.slim import without
from prunelib.masks.mask import Mask

if TYPE_CHECKING:
    from prunelib.channels.coupling import Group


@dataclass(frozen=True)
class Shrunk:
    """A smaller network whose training is that of a masked one, its mask, and where its values stand in the other.

    ``positions``: per tensor of the smaller state the flat positions (same shape) in the tensor of the full state.
    """

    network: nn.Module
    mask: Mask
    positions: dict[str, Tensor]

    @torch.no_grad()
    def write_back_(self, model: nn.Module) -> None:
        """Put the smaller network's values into ``model``, the masked network it was made from; the rest stays.

        What stays are kept weights of dead channels, which masked training would not move either (their gradient is
        zero), and the running statistics of dead channels, which it would move; no output depends on them.
        """
        state = model.state_dict()
        for name, tensor in self.network.state_dict().items():
            flat = state[name].reshape(-1).clone()
            flat[self.positions[name].reshape(-1).to(flat.device)] = tensor.reshape(-1)
            state[name].copy_(flat.view(state[name].shape))


def shrunk(model: nn.Module, mask: Mask, example: Tensor) -> Shrunk | None:
    """Cut out of a masked network what stays dead whatever values the kept parameters take; None if that is nothing.

    Training the smaller network, with its mask enforced, by gradients from any loss of the output takes the same steps
    up to rounding: in training mode, without dropout, weight decay or noise on the weights. Raises MethodError when
    the smaller network's output in training mode differs on ``example``.
    """
    masked = copy.deepcopy(model).train()
    mask.apply_(masked)
    skeleton = copy.deepcopy(masked)  # 1 where a parameter may be other than zero at some step
    with torch.no_grad():
        for parameter in skeleton.parameters():
            parameter.fill_(1)
    mask.apply_(skeleton)
    if not may_shrink(skeleton):
        return None
    from prunelib.channels.groups import single_groups  # seconds of imports, for networks that do shrink

    groups = single_groups(skeleton, example)
    dead = clear_dead_(skeleton, groups)
    if not any(len(channels) for channels in dead.values()):
        return None
    network = without(masked, groups, dead, example)
    positions = _positions(masked, groups, dead)
    left = Mask({name: kept.reshape(-1)[positions[name]] for name, kept in mask.items()})
    return Shrunk(network, left, positions)


def _positions(model: nn.Module, groups: list[Group], dead: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return where every value of the smaller state stands: the same removal on a network of flat positions."""
    from prunelib.channels.removal import remove_

    places = copy.deepcopy(model).double()  # counts exactly to 2^53
    for tensor in places.state_dict().values():
        tensor.copy_(torch.arange(tensor.numel()).view(tensor.shape))
    remove_(places, groups, dead)
    return {name: tensor.long().cpu() for name, tensor in places.state_dict().items()}
