"""Whole residual blocks: score those of one stage, remove the least important, spread stochastic depth anew."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from prunelib.errors import MethodError
from prunelib.models.blocks import drop_rates, keep_blocks_, set_drop_rate_

STAGES = ("stages", "layers")  # names that networks made of stages give the list of them

DEPTH = ("DropPath", "StochasticDepth")  # classes of timm and torchvision that leave out a block at random


def deep_stage(model: nn.Module) -> str:
    """Return the path of the blocks which may be removed: those of the last stage but one (ConvNeXt's third).

    Raises MethodError for a network without such a list of residual blocks.
    """
    for name in STAGES:
        stages = getattr(model, name, None)
        if not isinstance(stages, nn.Sequential | nn.ModuleList) or len(stages) < 2:
            continue
        blocks = getattr(stages[-2], "blocks", None)
        if isinstance(blocks, nn.Sequential | nn.ModuleList) and len({_kind(block) for block in blocks}) == 1:
            return f"{name}.{len(stages) - 2}.blocks"
    raise MethodError(f"{type(model).__name__}: has no stage of equal residual blocks to remove some of.")


def score_blocks(model: nn.Module, saliency: Mapping[str, Tensor]) -> list[float]:
    """Return the score of every block of the deep stage: the mean over its tensors of the mean saliency |w · g|.

    ``saliency``: by parameter name, as ``importance.saliencies`` returns it. Source: the authors' pruning script for
    ConvNeXt (timm). Raises MethodError for scores that are not finite.
    """
    path = deep_stage(model)
    scores = []
    for index, block in enumerate(model.get_submodule(path)):
        means = [saliency[f"{path}.{index}.{name}"].abs().mean() for name, _ in block.named_parameters()]
        scores.append(float(torch.stack(means).mean()))
    if not torch.isfinite(torch.tensor(scores)).all():
        raise MethodError(f"{path}: the scores of its blocks are not finite; did the dense network's training diverge?")
    return scores


def remove_blocks_(model: nn.Module, scores: list[float], count: int) -> tuple[str, list[int]]:
    """Remove the ``count`` blocks of the deep stage with the lowest scores, in place; return its path and who stays.

    Equal scores keep the earlier block. Rates of stochastic depth are spread linearly again over the blocks that are
    left in the network, from zero to the largest one before. Raises MethodError when no block would stay.
    """
    path = deep_stage(model)
    if not 0 <= count < len(scores):
        raise MethodError(f"remove_blocks {count}: {path} has {len(scores)} blocks, of which at least one must stay.")
    ranked = sorted(range(len(scores)), key=lambda index: (-scores[index], index))
    kept = sorted(ranked[: len(scores) - count])
    top = max(_depth_rates(model).values(), default=0.0)
    keep_blocks_(model, path, kept)
    _spread_depth_(model, path.partition(".")[0], top)
    return path, kept


def _kind(block: nn.Module) -> tuple[type[nn.Module], int]:
    """Return what interchangeable blocks have in common: their class, and the width of what they add to their input."""
    vectors = [tensor for tensor in block.parameters() if tensor.dim() == 1]
    return type(block), len(vectors[-1]) if vectors else 0


def _spread_depth_(model: nn.Module, stages: str, top: float) -> None:
    """Let the rates grow linearly from zero at the network's first block to ``top`` at its last."""
    lists = [f"{stages}.{index}.blocks" for index in range(len(model.get_submodule(stages)))]
    blocks = [f"{path}.{index}." for path in lists for index in range(len(model.get_submodule(path)))]
    for name in _depth_rates(model):
        position = next(index for index, block in enumerate(blocks) if name.startswith(block))
        set_drop_rate_(model, name, top * position / max(1, len(blocks) - 1))


def _depth_rates(model: nn.Module) -> dict[str, float]:
    """Return the rates of stochastic depth by the name of their module."""
    rates = drop_rates(model).items()
    return {name: rate for name, rate in rates if type(model.get_submodule(name)).__name__ in DEPTH}
