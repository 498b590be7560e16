"""The search during training: evolve gates by an energy on every batch, train the best, freeze, fine-tune."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import torch
from torch import Tensor, nn

from prunelib import registry
from prunelib.masks.mask import Mask
from prunelib.methods.callbacks import Callback
from prunelib.methods.ising.controls import controls
from prunelib.methods.ising.counts import Kept
from prunelib.methods.ising.energy import Energy, Scene
from prunelib.methods.ising.evolution import Rule, children, initial, select
from prunelib.methods.ising.gates import discover, gated_forward
from prunelib.methods.ising.narrow import Narrow, narrower
from prunelib.methods.ising.recalibrate import recalibrate_
from prunelib.methods.ising.rest import Rest, settle_
from prunelib.options import Count, Fraction, Natural, Word
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
    search_share: Fraction = 1.0,
    search_precision: Literal["float32", "bf16"] = "float32",
    patience: Count = 100,
    recalibrate: Natural = 0,
) -> Search:
    """Prune units while training: a population of states evolves by an energy, the best gates the training forward.

    energy: a registered energy, "margin" (EDropout, EPruning) or "ising" (IPruning), or, from Python, any function of
    the form in ``prunelib.methods.ising.energy``. rule: as published, or "upstream" as the authors' code runs where
    that shapes results: its mutation and Ising energy, shut units that the optimizer moves on, and validation that
    writes the gates into the weights after every epoch. A density budget is met to within one unit: every state is made
    to fit it by random flips, so the energy only chooses among states that keep about the same ``count`` of weights
    (see ``prunelib.methods.ising.counts``); with the budget "full" the energy alone decides, which for "ising" ends
    near half of the units. reevaluate: cost parents again on each batch (the papers keep the cost a parent was born
    with). search_epochs: the best state is frozen after so many epochs, or once all candidates, or all their energies
    (best = mean), have been equal for ``patience`` searches; what follows is fine-tuning of the narrow network.
    recalibrate: batches over which norms are measured for the final state and each control, 0 for none. p0: share of
    bits that start as kept. Approximations: search on each n-th batch (search_every), on the first ``search_share`` of
    a batch, in bf16.
    Raises MethodError for fewer than four candidates, a budget below one unit per layer, or a network without units.
    """
    scene = _scene(task, rule, count, search_precision)
    density = budget["value"] if budget["kind"] == "density" else None
    states = initial(candidates, scene.units.size, p0, generator)
    chances = {"p0": p0, "mutation": mutation, "crossover": crossover, "reevaluate": reevaluate}
    pace = {"search_epochs": search_epochs, "search_every": search_every, "search_share": search_share}
    plan = Plan(energy, density=density, patience=patience, recalibrate=recalibrate, **chances, **pace)
    return Search(task, plan, scene, states, generator)


def _scene(
    task: Classify, rule: Rule, count: Literal["true", "upstream"], precision: Literal["float32", "bf16"]
) -> Scene:
    model = task.build()
    units = discover(model, task.example)
    kept, narrow = Kept(model, units, task.example, count), narrower(model, units, task.example)
    return Scene(units, kept, rule, narrower=narrow, precision=precision)


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The options of one search; see ``ising``."""

    energy: str | Energy = field(kw_only=False)
    p0: float
    mutation: float
    crossover: float
    reevaluate: bool
    search_epochs: int
    search_every: int
    search_share: float
    patience: int
    recalibrate: int
    density: float | None


class Calm:
    """Counts for how many searches in a row a population has agreed; reading it waits for nothing that came later."""

    def __init__(self, searches: int = 0) -> None:
        """Start from a count."""
        self._count = torch.tensor(searches)
        self._read, self._arrived = self._count, None

    def note(self, agreed: Tensor) -> None:
        """Count one search, and let a GPU send the count while it goes on."""
        self._count = torch.where(agreed, self._count.to(agreed.device, non_blocking=True) + 1, 0)
        self._read = self._count
        if agreed.is_cuda:
            self._read = torch.empty_like(self._count, device="cpu", pin_memory=True)
            self._read.copy_(self._count, non_blocking=True)
            self._arrived = torch.cuda.Event()
            self._arrived.record()

    def searches(self) -> int:
        """Return the count as of the last search."""
        if self._arrived is not None:
            self._arrived.synchronize()
        return int(self._read)


