"""The search against one that costs candidates one by one on masked copies: the same states, bit for bit."""

import copy
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from torch.nn import functional

from prunelib.methods.ising.evolution import children
from prunelib.methods.ising.rest import settle_
from prunelib.methods.ising.search import ising
from prunelib.seeds import generator

FULL, HALF = {"kind": "full", "value": None}, {"kind": "density", "value": 0.5}


def _masked(model, units, state):
    network = copy.deepcopy(model).train()
    settle_(network, units, state)
    return network


def _margin(model, units, state, batch):
    logits = _masked(model, units, state)(batch[0]).detach()
    own = logits[torch.arange(len(logits)), batch[1]]
    others = [max(row[k] for k in range(len(row)) if k != label) for row, label in zip(logits, batch[1], strict=True)]
    return -10 * float((own - torch.stack(others)).mean())


def _one_by_one(search, model, batches, lr):
    """Evolve and train by plain loops; yield the population after every step."""
    units, kept, plan = search.scene.units, search.scene.kept, search.plan
    states, costs = list(search.states), [float("inf")] * len(search.states)
    for batch in batches:
        offspring = children(
            torch.stack(states), search.generator, mutation=plan.mutation, crossover=plan.crossover, rule="paper"
        )
        offspring = kept.fit(offspring, plan.density, search.generator)
        for slot, child in enumerate(offspring):
            if costs[slot] == float("inf"):
                costs[slot] = _margin(model, units, states[slot], batch)
            cost = _margin(model, units, child, batch)
            if cost < costs[slot]:
                states[slot], costs[slot] = child, cost
        winner = _masked(model, units, states[min(range(len(states)), key=costs.__getitem__)])
        functional.cross_entropy(winner(batch[0]), batch[1]).backward()
        with torch.no_grad():
            for parameter, trained in zip(model.parameters(), winner.parameters(), strict=True):
                parameter -= lr * trained.grad * (trained != 0)
        yield torch.stack(states)


@pytest.mark.parametrize("budget", [FULL, HALF], ids=["full", "half"])
@pytest.mark.parametrize("narrow", [True, False], ids=["narrow", "batched"])
def test_the_same_states_as_one_by_one(residual, budget, narrow):
    random, lr = torch.Generator().manual_seed(3), 0.3
    batches = [
        (torch.randn(12, 2, 8, 8, generator=random, dtype=torch.float64), torch.randint(0, 3, (12,), generator=random))
        for _ in range(6)
    ]
    task = SimpleNamespace(build=lambda: copy.deepcopy(residual), example=batches[0][0], seed=0)
    options = {"mutation": 0.3, "crossover": 0.9, "candidates": 8}
    first, second = (ising(task, budget, generator(0, "search"), **options) for _ in range(2))
    if not narrow:
        first.scene = replace(first.scene, narrower=None)
    model, moved = copy.deepcopy(residual).train(), 0
    optimizer = torch.optim.SGD(model.parameters(), lr)
    first.begin(model, optimizer)
    expected = _one_by_one(second, copy.deepcopy(residual), batches, lr)
    for batch, states in zip(batches, expected, strict=True):
        before = first.states
        first.before_step(model, batch)
        optimizer.zero_grad()
        functional.cross_entropy(first.forward(model, batch[0]), batch[1]).backward()
        optimizer.step()
        first.after_step(model)
        assert torch.equal(first.states, states)
        moved += int((first.states != before).any(dim=1).sum())
    assert moved >= 2
