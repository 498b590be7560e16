"""What masked networks cost once what is dead is cut out, measured side by side: a step of the workflow."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import nn

from prunelib.compact.slim import compacted
from prunelib.errors import ArtefactError, MethodError
from prunelib.masks.mask import Mask
from prunelib.measure.cost import forward_memory_mb, macs, parameters
from prunelib.measure.network import BATCHES, Measured, batch_of, run_of, write_costs
from prunelib.runs import Run
from prunelib.storage.files import read_json
from prunelib.storage.weights import load_weights
from prunelib.tasks.base import Task, open_task

log = logging.getLogger(__name__)


def measure_masked(
    settings: Mapping[str, Any],
    data: Path,
    weights: Sequence[Path],
    masks: Sequence[Path],
    output: Path,
    device: str = "cpu",
) -> None:
    """Measure finished runs of one task and model, compacted, and write what they cost, by the run's path, as JSON.

    ``weights``: each run's weights, in its directory, beside its metrics; ``masks``: mask.h5 of those that have one.
    The form is that of ``prunelib.measure.network.measure_networks``; a dead run has no entry. What can't be compacted
    is measured as it is (said in the log). Raises ArtefactError for weights that are not a run's.
    """
    task = open_task(settings, data, device)
    masked = {path.parent: path for path in masks}
    living = [path for path in weights if read_json(path.with_name("metrics.json"))["status"] != "dead"]
    networks: dict[Run, nn.Module] = {run_of(path): _network(task, path, masked.get(path.parent)) for path in living}
    example = task.example.cpu()
    found: Measured = {}
    for run, network in networks.items():
        memory = {f"forward_mb_batch{count}": forward_memory_mb(network, batch_of(example, count)) for count in BATCHES}
        size = {"parameters": parameters(network), "macs": macs(network, example)}
        found[run.path] = {"size": size | memory, "timing": {}}
    write_costs(networks, task.example, task.device, found, output)


def _network(task: Task, weights: Path, mask: Path | None) -> nn.Module:
    model = task.build().cpu()
    try:
        model.load_state_dict(load_weights(weights))
    except RuntimeError as error:
        raise ArtefactError(f"{weights}: not the weights of this run's network ({error}).") from None
    if mask is None:
        return model
    try:
        return compacted(model, Mask.load(mask), task.example.cpu())
    except MethodError as error:
        log.warning("%s is measured at full size: %s", run_of(weights).path, error)
        return model
