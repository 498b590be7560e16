"""Gradient statistics: one pass, exact sums per batch and per sample, stored and read back."""

import logging

import pytest
import torch
from torch import nn

from prunelib.errors import ArtefactError, MethodError
from prunelib.methods.isomorphic import statistics
from prunelib.methods.isomorphic.statistics import Statistics, gather, gather_statistics, trained
from prunelib.storage.weights import save_weights


def one_by_one(model, task, batches):
    """The same sums by plain backward passes: of batches, as the authors' code accumulates, and of single samples."""
    sums = {name: torch.zeros_like(parameter) for name, parameter in model.named_parameters()}
    squares = {name: torch.zeros_like(parameter) for name, parameter in model.named_parameters()}
    for inputs, targets in task.batches("taylor", batches):
        model.zero_grad()
        task.loss(model(inputs), targets).backward()
        for name, parameter in model.named_parameters():
            sums[name] += parameter.grad
        for index in range(len(inputs)):
            model.zero_grad()
            task.loss(model(inputs[index : index + 1]), targets[index : index + 1]).backward()
            for name, parameter in model.named_parameters():
                squares[name] += parameter.grad**2
    return sums, squares


@pytest.mark.parametrize("network", ["resnet", "vit"])
@pytest.mark.parametrize("at_once", [2**28, 1])
def test_sums_and_squares_are_exact(request, monkeypatch, network, at_once):
    model, task = request.getfixturevalue(network), request.getfixturevalue(f"{network}_task")
    monkeypatch.setattr(statistics, "AT_ONCE", at_once)
    sums, squares = one_by_one(model, task, 2)
    found = gather(model.train(), task, 2)
    assert not model.training and (found.batches, found.samples) == (2, 32)
    for name in sums:
        torch.testing.assert_close(found.sums[name], sums[name], atol=1e-6, rtol=1e-4)
        torch.testing.assert_close(found.squares[name], squares[name], atol=1e-6, rtol=1e-4)


def test_without_squares_the_sums_are_the_same(resnet, resnet_task):
    plain, full = gather(resnet, resnet_task, 2, squares=False), gather(resnet, resnet_task, 2)
    assert plain.squares == {} and plain.samples == 32
    for name, total in plain.sums.items():
        torch.testing.assert_close(total, full.sums[name], atol=1e-6, rtol=1e-4)


class Branching(nn.Module):
    """An operation that can't be mapped over samples: the next layer depends on a value."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(64, 10)

    def forward(self, images):
        found = self.layer(images.flatten(1))
        return found if found.sum().item() > 0 else 2 * found


def test_what_cannot_be_mapped_is_done_sample_by_sample(resnet_task, caplog):
    torch.manual_seed(0)
    model = Branching()
    with caplog.at_level(logging.INFO):
        found = gather(model, resnet_task, 1)
    assert "samples one by one" in caplog.text
    _, squares = one_by_one(model, resnet_task, 1)
    torch.testing.assert_close(found.squares["layer.weight"], squares["layer.weight"])


def test_parameters_that_do_not_learn_or_matter_get_zeros(resnet, resnet_task):
    resnet.conv1.weight.requires_grad_(False)
    resnet.spare = nn.Parameter(torch.ones(3))
    found = gather(resnet, resnet_task, 1, squares=False)
    assert found.sums["conv1.weight"].count_nonzero() == found.sums["spare"].count_nonzero() == 0
    assert found.sums["fc.weight"].count_nonzero() > 0


def test_statistics_are_stored_and_read_back(resnet, resnet_task, tmp_path):
    found = gather(resnet, resnet_task, 2)
    found.save(tmp_path / "a.safetensors")
    found.save(tmp_path / "b.safetensors")
    assert (tmp_path / "a.safetensors").read_bytes() == (tmp_path / "b.safetensors").read_bytes()
    again = Statistics.load(tmp_path / "a.safetensors")
    assert (again.batches, again.samples) == (2, 32)
    assert all(torch.equal(again.sums[name], total) for name, total in found.sums.items())
    assert all(torch.equal(again.squares[name], total) for name, total in found.squares.items())


def test_the_step_gathers_what_the_library_does(resnet, resnet_task, tmp_path, monkeypatch):
    monkeypatch.setattr(statistics, "open_task", lambda settings, data, device: resnet_task)
    save_weights(tmp_path / "dense.safetensors", resnet.state_dict())
    gather_statistics({"batches": 2}, "data.h5", tmp_path / "dense.safetensors", tmp_path / "found.safetensors")
    found, expected = Statistics.load(tmp_path / "found.safetensors"), gather(resnet, resnet_task, 2)
    assert all(torch.equal(found.squares[name], total) for name, total in expected.squares.items())


def test_foreign_files_and_other_networks_are_refused(resnet, resnet_task, vit, tmp_path):
    save_weights(tmp_path / "weights.safetensors", resnet.state_dict())
    with pytest.raises(ArtefactError, match="holds no gradient statistics"):
        Statistics.load(tmp_path / "weights.safetensors")
    found = gather(resnet, resnet_task, 1, squares=False)
    found.check(resnet, 1, "file")
    for model, batches in ((vit, 1), (resnet, 3)):
        with pytest.raises(ArtefactError, match=r"file: statistics of 1 batches"):
            found.check(model, batches, "file")


def test_diverged_weights_are_refused(resnet, resnet_task):
    resnet.fc.weight.data[0, 0] = float("nan")
    with pytest.raises(MethodError, match=r"gradients are not finite; did the dense"):
        gather(resnet, resnet_task, 1)


def test_weights_of_another_network_are_refused(resnet, vit_task, tmp_path):
    save_weights(tmp_path / "dense.safetensors", resnet.state_dict())
    with pytest.raises(ArtefactError, match="not the weights of this run's network"):
        trained(vit_task, tmp_path / "dense.safetensors")
