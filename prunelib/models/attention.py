"""What tracing can't see: which modules are multi-head attention, and the numbers they hold about their own shape."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from prunelib.errors import MethodError


@dataclass(frozen=True)
class Attention:
    """One self-attention module with a joint query-key-value layer: ``qkv`` gives 3 · heads · head_dim channels."""

    name: str
    heads: int
    head_dim: int

    @property
    def qkv(self) -> str:
        """Path of the layer that makes queries, keys and values."""
        return f"{self.name}.qkv"

    @property
    def proj(self) -> str:
        """Path of the layer that mixes the heads' outputs."""
        return f"{self.name}.proj"


def is_attention(module: nn.Module) -> bool:
    """Return True for a timm ``Attention``: linear ``qkv`` and ``proj`` layers, a head layout in plain attributes."""
    layers = [getattr(module, name, None) for name in ("qkv", "proj")]
    counts = [getattr(module, name, None) for name in ("num_heads", "head_dim", "attn_dim")]
    return all(isinstance(layer, nn.Linear) for layer in layers) and all(isinstance(count, int) for count in counts)


def attentions(model: nn.Module) -> list[Attention]:
    """Return the model's attention modules in definition order."""
    found = [(name, module) for name, module in model.named_modules() if is_attention(module)]
    return [Attention(name, module.num_heads, module.head_dim) for name, module in found]


def set_heads_(module: nn.Module, heads: int, head_dim: int) -> None:
    """Set an attention module's head layout, once its layers have the widths for it.

    qkv must give 3 · heads · head_dim channels and proj take heads · head_dim. The softmax temperature follows the new
    head_dim (scale = head_dim^-1/2), as timm's forward does.
    Raises MethodError when layers and layout disagree.
    """
    dim = heads * head_dim
    if min(heads, head_dim) < 1 or module.qkv.out_features != 3 * dim or module.proj.in_features != dim:
        found = f"qkv gives {module.qkv.out_features} channels, proj takes {module.proj.in_features}"
        raise MethodError(f"attention with {heads} heads of {head_dim}: {found}; they don't fit that layout.")
    module.num_heads, module.head_dim, module.attn_dim = heads, head_dim, dim
    module.scale = head_dim**-0.5


@torch.no_grad()
def keep_temperature_(module: nn.Module, old_head_dim: int) -> None:
    """Scale the queries by (head_dim / old_head_dim)^1/2, so that attention logits stay what the kept dimensions gave.

    Dot products over fewer dimensions are divided by a smaller root; without this the softmax would sharpen.
    Raises MethodError for a module that normalises its queries, where no scaling of the weights has that effect.
    """
    factor = (module.head_dim / old_head_dim) ** 0.5
    if factor == 1.0:
        return
    if not isinstance(getattr(module, "q_norm", None), nn.Identity | None):
        raise MethodError("attention with normalised queries: its head dimensions can't be cut.")
    rows = slice(0, module.attn_dim)
    module.qkv.weight[rows] *= factor
    if module.qkv.bias is not None:
        module.qkv.bias[rows] *= factor
