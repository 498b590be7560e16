"""The Mask: one boolean tensor per pruned parameter, True = kept; applied once, enforced after every optimizer step."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from prunelib.errors import MethodError
from prunelib.storage.hdf5 import MASK, creating, reading
from prunelib.storage.hdf5_reader import Dataset


class Mask(Mapping[str, Tensor]):
    """Boolean tensors by parameter name, in the network's definition order; density = kept / size."""

    def __init__(self, tensors: Mapping[str, Tensor]) -> None:
        """Check that every tensor is boolean and keep it on the CPU; raises MethodError otherwise."""
        for name, tensor in tensors.items():
            if tensor.dtype != torch.bool:
                raise MethodError(f"mask of '{name}': holds {tensor.dtype} values; a mask is boolean, True = kept.")
        self._tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}

    def __getitem__(self, name: str) -> Tensor:
        return self._tensors[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._tensors)

    def __len__(self) -> int:
        return len(self._tensors)

    @classmethod
    def ones(cls, parameters: Mapping[str, Tensor]) -> Mask:
        """Return the mask that keeps every entry of the given parameters."""
        return cls({name: torch.ones_like(tensor, dtype=torch.bool) for name, tensor in parameters.items()})

    @classmethod
    def from_flat(cls, bits: np.ndarray, model: nn.Module) -> Mask:
        """Return the mask over every parameter of ``model`` that a flat boolean vector (N,) in their order spells out.

        Raises MethodError when N is not the model's number of parameters.
        """
        parameters = dict(model.named_parameters())
        wanted = sum(parameter.numel() for parameter in parameters.values())
        if bits.shape != (wanted,):
            raise MethodError(f"a flat mask of shape {bits.shape} does not fit a network of {wanted} parameters.")
        return _split(torch.from_numpy(bits.astype(bool)), parameters)

    def flat(self) -> np.ndarray:
        """Return all entries as one boolean vector (N,), tensor after tensor in the mask's order."""
        return torch.cat([tensor.reshape(-1) for tensor in self._tensors.values()]).numpy()

    @property
    def size(self) -> int:
        """Number of prunable entries."""
        return sum(tensor.numel() for tensor in self._tensors.values())

    @property
    def kept(self) -> int:
        """Number of kept entries."""
        return sum(int(tensor.sum()) for tensor in self._tensors.values())

    @property
    def density(self) -> float:
        """Kept / size, in [0, 1]."""
        return self.kept / max(self.size, 1)

    def layers(self) -> list[tuple[str, tuple[int, ...], int, int]]:
        """Return (name, shape, kept, size) per parameter."""
        return [(name, tuple(mask.shape), int(mask.sum()), mask.numel()) for name, mask in self._tensors.items()]

    def apply_(self, model: nn.Module) -> None:
        """Set every pruned weight of the model to exact zero, in place."""
        self.enforcer(model).weights_()

    def enforcer(self, model: nn.Module) -> Enforcer:
        """Bind the mask to a model's parameters; raises MethodError when a name or a shape does not fit."""
        return Enforcer(model, self)

    def save(self, path: str | Path, history: Mapping[str, list[float]] | None = None, **attributes: object) -> None:
        """Write packed bits, shapes, an optional search history and attributes to sealed HDF5, atomically."""
        with creating(path, MASK) as file:
            file.attrs.update({key: value for key, value in attributes.items() if value is not None})
            group = file.create_group("masks", track_order=True)
            for index, (name, mask) in enumerate(self._tensors.items()):
                stored = group.create_dataset(f"{index:04d}", data=np.packbits(mask.numpy().ravel()))
                stored.attrs["name"], stored.attrs["shape"] = name, mask.shape
            for column, values in (history or {}).items():
                file.create_dataset(f"history/{column}", data=np.asarray(values, dtype=np.float64))

    @classmethod
    def load(cls, path: str | Path) -> Mask:
        """Read a saved mask; a missing, torn, damaged or foreign file raises ArtefactError naming it."""
        with reading(path, MASK) as file:
            return cls({stored.attrs["name"]: _unpack(stored) for stored in file["masks"].values()})