class Search(Callback):
    """Takes part in the classification loop; what belongs to shut units rests, optimizer state included.

    Training runs the best state at its true width: on a CPU always, on a GPU once the state is frozen. The population
    lives on the batch's device, and a search asks the device nothing but, when the next one begins, whether the
    population has agreed, which it knows by then.
    """

    def __init__(self, task: Classify, plan: Plan, scene: Scene, states: Tensor, generator: torch.Generator) -> None:
        """Start from ``states`` (S, D), made to fit the density; their costs are not known yet."""
        self.task, self.plan, self.generator = task, plan, generator
        self.energy = plan.energy if callable(plan.energy) else registry.load("energy", plan.energy)
        self.states = scene.kept.fit(states, plan.density, generator)
        self.costs = torch.full((len(states),), torch.inf, dtype=torch.float64)
        steered = plan.density is not None
        self.scene = replace(scene, balance=float(self.states.double().mean()), floor=0.0) if steered else scene
        self.seen, self.calm, self.known = 0, Calm(), False
        self.frozen = False
        self._controls: dict[str, float | None] = {}
        self._gates: dict[str, Tensor] | None = None
        self._narrow: Narrow | None = None
        self._optimizer: torch.optim.Optimizer | None = None
        self._rest: Rest | None = None

    def begin(self, model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        """Keep the optimizer, whose state of shut units must not move."""
        self._optimizer = optimizer

    @property
    def best(self) -> Tensor:
        """The cheapest state (D,) so far; the first of equals."""
        return self.states.index_select(0, self.costs.argmin()[None])[0]

    def before_step(self, model: nn.Module, batch: tuple[Tensor, Tensor]) -> None:
        """Search on this batch if it is due, then note what must not change in the step."""
        if not self.frozen and self.seen % self.plan.search_every == 0:
            if self.calm.searches() >= self.plan.patience:
                self._freeze()
            else:
                self._search(model, batch)
        self.seen += 1
        if self._optimizer is not None and self.scene.rule != "upstream":
            self._rest = Rest(model, self.scene.units, self.best, self._optimizer)

    def forward(self, model: nn.Module, x: Tensor) -> Tensor:
        """Run the network under the best state."""
        narrower = self.scene.narrower
        if narrower is not None and (self.frozen or x.device.type == "cpu"):
            if self._narrow is None:
                self._narrow = narrower.narrow(self.best, x.device)
            return narrower.forward(model, self._narrow, x)
        if self._gates is None:
            self._gates = self._open(x.device)
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
        if self.scene.rule == "upstream":
            settle_(model, self.scene.units, self.best)
        return row

    def state(self) -> dict[str, Any]:
        """Return population, costs, counters and random stream."""
        counters = {"seen": self.seen, "calm": self.calm.searches(), "known": self.known, "frozen": self.frozen}
        return {
            "states": self.states.cpu(),
            "costs": self.costs.cpu(),
            "random": self.generator.get_state(),
            **counters,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Take back what ``state`` returned."""
        self.states, self.costs = state["states"], state["costs"]
        self.seen, self.known, self.frozen = state["seen"], state["known"], state["frozen"]
        self.calm = Calm(state["calm"])
        self.generator.set_state(state["random"])
        self._gates = self._narrow = None

    def finish(self, model: nn.Module) -> Mask:
        """Set everything that belongs to shut units to zero for good; return the mask of the prunable weights."""
        best, batches = self.best.cpu(), self.plan.recalibrate
        self._controls = controls(model, self.task, self.scene.kept, best, self.plan.p0, batches)
        if batches:
            recalibrate_(model, self.task, self.scene.units, self._open(self.task.device), batches)
        mask = self.scene.kept.mask(best)
        mask.apply_(model)
        settle_(model, self.scene.units, best)
        return mask

    def metrics(self, model: nn.Module) -> dict[str, float | None]:
        """Return the share of units on, the upstream count, and what ``controls`` measured before settling."""
        upstream = self.scene.kept.fraction(self.best[None], "upstream")
        return {"units": float(self.best.double().mean()), "density_upstream": float(upstream[0]), **self._controls}

    def _search(self, model: nn.Module, batch: tuple[Tensor, Tensor]) -> None:
        """Make one generation: children, fitted to the budget, costed on this batch, each against its parent."""
        plan, device = self.plan, batch[0].device
        self.states, self.costs = self.states.to(device), self.costs.to(device)
        offspring = children(
            self.states, self.generator, mutation=plan.mutation, crossover=plan.crossover, rule=self.scene.rule
        )
        offspring = self.scene.kept.fit(offspring, plan.density, self.generator)
        if self.known and not plan.reevaluate:
            costs = self._cost(model, batch, offspring)
        else:
            self.costs, costs = self._cost(model, batch, torch.cat([self.states, offspring])).chunk(2)
        self.known = True
        self.states, self.costs = select(self.states, self.costs, offspring, costs)
        self.calm.note(self._agreed())
        self._gates = self._narrow = None

    def _agreed(self) -> Tensor:
        """Whether no candidate differs from the others, or none is better than the others: one boolean, not read."""
        low, high = self.costs.aminmax()
        return (self.states == self.states[0]).all() | ((low == high) & low.isfinite())

    def _freeze(self) -> None:
        """End the search with the best state alone; it gains what small units still fit, just below the budget."""
        if self.frozen:
            return
        self.frozen, best = True, self.best[None].cpu()
        for _ in range(TOP_UPS if self.plan.density is not None else 0):
            best = self.scene.kept.fit(best, self.plan.density, self.generator, tight=True)
        self.states, self.costs = best, self.costs.min()[None].cpu()
        self._gates = self._narrow = None

    def _open(self, device: torch.device) -> dict[str, Tensor]:
        """Return the best state's gates (n,) per layer."""
        return {name: gate[0] for name, gate in self.scene.gates(self.best[None], device).items()}

    def _cost(self, model: nn.Module, batch: tuple[Tensor, Tensor], states: Tensor) -> Tensor:
        """Cost states on the batch's share; one that is no number never wins."""
        images = math.ceil(self.plan.search_share * len(batch[0]))
        part = (batch[0][:images], batch[1][:images])
        return self.energy(model, part, states, self.scene).nan_to_num(nan=torch.inf)
