"""What a network costs: parameters, multiply-accumulates (MACs) by two counters, latency, memory."""

from __future__ import annotations

import statistics
import time
import weakref
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode


def parameters(model: nn.Module) -> int:
    """Number of learnable values (buffers left out)."""
    return sum(parameter.numel() for parameter in model.parameters())


def macs(model: nn.Module, example: Tensor) -> int:
    """MACs of one input: half of torch's count of floating-point operations in convolutions and matrix products.

    ``example`` is a batch; the count is divided by its size. Norms, activations and additions count nothing.
    """
    return macs_by_module(model, example)["Global"]


def macs_torch_pruning(model: nn.Module, example: Tensor) -> int:
    """MACs of one input by torch-pruning's counter, which the papers on structural pruning quote.

    It differs from ``macs`` in three ways. It also counts biases, norms (two per value), activations and pools, which
    adds 0.1 to 2 %. It takes timm's attention to be as wide as its output projection, so that it misses part of the
    products of an attention that lost heads or head dimensions. It does not know module classes outside torch.nn, such
    as timm's norm with activation.
    """
    from torch_pruning.utils import count_ops_and_params  # seconds to import, and few callers need it

    return round(count_ops_and_params(model, example[:1])[0])


def macs_kept(model: nn.Module, mask: Mapping[str, Tensor], example: Tensor) -> float:
    """MACs of one input when pruned weights cost nothing: each masked layer's MACs times the density of its weight."""
    counts, root = macs_by_module(model, example), type(model).__name__
    total = float(counts["Global"])
    for name, kept in mask.items():
        layer = f"{root}.{name.removesuffix('.weight')}"
        if name.endswith(".weight"):
            total -= counts.get(layer, 0) * (1 - float(kept.float().mean()))
    return total


def macs_by_module(model: nn.Module, example: Tensor) -> dict[str, int]:
    """Count MACs per input in evaluation mode, by "Class.module.name" and in "Global".

    Gradients stay enabled and attention unfused: torch's fused attention kernels are not all in its table of costs.
    """
    counter, training = FlopCounterMode(display=False), model.training
    model.eval()
    with torch.enable_grad(), sdpa_kernel(SDPBackend.MATH), counter:
        model(example)
    model.train(training)
    counts = counter.get_flop_counts()
    return {"Global": 0} | {name: sum(ops.values()) // (2 * len(example)) for name, ops in counts.items()}


def latency(model: nn.Module, example: Tensor, *, repeats: int = 50, warm_up: int = 10) -> dict[str, float]:
    """Time the forward pass of a batch in evaluation mode: median and interquartile range in milliseconds.

    The first ``warm_up`` passes are not counted; a GPU is waited for after every pass. ``threads`` is how many torch
    may use on a CPU.
    """
    training, times = model.training, []
    model.eval()
    with torch.inference_mode():
        for _ in range(warm_up + repeats):
            start = time.perf_counter()
            model(example)
            if example.is_cuda:
                torch.cuda.synchronize(example.device)
            times.append(1000 * (time.perf_counter() - start))
    model.train(training)
    low, middle, high = statistics.quantiles(times[warm_up:], n=4)
    return {"latency_ms": middle, "latency_iqr_ms": high - low, "threads": torch.get_num_threads()}


def forward_memory_mb(model: nn.Module, example: Tensor) -> float:
    """Largest memory in MiB of all tensors alive at once in an inference pass: weights, input and activations.

    Counted as tensors come and go, so the figure depends on the network alone; on a GPU it is the allocator's peak,
    which holds what kernels need for themselves too.
    """
    training = model.training
    model.eval()
    held = [*model.parameters(), *model.buffers(), example]
    with torch.no_grad():
        if example.is_cuda:
            torch.cuda.reset_peak_memory_stats(example.device)
            model(example)
            peak = torch.cuda.max_memory_allocated(example.device)
        else:
            with _Alive(held) as alive:
                model(example)
            peak = alive.peak
    model.train(training)
    return peak / 2**20


class _Alive(TorchDispatchMode):
    """Bytes of the storages alive now (``now``) and at most (``peak``), views counted once."""

    def __init__(self, tensors: Sequence[Tensor]) -> None:
        super().__init__()
        self.now = self.peak = 0
        self._seen: set[int] = set()
        self._watches: list[weakref.finalize] = []
        for tensor in tensors:
            self._add(tensor)

    def __exit__(self, *error: Any) -> None:
        for watch in self._watches:  # those of tensors that outlive the pass
            watch.detach()
        super().__exit__(*error)

    def __torch_dispatch__(
        self, function: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        result = function(*args, **(kwargs or {}))
        for found in tree_leaves(result):
            if isinstance(found, Tensor):
                self._add(found)
        return result

    def _add(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        key, size = storage._cdata, storage.nbytes()
        if key not in self._seen:
            self._seen.add(key)
            self.now += size
            self.peak = max(self.peak, self.now)
            self._watches.append(weakref.finalize(storage, self._drop, key, size))

    def _drop(self, key: int, size: int) -> None:
        self._seen.discard(key)
        self.now -= size
