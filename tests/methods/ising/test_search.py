"""The search in the one training loop: budgets met, shut weights at rest, freezing, exact resume, a settled network."""

import copy
import math
from dataclasses import replace

import pytest
import torch

from prunelib.config import checked_options
from prunelib.errors import ConfigError, MethodError
from prunelib.methods.ising.gates import gated_forward
from prunelib.methods.ising.rest import owned
from prunelib.methods.ising.search import ising
from prunelib.seeds import generator
from prunelib.storage.checkpoint import Checkpointer
from prunelib.tasks.base import prunable
from prunelib.tasks.classify import Classify
from prunelib.training.classify import train_classifier
from tests.tiny import recipe

HALF = {"kind": "density", "value": 0.5}
FULL = {"kind": "full", "value": None}


def _search(task, budget=HALF, **options):
    return ising(task, budget, generator(0, "search"), **options)


class Watching:
    """A search whose weights and optimizer state are looked at around every step."""

    def __init__(self, search):
        self.search, self.moved, self.rested = search, 0, 0
        for name in ("begin", "forward", "after_epoch", "state", "restore", "finish", "metrics"):
            setattr(self, name, getattr(search, name))

    def before_step(self, model, batch):
        self.search.before_step(model, batch)
        self.before = self._look(model)

    def after_step(self, model):
        self.search.after_step(model)
        for (shut, kept), (shut_now, kept_now) in zip(self.before, self._look(model), strict=True):
            assert torch.equal(shut, shut_now)
            self.rested += shut.numel()
            self.moved += int((kept != kept_now).sum())

    def _look(self, model):
        """Values of shut and of kept units: parameters, and momentum once there is any."""
        units, values = self.search.scene.units, []
        parts = units.split(self.search.best)
        for layer in units.layers:
            gate = parts[layer.name]
            for parameter, axis in owned(model, layer):
                state = self.search._optimizer.state.get(parameter, {})
                memory = [t for t in state.values() if isinstance(t, torch.Tensor) and t.shape == parameter.shape]
                both = torch.stack([parameter.detach(), *(memory or [torch.zeros_like(parameter)])])
                both = both[:2].movedim(axis + 1, 0)
                values.append((both[~gate].clone(), both[gate].clone()))
        return values


@pytest.mark.parametrize("optimizer", ["sgd", "adadelta"])
def test_shut_units_rest_through_steps_with_weight_decay(task, optimizer):
    watching = Watching(_search(task, search_epochs=3))
    fields = recipe(epochs=4, weight_decay=0.1, optimizer=optimizer, lr=0.05)
    train_classifier(task, task.build(), fields, callback=watching)
    assert watching.rested > 1000 and watching.moved > 1000


@pytest.mark.parametrize("energy", ["margin", "ising", "random"])
@pytest.mark.parametrize("density", [0.3, 0.8])
def test_the_budget_is_met_within_one_unit(task, energy, density):
    search = _search(task, {**HALF, "value": density}, energy=energy, search_epochs=2)
    model = task.build()
    result = train_classifier(task, model, recipe(epochs=3), callback=search)
    kept, best = search.scene.kept, search.best[None]
    more = best | torch.eye(best.shape[1], dtype=torch.bool)[~best[0]]
    assert result.mask.density == pytest.approx(float(kept.fraction(best)))
    assert result.mask.density <= density < kept.fraction(more).max()
    assert result.columns["kept"] == [pytest.approx(density, abs=0.25)] * 3
    assert result.columns["searching"] == [1, 1, 0]
    assert all(bits.any() for bits in search.scene.units.split(search.best).values())


def test_without_a_density_the_energy_decides(task):
    search = _search(task, FULL, energy="ising", search_epochs=3)
    assert search.scene.balance == 0.5 and search.scene.floor == 0.1
    result = train_classifier(task, task.build(), recipe(epochs=3, batch_size=4), callback=search)
    assert result.metrics["units"] == pytest.approx(0.5, abs=0.1)


def test_with_a_density_the_ising_minimum_lies_at_the_share_of_units_it_needs(task):
    search = _search(task, {**HALF, "value": 0.8}, energy="ising")
    assert search.scene.balance == pytest.approx(float(search.states.double().mean()))
    assert search.scene.balance > 0.7 and search.scene.floor == 0


def test_best_costs_never_rise_unless_parents_are_costed_again(task):
    kept = train_classifier(task, task.build(), recipe(epochs=6), callback=_search(task, search_epochs=6))
    best = kept.columns["energy_best"]
    assert best == sorted(best, reverse=True)
    assert all(low <= mean for low, mean in zip(best, kept.columns["energy_mean"], strict=True))
    again = _search(task, search_epochs=6, reevaluate=True)
    fresh = train_classifier(task, task.build(), recipe(epochs=6), callback=again)
    assert fresh.columns["energy_best"] != best


