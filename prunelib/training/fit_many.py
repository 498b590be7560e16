"""Fit K images of one size, or one image K times, side by side: what K single fits give, in one pass each step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from prunelib.errors import ConfigError
from prunelib.masks.mask import Mask
from prunelib.models.stacked import Stacked
from prunelib.storage.checkpoint import Checkpointer
from prunelib.tasks.picture import PictureTask
from prunelib.tasks.stacked import stack
from prunelib.training.fit_image import drive
from prunelib.training.record import Record
from prunelib.training.result import Trained
from prunelib.training.sgld import Average, Noise

Masks = Sequence[Mask | None]


def fit_many(
    tasks: Sequence[PictureTask],
    models: Sequence[nn.Module],
    recipe: Mapping[str, Any],
    *,
    masks: Masks | None = None,
    checkpointer: Checkpointer | None = None,
) -> list[Trained]:
    """Train K models in place, model k on task k under mask k, as K calls of ``fit_image`` would; results in order.

    The K losses are added up, so each network gets its own gradient and Adam, which works entry by entry, its own step.
    Weights, norms' running statistics, history, figures and images are those of single fits up to the rounding of
    grouped convolutions. Trained.step_ms is a fit's share: a joint step's time over K. With a checkpointer all K go on
    from its newest state, with the same bits on a CPU. Raises ConfigError for models of different architectures, images
    of different sizes or lists of different lengths, PrunelibError when one of the losses is no longer finite.

    Example, four noises of one photograph:
        tasks = [Denoise(photo, model, seed) for seed in range(4)]
        results = fit_many(tasks, [task.build() for task in tasks], recipe)
        peaks = [result.metrics["psnr_peak"] for result in results]
    """
    fits = _Fits(tasks, models, recipe, masks)
    drive(fits, recipe, checkpointer, f"fit {len(tasks)} images")
    parts = zip(tasks, fits.records, fits.averages, strict=True)
    return [average.join(record.result(len(tasks)), task) for task, record, average in parts]


class _Fits:
    """K fits under way: stacked weights and masks, one optimizer, K records; everything a resume needs."""

    def __init__(
        self, tasks: Sequence[PictureTask], models: Sequence[nn.Module], recipe: Mapping[str, Any], masks: Masks | None
    ) -> None:
        masks = [None] * len(tasks) if masks is None else masks
        if not len(tasks) == len(models) == len(masks):
            raise ConfigError(f"fit many: got {len(tasks)} tasks, {len(models)} models and {len(masks)} masks.")
        self.inputs, self.targets = stack(tasks)
        self.networks = Stacked([model.train() for model in models])
        kept = _stacked_masks(models, masks)
        self._weights = [self.networks.parameters[name] for name in kept]
        self._masks = list(kept.values())
        self._enforce(self._weights)
        self.adam = torch.optim.Adam(self.networks.parameters.values(), lr=recipe["lr"], fused=True)
        self._losses = torch.vmap(tasks[0].loss)
        self.noises = [Noise(task.seed, recipe["input_noise"], recipe["weight_noise"]) for task in tasks]
        self.records = [Record(task, f" {index}") for index, task in enumerate(tasks)]
        self.averages = [Average(recipe["average_from"]) for _ in tasks]
        self.step = 0

    def update(self, logged: bool) -> None:
        """Take one optimizer step of all fits; log the outputs it starts from when asked to."""
        loss = self._forward(logged)
        self.adam.zero_grad()
        loss.backward()
        self._enforce([weight.grad for weight in self._weights])
        self.adam.step()
        for index, noise in enumerate(self.noises):
            noise.weights_((tensor[index] for tensor in self.networks.parameters.values()), self.step)
        if self.noises[0].weights:  # which must not wake a pruned weight
            self._enforce(self._weights)
        self.step += 1

    @torch.no_grad()
    def finish(self) -> None:
        """Draw and log the final images; hand the weights back to the models."""
        self._forward(logged=True)
        self.networks.unstack_()

    def _forward(self, logged: bool) -> Tensor:
        """Return the sum of the K losses; log the outputs when asked to and average them when due."""
        inputs = [noise.input(z, self.step) for noise, z in zip(self.noises, self.inputs, strict=True)]
        outputs = self.networks(torch.stack(inputs))
        losses = self._losses(outputs, self.targets)
        for index, output in enumerate(outputs.detach()):
            if logged:
                self.records[index].row(self.step, output, losses[index].detach())
            self.averages[index].add(self.step, output)
        return losses.sum()

    @torch.no_grad()
    def _enforce(self, tensors: Sequence[Tensor]) -> None:
        """Zero what belongs to pruned weights, as ``prunelib.masks.mask.Enforcer`` does for one model."""
        if tensors:
            torch._foreach_mul_(tensors, self._masks)

    def state(self) -> dict[str, Any]:
        """Return what an exact resume needs (before the forward pass of the current step)."""
        return {
            "step": self.step,
            "networks": self.networks.state(),
            "optimizer": self.adam.state_dict(),
            "records": [record.state() for record in self.records],
            "averages": [average.state() for average in self.averages],
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take back what ``state`` returned."""
        self.step = state["step"]
        self.networks.restore(state["networks"])
        self.adam.load_state_dict(state["optimizer"])
        for record, saved in zip(self.records, state["records"], strict=True):
            record.restore(saved)
        for average, saved in zip(self.averages, state["averages"], strict=True):
            average.restore(saved, self.inputs.device)


def _stacked_masks(models: Sequence[nn.Module], masks: Masks) -> dict[str, Tensor]:
    """Return (K, *shape) of 0 and 1 for each parameter that one of the masks covers; raises MethodError on a misfit."""
    for model, mask in zip(models, masks, strict=True):
        if mask is not None:
            mask.enforcer(model)
    covered = {name for mask in masks if mask is not None for name in mask}
    rows = {name: parameter for name, parameter in models[0].named_parameters() if name in covered}
    return {
        name: torch.stack([mask[name].to(like) if mask and name in mask else torch.ones_like(like) for mask in masks])
        for name, like in rows.items()
    }
