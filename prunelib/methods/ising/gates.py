"""Gates: the units of a network (filters, inputs of linear layers), and its forward pass with some of them shut.

A gate of 0 on a filter multiplies scale and shift of the batch norm that follows by 0 (for a filter without a norm: its
output), and on a linear layer its input feature. That equals masking filter, scale and shift, yet costs C numbers per
layer, and autograd gives shut units a gradient of exactly zero. Source: EDropout (TNNLS 2021), IPruning (ICASSP 2021).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.func import functional_call

from prunelib.errors import MethodError

CONVS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


@dataclass(frozen=True)
class Layer:
    """The units of one module: a convolution's filters, with the norm that follows, or a linear layer's inputs."""

    name: str
    size: int
    kind: Literal["filters", "inputs"]
    norm: str | None = None


@dataclass(frozen=True)
class Units:
    """Every unit of a network, in definition order; a state is one boolean row over all of them."""

    layers: tuple[Layer, ...]

    @property
    def size(self) -> int:
        """Number of units D."""
        return sum(layer.size for layer in self.layers)

    def split(self, states: Tensor) -> dict[str, Tensor]:
        """Cut states (..., D) into (..., n) per layer, by module name."""
        parts = states.split([layer.size for layer in self.layers], dim=-1)
        return {layer.name: part for layer, part in zip(self.layers, parts, strict=True)}

    def numbers(self, name: str) -> Tensor:
        """Return the unit numbers (n,) of one module."""
        start = 0
        for layer in self.layers:
            if layer.name == name:
                return torch.arange(start, start + layer.size)
            start += layer.size
        raise KeyError(name)


def discover(model: nn.Module, example: Tensor) -> Units:
    """Find the units by one forward pass: all convolutions' filters and all linear inputs, the class outputs left out.

    The last convolution or linear layer to run has the classes as its outputs, which are never gated. Raises
    MethodError when a layer runs twice or when there is no unit.
    """
    order, pairs = _trace(model, example)
    modules = dict(model.named_modules())
    twice = {name for name in order if order.count(name) > 1}
    if twice:
        raise MethodError(f"ising: {', '.join(sorted(twice))} run more than once per forward pass and can't be gated.")
    layers = [_layer(name, modules[name], pairs.get(name)) for name in modules if name in order]
    units = Units(tuple(layer for layer in layers if layer.kind == "inputs" or layer.name != order[-1]))
    if not units.layers:
        raise MethodError("ising: the network has no convolution or linear layer to gate.")
    return units


def _layer(name: str, module: nn.Module, norm: str | None) -> Layer:
    if isinstance(module, nn.Linear):
        return Layer(name, module.in_features, "inputs")
    return Layer(name, module.out_channels, "filters", norm)


def _trace(model: nn.Module, example: Tensor) -> tuple[list[str], dict[str, str]]:
    """Return the order in which layers run, and which norm takes each convolution's output as it is."""
    order: list[str] = []
    outputs: list[tuple[str, Tensor]] = []
    pairs: dict[str, str] = {}

    def ran(name: str, module: nn.Module, args: tuple[Tensor, ...], output: Tensor) -> None:
        order.append(name)
        outputs.append((name, output))

    def norming(name: str, module: nn.Module, args: tuple[Tensor, ...]) -> None:
        pairs.update({conv: name for conv, output in outputs if output is args[0] and module.affine})

    with ExitStack() as stack, torch.no_grad(), evaluating(model):
        for name, module in model.named_modules():
            if isinstance(module, (*CONVS, nn.Linear)):
                stack.enter_context(hooked(module.register_forward_hook(partial(ran, name))))
            elif isinstance(module, NORMS):
                stack.enter_context(hooked(module.register_forward_pre_hook(partial(norming, name))))
        model(example)
    return order, pairs


