"""The search during training: evolve gates by an energy on every batch, train the best, freeze, fine-tune."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor, nn

from prunelib import registry
from prunelib.masks.mask import Mask
from prunelib.methods.callbacks import Callback
from prunelib.methods.ising.controls import controls
from prunelib.methods.ising.counts import Kept
from prunelib.methods.ising.energy import Scene
from prunelib.methods.ising.evolution import children, initial, select
from prunelib.methods.ising.gates import discover, gated_forward
from prunelib.methods.ising.rest import Rest, owned
from prunelib.options import Count, Fraction, Word
from prunelib.registry import register
from prunelib.tasks.classify import Classify

TOP_UPS = 16  # attempts to add random units to the frozen state, each until one does not fit


@register("method", "ising", stage="training", parent="none", start="init", budgets=("density", "full"), full_mask={})
def ising(
    task: Classify,
    budget: Mapping[str, Any],
    generator: torch.Generator,
    *,
    energy: Word = "margin",
    rule: Literal["paper", "upstream"] = "paper",
    count: Literal["true", "upstream"] = "true",
    candidates: Count = 8,
    p0: Fraction = 0.5,
    mutation: Fraction = 0.1,
    crossover: Fraction = 0.9,
    reevaluate: bool = False,
    search_epochs: Count = 5,
    search_every: Count = 1,
    patience: Count = 100,
) -> Search:
    """Prune units while training: a population of states evolves by an energy, the best gates the training forward.

    energy: a registered energy, "margin" (EDropout, EPruning) or "ising" (IPruning). rule: binary differential
    evolution (and Ising energy) as published or as the authors' code runs. A density budget is met to within one unit:
    every state is made to fit it by random flips, so the energy only chooses among states that keep about the same
    ``count`` of weights (see ``prunelib.methods.ising.counts``); with the budget "full" the energy alone decides, which
    for "ising" ends near half of the units. reevaluate: cost parents again on each batch (the papers keep the cost a
    parent was born with). search_epochs: the best state is frozen after so many epochs, or once all candidates have
    been equal for ``patience`` searches; search_every: search on each n-th batch. p0: share of bits that start as kept.
    Raises MethodError for fewer than four candidates, a budget below one unit per layer, or a network without units.
    """
    model = task.build()
    units = discover(model, task.example)
    scene = Scene(units, Kept(model, units, task.example, count), rule)
    density = budget["value"] if budget["kind"] == "density" else None
    states = initial(candidates, units.size, p0, generator)
    plan = Plan(energy, p0, mutation, crossover, reevaluate, search_epochs, search_every, patience, density)
    return Search(task, plan, scene, states, generator)


@dataclass(frozen=True)
class Plan:
    """The options of one search; see ``ising``."""

    energy: str
    p0: float
    mutation: float
    crossover: float
    reevaluate: bool
    search_epochs: int
    search_every: int
    patience: int
    density: float | None


class Search(Callback):
    """Takes part in the classification loop; weights whose gate is shut rest, their optimizer state included."""

    def __init__(self, task: Classify, plan: Plan, scene: Scene, states: Tensor, generator: torch.Generator) -> None:
        """Start from ``states`` (S, D), made to fit the density; their costs are not known yet."""
        self.task, self.plan, self.generator = task, plan, generator
        self.energy = registry.load("energy", plan.energy)
        self.states = scene.kept.fit(states, plan.density, generator)
        self.costs = torch.full((len(states),), torch.inf, dtype=torch.float64)
        steered = plan.density is not None
        self.scene = replace(scene, balance=float(self.states.double().mean()), floor=0.0) if steered else scene
        self.seen = self.calm = 0
        self.frozen = False
        self._controls: dict[str, float | None] = {}
        self._gates: dict[str, Tensor] | None = None
        self._optimizer: torch.optim.Optimizer | None = None
        self._rest: Rest | None = None

    def begin(self, model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        """Keep the optimizer, whose state of shut units must not move."""
        self._optimizer = optimizer

    @property
    def best(self) -> Tensor:
        """The cheapest state (D,) so far; the first of equals."""
        return self.states[int(self.costs.argmin())]

    def before_step(self, model: nn.Module, batch: tuple[Tensor, Tensor]) -> None:
        """Search on this batch if it is due, then note what must not change in the step."""
        if not self.frozen and self.seen % self.plan.search_every == 0:
            self._search(model, batch)
        self.seen += 1
        if self._optimizer is not None:
            self._rest = Rest(model, self.scene.units, self.best, self._optimizer)

    def forward(self, model: nn.Module, x: Tensor) -> Tensor:
        """Run the network under the best state's gates."""
        if self._gates is None:
            self._gates = {name: gate[0] for name, gate in self.scene.gates(self.best[None], x.device).items()}
        return gated_forward(model, self.scene.units, self._gates, x)

    def after_step(self, model: nn.Module) -> None:
        """Put shut units back to what they were before the step."""
        if self._rest is not None:
            self._rest.restore_()

    def after_epoch(self, model: nn.Module, epoch: int) -> dict[str, float]:
        """Freeze when the time has come; columns: best and mean energy, kept fraction, disagreement, searching."""
        row = {
            "energy_best": float(self.costs.min()),
            "energy_mean": float(self.costs.mean()),
            "kept": float(self.scene.kept.fraction(self.best[None])[0]),
            "disagreement": float((self.states != self.best).double().mean()),
            "searching": float(not self.frozen),
        }
        if epoch + 1 >= self.plan.search_epochs:
            self._freeze()
        return row

    def state(self) -> dict[str, Any]:
        """Return population, costs, counters and random stream."""
        counters = {"seen": self.seen, "calm": self.calm, "frozen": self.frozen}
        return {"states": self.states, "costs": self.costs, "random": self.generator.get_state(), **counters}

    def restore(self, state: dict[str, Any]) -> None:
        """Take back what ``state`` returned."""
        self.states, self.costs = state["states"], state["costs"]
        self.seen, self.calm, self.frozen = state["seen"], state["calm"], state["frozen"]
        self.generator.set_state(state["random"])
        self._gates = None

    def finish(self, model: nn.Module) -> Mask:
        """Set everything that belongs to shut units to zero for good; return the mask of the prunable weights."""
        units = self.scene.units
        self._controls = controls(model, self.task, self.scene.kept, self.best, self.plan.p0)
        shut = units.split(~self.best)
        mask = self.scene.kept.mask(self.best)
        mask.apply_(model)
        with torch.no_grad():
            for layer in units.layers:
                for parameter, axis in owned(model, layer):
                    parameter.index_fill_(axis, shut[layer.name].nonzero().flatten().to(parameter.device), 0.0)
        return mask

    def metrics(self, model: nn.Module) -> dict[str, float | None]:
        """Return the share of units on, the upstream count, and what ``controls`` measured before settling."""
        upstream = self.scene.kept.fraction(self.best[None], "upstream")
        return {"units": float(self.best.double().mean()), "density_upstream": float(upstream[0]), **self._controls}

    def _search(self, model: nn.Module, batch: tuple[Tensor, Tensor]) -> None:
        """Make one generation: children, fitted to the budget, costed on this batch, each against its parent."""
        plan, known = self.plan, torch.isfinite(self.costs).all()
        offspring = children(
            self.states, self.generator, mutation=plan.mutation, crossover=plan.crossover, rule=self.scene.rule
        )
        offspring = self.scene.kept.fit(offspring, plan.density, self.generator)
        if known and not plan.reevaluate:
            costs = self._cost(model, batch, offspring)
        else:
            self.costs, costs = self._cost(model, batch, torch.cat([self.states, offspring])).chunk(2)
        self.states, self.costs = select(self.states, self.costs, offspring, costs)
        self.calm = self.calm + 1 if bool((self.states == self.states[0]).all()) else 0
        self._gates = None
        if self.calm >= plan.patience:
            self._freeze()

    def _freeze(self) -> None:
        """End the search with the best state alone; it gains what small units still fit, just below the budget."""
        if self.frozen:
            return
        self.frozen, best = True, self.best[None]
        for _ in range(TOP_UPS if self.plan.density is not None else 0):
            best = self.scene.kept.fit(best, self.plan.density, self.generator, tight=True)
        self.states, self.costs = best, self.costs.min()[None]
        self._gates = None

    def _cost(self, model: nn.Module, batch: tuple[Tensor, Tensor], states: Tensor) -> Tensor:
        """Cost states; one that is no number never wins."""
        return self.energy(model, batch, states, self.scene).nan_to_num(nan=torch.inf)
