"""What a network costs: parameters, multiply-accumulates (MACs), latency, peak memory."""

from __future__ import annotations

import resource
import statistics
import sys
import time
from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode


def parameters(model: nn.Module) -> int:
    """Number of learnable values (buffers left out)."""
    return sum(parameter.numel() for parameter in model.parameters())


def macs(model: nn.Module, example: Tensor) -> int:
    """MACs of one input: half of torch's count of floating-point operations in convolutions and matrix products.

    ``example`` is a batch; the count is divided by its size. Norms, activations and additions count nothing.
    """
    return _macs_by_module(model, example)["Global"]


def macs_kept(model: nn.Module, mask: Mapping[str, Tensor], example: Tensor) -> float:
    """MACs of one input when pruned weights cost nothing: each masked layer's MACs times the density of its weight."""
    counts, root = _macs_by_module(model, example), type(model).__name__
    total = float(counts["Global"])
    for name, kept in mask.items():
        layer = f"{root}.{name.removesuffix('.weight')}"
        if name.endswith(".weight"):
            total -= counts.get(layer, 0) * (1 - float(kept.float().mean()))
    return total


def _macs_by_module(model: nn.Module, example: Tensor) -> dict[str, int]:
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

    The first ``warm_up`` passes are not counted; a GPU is waited for after every pass.
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
    return {"latency_ms": middle, "latency_iqr_ms": high - low}


def peak_memory_mb() -> float:
    """Largest resident memory of this process so far, in MiB (the kernel counts KiB on Linux, bytes on macOS)."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)