def gated_forward(model: nn.Module, units: Units, gates: Mapping[str, Tensor], x: Tensor) -> Tensor:
    """Run the model with float gates (n,) per layer; differentiable in the weights, norms update as the mode says."""
    parameters = dict(model.named_parameters())
    overrides = {}
    with ExitStack() as stack:
        for layer in units.layers:
            gate, module = gates[layer.name], model.get_submodule(layer.name)
            if layer.norm is not None:
                for part in ("weight", "bias"):
                    overrides[f"{layer.norm}.{part}"] = parameters[f"{layer.norm}.{part}"] * gate
            else:
                stack.enter_context(multiplied(module, layer.kind, gate))
        return functional_call(model, overrides, (x,))


@torch.inference_mode()
def candidate_forward(model: nn.Module, units: Units, gates: Mapping[str, Tensor], x: Tensor) -> Tensor:
    """Run S gated networks on one batch at once: gates (S, n) per layer, x (N, ...) -> outputs (S, N, ...).

    Every norm uses each candidate's own batch statistics and leaves the running ones alone; dropout is off. One pass
    over S·N inputs shares the weights, since candidates differ in their gates only.
    """
    count = next(iter(gates.values())).shape[0]
    gate_of = {layer.norm: gates[layer.name] for layer in units.layers if layer.norm is not None}
    with ExitStack() as stack:
        stack.enter_context(evaluating(model))
        for layer in units.layers:
            if layer.norm is None:
                rows = gates[layer.name].repeat_interleave(len(x), dim=0)
                stack.enter_context(multiplied(model.get_submodule(layer.name), layer.kind, rows))
        for name, module in model.named_modules():
            if isinstance(module, NORMS):
                forward = partial(_candidate_norm, module, gate_of.get(name), count)
                stack.enter_context(replaced_forward(module, forward))
        outputs = model(x.repeat(count, *[1] * (x.dim() - 1)))
    return outputs.unflatten(0, (count, len(x)))


def _candidate_norm(norm: nn.Module, gate: Tensor | None, count: int, x: Tensor) -> Tensor:
    """Normalise (S·N, C, ...) by the batch statistics of each of the S candidates, with gated scale and shift."""
    grouped = x.reshape(count, len(x) // count, x.shape[1], -1)
    places = grouped.shape[1] * grouped.shape[3]
    mean = grouped.sum(3).sum(1) / places
    # The mean of squares by products along rows: torch.var_mean over split axes takes four times as long on a CPU.
    squares = torch.einsum("sncl,sncl->snc", grouped, grouped).sum(1) / places
    variance = (squares - mean.square()).clamp(min=0)
    scale, shift = (1.0, 0.0) if norm.weight is None else (norm.weight, norm.bias)
    if gate is not None:
        scale, shift = scale * gate, shift * gate  # a gated norm has both
    factor = scale * torch.rsqrt(variance + norm.eps)
    offset = shift - mean * factor
    return torch.addcmul(offset[:, None, :, None], grouped, factor[:, None, :, None]).reshape(x.shape)


def multiplied(module: nn.Module, kind: str, gate: Tensor) -> Any:
    """Multiply a linear layer's input, or a convolution's output, by gates (n,) or (rows, n) inside the block."""
    if kind == "inputs":
        return hooked(module.register_forward_pre_hook(lambda _, args: (args[0] * gate,)))
    trailing = module.weight.dim() - 2
    spread = gate.reshape(*gate.shape, *[1] * trailing)
    return hooked(module.register_forward_hook(lambda _, args, output: output * spread))


@contextmanager
def hooked(handle: Any) -> Iterator[None]:
    """Remove a registered hook when the block ends."""
    try:
        yield
    finally:
        handle.remove()


@contextmanager
def replaced_forward(module: nn.Module, forward: Callable[[Tensor], Tensor]) -> Iterator[None]:
    """Let one module compute something else inside the block."""
    module.forward = forward
    try:
        yield
    finally:
        del module.forward


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Put every module into evaluation mode inside the block and each back into its own mode after it."""
    training = [module for module in model.modules() if module.training]
    model.eval()
    try:
        yield
    finally:
        for module in training:
            module.training = True
