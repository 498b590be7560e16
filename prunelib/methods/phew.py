"""PHEW: keep the kernels along random walks from end to end of the network that prefer large weights."""

from __future__ import annotations

import operator
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from scipy import sparse
from torch import Tensor, fx, nn
from torch.fx.passes.shape_prop import ShapeProp

from prunelib.errors import MethodError
from prunelib.masks.mask import Mask
from prunelib.methods.common import Found, check_options
from prunelib.methods.expander.layers import Layer, modules_of
from prunelib.methods.saliency.quota import quota
from prunelib.registry import register
from prunelib.seeds import numpy_generator
from prunelib.tasks.base import Task, prunable

FRUITLESS = 10_000  # walks in a row that keep nothing new, after which a budget counts as out of reach

Edge = tuple[str, int, int]  # the name of a layer's weight, input channel, output channel


@register("method", "phew", stage="mask", parent="none", budgets=("density", "degree"))
def phew(task: Task, budget: Mapping[str, Any], generator: torch.Generator, *, dense_first: bool = False) -> Found:
    """Keep whole kernels along biased random walks until as many weights are kept as ``random`` would keep.

    Walks start in turn at an input and at an output channel, each channel as often as any other, and go to the other
    end; a step across a layer takes a channel with probability proportional to the summed |w| of its kernel. Where
    branches fork or add up, a walk takes one of them, all equally likely (our extension to residual networks). Of the
    last kernel the largest weights fill the budget exactly. A degree and ``dense_first``: as in random. ``generator``
    is not used: the walks have a stream of their own. Raises MethodError for a network whose channels can't be followed
    (attention, a forward pass that depends on data) and for a budget that no walk fills up.
    Source: Patil & Dovrolis, PHEW (ICML 2021).
    """
    check_options("phew", budget=budget["kind"], dense_first=dense_first)
    model = task.build().eval()
    chosen, left = quota(task, model, budget, "weights", dense_first)
    total = int(left.density * sum(weight.numel() for weight in chosen.values()))
    layers = {name: Layer.of(module) for name, module in modules_of(model).items() if name in chosen}
    walker = Walker(model, task.example, numpy_generator(task.seed, "phew"))
    kept, last, surplus = _walked(walker, layers, total)
    masks = {name: layers[name].kernels(sparse.csr_array(edges)) for name, edges in kept.items()}
    if surplus:
        _trim_(masks[last[0]], chosen[last[0]], layers[last[0]], last, surplus)
    whole = {name: torch.ones(weight.shape, dtype=torch.bool) for name, weight in prunable(model).items()}
    return Found(Mask({name: masks.get(name, dense) for name, dense in whole.items()}))


def _walked(walker: Walker, layers: Mapping[str, Layer], total: int) -> tuple[dict[str, np.ndarray], Edge, int]:
    """Walk until the kernels of these layers hold ``total`` weights; return their edges, the last one, the surplus."""
    kept = {name: np.zeros((at.n_in * at.groups, at.n_out * at.groups), dtype=bool) for name, at in layers.items()}
    count, idle, last = 0, 0, ("", 0, 0)
    while count < total:
        before = count
        for name, inside, outside in walker.walk():
            if name in kept and not kept[name][inside, outside] and count < total:
                kept[name][inside, outside], last = True, (name, inside, outside)
                count += layers[name].kernel
        idle = idle + 1 if count == before else 0
        if idle == FRUITLESS:
            raise MethodError(f"phew: {FRUITLESS} walks in a row found nothing new at {count} of {total} weights.")
    return kept, last, count - total


def _trim_(mask: Tensor, weight: Tensor, layer: Layer, edge: Edge, surplus: int) -> None:
    """Give up the ``surplus`` smallest weights of one kernel."""
    shape = (layer.n_in * layer.groups, layer.n_out * layer.groups)
    kernel = layer.kernels(sparse.csr_array(([True], ([edge[1]], [edge[2]])), shape=shape)).flatten().nonzero()[:, 0]
    order = weight.detach().cpu().flatten()[kernel].abs().argsort()
    mask.view(-1)[kernel[order[:surplus]]] = False


