"""Rest: units whose gate is shut keep their weights and their optimizer state through a step, weight decay included."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from prunelib.methods.ising.gates import Layer, Units


class Rest:
    """Remembers what belongs to the shut units of a state before an optimizer step and puts it back after it."""

    @torch.no_grad()
    def __init__(self, model: nn.Module, units: Units, state: Tensor, optimizer: torch.optim.Optimizer) -> None:
        """Copy the slices of parameters and of optimizer state tensors of the same shape."""
        self._optimizer = optimizer
        self._places: list[tuple[nn.Parameter, int, Tensor]] = []
        parts = units.split(~state)
        for layer in units.layers:
            index = parts[layer.name].nonzero().flatten()
            if len(index):
                self._places += [(p, axis, index.to(p.device)) for p, axis in owned(model, layer)]
        self._values = [
            {name: tensor.index_select(axis, index) for name, tensor in self._states(parameter)}
            for parameter, axis, index in self._places
        ]

    @torch.no_grad()
    def restore_(self) -> None:
        """Put the copies back; state that the step has created is zero for shut units."""
        for (parameter, axis, index), values in zip(self._places, self._values, strict=True):
            for name, tensor in self._states(parameter):
                if name in values:
                    tensor.index_copy_(axis, index, values[name])
                else:
                    tensor.index_fill_(axis, index, 0.0)

    def _states(self, parameter: nn.Parameter) -> Iterator[tuple[str, Tensor]]:
        """Yield the parameter and its optimizer state of the same shape (momentum, squared gradients ...) by name."""
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