def read_figures(path: str | Path) -> dict[str, float | str]:
    """Return what a search found out about its mask, by name (attribute ``figures``, JSON); errors as ``Mask.load``."""
    with reading(path, MASK) as file:
        return json.loads(file.attrs.get("figures", "{}"))


def _unpack(stored: Dataset) -> Tensor:
    shape = tuple(int(side) for side in stored.attrs["shape"])
    count = math.prod(shape)
    if min(shape, default=0) < 0 or stored.shape != (-(-count // 8),):
        raise ValueError(f"{stored.shape} bytes are not the bits of {shape}")
    bits = np.unpackbits(stored[()], count=count)
    return torch.from_numpy(bits.astype(bool).reshape(shape))


class Enforcer:
    """Keeps a model's pruned weights at zero: mask them once, and their gradients before each optimizer step.

    A weight, gradient and optimizer state of zero stay zero under SGD, Adam, AdamW and Adadelta, momentum and weight
    decay included, so the weights need masking again only after something other than such a step has written them.
    """

    def __init__(self, model: nn.Module, mask: Mask) -> None:
        """Pair every mask with its parameter, on the parameter's device."""
        parameters = dict(model.named_parameters())
        for name, tensor in mask.items():
            if name not in parameters or parameters[name].shape != tensor.shape:
                found = tuple(parameters[name].shape) if name in parameters else "no such parameter"
                raise MethodError(f"mask of '{name}' {tuple(tensor.shape)} does not fit the model ({found}).")
        pruned = [name for name in mask if not mask[name].all()]
        self._parameters = [parameters[name] for name in pruned]
        # as the parameters lie in memory (channels last, perhaps), so that one pass multiplies all of them
        self._masks = [torch.empty_like(parameters[name], requires_grad=False).copy_(mask[name]) for name in pruned]

    @torch.no_grad()
    def gradients_(self) -> None:
        """Zero the gradients of pruned weights, so that momentum and adaptive state never see them."""
        pairs = [(p.grad, m) for p, m in zip(self._parameters, self._masks, strict=True) if p.grad is not None]
        if pairs:
            torch._foreach_mul_([grad for grad, _ in pairs], [mask for _, mask in pairs])

    @torch.no_grad()
    def weights_(self) -> None:
        """Zero the pruned weights themselves."""
        if self._parameters:
            torch._foreach_mul_(self._parameters, self._masks)


def from_scores(scores: Mapping[str, Tensor], density: float, generator: torch.Generator) -> Mask:
    """Keep exactly int(density * N) entries with the highest scores, over all tensors.

    Ties are broken by a random order from ``generator`` (CPU). Raises MethodError for non-finite scores.
    """
    return best(scores, int(density * sum(score.numel() for score in scores.values())), generator)


def best(scores: Mapping[str, Tensor], count: int, generator: torch.Generator) -> Mask:
    """Keep the ``count`` highest scores of all tensors together; ties and errors as in ``from_scores``."""
    flat = torch.cat([score.detach().reshape(-1).double().cpu() for score in scores.values()])
    if not torch.isfinite(flat).all():
        bad = [name for name, score in scores.items() if not torch.isfinite(score).all()]
        raise MethodError(f"scores of {', '.join(bad)} are not finite; no mask can be ranked from them.")
    order = torch.randperm(flat.numel(), generator=generator)
    if count == 0:
        return _split(torch.zeros_like(flat, dtype=torch.bool), scores)
    least = flat.kthvalue(flat.numel() - count + 1).values
    keep = flat > least
    tied = order[flat[order] == least]
    keep[tied[: count - int(keep.sum())]] = True
    return _split(keep, scores)


def _split(flat: Tensor, like: Mapping[str, Tensor]) -> Mask:
    """Cut a flat vector into tensors of the names, shapes and order of ``like``."""
    parts = flat.split([tensor.numel() for tensor in like.values()])
    return Mask({name: part.reshape(tensor.shape) for (name, tensor), part in zip(like.items(), parts, strict=True)})
