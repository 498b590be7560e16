"""OES's mask search: the published constants, the gradient, the sampling law, and that it finds what is useful."""

import copy
import math

import pytest
import torch
from torch.func import functional_call

from prunelib import registry
from prunelib.masks.mask import Mask, from_scores
from prunelib.measure.image import psnr
from prunelib.methods.gumbel import LogitSearch, gumbel, kl_divergence, kl_slope
from prunelib.seeds import generator
from prunelib.storage.checkpoint import Checkpointer
from prunelib.tasks.base import alive, prunable
from prunelib.tasks.classify import Classify
from tests.picture import denoise, write_picture
from tests.tiny import LEARNS_FAST, write_squares


@pytest.fixture(scope="module")
def task(tmp_path_factory):
    return denoise(write_picture(tmp_path_factory.mktemp("data") / "picture.h5"))


def find(task, density=0.2, seed=0, **options):
    settings = {"steps": 6, "log_every": 2} | options
    found = gumbel(task, {"kind": "density", "value": density}, generator(seed, "search"), **settings)
    return found.mask, found.history


def search(task, prior=0.05, prune="all", kl=1e-9, temperature=0.2, lr=0.01, random=None):
    return LogitSearch(task, prior, prune, kl, temperature, lr, random or generator(0, "search"))


def test_defaults_are_the_published_ones():
    options = {name: option.default for name, option in registry.entry("method", "gumbel").options.items()}
    assert options == {
        "steps": 60000, "lr": 0.01, "kl": 1e-9, "temperature": 0.2, "prune": "all", "log_every": 1000,
        "repair": "none",
    }  # fmt: skip
    assert registry.entry("method", "gumbel").facts["budgets"] == ("density",)


def test_divergence_at_the_start_is_the_published_value():
    assert kl_divergence(torch.zeros(1000), 0.05).item() / 1000 == pytest.approx(0.8304, abs=5e-5)
    assert pytest.approx(0.0025, abs=1e-4) == 3_008_867 * 1e-9 * 0.8304


def test_divergence_vanishes_at_the_prior():
    logits = torch.full((10,), math.log(0.05 / 0.95), dtype=torch.float64)
    assert kl_divergence(logits, 0.05).item() == pytest.approx(0.0, abs=1e-4)
    assert kl_slope(logits, 0.05).abs().max().item() < 1e-6


@pytest.mark.parametrize("prior", [0.03, 0.5, 0.8])
def test_slope_is_the_gradient_of_the_divergence(prior):
    logits = torch.linspace(-9, 9, 37, dtype=torch.float64, requires_grad=True)
    (expected,) = torch.autograd.grad(kl_divergence(logits, prior), logits)
    assert torch.allclose(kl_slope(logits.detach(), prior), expected, rtol=0, atol=2e-6)


def test_a_step_is_adam_on_the_gradient_of_loss_plus_divergence(task):
    """Three steps against autograd through the whole objective, with the samples of the same stream."""
    quick = search(task, prior=0.2, kl=1e-5, lr=0.1)
    model = task.build().train()
    parameters = {name: parameter.detach() for name, parameter in model.named_parameters()}
    logits = {name: torch.zeros_like(value, requires_grad=True) for name, value in parameters.items()}
    adam = torch.optim.Adam(logits.values(), lr=0.1, eps=1e-8)
    for step in range(3):
        uniform = quick._views(quick._noise.draw(step).clone())
        loss = quick.step((task.example, task.noisy))
        masked = {}
        for name, logit in logits.items():
            noise = uniform[name].log() - (1 - uniform[name]).log()
            masked[name] = parameters[name] * torch.sigmoid((logit + noise) / 0.2)
        expected = task.loss(functional_call(model, masked, task.example), task.noisy)
        assert loss.item() == pytest.approx(expected.item(), rel=1e-5)
        objective = expected + 1e-5 * sum(kl_divergence(logit, 0.2) for logit in logits.values())
        adam.zero_grad()
        objective.backward()
        adam.step()
    found = quick.scores()
    close = torch.cat([((found[name] - logits[name]).abs() < 1e-3).flatten() for name in logits])
    assert list(found) == list(logits) and close.float().mean() > 0.999  # Adam's sign is chance where the slope is 0


