"""A trained network in a form that other programs run: ONNX or torch.export, checked against the network itself."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import numpy as np
import onnxruntime
import torch
from torch import Tensor, nn

from prunelib.errors import ArtefactError, MethodError
from prunelib.models.saved import find
from prunelib.seeds import generator
from prunelib.storage.files import atomic_path

Form = Literal["onnx", "torch"]
INPUT, OUTPUT = "input", "output"
TOLERANCE = 1e-4  # of the largest output


def deploy(path: str | Path, form: Form, target: Path, shape: tuple[int, int, int] | None = None) -> float:
    """Write the network at ``path`` (as for prunelib.load) to ``target``; return the largest difference found.

    The file takes batches of any size of inputs (channels, height, width): ``shape``, or what the network's record
    says. Before it gets its name it is run on two random batches; the difference is relative to the network's largest
    output. Raises ArtefactError where no shape is known, MethodError for a network that can't be written or whose file
    computes something else (more than TOLERANCE).
    """
    found = find(path)
    shape = shape or _recorded(found.facts.get("input"), found.description)
    model = found.load()
    write, run = {"onnx": (_write_onnx, _run_onnx), "torch": (_write_torch, _run_torch)}[form]
    with atomic_path(target) as temporary:
        with _quiet():
            try:
                write(model, _batch(2, shape), temporary)
            except Exception as error:  # the exporters raise many kinds, each for code they can't follow
                reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
                raise MethodError(f"{path}: this network can't be written as {form} ({reason[:300]}).") from None
        worst = max(_difference(model, run(temporary), _batch(count, shape)) for count in (1, 3))
        if not worst <= TOLERANCE:
            raise MethodError(f"{path}: as {form} its outputs differ by {worst:.2g} of the largest; nothing was kept.")
    return worst


def _recorded(shape: object, where: Path) -> tuple[int, int, int]:
    if not isinstance(shape, list) or len(shape) != 3 or not all(type(side) is int and side > 0 for side in shape):
        raise ArtefactError(f"{where}: does not say what inputs the network takes; give them (--input 3x224x224).")
    return tuple(shape)


def _batch(count: int, shape: tuple[int, int, int]) -> Tensor:
    return torch.randn(count, *shape, generator=generator(0, "export", count))


def _difference(model: nn.Module, other: Callable[[Tensor], Tensor], batch: Tensor) -> float:
    with torch.no_grad():
        expected, found = model(batch), other(batch)
    if found.shape != expected.shape:
        return float("inf")
    return ((found - expected).abs().max() / expected.abs().max().clamp_min(1e-12)).item()


def _write_onnx(model: nn.Module, batch: Tensor, target: Path) -> None:
    dynamic = ({0: torch.export.Dim("batch")},)
    program = torch.onnx.export(
        model, (batch,), dynamo=True, dynamic_shapes=dynamic, input_names=[INPUT], output_names=[OUTPUT], verbose=False
    )
    program.save(str(target), external_data=False)


def _run_onnx(file: Path) -> Callable[[Tensor], Tensor]:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
    return lambda batch: torch.from_numpy(np.asarray(session.run([OUTPUT], {INPUT: batch.numpy()})[0]))


def _write_torch(model: nn.Module, batch: Tensor, target: Path) -> None:
    program = torch.export.export(model, (batch,), dynamic_shapes=({0: torch.export.Dim("batch")},))
    with open(target, "wb") as stream:  # given a path, torch wants it to end in .pt2
        torch.export.save(program, stream)


def _run_torch(file: Path) -> Callable[[Tensor], Tensor]:
    with open(file, "rb") as stream:  # this process has just written it
        return torch.export.load(stream).module()


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the exporters' advice to their developers off the terminal."""
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(logging.NOTSET)
