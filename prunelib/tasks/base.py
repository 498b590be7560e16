"""The Task: a model, its data and its loss, so that every pruning method runs on every task."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from prunelib import registry


class Task(Protocol):
    """What a method sees. Everything it hands out lies on ``device``; every draw depends on (seed, purpose) alone."""

    kind: str  # "denoise" | "classify"
    seed: int
    device: torch.device
    example: Tensor  # one input: batch size 1 (denoise) or 2 (classify); for tracing, MACs, liveness

    def build(self) -> nn.Module:
        """Return a fresh network at its initial weights, the same bits for the same seed."""
        ...

    def batches(self, purpose: str, count: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield ``count`` (input, target) pairs for scoring or search, fixed by (seed, purpose)."""
        ...

    def loss(self, output: Tensor, target: Tensor) -> Tensor:
        """Return the mean loss, a scalar."""
        ...


def open_task(settings: Mapping[str, Any], data: str | Path, device: str | torch.device = "cpu") -> Task:
    """Return the task a run's settings describe, on its data file.

    A task class is constructed as ``kind(data, model, seed, device, **options)``.
    """
    task = settings["task"]
    kind = registry.load("task", task["kind"])
    return kind(Path(data), settings["model"], settings["seed"], torch.device(device), **task["options"])


def prunable(model: nn.Module) -> dict[str, nn.Parameter]:
    """Return the weights of convolutions and linear layers (no biases, no norms) by name, in definition order."""
    layers = nn.modules.conv._ConvNd, nn.Linear
    wanted = {id(module.weight) for module in model.modules() if isinstance(module, layers)}
    return {name: parameter for name, parameter in model.named_parameters() if id(parameter) in wanted}
