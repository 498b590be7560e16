"""Energies: what a state costs on a batch, lower is better; any registered function of the same form can take part.

An energy is called as ``energy(model, batch, states, scene) -> (S,)`` with states (S, D) booleans on the batch's
device; costs come back as float64, there too. No energy changes weights, running statistics or random streams. One that
looks at the outputs of every state asks ``scene.logits`` for them.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from prunelib.methods.ising.counts import Kept
from prunelib.methods.ising.evolution import Rule
from prunelib.methods.ising.gates import CONVS, Units, candidate_forward, hooked
from prunelib.methods.ising.narrow import Narrower
from prunelib.registry import register

BINS = 256
FLOOR = 0.1  # least kept fraction that goes unpunished when no density is asked for
PUNISHMENT = 1e5  # per unit of the network and unit of missing fraction
PER_PASS = 8  # states in one forward pass of a GPU: more need more memory, fewer leave it idle
RANK_TOLERANCE = 1e-10  # eigenvalues below this share of the largest count as zero


@dataclass(frozen=True)
class Scene:
    """What an energy may use besides the batch: the units, how to count, the rule, and where the Ising minimum lies.

    ``balance`` is the share of units at which the Ising energy of unrelated units is least: 1/2 as published, or
    the share that the asked density needs. ``floor`` is the kept fraction below which states are punished.
    ``narrower``, if there is one, runs states without what they shut; ``precision`` is that of their forward passes.
    """

    units: Units
    kept: Kept
    rule: Rule
    balance: float = 0.5
    floor: float = FLOOR
    narrower: Narrower | None = None
    precision: Literal["float32", "bf16"] = "float32"

    def gates(self, states: Tensor, device: torch.device) -> dict[str, Tensor]:
        """Return the states as float gates (S, n) per layer on a device."""
        return self.units.split(states.to(device, torch.float32))

    def logits(self, model: nn.Module, x: Tensor, states: Tensor) -> Tensor:
        """Return the outputs (S, N, C) of every state, norms by the statistics of each state's own batch, no dropout.

        On a CPU each distinct state runs at its true width; a GPU, which narrow layers and questions about states
        would leave idle, takes several states at full width in one pass.
        """
        with torch.autocast(x.device.type, torch.bfloat16) if self.precision == "bf16" else nullcontext():
            if self.narrower is not None and x.device.type == "cpu":
                distinct, places = states.unique(dim=0, return_inverse=True)
                runs = (self.narrower.candidate(model, self.narrower.narrow(state, x.device), x) for state in distinct)
                return torch.stack(list(runs))[places]
            passes = (self.gates(part, x.device) for part in states.split(PER_PASS))
            return torch.cat([candidate_forward(model, self.units, gates, x) for gates in passes])


Energy = Callable[[nn.Module, tuple[Tensor, Tensor], Tensor, Scene], Tensor]


@register("energy", "margin")
def margin(model: nn.Module, batch: tuple[Tensor, Tensor], states: Tensor, scene: Scene) -> Tensor:
    """Margin energy of EDropout and EPruning: -10 · mean over the batch of (logit of the label - largest other logit).

    ``scene.logits`` computes the outputs, so norms use the statistics of each state's own batch.
    """
    x, target = batch
    logits = scene.logits(model, x, states).double()
    index = target.expand(len(states), -1).unsqueeze(-1)
    own = logits.gather(-1, index).squeeze(-1)
    others = logits.scatter(-1, index, -torch.inf).amax(dim=-1)
    return -10 * (own - others).mean(dim=1)


@register("energy", "ising")
def ising(model: nn.Module, batch: tuple[Tensor, Tensor], states: Tensor, scene: Scene) -> Tensor:
    """Ising energy of IPruning: pair term - share · linear term + floor, from one forward pass for all states.

    With I_ij the divergence K_ij within a layer, the entropy H_i towards every unit of the next layer (definition
    order) and 0 elsewhere, n = sum s and C = sum (1 - I) over all D² pairs,
    E(s) = sum_ij s_i s_j (1 - I_ij) - 2 · balance · n / D · C + 1e5 · D · max(0, floor - kept(s)).
    The D×D matrix is never built: sum_ij s_i s_j (1 - I_ij) = n² - sum_l s_l' K_l s_l - sum_l (H_l · s_l)(sum s_{l+1}).
    Rule "upstream" keeps the faults of the authors' code that shape its results: half the divergences, mixed-up
    filter axes, entropy of values that do not sum to one, and a pair term that reads other candidates' bits.
    """
    entropy = activity(model, batch[0], scene)
    divergence = {name: divergences(model.get_submodule(name).weight, scene.rule) for name in entropy}
    size = scene.units.size
    # The authors reshape the (S, D) states where they mean to transpose them.
    paired = states.reshape(size, -1).T if scene.rule == "upstream" else states
    pairs = pair_term(scene.units, paired.double(), divergence, entropy)
    couplings = pair_term(scene.units, torch.ones_like(states[:1], dtype=torch.float64), divergence, entropy)
    missing = (scene.floor - scene.kept.fraction(states)).clamp(min=0)
    return pairs - 2 * scene.balance * states.double().mean(dim=1) * couplings + PUNISHMENT * size * missing


@register("energy", "random")
def random(model: nn.Module, batch: tuple[Tensor, Tensor], states: Tensor, scene: Scene) -> Tensor:
    """No energy at all: every state costs 0, so the first random one stays (the papers' mode "random"; a control)."""
    return torch.zeros(len(states), dtype=torch.float64, device=states.device)


def pair_term(units: Units, states: Tensor, divergence: dict[str, Tensor], entropy: dict[str, Tensor]) -> Tensor:
    """Return sum_ij s_i s_j (1 - I_ij) for float64 states (S, D), without the D×D matrix; layers without K, H add 0."""
    parts = units.split(states)
    total = states.sum(dim=1).square()
    names = [layer.name for layer in units.layers]
    for name, after in zip(names, [*names[1:], None], strict=True):
        if name in divergence:
            total = total - torch.einsum("si,ij,sj->s", parts[name], divergence[name], parts[name])
        if name in entropy and after is not None:
            total = total - (parts[name] @ entropy[name]) * parts[after].sum(dim=1)
    return total


@torch.no_grad()
def activity(model: nn.Module, x: Tensor, scene: Scene) -> dict[str, Tensor]:
    """Return each filter's activity H in [0, 1], (n,) float64, per convolution that has gates.

    The network runs ungated. A convolution's output (before the norm) is averaged over the batch, the layer is scaled
    to its own range, each map becomes a histogram of 256 bins q, H = -sum q log2 q divided by the layer's largest.
    """
    maps: dict[str, Tensor] = {}
    everything = torch.ones(1, scene.units.size, dtype=torch.bool)
    with ExitStack() as stack:
        for layer in scene.units.layers:
            module = model.get_submodule(layer.name)
            if isinstance(module, CONVS):
                note = lambda m, args, output, name=layer.name: maps.update({name: output.mean(dim=0)})  # noqa: E731
                stack.enter_context(hooked(module.register_forward_hook(note)))
        candidate_forward(model, scene.units, scene.gates(everything, x.device), x)
    return {name: _entropy(values.flatten(1), scene.rule) for name, values in maps.items()}


def _entropy(maps: Tensor, rule: Rule) -> Tensor:
    """Return the normalised entropy (C,) of maps (C, places); the authors' code divides by the largest bin instead."""
    low, high = maps.min(), maps.max()
    scaled = (maps - low) / (high - low).clamp(min=torch.finfo(maps.dtype).tiny)
    bins = (scaled * BINS).long().clamp(max=BINS - 1)
    counts = torch.zeros(len(maps), BINS, dtype=torch.float64, device=maps.device)
    counts.scatter_add_(1, bins, torch.ones_like(bins, dtype=torch.float64))
    share = counts / (counts.amax(dim=1, keepdim=True) if rule == "upstream" else maps.shape[1])
    entropy = -torch.special.xlogy(share, share).sum(dim=1) / math.log(2)
    return entropy / entropy.max().clamp(min=torch.finfo(torch.float64).tiny)


@torch.no_grad()
def divergences(weight: Tensor, rule: Rule) -> Tensor:
    """Return the scaled symmetric divergence K (O, O) in [0, 1] between a convolution's filters (O, I, ...), float64.

    Filter o is the normal distribution of its I kernels (k·k values): mean m_o, covariance C_o (divisor I - 1).
    K_ij = ½ [tr(C_j⁺ C_i) + log(det C_j / det C_i) + (m_j - m_i)' C_j⁺ (m_j - m_i) - k·k], the log only where both
    determinants are non-zero; scaled by K <- (K - min K) / max|K|, then averaged over both directions.
    """
    kernels = weight.detach().double().flatten(2)
    if rule == "upstream":
        kernels = kernels.reshape(kernels.shape[1], kernels.shape[0], -1).transpose(0, 1)
    divergence = _gaussian_divergence(kernels)
    if rule == "upstream":
        divergence = divergence.triu()
    scaled = (divergence - divergence.min()) / divergence.abs().max().clamp(min=torch.finfo(torch.float64).tiny)
    return (scaled + scaled.T) / 2


def _gaussian_divergence(kernels: Tensor) -> Tensor:
    """Return K (O, O) of kernels (O, I, k·k), all pairs by matrix products of the O pseudo-inverses."""
    means = kernels.mean(dim=1)
    centred = kernels - means[:, None]
    covariance = centred.transpose(1, 2) @ centred / max(kernels.shape[1] - 1, 1)
    values, vectors = torch.linalg.eigh(covariance)
    present = values > RANK_TOLERANCE * values[:, -1:].clamp(min=torch.finfo(torch.float64).tiny)
    inverse_values = torch.where(present, 1 / values.where(present, 1.0), 0.0)
    inverse = (vectors * inverse_values[:, None]) @ vectors.transpose(1, 2)
    regular = present.all(dim=1)
    logdet = values.where(present, 1.0).log().sum(dim=1)
    logs = torch.where(regular[:, None] & regular, logdet - logdet[:, None], 0.0)  # [i, j] = log det C_j - log det C_i
    second = covariance + means[:, :, None] * means[:, None]
    traces = second.flatten(1) @ inverse.flatten(1).T  # tr(P_j (C_i + m_i m_i'))
    projected = (inverse @ means[:, :, None]).squeeze(2)  # P_j m_j
    cross = means @ projected.T
    squares = (means * projected).sum(dim=1)
    return (traces - 2 * cross + squares + logs - kernels.shape[2]) / 2
