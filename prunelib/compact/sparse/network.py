"""Turn the masked layers of a network into sparse ones that hold the kept kernels only, and back."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor, nn

from prunelib.compact.sparse.cost import fastest, sparse_form
from prunelib.compact.sparse.followers import follow_, unfollow_
from prunelib.compact.sparse.layers import Form, Sparse, SparseConv2d, SparseLinear
from prunelib.masks.mask import Mask

log = logging.getLogger(__name__)
KINDS: dict[type[nn.Module], type[Sparse]] = {nn.Conv2d: SparseConv2d, nn.Linear: SparseLinear}


def sparsify(
    model: nn.Module,
    mask: Mapping[str, Tensor],
    example: Tensor,
    choice: Literal["auto", "sparse", "dense"] = "auto",
    training: bool = True,
) -> tuple[dict[str, Form], Mask]:
    """Make the masked layers of a network sparse, in place; return each one's form by name, and the mask that is left.

    Sparse become convolutions and linear layers of which whole kernels are pruned, but not none; other parameters keep
    their mask, which is returned. ``choice``: "sparse" and "dense" force how the sparse layers compute, "auto" measures
    what is faster for each on inputs as ``example``, a whole batch, gives them (``training``: and backward). Whatever
    computes, parameters are the kept kernels alone, so a state fits every choice and brings its own; make optimizers
    afterwards.

    Example:
        forms, rest = sparsify(model, mask, images)
        ...                # train; nothing has to hold pruned weights at zero
        densify(model)
    """
    names = [name for name, module in model.named_modules() if name and _suits(model, name, module, mask)]
    shapes = _input_shapes(model, names, example) if choice == "auto" else {}
    forms: dict[str, Form] = {}
    for name in names:
        layer = model.get_submodule(name)
        sparse = KINDS[type(layer)](layer, mask[f"{name}.weight"])
        forced = sparse_form(layer.weight.device) if choice == "sparse" else "dense"
        sparse.form = fastest(sparse, shapes[name], training) if name in shapes else forced
        model.set_submodule(name, sparse)
        forms[name] = sparse.form
        log.info("%s: %d of %d kernels, %s", name, sparse.edges.shape[1], layer.weight.shape[:2].numel(), sparse.form)
    if forms:
        follow_(model)  # whatever the forms: a loaded state may bring others
    return forms, Mask({name: tensor for name, tensor in mask.items() if name.removesuffix(".weight") not in forms})


def densify(model: nn.Module) -> None:
    """Turn the sparse layers of a network into masked dense ones, in place: what ``sparsify`` began with, trained."""
    for name, module in list(model.named_modules()):
        if isinstance(module, Sparse):
            model.set_submodule(name, module.dense())
    unfollow_(model)


def _suits(model: nn.Module, name: str, module: nn.Module, mask: Mapping[str, Tensor]) -> bool:
    """Whether a layer can be sparse: its mask prunes whole kernels, its weight is its own, its bias unmasked."""
    kept = mask.get(f"{name}.weight")
    if type(module) not in KINDS or kept is None or f"{name}.bias" in mask or bool(kept.all()):
        return False
    if getattr(module, "padding_mode", "zeros") != "zeros" or list(module._parameters) != ["weight", "bias"]:
        return False
    uses = sum(parameter is module.weight for _, parameter in model.named_parameters(remove_duplicate=False))
    flat = kept.reshape(*kept.shape[:2], -1)
    return uses == 1 and torch.equal(flat.any(2), flat.all(2))


def _input_shapes(model: nn.Module, names: list[str], example: Tensor) -> dict[str, torch.Size]:
    """Return the shape of each layer's input in a forward pass; of several passes through a layer, the last one's."""
    shapes: dict[str, torch.Size] = {}
    hooks, training = [], model.training
    for name in names:
        keep = lambda module, inputs, name=name: shapes.update({name: inputs[0].shape})  # noqa: E731
        hooks.append(model.get_submodule(name).register_forward_pre_hook(keep))
    try:
        with torch.no_grad():
            model.eval()(example)
    finally:
        model.train(training)
        for hook in hooks:
            hook.remove()
    return shapes
