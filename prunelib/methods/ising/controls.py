"""Controls of a searched state: what other states do on the same trained weights, before anything is set to zero.

The authors measure these on weights their evaluation has pruned already, so their "full" rows repeat the pruned ones
and their random rows are random states on top of the best one. Here gates decide, and the weights stay as they are.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from prunelib.measure.accuracy import accuracy
from prunelib.methods.ising.counts import Kept
from prunelib.methods.ising.evolution import FEWEST, initial
from prunelib.methods.ising.gates import Units, evaluating, gated_forward
from prunelib.methods.ising.recalibrate import recalibrate_
from prunelib.seeds import generator
from prunelib.tasks.classify import Classify

SHUT = (25, 50, 75)  # percent of the units that the published random states shut


def controls(
    model: nn.Module, task: Classify, kept: Kept, best: Tensor, p0: float, recalibrate: int
) -> dict[str, float | None]:
    """Return top1, top3, top5 and loss on the test split under each control, as metrics named top1_full and so on.

    full: all units open; random: a random state that keeps as much as ``best`` (D,); random25, random50, random75:
    so many percent of the units shut, rounded up. Of random states also density (see ``Kept``) and density_upstream.
    The weights are those of training under gates. Batch norms keep the statistics of that training, or each control's
    are measured over ``recalibrate`` batches, as those of the best state are.
    """
    measured = copy.deepcopy(model) if recalibrate else model
    found = _scores("full", measured, task, kept.units, torch.ones_like(best), recalibrate)
    for name, state in random_states(task.seed, kept, best, p0).items():
        found |= _scores(name, measured, task, kept.units, state, recalibrate)
        found[f"density_{name}"] = float(kept.fraction(state[None], "true")[0])
        found[f"density_upstream_{name}"] = float(kept.fraction(state[None], "upstream")[0])
    return found


def random_states(seed: int, kept: Kept, best: Tensor, p0: float) -> dict[str, Tensor]:
    """Return the random states (D,) of ``controls`` by name, each from a stream of its own."""
    draw = generator(seed, "random-state")
    share = float(kept.fraction(best[None])[0])
    states = {"random": kept.fit(initial(FEWEST, len(best), p0, draw), share, draw)[0]}
    for percent in SHUT:
        order = torch.randperm(len(best), generator=generator(seed, "random-state", percent))
        state = torch.ones_like(best)
        state[order[: math.ceil(len(best) * percent / 100)]] = False
        states[f"random{percent}"] = state
    return states


def _scores(
    name: str, model: nn.Module, task: Classify, units: Units, state: Tensor, recalibrate: int
) -> Mapping[str, float | None]:
    gates = {layer: gate.float().to(task.device) for layer, gate in units.split(state).items()}
    if recalibrate:
        recalibrate_(model, task, units, gates, recalibrate)
    with evaluating(model):
        batches = task.fold("test", task.batch_size)
        measured = accuracy(lambda x: gated_forward(model, units, gates, x), batches)
    return {f"{metric}_{name}": value for metric, value in measured.items()}
