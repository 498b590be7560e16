"""Hooks of the classification loop: how a method that prunes while training takes part in it."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from torch.optim import Optimizer

from prunelib.masks.mask import Mask


class Callback:
    """A method that works during training; every hook is optional. A step calls before_step, forward, after_step."""

    def begin(self, model: nn.Module, optimizer: Optimizer) -> None:
        """See the model and its optimizer once, before the first step (also of a resumed run)."""

    def before_step(self, model: nn.Module, batch: tuple[Tensor, Tensor]) -> None:
        """See the (input, target) batch before the forward pass of a training step."""

    def forward(self, model: nn.Module, x: Tensor) -> Tensor:
        """Return the logits, in place of the plain forward; ``model.training`` is False in evaluation."""
        return model(x)

    def after_step(self, model: nn.Module) -> None:
        """Act after the optimizer's step."""

    def after_epoch(self, model: nn.Module, epoch: int) -> dict[str, float]:
        """Return this epoch's values of further history columns (the same columns every epoch)."""
        return {}

    def state(self) -> dict[str, Any]:
        """Return everything an exact resume needs: tensors, numbers, strings, lists and dicts of them."""
        return {}

    def restore(self, state: dict[str, Any]) -> None:
        """Take back what ``state`` returned."""

    def finish(self, model: nn.Module) -> Mask | None:
        """Settle the model into its final form and return the mask of what is left, if any."""
        return None

    def metrics(self, model: nn.Module) -> dict[str, float | None]:
        """Return further metrics of the finished model; called once, after ``finish``."""
        return {}
