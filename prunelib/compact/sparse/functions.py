"""Differentiable operations on batch-last images: (N, C, H, W) tensors whose memory runs C, H, W, N.

Nothing but strides tells them from others, so element-wise operations between them keep the layout by themselves.
"""

from __future__ import annotations

import functools
import logging
from dataclasses import dataclass
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from prunelib.compact.sparse.threads import share
from prunelib.compact.sparse.windows import Axis, taps

log = logging.getLogger(__name__)


@functools.cache
def kernels() -> ModuleType | None:
    """Import the compiled loops; None, with one warning, where numba is missing or fails."""
    try:
        from prunelib.compact.sparse import kernels as loops
    except Exception as error:  # what a compiler raises on a platform that it does not know is not ours to list
        log.warning("sparse layers multiply dense weights: numba can't be used here (%s).", error)
        return None
    return loops


def is_batch_last(x: Tensor) -> bool:
    """Whether an image tensor lies batch-last in memory, and not in torch's usual order too."""
    return x.dim() == 4 and not x.is_contiguous() and x.permute(1, 2, 3, 0).is_contiguous()


class Edges(NamedTuple):
    """Edges grouped by one side: those of vertex v are pointers[v] ... pointers[v + 1] - 1 (int64 arrays)."""

    pointers: np.ndarray
    others: np.ndarray  # the other side's vertex
    rows: np.ndarray  # which row of the weight

    @classmethod
    def of(cls, sides: np.ndarray, others: np.ndarray, count: int) -> Edges:
        """Group edges (sides[i], others[i]) by sides, of which there are ``count``."""
        order = np.argsort(sides, kind="stable").astype(np.int64)
        pointers = np.concatenate([[0], np.cumsum(np.bincount(sides, minlength=count))]).astype(np.int64)
        return cls(pointers, others[order], order)


@dataclass(frozen=True)
class Plan:
    """What a kernel-sparse convolution needs besides numbers: its edges from both sides and both axes' kernels."""

    outputs: np.ndarray  # (edges,) output channel of each kernel, ascending
    inputs: np.ndarray  # (edges,) input channel
    by_output: Edges
    by_input: Edges

    @classmethod
    def of(cls, edges: Tensor, channels_out: int, channels_in: int) -> Plan:
        """Make the plan of edges (2, E): output and input channels."""
        outputs, inputs = edges.cpu().numpy().astype(np.int64)
        return cls(outputs, inputs, Edges.of(outputs, inputs, channels_out), Edges.of(inputs, outputs, channels_in))


class Convolve(torch.autograd.Function):
    """Kernel-sparse convolution on the CPU: x (N, C, H, W), weight (edges, kh, kw) and a bias or none, of one dtype."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, plan: Plan, axes: tuple[Axis, Axis]
    ) -> Tensor:
        """Return the output, batch-last."""
        ctx.plan, ctx.axes, ctx.bias = plan, axes, bias is not None
        x, weight = x.permute(1, 2, 3, 0).contiguous(), weight.contiguous()
        ctx.save_for_backward(x, weight)
        filled = bias if bias is not None else weight.new_zeros(len(plan.by_output.pointers) - 1)
        return _run(x, weight, filled, plan.by_output, axes).permute(3, 0, 1, 2)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        """Return the gradients that are asked for."""
        x, weight = ctx.saved_tensors
        g = gradient.permute(1, 2, 3, 0).contiguous()
        found: list[Tensor | None] = [None] * 5
        if ctx.needs_input_grad[0]:
            found[0] = _run(g, weight, weight.new_zeros(len(x)), ctx.plan.by_input, ctx.axes, True).permute(3, 0, 1, 2)
        if ctx.needs_input_grad[1]:
            found[1] = _weight_gradient(g, x, weight, ctx.plan, ctx.axes)
        if ctx.bias and ctx.needs_input_grad[2]:
            found[2] = g.sum((1, 2, 3))
        return tuple(found)


def _run(
    x: Tensor, weight: Tensor, bias: Tensor, edges: Edges, axes: tuple[Axis, Axis], backward: bool = False
) -> Tensor:
    """Convolve x (C, H, W, N) along edges to (len(bias), ...), or, backward, gradients to the input's shape."""
    rows, columns = taps(axes[0], backward, False), taps(axes[1], backward)
    height, width = (axis.size if backward else axis.outputs for axis in axes)
    y = x.new_empty(len(bias), height, width, x.shape[3])
    sizes = (height, width, *x.shape[1:])
    arrays = [_flat(y), _flat(x), _numpy(weight), _numpy(bias)]
    work = len(rows.tap) * len(columns.tap) / max(len(columns.first), 1) * width * x.shape[3]
    costs = np.diff(edges.pointers) * work + y[0].numel()
    share(lambda low, high: kernels().convolve(*arrays, edges, rows, columns, sizes, low, high), costs)
    return y


def _weight_gradient(g: Tensor, x: Tensor, weight: Tensor, plan: Plan, axes: tuple[Axis, Axis]) -> Tensor:
    rows, columns = taps(axes[0], False, False), taps(axes[1])
    found = torch.empty_like(weight)
    sizes = (*g.shape[1:3], *x.shape[1:])
    arrays = [_numpy(found), _flat(g), _flat(x), (plan.outputs, plan.inputs)]
    costs = np.full(len(weight), float(weight[0].numel() * g[0].numel()) if len(weight) else 0.0)
    share(lambda low, high: kernels().correlate(*arrays, rows, columns, sizes, low, high), costs)
    return found


class Pool(torch.autograd.Function):
    """Max-pooling of batch-last images by windows that touch: (kernel height, kernel width) is the stride as well."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, window: tuple[int, int]) -> Tensor:
        """Return the output, batch-last."""
        x = x.permute(1, 2, 3, 0).contiguous()
        y = x.new_empty(len(x), x.shape[1] // window[0], x.shape[2] // window[1], x.shape[3])
        chosen = torch.empty_like(y, dtype=torch.uint8)
        ctx.window, ctx.shape = window, x.shape
        ctx.save_for_backward(chosen)
        sizes = (*y.shape[1:3], *x.shape[1:])
        arrays = [_flat(y), _flat(chosen), _flat(x)]
        share(lambda low, high: kernels().pool(*arrays, window, sizes, low, high), np.full(len(x), x[0].numel()))
        return y.permute(3, 0, 1, 2)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        """Return the input's gradient; each window's goes to its first largest number."""
        (chosen,), window = ctx.saved_tensors, ctx.window
        g = gradient.permute(1, 2, 3, 0).contiguous()
        whole = ctx.shape[1] % window[0] == 0 and ctx.shape[2] % window[1] == 0
        found = (torch.empty if whole else torch.zeros)(ctx.shape, dtype=g.dtype)
        sizes = (*g.shape[1:3], *ctx.shape[1:])
        arrays = [_flat(found), _flat(g), _flat(chosen)]
        share(lambda low, high: kernels().unpool(*arrays, window, sizes, low, high), np.full(len(g), found[0].numel()))
        return found.permute(3, 0, 1, 2), None


def _numpy(tensor: Tensor) -> np.ndarray:
    return tensor.detach().numpy()


def _flat(tensor: Tensor) -> np.ndarray:
    return tensor.detach().view(-1).numpy()
