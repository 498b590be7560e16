"""Which channels feed which layers, found by following marks through a network instead of reading its code."""

from __future__ import annotations

from contextlib import ExitStack, suppress
from dataclasses import dataclass
from functools import partial
from itertools import accumulate

import torch
from torch import Tensor, nn

from prunelib.methods.ising.gates import CONVS, NORMS, Units, evaluating, hooked, replaced_forward

LAYERS = (*CONVS, nn.Linear)


@dataclass(frozen=True)
class Wiring:
    """Which output channels feed which input channels, each side numbered through over all layers in ``layers``.

    ``edges`` (2, E) holds (input channel, output channel); the number ``outputs`` stands for something else that is
    always there (the image, a mixture). ``widths``: input channels per layer.
    """

    layers: tuple[str, ...]
    widths: tuple[int, ...]
    outputs: int
    edges: Tensor


@torch.no_grad()
def trace_wiring(model: nn.Module, units: Units, example: Tensor) -> Wiring:
    """Follow the channels of every layer to where they are read.

    Layers are replaced by markers and NaN is followed through everything between them (sums, concatenations,
    pooling, flattening): one pass per layer, its channel numbers written in binary over the batch. A batch norm that
    is not the gate of a convolution turns nothing into something, so channels behind it count as something else.
    """
    image, shapes = _smallest(model, example)
    layers = {name: m for name, m in model.named_modules() if isinstance(m, LAYERS) and name in shapes}
    gates = {layer.name: layer.norm or layer.name for layer in units.layers if layer.kind == "filters"}
    points = {name: gates.get(name, name) for name in layers}
    heights = [len(layer.weight) for layer in layers.values()]
    found: dict[str, list[Tensor]] = {name: [] for name in layers}
    for name, start in zip(layers, accumulate(heights, initial=0), strict=False):
        probe = _Probe(points[name], set(points.values()), len(layers[name].weight), shapes)
        for reader, seen in probe.run(model, image).items():
            found[reader].append(_decode(seen, start, sum(heights)))
    sources = [torch.stack(parts, dim=1) for parts in found.values()]
    offsets = accumulate((len(part) for part in sources), initial=0)
    edges = [_edges(part, first, sum(heights)) for part, first in zip(sources, offsets, strict=False)]
    return Wiring(tuple(layers), tuple(map(len, sources)), sum(heights), torch.cat(edges, dim=1))


def _edges(sources: Tensor, first: int, outputs: int) -> Tensor:
    """List the used places of (input channels, passes) as (input channel number, output channel number)."""
    channel, place = (sources <= outputs).nonzero(as_tuple=True)
    return torch.stack([channel + first, sources[channel, place]]).unique(dim=1)


def _smallest(model: nn.Module, example: Tensor) -> tuple[Tensor, dict[str, torch.Size]]:
    """Return the smallest corner of the example (sides powers of two) that the network takes, and what shapes it has.

    The wiring does not depend on the side of the image, the time to find it does.
    """
    side = 1
    while example.dim() > 2 and side < max(example.shape[2:]):
        image = example[(slice(None), slice(None), *[slice(side)] * (example.dim() - 2))]
        with suppress(RuntimeError):
            return image, _output_shapes(model, image)
        side *= 2
    return example, _output_shapes(model, example)


class _Probe:
    """One marked pass: ``point`` sends marks, the other points zeros, the image NaN."""

    def __init__(self, point: str, points: set[str], size: int, shapes: dict[str, torch.Size]) -> None:
        bits = max(1, (size - 1).bit_length())
        digits = (torch.arange(size) >> torch.arange(bits)[:, None]) & 1
        self.marks = torch.cat([digits, 1 - digits]).bool()
        self.point, self.points, self.shapes = point, points, shapes
        self.seen: dict[str, Tensor] = {}

    def run(self, model: nn.Module, example: Tensor) -> dict[str, Tensor]:
        """Return where marks arrive: (2·bits, input channels) booleans per layer."""
        with ExitStack() as stack:
            stack.enter_context(evaluating(model))
            for name, module in model.named_modules():
                if name in self.shapes:
                    forward = self._layer if isinstance(module, LAYERS) else self._norm
                    stack.enter_context(replaced_forward(module, partial(forward, name, module)))
            model(torch.full((len(self.marks), *example.shape[1:]), torch.nan, device=example.device))
        return self.seen

    def _layer(self, name: str, module: nn.Module, x: Tensor) -> Tensor:
        axis = -1 if isinstance(module, nn.Linear) else 1
        self.seen[name] = _per_channel(x.isnan().movedim(axis, 1)).cpu()
        return self._output(name, x, axis)

    def _norm(self, name: str, module: nn.Module, x: Tensor) -> Tensor:
        if name in self.points:
            return self._output(name, x, 1)
        tainted = _per_channel(x.isnan()).any(dim=0)
        return x.masked_fill(tainted.reshape(1, -1, *[1] * (x.dim() - 2)), torch.nan)

    def _output(self, name: str, x: Tensor, axis: int) -> Tensor:
        blank = torch.zeros((len(self.marks), *self.shapes[name][1:]), device=x.device)
        if name != self.point:
            return blank
        marks = self.marks.to(x.device).reshape(*self.marks.shape, *[1] * (blank.dim() - 2))
        return blank.movedim(axis, 1).masked_fill(marks, torch.nan).movedim(1, axis)


def _per_channel(seen: Tensor) -> Tensor:
    """Reduce (N, C, ...) to (N, C): whether any place of a channel is set."""
    return seen.reshape(*seen.shape[:2], -1).any(dim=2)


def _decode(seen: Tensor, start: int, always: int) -> Tensor:
    """Read channel numbers from (2·bits, channels): bits set above, bits clear below; both = mixed = always on."""
    ones, zeros = seen.chunk(2)
    number = (ones.long() << torch.arange(len(ones))[:, None]).sum(dim=0) + start
    number = torch.where((ones & zeros).any(dim=0), always, number)
    return torch.where((ones | zeros).any(dim=0), number, always + 1)


def _output_shapes(model: nn.Module, example: Tensor) -> dict[str, torch.Size]:
    shapes: dict[str, torch.Size] = {}
    with ExitStack() as stack:
        stack.enter_context(evaluating(model))
        for name, module in model.named_modules():
            if isinstance(module, (*LAYERS, *NORMS)):
                keep = module.register_forward_hook(lambda m, args, out, name=name: shapes.update({name: out.shape}))
                stack.enter_context(hooked(keep))
        model(example)
    return shapes
