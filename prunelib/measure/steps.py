"""Time of training steps, measured in turn so that a busy machine slows all alike."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from prunelib.masks.mask import Mask

Step = Callable[[], object]


@dataclass(frozen=True)
class Times:
    """Milliseconds of one kind of step, a value per round."""

    ms: tuple[float, ...]

    @property
    def median(self) -> float:
        """Median in milliseconds."""
        return statistics.median(self.ms)

    @property
    def iqr(self) -> float:
        """Interquartile range in milliseconds."""
        low, _, high = statistics.quantiles(self.ms, n=4)
        return high - low

    def ratio(self, base: Times) -> float:
        """Median over rounds of this step's time by another one's in the same round."""
        return statistics.median(own / other for own, other in zip(self.ms, base.ms, strict=True))


def in_turn(
    steps: Mapping[str, Step],
    rounds: int,
    *,
    warm_up: int = 1,
    device: torch.device | None = None,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, Times]:
    """Take every step once per round, and back again in the next; the first ``warm_up`` rounds are not counted.

    A GPU ``device`` is waited for after every step. ``clock`` returns seconds; ``time.process_time`` counts those of
    this process alone, summed over its threads.
    """
    times: dict[str, list[float]] = {name: [] for name in steps}
    for turn in range(warm_up + rounds):
        order = list(steps) if turn % 2 else list(reversed(steps))
        for name in order:
            start = clock()
            steps[name]()
            if device is not None and device.type == "cuda":
                torch.cuda.synchronize(device)
            times[name].append(1000 * (clock() - start))
    return {name: Times(tuple(values[warm_up:])) for name, values in times.items()}


def training_step(
    model: nn.Module,
    loss: Callable[[Tensor, Tensor], Tensor],
    batch: tuple[Tensor, Tensor],
    mask: Mask | None = None,
    *,
    fused: bool = True,
) -> Step:
    """Return a function that trains ``model`` in place by one step of Adam, pruned weights held at zero.

    fused: one pass over all parameters; False is torch's default Adam.
    """
    model.train()
    adam = torch.optim.Adam(model.parameters(), lr=1e-3, fused=fused or None)
    enforcer = mask.enforcer(model) if mask is not None else None

    def step() -> None:
        adam.zero_grad()
        loss(model(batch[0]), batch[1]).backward()
        if enforcer:
            enforcer.gradients_()
        adam.step()
        if enforcer:
            enforcer.weights_()

    return step
