"""How small a pruned network is: density three ways, parameters and MACs of the dense, kept and compacted network."""

from __future__ import annotations

import logging

from torch import Tensor, nn

from prunelib.compact.slim import compacted_size
from prunelib.errors import MethodError
from prunelib.masks.mask import Mask
from prunelib.measure.cost import macs, macs_kept, parameters
from prunelib.tasks.base import prunable

Figures = dict[str, float | None]
log = logging.getLogger(__name__)


def structure_sizes(dense: nn.Module, model: nn.Module, example: Tensor) -> Figures:
    """Size metrics of ``model``: ``dense`` itself or what structural pruning left of it; names as in ``mask_sizes``."""
    kept, smaller = parameters(model), macs(model, example)
    found = {"kept": _weights(model), "prunable": _weights(dense), "parameters_kept": kept, "macs_kept": smaller}
    return _with_ratios(dense, model, example, found | {"parameters_compact": kept, "macs_compact": smaller})


def mask_sizes(dense: nn.Module, model: nn.Module, mask: Mask, example: Tensor, alive: bool = True) -> Figures:
    """Size metrics of ``model`` under a weight mask.

    parameters, macs: of the dense network; kept, prunable, density: entries of the mask; parameters_kept, density_all:
    all values but the pruned ones; macs_kept: a pruned weight costs nothing; parameters_compact, macs_compact,
    density_compact: after removal of dead structure (None for a dead network or one that compaction can't do);
    density_nonzero: non-zero weights of convolutions and linear layers, of all such weights.
    """
    compact = _compacted(model, mask, example) if alive else (None, None)
    found: Figures = {"kept": mask.kept, "prunable": mask.size}
    found |= {"parameters_kept": parameters(dense) - (mask.size - mask.kept)}
    found |= {"macs_kept": macs_kept(model, mask, example)}
    return _with_ratios(dense, model, example, found | {"parameters_compact": compact[0], "macs_compact": compact[1]})


def _with_ratios(dense: nn.Module, model: nn.Module, example: Tensor, found: Figures) -> Figures:
    total = parameters(dense)
    return {
        "parameters": total,
        "macs": macs(dense, example),
        **found,
        "density": _ratio(found["kept"], found["prunable"]),
        "density_all": _ratio(found["parameters_kept"], total),
        "density_compact": _ratio(found["parameters_compact"], total),
        "density_nonzero": _nonzero(model) / _weights(dense),
    }


def _compacted(model: nn.Module, mask: Mask, example: Tensor) -> tuple[float, float] | tuple[None, None]:
    try:
        return compacted_size(model, mask, example)
    except MethodError as error:
        log.warning("no size after compaction: %s", error)
        return None, None


def _weights(model: nn.Module) -> int:
    return sum(weight.numel() for weight in prunable(model).values())


def _nonzero(model: nn.Module) -> int:
    return sum(int(weight.count_nonzero()) for weight in prunable(model).values())


def _ratio(part: float | None, whole: float | None) -> float | None:
    return None if part is None or not whole else part / whole
