"""Gradient statistics of a trained network: one pass over some data, stored, from which every criterion is computed."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap
from torch.nn.attention import SDPBackend, sdpa_kernel

from prunelib.errors import ArtefactError, MethodError
from prunelib.storage.weights import load_weights, save_weights
from prunelib.tasks.base import Task, open_task

AT_ONCE = 2**28  # gradient values of single samples held at once: 1 GiB
COUNTS = "counts"
log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Statistics:
    """What one pass over ``batches`` training batches (``samples`` images) says of every parameter, on the CPU.

    sums: Σ over batches of the gradient of the batch's mean loss. squares: Σ over samples of the squared gradient of
    the sample's own loss (their mean is the diagonal of the Fisher information), or empty where nobody asked for them.
    """

    sums: dict[str, Tensor]
    squares: dict[str, Tensor]
    batches: int
    samples: int

    def save(self, path: str | Path) -> None:
        """Write everything as safetensors: sum/<parameter>, square/<parameter>, counts (batches, samples)."""
        tensors = {f"sum/{name}": tensor for name, tensor in self.sums.items()}
        tensors |= {f"square/{name}": tensor for name, tensor in self.squares.items()}
        save_weights(path, tensors | {COUNTS: torch.tensor([self.batches, self.samples])})

    @classmethod
    def load(cls, path: str | Path) -> Statistics:
        """Read what ``save`` wrote; raises ArtefactError for any other file."""
        found = load_weights(path)
        if COUNTS not in found or found[COUNTS].shape != (2,):
            raise ArtefactError(f"{path}: holds no gradient statistics; delete it and run again.")
        batches, samples = found.pop(COUNTS).tolist()
        parts = {kind: {} for kind in ("sum", "square")}
        for key, tensor in found.items():
            kind, _, name = key.partition("/")
            parts.get(kind, {})[name] = tensor
        return cls(parts["sum"], parts["square"], batches, samples)

    def without_blocks(self, path: str, kept: list[int]) -> Statistics:
        """Return those of a network of whose list of blocks at ``path`` only ``kept`` are left, renumbered."""

        def renamed(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
            found = {}
            for name, tensor in tensors.items():
                index, _, rest = name.removeprefix(f"{path}.").partition(".")
                if not name.startswith(f"{path}."):
                    found[name] = tensor
                elif int(index) in kept:
                    found[f"{path}.{kept.index(int(index))}.{rest}"] = tensor
            return found

        return Statistics(renamed(self.sums), renamed(self.squares), self.batches, self.samples)

    def check(self, model: nn.Module, batches: int, where: str | Path) -> None:
        """Raise ArtefactError when these are not of ``batches`` batches of a network with this one's parameters."""
        shapes = {name: parameter.shape for name, parameter in model.named_parameters()}
        if {name: tensor.shape for name, tensor in self.sums.items()} != shapes or self.batches != batches:
            raise ArtefactError(
                f"{where}: statistics of {self.batches} batches of another network, or too few of them."
            )


def gather(model: nn.Module, task: Task, batches: int, *, squares: bool = True) -> Statistics:
    """Go once through ``batches`` training batches and sum up their gradients, and with ``squares`` each sample's.

    The model runs in evaluation mode (no dropout, running statistics), as the authors do it, so that samples don't
    mix. Raises MethodError for gradients that are not finite.
    """
    model.eval()
    totals, seconds, samples = _zeros(model), _zeros(model) if squares else {}, 0
    for inputs, targets in task.batches("taylor", batches):
        samples += len(inputs)
        if not squares:
            _add(totals, _gradients(model, task, inputs, targets))
        for one_by_one in _per_sample(model, task, inputs, targets) if squares else ():
            _add(totals, {name: slopes.sum(0) / len(inputs) for name, slopes in one_by_one.items()})
            _add(seconds, {name: slopes.square().sum(0) for name, slopes in one_by_one.items()})
    for name, total in totals.items():
        if not torch.isfinite(total).all():
            raise MethodError(f"'{name}': its gradients are not finite; did the dense network's training diverge?")
    on_cpu = ({name: total.cpu() for name, total in part.items()} for part in (totals, seconds))
    return Statistics(*on_cpu, batches, samples)


def gather_statistics(
    settings: Mapping[str, Any], data: str | Path, parent: str | Path, output: str | Path, device: str = "cpu"
) -> None:
    """Gather the statistics of one run's trained network over ``settings["batches"]`` batches and write them."""
    task = open_task(settings, data, device)
    gather(trained(task, parent), task, settings["batches"]).save(output)


def trained(task: Task, parent: str | Path) -> nn.Module:
    """Return the task's network with the weights stored at ``parent``; raises ArtefactError for another network's."""
    model, state = task.build(), load_weights(parent)
    try:
        model.load_state_dict(state)
    except RuntimeError as error:
        reason = str(error).splitlines()[-1].strip()
        raise ArtefactError(f"{parent}: not the weights of this run's network ({reason}).") from None
    return model


def _zeros(model: nn.Module) -> dict[str, Tensor]:
    return {name: torch.zeros_like(parameter) for name, parameter in model.named_parameters()}


def _add(totals: dict[str, Tensor], more: Mapping[str, Tensor]) -> None:
    for name, value in more.items():
        totals[name] += value


def _gradients(model: nn.Module, task: Task, inputs: Tensor, targets: Tensor) -> dict[str, Tensor]:
    """Gradient of the batch's mean loss, of the parameters that it depends on."""
    learnt = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
    loss = task.loss(model(inputs), targets)
    found = zip(learnt, torch.autograd.grad(loss, list(learnt.values()), allow_unused=True), strict=True)
    return {name: gradient for name, gradient in found if gradient is not None}


def _per_sample(model: nn.Module, task: Task, inputs: Tensor, targets: Tensor) -> Iterator[dict[str, Tensor]]:
    """Yield gradients of single samples' losses, stacked on a first axis, for as many samples as fit at once."""
    weights = {name: parameter.detach() for name, parameter in model.named_parameters()}
    together = max(1, AT_ONCE // sum(weight.numel() for weight in weights.values()))

    def loss(parameters: dict[str, Tensor], image: Tensor, target: Tensor) -> Tensor:
        return task.loss(functional_call(model, parameters, (image[None],)), target[None])

    slope = grad(loss)
    for images, labels in zip(inputs.split(together), targets.split(together), strict=True):
        yield from _mapped(slope, weights, images, labels)


def _mapped(
    slope: Callable[..., dict[str, Tensor]], weights: dict[str, Tensor], images: Tensor, labels: Tensor
) -> Iterator[dict[str, Tensor]]:
    """Map over the samples at once; an operation that can't be mapped is computed sample by sample."""
    try:
        with sdpa_kernel(SDPBackend.MATH):  # the fused kernels of attention can't be mapped
            yield vmap(slope, in_dims=(None, 0, 0))(weights, images, labels)
    except RuntimeError as error:
        log.info("samples one by one: %s", error)
        for image, label in zip(images, labels, strict=True):
            yield {name: gradient[None] for name, gradient in slope(weights, image, label).items()}