class Walker:
    """Random walks along the channels of a network, from its input to its output or back."""

    def __init__(self, model: nn.Module, example: Tensor, random: np.random.Generator) -> None:
        """Trace the network; raises MethodError where that can't be done."""
        try:
            traced = fx.symbolic_trace(model)
        except Exception as error:  # whatever a forward pass does with a stand-in for its input
            raise MethodError(f"phew: this network can't be followed ({error}).") from None
        with torch.no_grad():
            ShapeProp(traced).propagate(example)
        self.random, self.turns = random, 0
        nodes = list(traced.graph.nodes)
        self.first, self.last = nodes[0], nodes[-1].all_input_nodes[0]
        found, inside = modules_of(model), dict(traced.named_modules())
        names = {id(module): name for name, module in found.items()}
        self.layers = {
            node: names[id(inside[node.target])]
            for node in nodes
            if node.op == "call_module" and id(inside[node.target]) in names
        }
        tables = {name: _strength(module) for name, module in found.items()}
        self.tables = {
            True: {name: table.cumsum(axis=1) for name, table in tables.items()},
            False: {name: table.T.cumsum(axis=1) for name, table in tables.items()},
        }

    def walk(self) -> list[Edge]:
        """Return the edges of the next walk, or none when it ends at a channel without weights."""
        forth, turn = self.turns % 2 == 0, self.turns // 2
        self.turns += 1
        node, end = (self.first, self.last) if forth else (self.last, self.first)
        channel: int | None = turn % _width(node)
        edges: list[Edge] = []
        while node is not end and channel is not None:
            if forth:
                node, source = self._one([user for user in node.users if _width(user)]), node
                channel = self._across(source, node, channel, forth, edges)
            else:
                source = self._source(node, channel)
                channel = self._across(source, node, channel, forth, edges)
                node = source
        return edges if channel is not None else []

    def _one(self, nodes: list[fx.Node]) -> fx.Node:
        return nodes[0] if len(nodes) == 1 else nodes[self.random.integers(len(nodes))]

    def _source(self, node: fx.Node, channel: int) -> fx.Node:
        """Return the input of a node from which its output channel comes; one of several that are added up."""
        if node.target is not torch.cat:
            return self._one([source for source in node.all_input_nodes if _width(source)])
        starts = _starts(node)
        return max((source for source in starts if starts[source] <= channel), key=starts.__getitem__)

    def _across(self, source: fx.Node, node: fx.Node, channel: int, forth: bool, edges: list[Edge]) -> int | None:
        """Cross a node from its input ``source`` to its output, or back; return the channel there, or None."""
        if node in self.layers:
            name = self.layers[node]
            sums = self.tables[forth][name][channel]
            if sums[-1] == 0:
                return None
            to = int(np.searchsorted(sums, self.random.random() * sums[-1], side="right"))
            edges.append((name, channel, to) if forth else (name, to, channel))
            return to
        if node.target is torch.cat:
            return channel + _starts(node)[source] * (1 if forth else -1)
        inside, outside = _width(source), _width(node)
        if outside % inside or (node.target in (operator.matmul, torch.matmul)):
            raise MethodError(f"phew: can't follow channels through '{node}' ({inside} to {outside} channels).")
        if forth:  # flattening makes several units of a channel
            return channel * (outside // inside) + int(self.random.integers(outside // inside))
        return channel // (outside // inside)


def _width(node: fx.Node) -> int:
    """Return how many channels a node gives; 0 where that is no batch of channels."""
    shape = getattr(node.meta.get("tensor_meta"), "shape", ())
    return shape[1] if len(shape) > 1 and node.op != "output" else 0


def _starts(node: fx.Node) -> dict[fx.Node, int]:
    """Return the first channel of every input of a concatenation."""
    sources = list(node.args[0])
    ends = np.cumsum([_width(source) for source in sources])
    return {source: int(end) - _width(source) for source, end in zip(sources, ends, strict=True)}


def _strength(module: nn.Module) -> np.ndarray:
    """Return the summed |w| of every kernel, (inputs, outputs) of the whole layer."""
    layer, weight = Layer.of(module), module.weight.detach().double().abs().cpu()
    sums = (weight.flatten(2).sum(2) if weight.ndim > 2 else weight).numpy()
    blocks = sums.reshape(layer.groups, -1, sums.shape[1])
    return sparse.block_diag([block if layer.transposed else block.T for block in blocks]).toarray()
