"""Nothing in a step of the search asks the device for values: tensors without any ("meta") go through all of it."""

import pytest
import torch
from torch.nn import functional

from prunelib.methods.ising.counts import Kept
from prunelib.methods.ising.gates import discover
from prunelib.methods.ising.search import Calm, ising
from prunelib.seeds import generator

META = torch.device("meta")


@pytest.mark.parametrize("kind", ["full", "density"])
@pytest.mark.parametrize("energy", ["margin", "ising", "random"])
def test_a_step_of_the_search_needs_no_values(task, kind, energy, monkeypatch):
    budget = {"kind": kind, "value": {"full": None, "density": 0.5}[kind]}
    search = ising(task, budget, generator(0, "search"), energy=energy)
    model = task.build().to(META)
    monkeypatch.setattr(Calm, "searches", lambda calm: 0)  # the one question, asked when the next search begins
    optimizer = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9, weight_decay=0.1)
    search.begin(model, optimizer)
    x, target = (part.to(META) for part in next(task.batches("test", 1)))
    for _ in range(2):
        search.before_step(model, (x, target))
        functional.cross_entropy(search.forward(model, x), target).backward()
        optimizer.step()
        search.after_step(model)
    assert search.states.device == search.costs.device == META


def test_the_count_of_calm_searches_does_need_them():
    calm = Calm(2)
    calm.note(torch.tensor(True))
    assert calm.searches() == 3
    calm.note(torch.tensor(False))
    assert calm.searches() == 0
    calm.note(torch.ones((), dtype=torch.bool, device=META))
    with pytest.raises(RuntimeError, match="meta"):
        calm.searches()


def test_tables_go_to_a_device_once(residual, batch):
    kept = Kept(residual, discover(residual, batch[0]), batch[0])
    states = torch.ones(4, kept.units.size, dtype=torch.bool, device=META)
    assert kept.fraction(states).shape == (4,) and kept.fraction(states).device == META
    assert len(kept._tables) == 2