def test_search_finds_a_lower_margin_energy_than_chance(task):
    search = _search(task, search_epochs=1, mutation=0.1)
    model, batch = task.build(), next(task.batches("test", 1))
    model.eval()
    first = search.energy(model, batch, search.states, search.scene)
    for _ in range(15):
        search._search(model, batch)
    assert search.costs.min() < first.min()
    assert search.costs.mean() < first.mean()
    torch.testing.assert_close(search.costs, search.energy(model, batch, search.states, search.scene))


def test_search_every_nth_batch_costs_every_nth_time(task):
    calls = []
    search = _search(task, search_epochs=1, search_every=3, candidates=5)
    energy = search.energy
    search.energy = lambda *arguments: calls.append(len(arguments[2])) or energy(*arguments)
    train_classifier(task, task.build(), recipe(epochs=2, batch_size=10), callback=search)
    assert calls == [10, 5]  # steps 0 (parents too) and 3 of the six of the first epoch


def test_an_agreed_population_freezes_early(task):
    search = _search(task, search_epochs=10, patience=3)
    search.states = search.states[:1].expand(8, -1).clone()
    result = train_classifier(task, task.build(), recipe(epochs=3), callback=search)
    assert search.calm.searches() == 3 and search.frozen
    assert result.columns["searching"] == [0, 0, 0] and result.columns["disagreement"] == [0, 0, 0]


def test_a_state_whose_cost_is_no_number_never_wins(task):
    search = _search(task)
    search.energy = lambda model, batch, states, scene: torch.full((len(states),), torch.nan, dtype=torch.float64)
    before = search.states.clone()
    search.before_step(task.build(), next(task.batches("test", 1)))
    assert torch.equal(search.states, before) and torch.isinf(search.costs).all()


def test_the_settled_network_needs_no_gates(task):
    search, model = _search(task, search_epochs=2), task.build()
    train_classifier(task, model, recipe(epochs=2), callback=search)
    gates = {name: gate.float() for name, gate in search.scene.units.split(search.best).items()}
    model.eval()
    torch.testing.assert_close(model(task.example), gated_forward(model, search.scene.units, gates, task.example))
    mask = search.scene.kept.mask(search.best)
    for name, weight in prunable(model).items():
        assert weight[~mask[name]].count_nonzero() == 0


def test_finishing_does_not_change_the_outputs(task):
    search, model = _search(task, search_epochs=2), task.build()
    search.finish = lambda model: None
    train_classifier(task, model, recipe(epochs=2), callback=search)
    del search.finish
    before = search.forward(model.eval(), task.example)
    settled = copy.deepcopy(model)
    mask = search.finish(settled)
    torch.testing.assert_close(settled(task.example), before)
    assert mask.density == pytest.approx(float(search.scene.kept.fraction(search.best[None])))


def test_controls_are_measured_on_the_trained_weights(task):
    search = _search(task, search_epochs=1)
    result = train_classifier(task, task.build(), recipe(epochs=3), callback=search)
    assert set(result.metrics) >= {"units", "density_upstream", "top1_full", "top1_random"}
    assert 0 < result.metrics["density_upstream"] < 1 and 0 <= result.metrics["top1_full"] <= 1
    everything = _search(task, {**HALF, "value": 1.0}, search_epochs=1)
    result = train_classifier(task, task.build(), recipe(epochs=3), callback=everything)
    assert result.metrics["top1_full"] == result.metrics["top1_random"] == result.metrics["top1"]


class Stopped(Exception):
    pass


class StopsAfter(Checkpointer):
    """Saves after every epoch and stops the run after the given one, as a kill would."""

    def __init__(self, directory, epochs):
        super().__init__(directory, 0, "run")
        self.left = epochs

    def save(self, state):
        super().save(state)
        self.left -= 1
        if self.left == 0:
            raise Stopped


@pytest.mark.parametrize("energy", ["margin", "ising"])
@pytest.mark.parametrize("select", ["last", "best"])
def test_resuming_at_every_epoch_equals_the_straight_run(task, tmp_path, energy, select):
    fields, options = recipe(epochs=4, select=select), {"energy": energy, "search_epochs": 2, "search_every": 3}
    model = task.build()
    straight = train_classifier(task, model, fields, callback=_search(task, **options))
    for stop in (1, 2, 3):
        with pytest.raises(Stopped):
            checkpointer = StopsAfter(tmp_path / str(stop), stop)
            train_classifier(task, task.build(), fields, callback=_search(task, **options), checkpointer=checkpointer)
        other, checkpointer = task.build(), Checkpointer(tmp_path / str(stop), 1e9, "run")
        resumed = train_classifier(task, other, fields, callback=_search(task, **options), checkpointer=checkpointer)
        assert resumed.columns == straight.columns and resumed.metrics == straight.metrics
        assert all(torch.equal(other.state_dict()[name], tensor) for name, tensor in model.state_dict().items())
        assert all(torch.equal(resumed.mask[name], bits) for name, bits in straight.mask.items())


