"""What a state keeps, against gradients: a kept weight moves the output, any other does not; states fit budgets."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from prunelib.errors import MethodError
from prunelib.methods.ising.counts import Kept
from prunelib.methods.ising.gates import discover, gated_forward
from prunelib.models.resnet import resnet_small
from prunelib.tasks.base import prunable


def _states(units, count, density, draw):
    return torch.rand(count, units.size, generator=draw) < density


def _moving(model, units, state, x, draw):
    """Which prunable weights move a random combination of the outputs."""
    model.zero_grad()
    gates = {key: gate.double() for key, gate in units.split(state).items()}
    output = gated_forward(model, units, gates, x)
    (output * torch.randn(output.shape[1], generator=draw, dtype=torch.float64)).sum().backward()
    return {key: weight.grad != 0 for key, weight in prunable(model).items()}


@pytest.mark.parametrize(("name", "density", "exact"), [("residual", 0.9, 4), ("residual", 0.3, 0), ("joined", 0.7, 0)])
def test_weights_that_move_the_output_are_kept(name, density, exact, batch, draw, request, monkeypatch):
    """And at high density no others are; at low density some kept weights lead to filters that nobody reads on."""
    monkeypatch.setattr(nn.functional, "relu", lambda x: x * (1 + 0.1 * x))  # no dead activations
    model = request.getfixturevalue(name).eval()
    units = discover(model, batch[0])
    kept = Kept(model, units, batch[0])
    states, equal = kept.fit(_states(units, 4, density, draw), None, draw), 0
    for state, number in zip(states, kept.kept(states), strict=True):
        moving, mask = _moving(model, units, state, batch[0], draw), kept.mask(state)
        assert list(mask) == list(moving)
        assert all((mask[key] >= moving[key]).all() for key in moving)
        equal += all(torch.equal(mask[key], moving[key]) for key in moving)
        assert mask.kept == int(number) < mask.size
    assert equal >= exact


def test_everything_on_keeps_everything(residual, joined, batch):
    for model in (residual, joined):
        units = discover(model, batch[0])
        everything = torch.ones(1, units.size, dtype=torch.bool)
        kept = Kept(model, units, batch[0])
        assert kept.fraction(everything).item() == 1.0
        assert kept.fraction(everything, "upstream").item() == pytest.approx(1.0)
        assert kept.total() == sum(weight.numel() for weight in prunable(model).values())
        assert kept.total("upstream") == sum(parameter.numel() for parameter in model.parameters())


def test_the_image_is_always_carried(residual, batch):
    units = discover(residual, batch[0])
    kept = Kept(residual, units, batch[0])
    state = torch.ones(units.size, dtype=torch.bool)
    state[:3] = False  # one filter of the stem is left
    assert kept.mask(state)["conv1.weight"].sum() == 2 * 9
    # the stream of stage 0 goes on in the other producers
    assert kept.mask(state)["stages.0.0.conv1.weight"].sum() == 4 * 1 * 9
    assert kept.mask(state)["stages.0.1.conv1.weight"].sum() == 4 * 4 * 9


def test_upstream_counts_layers_by_their_share_of_units(joined, batch):
    units = discover(joined, batch[0])
    kept = Kept(joined, units, batch[0], "upstream")
    state = torch.ones(units.size, dtype=torch.bool)
    state[units.numbers("left")[:3]] = False
    state[units.numbers("out")[:2]] = False
    left, out = 4 * 2 * 9 + 4, 5 * 3 + 3
    expected = kept.total() - left * 3 / 4 - out * 2 / 5
    assert kept.kept(state[None]).item() == pytest.approx(expected)


SMALL = resnet_small(3, 2, width=8, blocks=1)
SMALL_UNITS = discover(SMALL, torch.zeros(2, 2, 8, 8))
SMALL_KEPT = {count: Kept(SMALL, SMALL_UNITS, torch.zeros(2, 2, 8, 8), count) for count in ("true", "upstream")}


@settings(deadline=None, max_examples=40)
@given(
    density=st.floats(0.15, 1.0),
    start=st.floats(0.0, 1.0),
    seed=st.integers(0, 1000),
    count=st.sampled_from(["true", "upstream"]),
)
def test_fitted_states_stand_just_below_the_budget(density, start, seed, count):
    kept, draw = SMALL_KEPT[count], torch.Generator().manual_seed(seed)
    states = kept.fit(_states(SMALL_UNITS, 3, start, draw), density, draw)
    for layer, part in SMALL_UNITS.split(states).items():
        assert part.any(dim=1).all(), layer
    lacking = density * kept.total() - kept.kept(states)
    everything = torch.ones(1, SMALL_UNITS.size, dtype=torch.bool)
    largest = (kept.total() - kept.kept(~torch.eye(SMALL_UNITS.size, dtype=torch.bool) & everything)).max()
    assert lacking.min() >= -1e-6
    # one unit: nothing feeds or reads it more than in the whole network, where a stream has other producers
    assert lacking.max() < 2 * largest


def test_fitting_adds_units_or_removes_units(draw):
    kept = SMALL_KEPT["true"]
    sparse, dense = _states(SMALL_UNITS, 4, 0.5, draw), _states(SMALL_UNITS, 4, 0.9, draw)
    assert (kept.fit(sparse, 0.8, draw) >= sparse).all()
    assert (kept.fit(dense, 0.2, draw) <= dense).all()


def test_a_fitted_state_is_left_alone(draw):
    kept = SMALL_KEPT["true"]
    states = kept.fit(_states(SMALL_UNITS, 20, 0.5, draw), 0.4, draw)
    assert torch.equal(kept.fit(states, 0.4, draw), states)


def test_a_budget_below_one_unit_per_layer_is_refused(draw):
    with pytest.raises(MethodError, match=r"density 0\.001 can't be met"):
        SMALL_KEPT["true"].fit(_states(SMALL_UNITS, 4, 0.5, draw), 0.001, draw)
