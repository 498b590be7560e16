"""Build a registered network so that a seed fixes its initial weights, whatever else the process has drawn."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from prunelib import registry
from prunelib.errors import ConfigError
from prunelib.seeds import derive

DRAWS = {"uniform_", "normal_", "trunc_normal_", "erfinv_"} | {
    f"{name}_{kind}_" for name in ("kaiming", "xavier") for kind in ("uniform", "normal")
}
MAKERS = {"empty", "zeros", "ones", "full", "rand", "randn", "arange", "linspace", "eye"}
NUMBERS, TENSORS = 2**33, 20_000  # of a network from a file; the largest of timm's have 6.8 * 10^9 and 5000
# What a builder amounts to when its options are none that it was made for.
NOT_BUILT = (TypeError, AttributeError, ValueError, LookupError, ArithmeticError, RuntimeError, AssertionError)


class Undrawn(TorchFunctionMode):
    """Builds a network whose weights come from a file: draws no initial ones, and asks for no endless memory.

    Leaving out the draws saves most of the time. Raises ConfigError when the tensors made have over NUMBERS elements
    or are over TENSORS.
    """

    def __init__(self) -> None:
        """Begin to count."""
        super().__init__()
        self.numbers = self.tensors = 0

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Leave out a draw; count what a function makes before it does."""
        name, given = getattr(func, "__name__", ""), kwargs or {}
        if name in DRAWS:
            return args[0] if args else given["tensor"]
        if name in MAKERS:
            self.tensors += 1
            self.numbers += func(*args, **{**given, "device": "meta"}).numel()
            if self.numbers > NUMBERS or self.tensors > TENSORS:
                raise ConfigError(f"it has over {NUMBERS:,} numbers or {TENSORS:,} tensors")
        return func(*args, **given)


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