def test_the_first_published_step_moves_the_mean_logit_by_half_a_thousandth(tmp_path):
    """The published generator at the smallest size it draws, its logged mean logit and its number of kept entries."""
    picture = write_picture(tmp_path / "picture.h5", 192, 192)
    mask, history = find(denoise(picture, model={"builder": "hourglass", "options": {}}), 0.05, steps=1)
    assert history["mean_logit"][0] == pytest.approx(-5e-4, abs=1e-4)
    assert (mask.size, mask.kept) == (3_008_867, 150_443)


@pytest.mark.parametrize(("density", "kept"), [(0.05, 150_443), (0.03, 90_266), (0.035, 105_310), (0.04, 120_354)])
def test_the_published_numbers_of_kept_entries(density, kept):
    scores = {"flat": torch.zeros(3_008_867)}
    assert from_scores(scores, density, generator(0, "search")).kept == kept


def test_an_entry_without_data_gradient_moves_by_the_divergence_alone(task):
    """In front of a norm a convolution's bias changes nothing, so Adam's eps of 1e-8 sets its first step: -0.00069."""
    found = search(task)
    found.step((task.example, task.noisy))
    slope = 1e-9 * 0.25 * math.log(0.95 / 0.05)
    expected = -0.01 * slope / (slope + 1e-8)
    assert expected == pytest.approx(-0.000686, abs=1e-6)
    logits = torch.cat([v.flatten() for n, v in found.scores().items() if "conv" in n and n.endswith("bias")])
    assert logits.median().item() == pytest.approx(expected, abs=3e-4)


def test_a_sample_exceeds_one_half_with_the_keep_probability(task):
    found = search(task)
    for logit in (-2.0, 0.0, 1.0):
        found.logits.fill_(logit)
        gates = found.sample(step=1)
        assert gates.min() >= 0 and gates.max() <= 1
        assert (gates > 0.5).float().mean().item() == pytest.approx(1 / (1 + math.exp(-logit)), abs=0.01)


def test_the_network_s_weights_never_change(task):
    found = search(task, lr=0.3)
    before = copy.deepcopy(dict(found.model.named_parameters()))
    for _ in range(3):
        found.step((task.example, task.noisy))
    assert all(torch.equal(before[name], parameter) for name, parameter in found.model.named_parameters())


@pytest.mark.parametrize("density", [0.05, 0.3, 1.0])
@pytest.mark.parametrize("prune", ["all", "weights"])
def test_exactly_the_asked_number_is_kept(task, density, prune):
    mask, _ = find(task, density, prune=prune)
    model = task.build()
    assert list(mask) == list(prunable(model) if prune == "weights" else dict(model.named_parameters()))
    assert mask.kept == int(density * mask.size)


def test_history_has_the_first_every_nth_and_the_last_step(task):
    _, history = find(task, steps=6, log_every=2)
    assert history["step"] == [0.0, 2.0, 4.0, 5.0]
    assert {len(column) for column in history.values()} == {4}


def test_equal_seeds_find_equal_masks(task):
    (first, past), (again, same), (other, _) = find(task), find(task), find(task, seed=1)
    assert past == same
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert any(not torch.equal(first[name], other[name]) for name in first)


class Stops(Checkpointer):
    """Saves at every step and is killed right after it has saved step 4."""

    def save(self, state):
        super().save(state)
        if state["done"] == 4:
            raise KeyboardInterrupt


@pytest.mark.parametrize("kind", ["denoise", "classify"])
def test_a_resumed_search_equals_an_uninterrupted_one(task, tmp_path, kind):
    if kind == "classify":
        task = Classify(write_squares(tmp_path / "squares.h5"), LEARNS_FAST, 0, batch_size=16)

    def run(checkpointer=None):
        budget = {"kind": "density", "value": 0.2}
        found = gumbel(task, budget, generator(0, "search"), checkpointer, steps=9, lr=0.1, log_every=2)
        return found.mask, found.history, found.figures

    straight, history, figures = run()
    with pytest.raises(KeyboardInterrupt):
        run(Stops(tmp_path / "states", 0, "this search"))
    resumed, again, same = run(Checkpointer(tmp_path / "states", 1000, "this search"))
    assert (history, figures) == (again, same) and history["step"] == [0, 2, 4, 6, 8]
    assert all(torch.equal(straight[name], resumed[name]) for name in straight)


