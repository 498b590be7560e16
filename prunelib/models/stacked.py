"""K networks of one architecture as one: every tensor has a leading axis of K, every convolution becomes a grouped one.

A small network leaves most of a GPU idle; K of them in one pass cost little more than one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.func import functional_call

from prunelib.errors import ConfigError


class Stacked:
    """The parameters and buffers of K networks, stacked: ``parameters[name]`` is (K, *shape) and asks for gradients.

    Row k is network k: no row sees another, so a sum of K losses has the gradients of K single runs. The norms of
    networks in train mode use their own batch's statistics and update their own running ones, as single runs do.
    """

    def __init__(self, models: Sequence[nn.Module]) -> None:
        """Copy the networks' tensors; raises ConfigError for none, or for networks that differ in a name or shape."""
        if not models:
            raise ConfigError("stacked networks: got none. Allowed: one network or more.")
        layouts = [{name: (tensor.shape, tensor.dtype) for name, tensor in _tensors(model)} for model in models]
        for index, layout in enumerate(layouts):
            different = [name for name in {**layouts[0], **layout} if layouts[0].get(name) != layout.get(name)]
            if different:
                raise ConfigError(
                    f"stacked networks: network {index} differs from network 0 in {different[0]} "
                    f"({_words(layout, different[0])}, not {_words(layouts[0], different[0])}); "
                    "only networks of one architecture run together."
                )
        self._models = list(models)
        self.parameters = {
            name: _plain(torch.stack([model.get_parameter(name).detach() for model in models])).requires_grad_()
            for name, _ in models[0].named_parameters()
        }
        self.buffers = {
            name: torch.stack([model.get_buffer(name) for model in models]) for name, _ in models[0].named_buffers()
        }
        self._forward = torch.vmap(self._one)

    def __len__(self) -> int:
        return len(self._models)

    def __call__(self, inputs: Tensor, parameters: Mapping[str, Tensor] | None = None) -> Tensor:
        """Return network k's output for input k, (K, *output), from its own or the given stacked parameters.

        Parameters that are not given keep their values.
        """
        given = {name: _plain(tensor) for name, tensor in (parameters or {}).items()}
        return self._forward({**self.parameters, **given}, self.buffers, inputs)

    def _one(self, parameters: dict[str, Tensor], buffers: dict[str, Tensor], inputs: Tensor) -> Tensor:
        return functional_call(self._models[0], (parameters, buffers), (inputs,))

    def state(self) -> dict[str, Tensor]:
        """Return all stacked tensors by name."""
        return {**self.parameters, **self.buffers}

    @torch.no_grad()
    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Take back what ``state`` returned."""
        for name, tensor in self.state().items():
            tensor.copy_(state[name])

    @torch.no_grad()
    def unstack_(self) -> None:
        """Write every row back into the network it came from."""
        for name, stacked in self.state().items():
            for model, row in zip(self._models, stacked, strict=True):
                own = dict(_tensors(model))[name]
                own.copy_(row)


def _tensors(model: nn.Module) -> list[tuple[str, Tensor]]:
    return [*model.named_parameters(), *model.named_buffers()]


def _plain(tensor: Tensor) -> Tensor:
    """Return a copy in row-major strides.

    Without a word, torch (2.15) gets a wrong gradient of stacked filters that lie channels last, in some layouts of
    their inputs; ``contiguous`` would leave 1x1 filters as they are.
    """
    return tensor.clone(memory_format=torch.contiguous_format)


def _words(layout: Mapping[str, tuple[torch.Size, torch.dtype]], name: str) -> str:
    if name not in layout:
        return "missing"
    shape, dtype = layout[name]
    return f"{tuple(shape)} {str(dtype).removeprefix('torch.')}"
