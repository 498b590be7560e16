"""Energies against direct references: one masked network per state, and the full D×D coupling matrix by loops."""

import math

import numpy as np
import pytest
import torch

from prunelib.methods.ising.counts import Kept
from prunelib.methods.ising.energy import Scene, divergences, ising, margin, pair_term, random
from prunelib.methods.ising.gates import discover, gated_forward
from prunelib.registry import names


@pytest.fixture(params=["paper", "upstream"])
def scene(request, residual, batch):
    units = discover(residual, batch[0])
    return Scene(units, Kept(residual, units, batch[0]), request.param)


@pytest.fixture
def states(scene, draw):
    return torch.rand(6, scene.units.size, generator=draw) < 0.5


def test_registered_energies():
    assert names("energy") == ["ising", "margin", "random"]


def test_margin_against_one_network_per_state(residual, batch, scene, states):
    x, target = batch
    found = margin(residual.train(), batch, states, scene)
    for state, cost in zip(states, found, strict=True):
        gates = {name: gate.double() for name, gate in scene.units.split(state).items()}
        logits = gated_forward(residual, scene.units, gates, x).detach()
        total = 0.0
        for row, label in zip(logits.tolist(), target.tolist(), strict=True):
            total += row[label] - max(value for k, value in enumerate(row) if k != label)
        assert cost.item() == pytest.approx(-10 * total / len(x), rel=1e-9)


def test_margin_is_the_same_however_many_states_are_given(residual, batch, scene, states):
    """States are costed four at a time, which must not show."""
    together = margin(residual, batch, states, scene)
    alone = torch.cat([margin(residual, batch, state[None], scene) for state in states])
    torch.testing.assert_close(together, alone, rtol=1e-9, atol=1e-9)


def _divergence_by_loops(weight, rule):
    kernels = weight.detach().numpy().reshape(*weight.shape[:2], -1)
    if rule == "upstream":
        kernels = kernels.reshape(kernels.shape[1], kernels.shape[0], -1).transpose(1, 0, 2)
    filters, inputs, area = kernels.shape
    matrix = np.zeros((filters, filters))
    means = kernels.mean(axis=1)
    covariances = [
        np.atleast_2d(np.cov(k, rowvar=False, ddof=1)) if inputs > 1 else np.zeros((area, area)) for k in kernels
    ]
    for i in range(filters):
        for j in range(filters if rule == "paper" else i, filters) if rule == "upstream" else range(filters):
            inverse = np.linalg.pinv(covariances[j], rcond=1e-10, hermitian=True)
            step = means[j] - means[i]
            regular = [np.linalg.matrix_rank(covariances[k], tol=1e-12) == area for k in (i, j)]
            logs = np.linalg.slogdet(covariances[j])[1] - np.linalg.slogdet(covariances[i])[1] if all(regular) else 0.0
            matrix[i, j] = (np.trace(inverse @ covariances[i]) + logs + step @ inverse @ step - area) / 2
    matrix = (matrix - matrix.min()) / max(abs(matrix).max(), 1e-300)
    return (matrix + matrix.T) / 2


@pytest.mark.parametrize("rule", ["paper", "upstream"])
@pytest.mark.parametrize("shape", [(6, 12, 3, 3), (5, 4, 3, 3), (6, 8, 1, 1), (4, 1, 3, 3)])
def test_divergences_against_loops(shape, rule, draw):
    """Among the shapes: full-rank covariances, fewer inputs than kernel values (singular), one value, one input."""
    weight = torch.randn(shape, generator=draw, dtype=torch.float64)
    found = divergences(weight, rule).numpy()
    np.testing.assert_allclose(found, _divergence_by_loops(weight, rule), rtol=1e-6, atol=1e-7)
    assert (found == found.T).all()
    assert found.min() >= 0 and found.max() <= 1


def test_divergence_of_equal_filters_is_least(draw):
    weight = torch.randn(5, 20, 3, 3, generator=draw, dtype=torch.float64)
    weight[3] = weight[1]
    found = divergences(weight, "paper")
    assert found[1, 3].item() == pytest.approx(0, abs=1e-9)
    assert found.diagonal().abs().max() < 1e-9
    assert float((found + torch.eye(5) - 1 <= -1e-9).double().mean()) > 0.5