def test_the_found_subnetwork_draws_the_picture_untrained(tmp_path):
    """Masked initial weights fit better than all of them, and than equally many others of each tensor."""
    model = {"builder": "hourglass", "options": {"channels": [16, 32]}}
    wide = denoise(write_picture(tmp_path / "picture.h5"), model=model)
    mask, history = find(wide, steps=250, lr=0.3, kl=1e-6, log_every=50)
    assert history["loss"][-1] < 0.6 * history["loss"][0]

    def loss(mask):
        network = wide.build()
        mask.apply_(network)
        return wide.loss(network(wide.example), wide.noisy).item()

    random = generator(0, "shuffle")
    orders = {name: torch.randperm(kept.numel(), generator=random) for name, kept in mask.items()}
    others = Mask({name: kept.flatten()[orders[name]].reshape(kept.shape) for name, kept in mask.items()})
    assert loss(mask) < 0.6 * min(loss(Mask.ones(mask)), loss(others))


def test_figures_are_those_of_the_masked_network_and_the_samples_after_the_search(task):
    """Each against the plain network with its weights replaced; the samples are drawn again, parameter by parameter."""
    searched = search(task, lr=0.3)
    for _ in range(5):
        searched.step((task.example, task.noisy))
    mask = from_scores(searched.scores(), 0.3, generator(0, "search"))
    figures = searched.figures(mask, steps=5)

    def output(*gates):
        network = task.build()
        with torch.no_grad():
            for name, parameter in network.named_parameters():
                for gate in (mask, *gates):
                    parameter.mul_(gate[name])
            return network(task.example)

    def sample(step):
        return {name: part.clone() for name, part in searched._views(searched.sample(step)).items()}

    samples = [sample(5 + number) for number in range(10)]
    kept = torch.cat([searched.scores()[name][mask[name]] for name in mask])
    assert figures["threshold"] == kept.min() and figures["mean_logit"] == searched.logits.mean()
    assert figures["loss_det"] == pytest.approx(task.loss(output(), task.noisy).item(), rel=1e-5)
    assert figures["loss_single"] == pytest.approx(task.loss(output(samples[0]), task.noisy).item(), rel=1e-5)
    assert figures["loss_multiple"] == pytest.approx(task.loss(output(*samples), task.noisy).item(), rel=1e-5)
    assert figures["psnr_det"] == pytest.approx(psnr(output(), task.clean).item(), rel=1e-5)
    assert len({figures[name] for name in ("loss_det", "loss_single", "loss_multiple")}) == 3


@pytest.mark.parametrize("prune", ["all", "weights"])
def test_figures_come_with_the_mask_and_do_not_change_it(task, prune):
    budget = {"kind": "density", "value": 0.2}
    found = gumbel(task, budget, generator(0, "search"), steps=6, log_every=2, prune=prune)
    assert set(found.figures) == {
        "threshold", "mean_logit", "loss_det", "loss_single", "loss_multiple", "psnr_det",
    }  # fmt: skip
    assert found.figures["mean_logit"] == found.history["mean_logit"][-1]
    searched = search(task, prior=0.2, prune=prune, random=(random := generator(0, "search")))
    for _ in range(6):
        searched.step((task.example, task.noisy))
    plain = from_scores(searched.scores(), 0.2, random)
    assert all(torch.equal(plain[name], found.mask[name]) for name in plain)


def test_a_dead_mask_is_repaired_and_its_figures_are_the_repaired_one_s(task):
    """Few steps at a strong prior leave almost chance, which kills: norms and weights go alike."""
    budget, options = {"kind": "density", "value": 0.1}, {"steps": 2, "log_every": 1}
    dead = gumbel(task, budget, generator(0, "search"), **options)
    assert not alive(task, task.build(), dead.mask).alive and "repaired" not in dead.figures
    found = gumbel(task, budget, generator(0, "search"), repair="weights", **options)
    assert alive(task, task.build(), found.mask).alive and "only convolution" in found.figures["repaired"]
    assert found.figures["loss_det"] != dead.figures["loss_det"]


def test_it_searches_on_a_classification_task_too(tmp_path):
    squares = Classify(write_squares(tmp_path / "squares.h5"), LEARNS_FAST, 0, batch_size=16)
    mask, history = find(squares, 0.5, steps=60, lr=0.2, kl=1e-6, log_every=10)
    assert mask.kept == int(0.5 * mask.size)
    assert min(history["loss"][-3:]) < history["loss"][0]
