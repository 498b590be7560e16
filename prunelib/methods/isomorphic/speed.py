"""How fast a pruned network is beside the dense one: both timed in turn, so that a busy machine slows both alike."""

from __future__ import annotations

from math import ceil
from typing import Any

import torch
from torch import Tensor, nn

from prunelib.measure.cost import latency
from prunelib.measure.steps import Times, in_turn

SECONDS = 1.0  # for the dense network's part of one comparison
ROUNDS = (15, 300)


class Stopwatch:
    """Times forward passes of networks in evaluation mode against the dense one's, on the example's device.

    Times are measured: they differ from run to run, and so does what is solved for with them.
    """

    def __init__(self, dense: nn.Module, example: Tensor, batch: int) -> None:
        """``batch``: how many of the example's inputs, over and over, one pass takes."""
        self._dense = dense.eval()
        self._inputs = example[torch.arange(batch, device=example.device) % len(example)]
        once = latency(dense, self._inputs, repeats=5, warm_up=3)["latency_ms"] / 1000
        self.rounds = min(max(ceil(SECONDS / once), ROUNDS[0]), ROUNDS[1])

    def share_of(self, model: nn.Module) -> float:
        """Return a network's latency as a share of the dense one's: the median of the quotients of all rounds."""
        times = self._times(model)
        return times["pruned"].ratio(times["dense"])

    def compare(self, model: nn.Module) -> dict[str, Any]:
        """Return the figures of a final comparison in plain types: milliseconds (median, IQR), share, conditions."""
        times = self._times(model)
        found: dict[str, Any] = {"share": times["pruned"].ratio(times["dense"])}
        for name, each in times.items():
            found |= {f"{name}_ms": each.median, f"{name}_iqr_ms": each.iqr}
        inputs = self._inputs
        conditions = {"batch": len(inputs), "device": inputs.device.type, "threads": torch.get_num_threads()}
        return found | conditions | {"rounds": self.rounds}

    @torch.inference_mode()
    def _times(self, model: nn.Module) -> dict[str, Times]:
        model.eval()
        steps = {"dense": lambda: self._dense(self._inputs), "pruned": lambda: model(self._inputs)}
        return in_turn(steps, self.rounds, warm_up=3, device=self._inputs.device)