def _couplings_by_loops(model, x, scene):
    """The full matrix I: divergences within layers, entropies towards the next layer, 0 elsewhere."""
    units, maps = scene.units, {}
    hooks = [
        model.get_submodule(layer.name).register_forward_hook(lambda m, a, out, n=layer.name: maps.update({n: out}))
        for layer in units.layers
        if layer.kind == "filters"
    ]
    with torch.no_grad():
        gated_forward(model.train(), units, {layer.name: torch.ones(layer.size) for layer in units.layers}, x)
    for hook in hooks:
        hook.remove()
    couplings = np.zeros((units.size, units.size))
    for position, layer in enumerate(units.layers[:-1]):
        index = units.numbers(layer.name).numpy()
        after = units.numbers(units.layers[position + 1].name).numpy()
        weight = model.get_submodule(layer.name).weight
        couplings[np.ix_(index, index)] = _divergence_by_loops(weight, scene.rule)
        mean = maps[layer.name].mean(0).numpy()
        scaled = (mean - mean.min()) / (mean.max() - mean.min()) * 255
        entropies = []
        for channel in scaled:
            counts = np.histogram(channel, bins=256, range=(0, 255))[0]
            share = counts / (counts.max() if scene.rule == "upstream" else counts.sum())
            entropies.append(-sum(q * math.log2(q) for q in share if q > 0))
        couplings[np.ix_(index, after)] = (np.array(entropies) / max(*entropies, 1e-300))[:, None]
    return couplings


@pytest.mark.parametrize(("balance", "floor"), [(0.5, 0.1), (0.7, 0.6)])
def test_ising_against_the_full_matrix(residual, batch, scene, states, balance, floor):
    scene = Scene(scene.units, scene.kept, scene.rule, balance, floor)
    size = scene.units.size
    free = 1 - _couplings_by_loops(residual, batch[0], scene)
    found = ising(residual, batch, states, scene)
    bits = states.numpy().astype(float)
    paired = bits.reshape(size, -1).T if scene.rule == "upstream" else bits
    for number, cost in enumerate(found):
        pairs = sum(paired[number, i] * paired[number, j] * free[i, j] for i in range(size) for j in range(size))
        missing = max(0.0, floor - float(scene.kept.fraction(states[number : number + 1])))
        expected = pairs - 2 * balance * bits[number].sum() / size * free.sum() + 1e5 * size * missing
        assert cost.item() == pytest.approx(expected, rel=1e-8, abs=1e-6)


@pytest.mark.parametrize("balance", [0.5, 0.75])
def test_the_least_energy_lies_at_the_balance_by_construction(balance, residual, batch, draw):
    """E ~ C (p² - 2 balance p) for random states of density p: the published energy itself asks for one half."""
    units = discover(residual, batch[0])
    scene = Scene(units, Kept(residual, units, batch[0]), "paper", balance, floor=0.0)
    shares = torch.linspace(0.3, 0.95, 14)
    states = torch.rand(14, 60, units.size, generator=draw) < shares[:, None, None]
    costs = ising(residual, batch, states.flatten(0, 1), scene).reshape(14, 60).mean(dim=1)
    assert shares[int(costs.argmin())].item() == pytest.approx(balance, abs=0.06)


def test_pair_term_counts_unrelated_pairs(scene, states):
    totals = pair_term(scene.units, states.double(), {}, {})
    assert totals.tolist() == states.sum(dim=1).square().tolist()


def test_energies_disturb_nothing(residual, batch, scene, states):
    residual.train()
    before = {name: tensor.clone() for name, tensor in residual.state_dict().items()}
    for energy in (margin, ising, random):
        costs = energy(residual, batch, states, scene)
        assert costs.shape == (6,) and costs.dtype == torch.float64 and torch.isfinite(costs).all()
    assert all(torch.equal(tensor, before[name]) for name, tensor in residual.state_dict().items())
    assert residual.training
