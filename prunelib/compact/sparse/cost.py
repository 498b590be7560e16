"""The cost model: the forms of a sparse layer are timed once on the input it will get, and the fastest is taken."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from prunelib.compact.sparse.functions import kernels
from prunelib.compact.sparse.layers import Form, Sparse

ROUNDS = 3
FEW = 16  # compiled loops run along the batch: with fewer images gathering can be faster, with more it never was
GEOMETRY = ("stride", "padding", "dilation", "groups")
_fastest: dict[tuple[Any, ...], Form] = {}


def sparse_form(device: torch.device) -> Form:
    """Return the form that computes sparsely on a device; "dense" where there is none."""
    if device.type != "cpu":
        return "gather"
    return "kernel" if kernels() is not None else "dense"


def fastest(layer: Sparse, shape: Iterable[int], training: bool) -> Form:
    """Return the fastest form of a layer for inputs of this shape, which begins with the batch.

    training: forward and backward pass, otherwise the forward pass alone. A process measures every kind of layer once;
    kinds differ in geometry, number of edges, input, device and threads, not in which edges they are.
    """
    batch, *_ = shape = tuple(shape)
    weight = layer.weight
    geometry = (layer.dense_shape, weight.shape, *(getattr(layer, name, None) for name in GEOMETRY))
    key = (*geometry, shape, weight.device, weight.dtype, torch.get_num_threads(), training)
    if key not in _fastest:
        forms = dict.fromkeys([sparse_form(weight.device), "dense", *(["gather"] if batch < FEW else [])])
        times: dict[Form, list[float]] = {form: [] for form in forms}
        for turn in range(ROUNDS + 1):
            for form, found in times.items():
                seconds = _timed(layer, form, shape, training)
                if turn:  # the first pass compiles
                    found.append(seconds)
        _fastest[key] = min(times, key=lambda form: statistics.median(times[form]))
    return _fastest[key]


def _timed(layer: Sparse, form: Form, shape: tuple[int, ...], training: bool) -> float:
    """Time one pass of a form on zeros that lie in memory as it wants them; gradients and form are put back."""
    x = torch.zeros(shape, device=layer.weight.device, dtype=layer.weight.dtype)
    if form == "kernel" and x.dim() == 4:
        x = x.permute(1, 2, 3, 0).contiguous().permute(3, 0, 1, 2)
    before, layer.form = layer.form, form
    inputs = [x.requires_grad_(training), *layer.parameters()]
    try:
        with torch.set_grad_enabled(training):
            _wait(x)
            start = time.perf_counter()
            y = layer(x)
            if training:
                torch.autograd.grad(y, inputs, torch.ones_like(y))
            _wait(x)
            return time.perf_counter() - start
    finally:
        layer.form = before


def _wait(x: Tensor) -> None:
    if x.is_cuda:
        torch.cuda.synchronize(x.device)
