"""Binary differential evolution: a population of bit vectors, its children and their selection, without any loop.

Source: EDropout (TNNLS 2021) and IPruning (ICASSP 2021), the optimizer both share. States are (S, D) boolean tensors
on any device, True = kept; costs are (S,), lower is better. Chance is drawn on the CPU, so that every device sees the
same, and nothing waits for the device.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from prunelib.errors import MethodError

Rule = Literal["paper", "upstream"]
FEWEST = 4  # a child needs three parents besides its own


def initial(candidates: int, size: int, density: float, generator: torch.Generator) -> Tensor:
    """Draw ``candidates`` states of ``size`` independent bits, each True with probability ``density``.

    Raises MethodError for fewer than four candidates.
    """
    if candidates < FEWEST:
        raise MethodError(f"ising: got {candidates} candidates; differential evolution needs at least {FEWEST}.")
    return torch.rand(candidates, size, generator=generator) < density


def partners(candidates: int, generator: torch.Generator) -> Tensor:
    """Return (3, S) indices: for each slot three distinct slots, none of them itself, uniformly without replacement."""
    order = torch.rand(candidates, candidates, generator=generator).fill_diagonal_(2.0)
    return order.argsort(dim=1)[:, :3].T


def children(states: Tensor, generator: torch.Generator, *, mutation: float, crossover: float, rule: Rule) -> Tensor:
    """Return one child per slot, (S, D); every bit draws its mutation and its crossover independently.

    With x1, x2, x3 the partners of a slot, the mutant v is x1 except, with probability ``mutation``,
    "paper": 1 - x1 where x2 != x3 (a population that has agreed stays as it is);
    "upstream": 1 - x1 where x2 == x3 and 0 where they differ (never settles, drifts to fewer kept bits).
    The child's bit is v with probability ``crossover`` and the slot's own bit otherwise.
    """
    first, second, third = (states[index] for index in sent(partners(len(states), generator), states.device))
    draws = sent(torch.rand(2, *states.shape, generator=generator), states.device)
    differ = second ^ third
    changed = first ^ differ if rule == "paper" else ~first & ~differ
    mutant = torch.where(draws[0] < mutation, changed, first)
    return torch.where(draws[1] < crossover, mutant, states)


def select(parents: Tensor, parent_costs: Tensor, offspring: Tensor, offspring_costs: Tensor) -> tuple[Tensor, Tensor]:
    """Keep, slot by slot, the cheaper of parent and child (a tie keeps the parent); return states and their costs."""
    better = offspring_costs < parent_costs
    return torch.where(better[:, None], offspring, parents), torch.where(better, offspring_costs, parent_costs)


def sent(drawn: Tensor, device: torch.device) -> Tensor:
    """Return what was drawn on the CPU on a device, without waiting until a GPU has taken it."""
    return drawn.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else drawn.to(device)
