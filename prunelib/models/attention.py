"""What tracing can't see: which modules are multi-head attention, and the numbers they hold about their own shape."""

from __future__ import annotations

from dataclasses import dataclass
from math import isclose

import torch
from torch import Tensor, nn

from prunelib.errors import MethodError
from prunelib.models.widths import replace_, settle_

# Names that timm's and torchvision's attention modules give their parts
PROJECTIONS = (("qkv",), ("q_proj", "k_proj", "v_proj"), ("q", "k", "v"), ("q", "kv"))
OUTPUTS = ("proj", "out_proj")
HEADS = ("num_heads", "heads")
DIMS = ("attn_dim", "attention_dim", "all_head_dim")


@dataclass(frozen=True)
class Attention:
    """One self-attention module: ``projections`` together give 3 · heads · head_dim channels, ``output`` takes a third.

    Queries, keys and values come in this order, each head after head.
    """

    name: str
    heads: int
    head_dim: int
    projections: tuple[str, ...] = ("qkv",)
    output: str = "proj"

    @property
    def sources(self) -> list[str]:
        """Paths of the layers that make queries, keys and values."""
        return [f"{self.name}.{layer}" for layer in self.projections]

    @property
    def proj(self) -> str:
        """Path of the layer that mixes the heads' outputs."""
        return f"{self.name}.{self.output}"


def attention_of(module: nn.Module, name: str = "") -> Attention | None:
    """Return the head layout of a module that is multi-head attention over linear projections, and None for others.

    Left out are modules which normalise their queries or scale their logits by anything but head_dim^-1/2: the number
    of dimensions per head means something else there.
    """
    heads = next((found for key in HEADS if type(found := getattr(module, key, None)) is int), 0)
    output = next((key for key in OUTPUTS if isinstance(getattr(module, key, None), nn.Linear)), None)
    projections = next((names for names in PROJECTIONS if _are_linear(module, names)), None)
    if not heads or output is None or projections is None or not _plain_queries(module):
        return None
    dim = getattr(module, output).in_features
    widths = [getattr(module, layer).out_features for layer in projections]
    expected = {1: [3 * dim], 2: [dim, 2 * dim], 3: [dim] * 3}[len(projections)]
    if dim % heads or widths != expected:
        return None
    scale = getattr(module, "scale", None)
    usual = scale is None or (isinstance(scale, float) and isclose(scale, (dim // heads) ** -0.5))
    return Attention(name, heads, dim // heads, projections, output) if usual else None


def attentions(model: nn.Module) -> list[Attention]:
    """Return the model's attention modules in definition order."""
    return [found for name, module in model.named_modules() if (found := attention_of(module, name)) is not None]


def keep_heads_(module: nn.Module, found: Attention, kept: Tensor) -> None:
    """Keep the entries of the heads ``kept`` (ascending) in all that has one per head: bias tables, logit scales, ...

    ``found`` is the module's layout before. The projections are not touched.
    """
    for name, axis in _per_head(module, found):
        path, _, attribute = name.rpartition(".")
        owner = module.get_submodule(path)
        tensor = getattr(owner, attribute)
        replace_(owner, attribute, tensor.detach().index_select(axis, kept.to(tensor.device)))
        settle_(owner)


def set_heads_(module: nn.Module, heads: int, head_dim: int) -> None:
    """Set an attention module's head layout, once its layers have the widths for it.

    The projections must give 3 · heads · head_dim channels and the output layer take heads · head_dim. The softmax
    temperature follows the new head_dim (scale = head_dim^-1/2), as timm's forward does.
    Raises MethodError when layers and layout disagree.
    """
    dim = heads * head_dim
    output = next(getattr(module, name) for name in OUTPUTS if isinstance(getattr(module, name, None), nn.Linear))
    names = next(names for names in PROJECTIONS if _are_linear(module, names))
    given = sum(getattr(module, layer).out_features for layer in names)
    if min(heads, head_dim) < 1 or given != 3 * dim or output.in_features != dim:
        found = f"{', '.join(names)} gives {given} channels, proj takes {output.in_features}"
        raise MethodError(f"attention with {heads} heads of {head_dim}: {found}; they don't fit that layout.")
    values = dict.fromkeys(HEADS, heads) | dict.fromkeys(DIMS, dim) | {"head_dim": head_dim}
    for attribute, value in values.items():
        if type(getattr(module, attribute, None)) is int:
            setattr(module, attribute, value)
    if isinstance(getattr(module, "scale", None), float):
        module.scale = head_dim**-0.5
    if isinstance(getattr(module, "k_bias", None), Tensor):  # of zeros, and in no file
        module.k_bias = module.k_bias[:dim].clone()


@torch.no_grad()
def keep_temperature_(module: nn.Module, found: Attention, head_dim: int) -> None:
    """Scale the queries by (head_dim / found.head_dim)^1/2, so that logits stay what the kept dimensions gave.

    Dot products over fewer dimensions are divided by a smaller root; without this the softmax would sharpen.
    """
    factor = (head_dim / found.head_dim) ** 0.5
    if factor == 1.0:
        return
    layer, dim = getattr(module, found.projections[0]), getattr(module, found.output).in_features
    queries = [layer.weight, layer.bias, getattr(module, "q_bias", None)]
    for tensor in queries:
        if tensor is not None:
            tensor[:dim] *= factor


@torch.no_grad()
def keep_joint_temperature_(module: nn.MultiheadAttention) -> None:
    """Do the same for torch's own attention, before its attributes are set from its layers' new widths."""
    dim = module.out_proj.weight.shape[0]
    factor = (dim / module.embed_dim) ** 0.5
    for tensor in (module.in_proj_weight, module.in_proj_bias):
        if factor != 1.0 and tensor is not None:
            tensor[:dim] *= factor


def _are_linear(module: nn.Module, names: tuple[str, ...]) -> bool:
    return all(isinstance(getattr(module, name, None), nn.Linear) for name in names)


def _plain_queries(module: nn.Module) -> bool:
    return isinstance(getattr(module, "q_norm", None), nn.Identity | None)


def _per_head(module: nn.Module, found: Attention) -> list[tuple[str, int]]:
    """Return (tensor, axis) of what has an entry per head: own tables, and layers that compute a table."""
    tables = []
    for name, tensor in module.named_parameters(recurse=False):
        axes = [axis for axis, length in enumerate(tensor.shape) if length == found.heads]
        if len(axes) == 1 and tensor.dim() > 1:
            tables.append((name, axes[0]))
    own = {*found.projections, found.output}
    for name, layer in module.named_modules():
        if isinstance(layer, nn.Linear) and name not in own and layer.out_features == found.heads != layer.in_features:
            tables += [(f"{name}.{key}", 0) for key, _ in layer.named_parameters()]
    return tables
