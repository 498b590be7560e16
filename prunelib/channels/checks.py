"""Try groups out on a copy of the network before anything relies on them.

Tracing guesses: it takes every unknown operation for an element-wise one, and can't see numbers that a module holds
about its own shape. Two trials show whether the guess was right, whatever the architecture:

* Shuffled consistently through all its members, a group's channels leave the outputs as they are.
* Without some of a group's channels the network runs, and its outputs have the same shape.
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from prunelib.channels.coupling import Fixed, Group, Member
from prunelib.channels.removal import remove_
from prunelib.models.attention import keep_heads_
from prunelib.models.widths import keep_, replace_, width
from prunelib.seeds import generator

TOLERANCE = 1e-3  # of the outputs' largest value; a wrong coupling changes them by more than a tenth of it
ENOUGH = 2  # isomorphic groups that fail alone; the others of their set are taken to fail alike
ORDER = "the network depends on the order of its channels"


def sound(model: nn.Module, example: Tensor, groups: list[Group]) -> tuple[list[Group], list[Fixed]]:
    """Return the groups which can be pruned, alone and all together, and the others with the reason.

    The model is not changed. Weights that are all zero or tiny in a fresh network would hide a fault, so the trials
    use a copy whose scales are drawn anew.
    """
    trial = _Trial(model, example)
    if not trial.fault(groups):
        return groups, []
    accepted: list[Group] = []
    fixed: list[Fixed] = []
    for alike in _by_signature(groups):
        if not trial.fault(accepted + alike):
            accepted += alike
            continue
        faults: list[str] = []
        for group in alike:
            why = faults[-1] if len(faults) == ENOUGH else trial.fault([*accepted, group])
            faults += [why] if why and len(faults) < ENOUGH else []
            if why:
                fixed.append(Fixed(group.name, group.size, why))
            else:
                accepted.append(group)
    names = {group.name for group in accepted}
    return [group for group in groups if group.name in names], fixed


def _by_signature(groups: list[Group]) -> list[list[Group]]:
    sets: dict[str, list[Group]] = {}
    for group in groups:
        sets.setdefault(group.signature, []).append(group)
    return list(sets.values())


class _Trial:
    def __init__(self, model: nn.Module, example: Tensor) -> None:
        self._source = copy.deepcopy(model).eval()
        self._example = example
        _draw_scales_(self._source)
        self._output = self._run(self._source)

    def fault(self, groups: list[Group]) -> str:
        """Return what goes wrong when these groups are shuffled and cut, or nothing."""
        network = copy.deepcopy(self._source)
        try:
            for group in groups:
                _shuffle_(network, group)
            drift = (self._run(network) - self._output).abs().max()
        except Exception as error:  # a module may check its shapes in any way it likes
            return f"the network does not run with its channels in another order ({_brief(error)})"
        if not drift <= TOLERANCE * self._output.abs().max():
            return ORDER
        try:
            remove_(network, groups, {group.name: _share(group) for group in groups})
            fits = self._run(network).shape == self._output.shape
        except Exception as error:
            return f"the network does not run without some of them ({_brief(error)})"
        return "" if fits else "the outputs have another shape without some of them"

    def _run(self, network: nn.Module) -> Tensor:
        network.train().eval()  # drops what some modules cache in evaluation mode
        with torch.no_grad():
            output = network(self._example)
        outputs = output if isinstance(output, tuple | list) else [output]
        return torch.cat([found.flatten(1) for found in outputs], 1)


def _draw_scales_(model: nn.Module) -> None:
    """Redraw all that scales or shifts a channel (0.5 to 1.5), and weights which are all zero."""
    random = generator(0, "trial")
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.numel() == max(parameter.shape, default=1):
                parameter.copy_(torch.rand(parameter.shape, generator=random) + 0.5)
            elif not parameter.any():
                parameter.copy_(0.02 * torch.randn(parameter.shape, generator=random))


def _shuffle_(model: nn.Module, group: Group) -> None:
    """Permute a group's channels in every member: the same way within each run, and heads among each other."""
    random = generator(0, "shuffle", group.name)
    within, runs = _within(group, random), torch.arange(group.blocks)
    if group.attention is not None and group.blocks == group.attention.heads:
        runs = torch.randperm(group.blocks, generator=random)
        keep_heads_(model.get_submodule(group.attention.name), group.attention, runs)
    moved = torch.arange(group.size).reshape(group.blocks, -1)[runs][:, within].flatten()
    for member in group.members:
        path, _, attribute = member.name.rpartition(".")
        if member.axis is None:
            layer = model.get_submodule(member.name)
            keep_(layer, member.side, _order(member, moved, width(layer, member.side)))
        else:
            owner = model.get_submodule(path)
            tensor = getattr(owner, attribute).detach()
            order = _order(member, moved, tensor.shape[member.axis]).to(tensor.device)
            replace_(owner, attribute, tensor.index_select(member.axis, order))


def _within(group: Group, random: torch.Generator) -> Tensor:
    """Draw an order of a run's channels in which only those change places that lie in the same layers as often."""
    counts = torch.stack([torch.bincount(member.roots, minlength=group.size) for member in group.members])
    kinds = counts.reshape(-1, group.size // group.blocks).unique(dim=1, return_inverse=True)[1]
    order = torch.arange(len(kinds))
    for kind in kinds.unique():
        alike = (kinds == kind).nonzero().flatten()
        order[alike] = alike[torch.randperm(len(alike), generator=random)]
    return order


def _order(member: Member, moved: Tensor, length: int) -> Tensor:
    """Return which of a member's positions comes to each position when channel ``moved[r]`` comes to channel r."""
    by_root = torch.argsort(member.roots * length + member.channels)
    positions, roots = member.channels[by_root], member.roots[by_root]
    starts = torch.cumsum(torch.bincount(roots, minlength=len(moved)), 0) - torch.bincount(roots, minlength=len(moved))
    rank = torch.arange(len(roots)) - starts[roots]
    order = torch.arange(length)
    order[positions] = positions[starts[moved[roots]] + rank]
    return order


def _share(group: Group) -> Tensor:
    """Return the channels to try without: a share of every run and of the heads that differs from group to group.

    Widths which a module takes to be equal would stay equal if all groups lost the same share.
    """
    random = generator(0, "share", group.name)
    table = torch.zeros(group.blocks, group.size // group.blocks, dtype=torch.bool)
    table[:, _some(table.shape[1], random)] = True
    if group.attention is not None and group.blocks == group.attention.heads:
        table[_some(group.blocks, random)] = True
    return table.flatten().nonzero().flatten()


def _some(count: int, random: torch.Generator) -> Tensor:
    """Draw between a quarter and three quarters of ``count`` ids, and fewer than all."""
    number = round(count * (0.25 + 0.5 * float(torch.rand((), generator=random))))
    return torch.randperm(count, generator=random)[: min(number, count - 1)]


def _brief(error: Exception) -> str:
    """Return the first line of an error, short enough for a table."""
    line = (str(error).strip().splitlines() or [type(error).__name__])[0]
    return line if len(line) <= 120 else line[:117] + "..."
