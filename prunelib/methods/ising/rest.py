"""Units whose gate is shut: they rest through a step (weights, optimizer state, running statistics), or go for good."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from prunelib.methods.ising.gates import Layer, Units


class Rest:
    """Remembers what belongs to the shut units of a state before an optimizer step and puts it back after it.

    On a CPU it copies their slices. Where they lie would have to be asked of another device, so that one copies whole
    tensors and chooses.
    """

    @torch.no_grad()
    def __init__(self, model: nn.Module, units: Units, state: Tensor, optimizer: torch.optim.Optimizer) -> None:
        """Copy from parameters, optimizer state tensors of the same shape and running statistics."""
        self._optimizer = optimizer
        self._places: list[tuple[Tensor, int, Tensor]] = []
        parts = units.split(~state)
        for layer in units.layers:
            moving = [*owned(model, layer), *((buffer, 0) for buffer in _statistics(model, layer))]
            self._places += [(tensor, axis, _places(parts[layer.name], tensor, axis)) for tensor, axis in moving]
        self._values = [
            {name: _take(tensor, axis, where) for name, tensor in self._states(parameter)}
            for parameter, axis, where in self._places
        ]

    @torch.no_grad()
    def restore_(self) -> None:
        """Put the copies back; state that the step has created is zero for shut units."""
        for (parameter, axis, where), values in zip(self._places, self._values, strict=True):
            for name, tensor in self._states(parameter):
                _put_(tensor, axis, where, values.get(name))

    def _states(self, parameter: Tensor) -> Iterator[tuple[str, Tensor]]:
        """Yield the tensor and, of a parameter, its optimizer state of the same shape (momentum ...) by name."""
        yield "parameter", parameter
        for name, value in self._optimizer.state.get(parameter, {}).items():
            if isinstance(value, Tensor) and value.shape == parameter.shape:
                yield name, value


def owned(model: nn.Module, layer: Layer) -> list[tuple[nn.Parameter, int]]:
    """Return the parameters a layer's units own, each with the axis the units lie on."""
    module = model.get_submodule(layer.name)
    if layer.kind == "inputs":
        return [(module.weight, 1)]
    modules = [module] if layer.norm is None else [module, model.get_submodule(layer.norm)]
    tensors = [tensor for module in modules for tensor in (module.weight, module.bias)]
    return [(tensor, 0) for tensor in tensors if tensor is not None]


@torch.no_grad()
def settle_(model: nn.Module, units: Units, state: Tensor) -> None:
    """Set everything that belongs to the shut units of a state (D,) to zero, so that no gates are needed."""
    shut = units.split(~state)
    for layer in units.layers:
        for parameter, axis in owned(model, layer):
            parameter.index_fill_(axis, shut[layer.name].nonzero().flatten().to(parameter.device), 0.0)


def _statistics(model: nn.Module, layer: Layer) -> list[Tensor]:
    """Return the running statistics of the norm that gates a layer, if it has any."""
    if layer.norm is None:
        return []
    return [buffer for buffer in model.get_submodule(layer.norm).buffers(recurse=False) if buffer.dim()]


def _places(shut: Tensor, tensor: Tensor, axis: int) -> Tensor:
    """Return where a tensor's shut slices lie: their numbers on a CPU, elsewhere a mask that spreads over it."""
    if tensor.device.type == "cpu":
        return shut.nonzero().flatten().to(tensor.device)
    return shut.to(tensor.device).reshape(-1, *[1] * (tensor.dim() - axis - 1))


def _take(tensor: Tensor, axis: int, where: Tensor) -> Tensor:
    return tensor.clone() if where.dtype == torch.bool else tensor.index_select(axis, where)


def _put_(tensor: Tensor, axis: int, where: Tensor, values: Tensor | None) -> None:
    """Put values that were taken back at their places, zeros where there are none."""
    if where.dtype == torch.bool:
        tensor.copy_(torch.where(where, 0.0 if values is None else values, tensor))
    elif values is None:
        tensor.index_fill_(axis, where, 0.0)
    else:
        tensor.index_copy_(axis, where, values)
