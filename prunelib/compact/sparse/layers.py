"""Convolution and linear layers whose parameters are the kept kernels only.

A sparse layer is made from a dense one and its mask and can be turned back. Its state is ``weight`` (edges, kh, kw), or
(edges,) for a linear layer, ``bias``, ``edges`` (2, E), the output and the input channel of each kernel, and the form
that computes, so that a resumed training gives the same bits: "kernel" (compiled loops, CPU), "gather" (the channels
that each output reads, then a grouped convolution), "dense" (a dense weight is filled in at every pass). All forms give
the same up to rounding.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from prunelib.compact.sparse.functions import Convolve, Plan, kernels
from prunelib.compact.sparse.windows import Axis
from prunelib.errors import MethodError

Form = Literal["kernel", "gather", "dense"]
ONE = Axis(size=1, kernel=1, stride=1, before=0, after=0, dilation=1)


class Sparse(nn.Module):
    """What both kinds of layers share: values along edges, and a form of computation."""

    def __init__(self, dense: nn.Conv2d | nn.Linear, mask: Tensor, groups: int, form: Form) -> None:
        """Take over the kernels that ``mask`` (the weight's shape) keeps, and the bias itself.

        Raises MethodError for a mask of another shape or type, and for one which keeps a part of a kernel.
        """
        super().__init__()
        weight = dense.weight
        if mask.shape != weight.shape or mask.dtype != torch.bool:
            raise MethodError(
                f"{dense}: got a mask {tuple(mask.shape)}, {mask.dtype}; needs {tuple(weight.shape)}, bool."
            )
        kept = mask.reshape(*mask.shape[:2], -1)
        if not torch.equal(kept.any(2), kept.all(2)):
            raise MethodError(f"{dense}: the mask keeps parts of kernels; a sparse layer has whole kernels only.")
        self.form, self.dense_shape = form, tuple(weight.shape)
        self.channels_out, self.channels_in = weight.shape[0], weight.shape[1] * groups
        outputs, inputs = kept.any(2).nonzero().T.to(weight.device)
        self.weight = nn.Parameter(weight.detach()[outputs, inputs].clone(), weight.requires_grad)
        self.bias = dense.bias
        read = inputs + outputs // (self.channels_out // groups) * weight.shape[1]
        self.register_buffer("edges", torch.stack([outputs, read]))
        self.register_buffer("cells", outputs * weight.shape[1] + inputs, persistent=False)
        self.plan = Plan.of(self.edges, self.channels_out, self.channels_in)
        self.train(dense.training)

    def dense_weight(self) -> Tensor:
        """Return the dense layer's weight, zero where nothing is kept; differentiable."""
        kernels_ = self.dense_shape[0] * self.dense_shape[1]
        zeros = self.weight.new_zeros(kernels_, *self.weight.shape[1:])
        return zeros.index_copy(0, self.cells, self.weight).view(self.dense_shape)

    def gathered(self) -> tuple[Tensor, Tensor]:
        """Return input channels (out * most,) and kernels (out, most, ...) of every output.

        ``most`` is the largest number of inputs of one output; the others are filled up with kernels of zeros.
        """
        outputs = self.edges[0]
        counts = torch.bincount(outputs, minlength=self.channels_out)
        most = max(int(counts.max()), 1)
        slots = (
            outputs * most + torch.arange(len(outputs), device=outputs.device) - (counts.cumsum(0) - counts)[outputs]
        )
        channels = torch.zeros(self.channels_out * most, dtype=torch.int64, device=outputs.device)
        values = self.weight.new_zeros(len(channels), *self.weight.shape[1:]).index_copy(0, slots, self.weight)
        return channels.index_copy(0, slots, self.edges[1]), values.unflatten(0, (self.channels_out, most))

    def _compiled(self, x: Tensor) -> bool:
        """Whether the compiled loops are chosen and can take this input."""
        numbers = x.dtype == self.weight.dtype and x.dtype in (torch.float32, torch.float64)
        usable = numbers and x.device.type == "cpu" and not torch.is_autocast_enabled("cpu")
        return self.form == "kernel" and usable and kernels() is not None

    def _load_from_state_dict(self, state_dict: Mapping[str, Any], prefix: str, *arguments: Any) -> None:
        """Load parameters; a state along other edges is an error, as one of another shape is."""
        saved, messages = state_dict.get(f"{prefix}edges"), arguments[-1]
        if saved is not None and not torch.equal(saved.to(self.edges.device), self.edges):
            messages.append(f"{prefix}edges: the state is that of a layer which keeps other kernels.")
            return
        super()._load_from_state_dict(state_dict, prefix, *arguments)

    def get_extra_state(self) -> Form:
        """Return what the state holds besides tensors: the form."""
        return self.form

    def set_extra_state(self, state: Form) -> None:
        """Compute in the form of a loaded state."""
        self.form = state

    def extra_repr(self) -> str:
        """Say what ``print`` shows of the layer."""
        return f"{self.channels_in}, {self.channels_out}, edges={self.edges.shape[1]}, form={self.form}"


class SparseConv2d(Sparse):
    """A convolution of (N, C, H, W) images along edges; its output is batch-last when compiled loops have made it."""

    def __init__(self, dense: nn.Conv2d, mask: Tensor, form: Form = "kernel") -> None:
        """Take over a convolution's kept kernels; raises MethodError for a padding that is not zeros, too."""
        super().__init__(dense, mask, dense.groups, form)
        if dense.padding_mode != "zeros":
            raise MethodError(f"{dense}: padding '{dense.padding_mode}' is not possible. Allowed: zeros.")
        self.kernel_size, self.stride, self.padding = dense.kernel_size, dense.stride, dense.padding
        self.dilation, self.groups = dense.dilation, dense.groups
        self._margins = tuple(dense._reversed_padding_repeated_twice)  # left, right, top, bottom

    def forward(self, x: Tensor) -> Tensor:
        """Return what the masked dense convolution gives."""
        if x.dim() == 4 and x.shape[1] == self.channels_in:
            axes = self._axes(x)
            if self._compiled(x) and all(axis.outputs for axis in axes):
                return self._convolve(x, axes)
            if self.form == "gather":
                return self._gather(x)
        weight = self.dense_weight()
        return functional.conv2d(x, weight, self.bias, self.stride, self.padding, self.dilation, self.groups)

    def _axes(self, x: Tensor) -> tuple[Axis, Axis]:
        left, right, top, bottom = self._margins
        rows = Axis(x.shape[2], self.kernel_size[0], self.stride[0], top, bottom, self.dilation[0])
        return rows, Axis(x.shape[3], self.kernel_size[1], self.stride[1], left, right, self.dilation[1])

    def _convolve(self, x: Tensor, axes: tuple[Axis, Axis]) -> Tensor:
        if any(axis != axis._replace(kernel=1, stride=1, before=0, after=0) for axis in axes):
            return Convolve.apply(x, self.weight, self.bias, self.plan, axes)
        row = ONE._replace(size=x.shape[2] * x.shape[3])  # a 1×1 kernel sees one long row
        y = Convolve.apply(x.flatten(2).unsqueeze(2), self.weight, self.bias, self.plan, (ONE, row))
        return y.squeeze(2).unflatten(2, x.shape[2:])

    def _gather(self, x: Tensor) -> Tensor:
        channels, values = self.gathered()
        options = self.bias, self.stride, self.padding, self.dilation, self.channels_out
        return functional.conv2d(x.index_select(1, channels), values, *options)

    def dense(self) -> nn.Conv2d:
        """Return the masked dense convolution."""
        options = self.kernel_size, self.stride, self.padding, self.dilation, self.groups, self.bias is not None
        return _filled(self, nn.Conv2d(self.channels_in, self.channels_out, *options, device="meta"))


class SparseLinear(Sparse):
    """A linear layer along edges, (..., in) -> (..., out)."""

    def __init__(self, dense: nn.Linear, mask: Tensor, form: Form = "kernel") -> None:
        """Take over a linear layer's kept weights."""
        super().__init__(dense, mask, 1, form)

    def forward(self, x: Tensor) -> Tensor:
        """Return what the masked dense layer gives."""
        if x.shape[-1] == self.channels_in and x.dim() > 1:
            rows = x.flatten(0, -2)
            if self._compiled(x):
                values = self.weight[:, None, None]
                y = Convolve.apply(rows[:, :, None, None], values, self.bias, self.plan, (ONE, ONE))
                return y.reshape(*x.shape[:-1], self.channels_out).contiguous()  # the order in which dropout draws
            if self.form == "gather":
                return self._gather(rows).unflatten(0, x.shape[:-1])
        return functional.linear(x, self.dense_weight(), self.bias)

    def _gather(self, rows: Tensor) -> Tensor:
        channels, values = self.gathered()
        y = torch.einsum("noi,oi->no", rows.index_select(1, channels).unflatten(1, values.shape), values)
        return y if self.bias is None else y + self.bias

    def dense(self) -> nn.Linear:
        """Return the masked dense layer."""
        return _filled(self, nn.Linear(self.channels_in, self.channels_out, self.bias is not None, device="meta"))


def _filled(sparse: Sparse, dense: Any) -> Any:
    dense.weight = nn.Parameter(sparse.dense_weight().detach(), sparse.weight.requires_grad)
    dense.bias = sparse.bias
    return dense.train(sparse.training)
