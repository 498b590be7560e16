"""Build a registered network so that a seed fixes its initial weights, whatever else the process has drawn."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from prunelib import registry
from prunelib.errors import ConfigError
from prunelib.seeds import derive


@contextmanager
def global_stream(seed: int, purpose: str, *parts: str | int) -> Iterator[None]:
    """Seed torch's own generators for one purpose inside the block and put their states back after it.

    Initialisers and dropout draw from them and take no generator, so this is how those draws get a named stream.
    """
    devices = list(range(torch.cuda.device_count())) if torch.cuda.is_initialized() else []
    with torch.random.fork_rng(devices=devices):
        stream = derive(seed, purpose, *parts)
        torch.default_generator.manual_seed(stream)
        if devices:
            torch.cuda.manual_seed_all(stream)
        yield


def build(model: Mapping[str, Any], seed: int, **facts: int) -> nn.Module:
    """Return the network ``{"builder": ..., "options": {...}}``, initialised on the CPU from (seed, "init").

    ``facts`` are what the task knows (classes, in_channels); a builder gets those it takes as ordinary arguments.
    Raises ConfigError when the builder needs a fact that the task does not have.
    """
    entry = registry.entry("model", model["builder"])
    missing = [name for name in entry.arguments if name not in facts]
    if missing:
        raise ConfigError(f"model '{entry.name}' needs {', '.join(missing)}, which this task does not give it.")
    with global_stream(seed, "init"):
        return entry.load()(*(facts[name] for name in entry.arguments), **model["options"])
