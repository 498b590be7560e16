"""What the networks of one model and task cost, dense and pruned, measured side by side: a step of the workflow."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from prunelib.errors import ArtefactError
from prunelib.measure.cost import forward_memory_mb, macs, macs_torch_pruning, parameters
from prunelib.measure.steps import Times, in_turn
from prunelib.models.structure import load_structure
from prunelib.runs import Run
from prunelib.storage.files import write_json
from prunelib.storage.weights import load_weights
from prunelib.tasks.base import Task, open_task

BATCHES = (1, 16)
ROUNDS, WARM_UP = 15, 3
Measured = dict[str, dict[str, Any]]


def measure_networks(
    settings: Mapping[str, Any],
    data: Path,
    weights: Sequence[Path],
    structures: Sequence[Path],
    output: Path,
    device: str = "cpu",
) -> None:
    """Measure finished runs of one task and model and write what they cost, by the run's path, as JSON.

    ``weights``: each run's weights, in its directory; ``structures``: pruned.safetensors (its record beside it) of
    those that were pruned. ``size`` depends on the network alone: parameters; macs and macs_torch_pruning of one
    input; file_mb, the weights as stored; forward_mb per batch size of BATCHES (``prunelib.measure.cost``), in MiB.
    ``timing`` varies: threads, the name of the GPU, and per device and batch size median and interquartile range of a
    forward pass in ms and, for a pruned network, ``speedup``: the median over rounds of the time of the dense network
    of its seed over its own. All networks take turns, so that a busy machine slows them alike. The CPU is always
    measured, a GPU where ``device`` is or finds one. Raises ArtefactError for weights that are not a run's.
    """
    task = open_task(settings, data, device)
    smaller = {path.parent for path in structures}
    networks = {run_of(path): _network(task, path, path.parent in smaller) for path in weights}
    found: Measured = {
        run.path: {"size": _size(network, task.example.cpu(), path), "timing": {}}
        for (run, network), path in zip(networks.items(), weights, strict=True)
    }
    write_costs(networks, task.example, task.device, found, output)


def write_costs(
    networks: Mapping[Run, nn.Module], example: Tensor, device: torch.device, found: Measured, output: Path
) -> None:
    """Time the networks in turn, add that to what is ``found`` of each run's path and write it all as JSON."""
    for place in [torch.device("cpu"), *([device] if device.type == "cuda" else [])]:
        for network in networks.values():
            network.to(place).eval()
        for count in BATCHES:
            _time(networks, batch_of(example, count).to(place), f"{place.type}_batch{count}", found)
    gpu = torch.cuda.get_device_name(device) if device.type == "cuda" else None
    write_json(output, {"threads": torch.get_num_threads(), "gpu": gpu, "rounds": ROUNDS, "runs": found})


def batch_of(example: Tensor, count: int) -> Tensor:
    """Return ``count`` inputs: those of ``example`` over and over."""
    return example[torch.arange(count) % len(example)]


def run_of(path: Path) -> Run:
    """Return the run whose directory a file lies in."""
    return Run.parse("/".join(path.absolute().parent.parts[-6:]))


def _network(task: Task, weights: Path, is_smaller: bool) -> nn.Module:
    model = load_structure(weights.with_name("pruned.safetensors")) if is_smaller else task.build().cpu()
    try:
        model.load_state_dict(load_weights(weights))
    except RuntimeError as error:
        raise ArtefactError(f"{weights}: not the weights of this run's network ({error}).") from None
    return model


def _size(model: nn.Module, example: Tensor, weights: Path) -> dict[str, float]:
    counts = {"macs": macs(model, example), "macs_torch_pruning": macs_torch_pruning(model, example)}
    memory = {f"forward_mb_batch{count}": forward_memory_mb(model, batch_of(example, count)) for count in BATCHES}
    return {"parameters": parameters(model), **counts, "file_mb": weights.stat().st_size / 2**20, **memory}


@torch.inference_mode()
def _time(networks: Mapping[Run, nn.Module], batch: Tensor, name: str, found: Measured) -> None:
    """Let every network pass the batch once per round and add its times to ``found``."""
    steps = {run.path: lambda network=network: network(batch) for run, network in networks.items()}
    times = in_turn(steps, ROUNDS, warm_up=WARM_UP, device=batch.device)
    dense = {run.seed: times[run.path] for run in networks if (run.method, run.budget) == ("dense", "full")}
    for run in networks:
        found[run.path]["timing"] |= {
            f"{name}_{key}": value for key, value in _row(times[run.path], dense.get(run.seed))
        }


def _row(times: Times, dense: Times | None) -> list[tuple[str, float]]:
    speedup = [("speedup", dense.ratio(times))] if dense is not None and dense is not times else []
    return [("ms", times.median), ("iqr_ms", times.iqr), *speedup]
