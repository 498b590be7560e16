"""Which channels feed which layers, found by following marks through a network instead of reading its code."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from prunelib.methods.ising.gates import CONVS, NORMS, Units, evaluating, hooked, replaced_forward

LAYERS = (*CONVS, nn.Linear)


@dataclass(frozen=True)
class Wiring:
    """How the layers that run hang together, by channel numbers that count all their outputs through.

    ``outputs`` is the number of output channels of all layers; ``sources[name]`` (input channels, most) holds the
    output channels that feed each input channel of a layer: ``outputs`` itself stands for something else (the image,
    a mixture), ``outputs + 1`` fills unused places.
    """

    layers: tuple[str, ...]
    outputs: int
    sources: dict[str, Tensor]


@torch.no_grad()
def trace_wiring(model: nn.Module, units: Units, example: Tensor) -> Wiring:
    """Follow the channels of every layer to where they are read.

    Layers are replaced by markers and NaN is followed through everything between them (sums, concatenations,
    pooling, flattening): one pass per layer, its channel numbers written in binary over the batch. A batch norm that
    is not the gate of a convolution turns nothing into something, so channels behind it count as something else.
    """
    shapes = _output_shapes(model, example)
    layers = {name: m for name, m in model.named_modules() if isinstance(m, LAYERS) and name in shapes}
    gates = {layer.name: layer.norm or layer.name for layer in units.layers if layer.kind == "filters"}
    points = {name: gates.get(name, name) for name in layers}
    found: dict[str, list[Tensor]] = {name: [] for name in layers}
    outputs = sum(len(layer.weight) for layer in layers.values())
    start = 0
    for name, layer in layers.items():
        probe = _Probe(points[name], set(points.values()), len(layer.weight), shapes)
        for reader, seen in probe.run(model, example).items():
            found[reader].append(_decode(seen, start, outputs))
        start += len(layer.weight)
    sources = {name: _compact(torch.stack(parts, dim=1), outputs + 1) for name, parts in found.items()}
    return Wiring(tuple(layers), outputs, sources)


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


def _compact(numbers: Tensor, filler: int) -> Tensor:
    """Move unused places to the end of each row and drop the columns that hold nothing else."""
    ranked = numbers.sort(dim=1).values
    return ranked[:, : max(1, int((ranked < filler).sum(dim=1).max()))]


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