def test_options_are_refused_with_a_reason(task):
    with pytest.raises(MethodError, match="at least 4"):
        _search(task, candidates=3)
    with pytest.raises(ConfigError, match="unknown energy 'margins'"):
        _search(task, energy="margins")
    with pytest.raises(ConfigError, match="rule"):
        checked_options("method", "ising", {"rule": "mine"}, "methods.mine")


def test_all_energies_equal_freeze_early(task):
    """The papers' sign of convergence: best energy = mean energy."""
    search = _search(task, search_epochs=10, patience=3, energy="random")
    result = train_classifier(task, task.build(), recipe(epochs=1), callback=search)
    assert search.calm.searches() == 3 and search.frozen and result.columns["searching"] == [0]


def test_any_callable_is_an_energy(task):
    def fewest(model, batch, states, scene):
        return states.double().sum(dim=1)

    search = _search(task, FULL, energy=fewest, search_epochs=2)
    first = search.states.sum(dim=1).min()
    train_classifier(task, task.build(), recipe(epochs=2), callback=search)
    assert search.best.sum() < first and search.costs.min() == search.best.sum()


def test_part_of_a_batch_and_bf16_are_what_the_energy_sees(task):
    search = _search(task, search_share=0.4, search_precision="bf16")
    energy, seen = search.energy, []
    search.energy = lambda model, batch, states, scene: (
        seen.append(len(batch[0])) or energy(model, batch, states, scene)
    )
    model, batch = task.build(), next(task.batches("test", 1))
    search.before_step(model, batch)
    assert seen == [math.ceil(0.4 * len(batch[0]))]
    part, exact = (batch[0][: seen[0]], batch[1][: seen[0]]), replace(search.scene, precision="float32")
    coarse, fine = (energy(model, part, search.states, scene) for scene in (search.scene, exact))
    assert not torch.equal(coarse, fine)
    torch.testing.assert_close(coarse, fine, rtol=0.1, atol=0.3)


def test_equal_states_are_computed_once(task, monkeypatch):
    search, calls = _search(task), []
    candidate = search.scene.narrower.candidate
    monkeypatch.setattr(search.scene.narrower, "candidate", lambda *a: calls.append(a) or candidate(*a))
    states = search.states[[0, 1, 0, 0, 1]]
    costs = search.energy(task.build(), next(task.batches("test", 1)), states, search.scene)
    assert len(calls) == 2 and costs[[0, 2, 3]].unique().numel() == 1 and costs[0] != costs[1]


@pytest.mark.parametrize("rule", ["paper", "upstream"])
def test_upstream_moves_shut_units_and_drops_them_after_every_epoch(task, rule):
    def trained(epochs, validated):
        search, model = _search(task, FULL, rule=rule, energy="random"), task.build()
        search.finish = lambda model: None
        if not validated:
            search.after_epoch = lambda model, epoch: {}
        train_classifier(task, model, recipe(epochs=epochs, weight_decay=0.1), callback=search)
        layer, before = search.scene.units.layers[0], task.build()
        shut = ~search.scene.units.split(search.best)[layer.name]
        return (network.get_submodule(layer.name).weight[shut].detach() for network in (before, model))

    before, after = trained(1, validated=False)
    assert torch.equal(after, before) if rule == "paper" else (after.abs() < before.abs()).all()
    before, after = trained(1, validated=True)
    assert torch.equal(after, before) if rule == "paper" else after.count_nonzero() == 0


def test_recalibrated_norms_have_the_statistics_of_the_final_state(data):
    task = Classify(data, {"builder": "resnet_small", "options": {"width": 4, "blocks": 1}}, 0)
    search, model = _search(task, search_epochs=2, recalibrate=3), task.build()
    train_classifier(task, model, recipe(epochs=2), callback=search)
    inputs = []
    model.stages[0][0].bn1.register_forward_pre_hook(lambda module, args: inputs.append(args[0]))
    model.stages[0][0].bn1.momentum = 0.0
    with torch.no_grad():
        for x, _ in task.batches("recalibrate", 3):
            model.train()(x)
    kept = search.scene.units.split(search.best)["stages.0.0.conv1"]
    means = torch.stack([x.mean((0, 2, 3)) for x in inputs]).mean(0)
    torch.testing.assert_close(model.stages[0][0].bn1.running_mean[kept], means[kept], rtol=1e-4, atol=1e-5)
    assert model.bn1.momentum == 0.1
