"""The Task: a model, its data and its loss, so that every pruning method runs on every task."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from prunelib import registry
from prunelib.errors import ConfigError
from prunelib.masks.liveness import Liveness, liveness
from prunelib.masks.mask import Mask
from prunelib.storage.provenance import DETERMINISTIC

FACTS = {"classes": "classes", "in_channels": "channels"}  # arguments of builders, and a task's names for them
PROBE = 8  # images of a batch that are enough to see whether a network is alive


class Task(Protocol):
    """What a method sees. Everything it hands out lies on ``device``; every draw depends on (seed, purpose) alone."""

    kind: str  # "denoise" | "restore" | "classify"
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
    return kind(Path(data), settings["model"], settings["seed"], use_device(device), **task["options"])


def facts(task: Task, builder: str) -> dict[str, int]:
    """Return what a model's builder needs to know of a task besides its options: its arguments and their values."""
    return {name: getattr(task, FACTS[name]) for name in registry.entry("model", builder).arguments}


def use_device(name: str | torch.device) -> torch.device:
    """Return the device for "auto" (a GPU where there is one), "cpu" or "cuda"; raises ConfigError without that GPU.

    On a GPU, kernels that give the same bits every time are chosen where torch has them. With ``DETERMINISTIC`` in the
    environment there are no others on any device: torch raises RuntimeError for an operation that has none.
    """
    name = str(name)
    if name.startswith("cuda") and not torch.cuda.is_available():
        raise ConfigError(f"device: got '{name}', but torch finds no GPU here. Allowed: auto, cpu.")
    device = torch.device(("cuda" if torch.cuda.is_available() else "cpu") if name == "auto" else name)
    strict = DETERMINISTIC in os.environ
    if strict or device.type == "cuda":
        torch.use_deterministic_algorithms(True, warn_only=not strict)
    if strict:
        torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = True, False
    return device


def alive(task: Task, model: nn.Module, mask: Mask) -> Liveness:
    """Check a mask on a model with the task's loss and a few of its inputs; the model is left as it is."""
    inputs, target = (part[:PROBE] for part in next(iter(task.batches("liveness", 1))))
    return liveness(model, mask, inputs, lambda output: task.loss(output, target))


def prunable(model: nn.Module) -> dict[str, nn.Parameter]:
    """Return the weights of convolutions and linear layers (no biases, no norms) by name, in definition order."""
    layers = nn.modules.conv._ConvNd, nn.Linear
    wanted = {id(module.weight) for module in model.modules() if isinstance(module, layers)}
    return {name: parameter for name, parameter in model.named_parameters() if id(parameter) in wanted}
