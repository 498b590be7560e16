"""Physical removal of what a mask or gates have made dead: a smaller dense network with the same output."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from prunelib.compact.dead import clear_dead_, may_shrink
from prunelib.errors import MethodError
from prunelib.masks.mask import Mask
from prunelib.measure.cost import macs, parameters
from prunelib.measure.steps import in_turn, training_step
from prunelib.models.structure import save_structure
from prunelib.storage.files import read_json
from prunelib.storage.weights import load_weights
from prunelib.tasks.base import Task, facts, open_task

if TYPE_CHECKING:
    from prunelib.channels.coupling import Group

TOLERANCE = 1e-5  # largest difference, relative to the output's largest value, that rounding may make
TIMED = 7  # training steps of each network that are timed


def compacted(model: nn.Module, mask: Mapping[str, Tensor], example: Tensor) -> nn.Module:
    """Return a smaller copy of ``model`` under ``mask`` (booleans by parameter name), in evaluation mode.

    Its output equals that of the masked model up to rounding, in training mode (norms by batch) too; in evaluation mode
    it is checked on ``example``, and MethodError is raised when it does not (an operation between layers that turns
    zero into something else).
    """
    network = copy.deepcopy(model).eval()
    Mask(mask).apply_(network)
    if not may_shrink(network):
        return network
    # Tracing costs seconds of imports; most runs have nothing to remove and need none of them.
    from prunelib.channels.groups import single_groups

    groups = single_groups(network, example)
    return without(network, groups, clear_dead_(copy.deepcopy(network), groups), example)


def without(network: nn.Module, groups: list[Group], dead: Mapping[str, Tensor], example: Tensor) -> nn.Module:
    """Return a copy without the given channels (ascending ids by group name); MethodError when its output differs."""
    from prunelib.channels.removal import remove_

    small = copy.deepcopy(network)
    remove_(small, groups, dead)
    if example.dim() == 4 and example.is_contiguous(memory_format=torch.channels_last):
        small = small.to(memory_format=torch.channels_last)  # as the original: twice as fast on a CPU
    with torch.no_grad():  # copies: in training mode a pass moves the norms' running statistics
        found, expected = copy.deepcopy(small)(example), copy.deepcopy(network)(example)
    difference = (found - expected).abs().max()
    if not difference <= TOLERANCE * expected.abs().max().clamp(min=1):
        raise MethodError(
            f"compaction of {type(network).__name__} changes its output by {float(difference):.2g}: it has an "
            "operation between layers that does not keep zero at zero; only unpruned or masked networks of this kind "
            "can be used."
        )
    return small


def compacted_size(model: nn.Module, mask: Mapping[str, Tensor], example: Tensor) -> tuple[int, int]:
    """Return (parameters, MACs) of the compacted network."""
    network = compacted(model, mask, example)
    return parameters(network), macs(network, example)


def slim_run(
    settings: Mapping[str, Any],
    data: Path,
    inputs: Mapping[str, Path],
    outputs: Mapping[str, Path],
    device: str = "cpu",
) -> None:
    """Compact a finished run (``inputs``: weights, mask, metrics) and write ``outputs``: weights and record.

    ``prunelib.models.structure.load_structure`` builds the smaller network from them. The record (JSON) has the run's
    status, parameters and MACs of the ``dense`` and of the ``slim`` network and the ``timing`` of a training step of
    each. A dead network has nothing worth removing: it is stored whole, slim and timing are null. Raises ArtefactError
    when the weights or the mask are not this run's, MethodError when the network can't be compacted.
    """
    task = open_task(settings, data, device)
    model, metrics = task.build(), read_json(inputs["metrics"])
    record = {
        "model": dict(settings["model"]),
        "facts": facts(task, settings["model"]["builder"]),
        "input": list(task.example.shape[1:]),
        "status": metrics["status"],
        "why": metrics["why"],
        "dense": _size(model, task.example),
        "slim": None,
        "timing": None,
    }
    model.load_state_dict(load_weights(inputs["weights"]))
    network = model
    if metrics["status"] != "dead":
        network = compacted(model, Mask.load(inputs["mask"]), task.example)
        record |= {"slim": _size(network, task.example), "timing": _timing(task, model, network)}
    save_structure(network, record, outputs["weights"], outputs["record"])


def _size(model: nn.Module, example: Tensor) -> dict[str, int]:
    return {"parameters": parameters(model), "macs": macs(model, example)}


def _timing(task: Task, dense: nn.Module, slim: nn.Module) -> dict[str, Any]:
    """Time training steps of copies of both networks on one of the task's own batches."""
    batch = next(iter(task.batches("timing", 1)))
    networks = {"dense_step_ms": dense, "slim_step_ms": slim}
    steps = {name: training_step(copy.deepcopy(network), task.loss, batch) for name, network in networks.items()}
    facts = {"threads": torch.get_num_threads(), "device": task.device.type}
    return {name: found.median for name, found in in_turn(steps, TIMED, device=task.device).items()} | facts
