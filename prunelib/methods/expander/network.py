"""A masked network as one graph of channels: which are alive, which weights lie on a path, how many paths there are.

The network itself is run, so whatever its forward does with its layers (shortcuts, concatenation, pooling) is in the
graph: a copy in float64 whose kernels are reduced to their central tap (an edge), without biases, norms, curved
activations and dropout. Two passes mark channels, forth and back, with every signal cut to 0 or 1 behind each layer;
one counts paths. Attention is seen along its values; queries, keys and sigmoid gates steer but carry no path.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from prunelib.methods.expander.layers import Graphs, mask_of, modules_of

NORMS = (nn.modules.batchnorm._NormBase, nn.GroupNorm, nn.LayerNorm)
CURVED = (nn.Sigmoid, nn.Hardsigmoid, nn.Tanh, nn.GELU, nn.SiLU, nn.Hardswish, nn.ELU, nn.Softmax)
GATES = (nn.Sigmoid, nn.Hardsigmoid)
START = 1e-300  # counting begins here, so that up to 10^600 paths fit into float64
TINY = 1e-12  # below this a gradient is rounding

Marks = NDArray[np.bool_]


@dataclass(frozen=True)
class Flow:
    """What passes through each layer, by the name of its weight.

    ``into``: inputs that a path from the image reaches; ``out``: outputs that such a path reaches; ``on``: outputs from
    which a path leads to the network's output; ``effective``: kept weights on a path from the image to the output;
    ``log10_paths``: of the paths from the image to the layer's outputs (-inf: none; inf: more than 10^600);
    ``mixing``: sigma2 / sigma1 of the path counts from every input channel to what enters the last layer where that is
    dense, or leaves it where not: 0 when every channel there sees the inputs in the same proportions (1: no path).
    """

    into: dict[str, Marks]
    out: dict[str, Marks]
    on: dict[str, Marks]
    effective: dict[str, int]
    log10_paths: dict[str, float]
    mixing: float


def flow(graphs: Graphs, model: nn.Module, example: Tensor) -> Flow:
    """Follow a masked network's channels from end to end; layers without a graph are dense.

    ``graphs``: (inputs, outputs) of a layer by the name of its weight, entries = kept weights; ``example``: an input of
    the network, of which only the shape and the device matter. Raises MethodError for a graph that does not fit.
    """
    network = _channels(graphs, model).to(example.device)
    layers = modules_of(network)
    blank = torch.zeros_like(example[:1], dtype=torch.float64)
    forth = _marks(network, layers, blank + 1, _Cut.apply)
    back = _marks(network, layers, blank + 1, _Open.apply, backward=True)
    into, out = ({name: marks[end] for name, marks in forth.items()} for end in ("into", "out"))
    on = {name: marks["on"] for name, marks in back.items()}
    effective = {name: int(into[name] @ (graph @ on[name].astype(np.int64))) for name, graph in graphs.items()}
    return Flow(into, out, on, effective, *_paths(network, layers, blank))


def _channels(graphs: Graphs, model: nn.Module) -> nn.Module:
    """Return the copy that is linear in its input: 1 in the central tap of every kernel with a kept weight."""
    network = copy.deepcopy(model).double().eval().requires_grad_(False)
    edges = mask_of(graphs, model)
    modules = modules_of(network)
    for parameter in network.parameters():  # a vector scales channels (so it must not cut them), more axes are added
        parameter.fill_(float(parameter.ndim == 1))
    for name, module in modules.items():
        _narrow_(module)
        _edges(module).copy_(edges[name].flatten(2)[..., 0] if edges[name].ndim > 2 else edges[name])
        if module.bias is not None:
            module.bias.zero_()
    for parent in list(network.modules()):
        for name, child in parent.named_children():
            if isinstance(child, NORMS):
                setattr(parent, name, nn.Identity())
            elif isinstance(child, CURVED):
                setattr(parent, name, _Gate() if isinstance(child, GATES) else nn.Identity())
    return network


class _Gate(nn.Module):
    """A sigmoid: passes marks on; while paths are counted it is open and carries none."""

    counting = False

    def forward(self, x: Tensor) -> Tensor:
        return torch.ones_like(x) if self.counting else x


class _Cut(torch.autograd.Function):
    """Forth: 1 where there is a signal, else 0."""

    @staticmethod
    def forward(ctx: object, x: Tensor) -> Tensor:
        return (x > 0).double()

    @staticmethod
    def backward(ctx: object, grad: Tensor) -> Tensor:
        return grad


class _Open(torch.autograd.Function):
    """Forth: 1 everywhere, so that every ReLU is open; back: 1 where there is a gradient, else 0."""

    @staticmethod
    def forward(ctx: object, x: Tensor) -> Tensor:
        return torch.ones_like(x)

    @staticmethod
    def backward(ctx: object, grad: Tensor) -> Tensor:
        return (grad > TINY).double()


def _marks(
    network: nn.Module,
    layers: dict[str, nn.Module],
    image: Tensor,
    cut: Callable[[Tensor], Tensor],
    backward: bool = False,
) -> dict[str, dict[str, Marks]]:
    """Run the network with ``cut`` behind every layer; mark each layer's live inputs and outputs, or gradients."""
    found: dict[str, dict[str, Marks]] = {
        name: {"into": _none(layer, "in"), "out": _none(layer, "out"), "on": _none(layer, "out")}
        for name, layer in layers.items()
    }

    def note(name: str, end: str, tensor: Tensor) -> None:
        found[name][end] |= _peaks(tensor, layers[name]).amax(0).gt(TINY).cpu().numpy()

    def hook(name: str) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], Tensor]:
        def after(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
            after_cut = cut(output)
            note(name, "into", inputs[0].detach())
            note(name, "out", after_cut.detach())
            if after_cut.requires_grad:
                after_cut.register_hook(lambda grad: note(name, "on", grad))
            return after_cut

        return after

    handles = [layer.register_forward_hook(hook(name)) for name, layer in layers.items()]
    with torch.set_grad_enabled(backward):
        output = network(image.requires_grad_(backward))
        if backward:
            output.sum().backward()
    for handle in handles:
        handle.remove()
    return found


def _paths(network: nn.Module, layers: dict[str, nn.Module], blank: Tensor) -> tuple[dict[str, float], float]:
    """Count the paths from every input channel to each layer's channels; return log10 of the sums, and the mixing."""
    image = blank.expand(blank.shape[1], *blank.shape[1:]).clone()
    image[range(len(image)), range(len(image))] = START
    counts: dict[str, tuple[Tensor, Tensor]] = {}
    handles = [
        layer.register_forward_hook(
            lambda module, inputs, output, name=name: counts.update(
                {name: (_peaks(inputs[0], module), _peaks(output, module))}
            )
        )
        for name, layer in layers.items()
    ]
    for module in network.modules():
        if isinstance(module, _Gate):
            module.counting = True
    with torch.no_grad():
        network(image)
    for handle in handles:
        handle.remove()
    logs = {name: _log10(counts[name][1].sum().item()) if name in counts else -math.inf for name in layers}
    last, final = list(layers.items())[-1]
    if last not in counts:
        return logs, 1.0
    return logs, _mixing(counts[last][0 if bool(_edges(final).all()) else 1])


def _mixing(paths: Tensor) -> float:
    scale = paths.max()
    if not torch.isfinite(scale) or scale == 0:
        return 1.0
    values = torch.linalg.svdvals(paths / scale)
    return float(values[1] / values[0]) if values.numel() > 1 else 0.0


def _log10(total: float) -> float:
    return math.log10(total) - math.log10(START) if total > 0 else -math.inf


def _narrow_(layer: nn.Module) -> None:
    """Make a convolution that is padded to see its own position in the middle a pointwise one: the same, but faster."""
    if not isinstance(layer, nn.Conv2d) or layer.padding_mode != "zeros" or isinstance(layer.padding, str):
        return
    sides = zip(layer.kernel_size, layer.padding, layer.dilation, strict=True)
    if all(side % 2 and padding == side // 2 * dilation for side, padding, dilation in sides):
        layer.weight = nn.Parameter(layer.weight[..., :1, :1].clone(), requires_grad=False)
        layer.kernel_size, layer.padding, layer.dilation = (1, 1), (0, 0), (1, 1)


def _edges(layer: nn.Module) -> Tensor:
    """Return the part of a weight that carries edges: the central taps, (out, in / groups) or transposed."""
    return layer.weight[(..., *(side // 2 for side in layer.weight.shape[2:]))]


def _none(layer: nn.Module, end: str) -> Marks:
    size = getattr(layer, f"{end}_features" if isinstance(layer, nn.Linear) else f"{end}_channels")
    return np.zeros(size, dtype=bool)


def _peaks(tensor: Tensor, layer: nn.Module) -> Tensor:
    """Return the largest value of every channel over all positions, (N, channels)."""
    if isinstance(layer, nn.Linear):
        return tensor.flatten(1, -2).amax(1) if tensor.ndim > 2 else tensor
    return tensor.flatten(2).amax(2)
