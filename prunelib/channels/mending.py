"""Put right what torch-pruning 1.6.1 records about splits: which part goes where, and splits of the last axis."""

from __future__ import annotations

from itertools import accumulate
from typing import Any

import torch_pruning
from torch_pruning.dependency.index_mapping import _SplitIndexMapping
from torch_pruning.ops import _SplitOp


def mend_splits_(graph: torch_pruning.DependencyGraph) -> None:
    """Let every edge of a split carry the channels of its own part.

    torch-pruning takes the parts in the order in which it meets them, coming from the outputs, and leaves out a split
    of the last axis (gated linear units). autograd knows the part of each edge.
    """
    for node in graph.module2node.values():
        if isinstance(node.module, _SplitOp) and (sizes := _channel_parts(node.grad_fn)):
            node.module.split_sizes, node.module.offsets = sizes, [0, *accumulate(sizes)]
            _map_edges_(node, node.module.offsets)


def _channel_parts(grad_fn: Any) -> list[int] | None:
    """Return the lengths of a split's parts when it divides channels: axis 1 of (N, C, ...), or the last axis."""
    shape = list(getattr(grad_fn, "_saved_self_sym_sizes", []))
    if not shape or not hasattr(grad_fn, "_saved_dim"):
        return None
    axis = grad_fn._saved_dim
    axis -= 2**64 if axis >= 2**63 else 0  # a negative axis is kept as an unsigned number
    axis %= len(shape)
    if axis != len(shape) - 1 and not (axis == 1 and len(shape) == 4):
        return None
    if hasattr(grad_fn, "_saved_split_sizes"):
        return list(grad_fn._saved_split_sizes)
    if not hasattr(grad_fn, "_saved_split_size"):
        return None
    each, total = grad_fn._saved_split_size, shape[axis]
    return [min(each, total - start) for start in range(0, total, each)]


def _map_edges_(node: Any, offsets: list[int]) -> None:
    for output in set(node.outputs):
        parts = [part for function, part in output.grad_fn.next_functions if function is node.grad_fn]
        there = [edge for edge in node.dependencies if edge.target is output]
        back = [edge for edge in output.dependencies if edge.target is node]
        for edges, reverse in ((there, False), (back, True)):
            for edge, part in zip(edges, parts, strict=False):
                edge.index_mapping[0] = _SplitIndexMapping(offset=offsets[part : part + 2], reverse=reverse)
