"""Differential evolution on bits: partners, both mutation rules by their statistics, selection with ties."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from prunelib.errors import MethodError
from prunelib.methods.ising.evolution import children, initial, partners, select

BITS = 40_000


def _population(density=0.5, candidates=8, seed=0):
    return initial(candidates, BITS, density, torch.Generator().manual_seed(seed))


@settings(deadline=None, max_examples=40)
@given(candidates=st.integers(4, 40), seed=st.integers(0, 2**32))
def test_partners_are_three_others(candidates, seed):
    chosen = partners(candidates, torch.Generator().manual_seed(seed))
    assert chosen.shape == (3, candidates)
    for slot in range(candidates):
        assert len({slot, *chosen[:, slot].tolist()}) == 4
    assert chosen.min() >= 0 and chosen.max() < candidates


def test_partners_are_uniform(draw):
    counts = torch.zeros(5, 5)
    for _ in range(3000):
        chosen = partners(5, draw)
        counts[torch.arange(5), chosen[0]] += 1
    off_diagonal = counts[~torch.eye(5, dtype=torch.bool)]
    assert counts.diagonal().sum() == 0
    assert abs(off_diagonal - 750).max() < 6 * 750**0.5


def test_too_few_candidates_are_refused(draw):
    with pytest.raises(MethodError, match="at least 4"):
        initial(3, 10, 0.5, draw)


def test_initial_density(draw):
    states = initial(4, BITS, 0.2, draw)
    assert states.dtype == torch.bool
    assert abs(float(states.double().mean()) - 0.2) < 0.005


def test_without_crossover_children_are_their_parents(draw):
    states = _population()
    assert torch.equal(children(states, draw, mutation=1.0, crossover=0.0, rule="paper"), states)


def test_without_mutation_a_child_mixes_parent_and_one_partner(draw):
    states = _population()
    offspring = children(states, draw, mutation=0.0, crossover=0.9, rule="paper")
    for slot, child in enumerate(offspring):
        others = [other for other in range(8) if other != slot]
        # Nine tenths come from the partner, and half of its bits are the parent's anyway.
        likeness = [float((child == states[other]).double().mean()) for other in others]
        assert max(likeness) == pytest.approx(0.95, abs=0.01)
        assert sorted(likeness)[-2] < 0.56


def test_paper_rule_flips_only_where_partners_differ(draw):
    states = _population()
    chosen = partners(8, torch.Generator().manual_seed(9))
    offspring = children(states, torch.Generator().manual_seed(9), mutation=1.0, crossover=1.0, rule="paper")
    first, second, third = (states[index] for index in chosen)
    assert torch.equal(offspring, first ^ (second ^ third))


def test_upstream_rule_flips_where_partners_agree_and_kills_where_they_differ():
    states = _population()
    chosen = partners(8, torch.Generator().manual_seed(9))
    offspring = children(states, torch.Generator().manual_seed(9), mutation=1.0, crossover=1.0, rule="upstream")
    first, second, third = (states[index] for index in chosen)
    assert torch.equal(offspring, torch.where(second == third, ~first, torch.zeros_like(first)))


def test_mutation_rate(draw):
    states = torch.zeros(8, BITS, dtype=torch.bool)
    mutated = children(states, draw, mutation=0.1, crossover=0.9, rule="upstream")
    assert float(mutated.double().mean()) == pytest.approx(0.09, abs=0.002)


def test_an_agreed_population_stays_under_the_paper_rule_only(draw):
    states = _population()[:1].expand(8, -1)
    assert torch.equal(children(states, draw, mutation=1.0, crossover=1.0, rule="paper"), states)
    assert not torch.equal(children(states, draw, mutation=0.1, crossover=1.0, rule="upstream"), states)


@pytest.mark.parametrize(
    ("rule", "candidates", "density"), [("paper", 8, 0.5), ("upstream", 8, 0.40), ("upstream", 200, 0.35)]
)
def test_density_without_selection(rule, candidates, density, draw):
    """The authors' rule drifts to fewer bits by itself: 0.35 among independent states, 0.40 among eight relatives."""
    states = initial(candidates, 16_000 // candidates, 0.5, draw)
    for _ in range(150):
        states = children(states, draw, mutation=0.1, crossover=0.9, rule=rule)
    assert float(states.double().mean()) == pytest.approx(density, abs=0.03)


def test_selection_is_per_slot_and_ties_keep_the_parent():
    parents, offspring = torch.zeros(3, 4, dtype=torch.bool), torch.ones(3, 4, dtype=torch.bool)
    states, costs = select(parents, torch.tensor([1.0, 1.0, 1.0]), offspring, torch.tensor([0.5, 1.0, 2.0]))
    assert states.any(dim=1).tolist() == [True, False, False]
    assert costs.tolist() == [0.5, 1.0, 1.0]


def test_an_unknown_parent_cost_loses_and_an_infinite_child_never_wins():
    parents, offspring = torch.zeros(2, 4, dtype=torch.bool), torch.ones(2, 4, dtype=torch.bool)
    infinity = torch.inf
    states, _ = select(parents, torch.tensor([infinity, infinity]), offspring, torch.tensor([3.0, infinity]))
    assert states.any(dim=1).tolist() == [True, False]
