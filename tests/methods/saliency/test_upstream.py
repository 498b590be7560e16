"""The baselines as OES's authors ran them: dense formulas on a tiny network, their logs' counts on the published one.

The counts are those of the authors' logs at sparse = 0.95 (fact card of OES, baselines).
"""

from __future__ import annotations

from math import ceil
from typing import Any

import pytest
import torch
from torch import Tensor

from prunelib.errors import MethodError
from prunelib.masks.mask import Mask
from prunelib.methods.saliency import upstream
from prunelib.methods.saliency.datafree import magnitude, random
from prunelib.methods.saliency.gradients import grasp, snip
from prunelib.methods.saliency.synflow import synflow
from prunelib.seeds import generator
from prunelib.tasks.denoise import Denoise
from tests.picture import denoise, write_picture

METHODS = {"random": random, "magnitude": magnitude, "snip": snip, "grasp": grasp, "synflow": synflow}
LOCAL = ("random", "snip", "grasp", "synflow")


@pytest.fixture(scope="module")
def task(tmp_path_factory: pytest.TempPathFactory) -> Denoise:
    return denoise(write_picture(tmp_path_factory.mktemp("data") / "picture.h5"))


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Denoise:
    picture = write_picture(tmp_path_factory.mktemp("data") / "picture.h5", 192, 192)
    return denoise(picture, model={"builder": "hourglass", "options": {}})


def find(task: Denoise, method: str, density: float = 0.05, scope: str = "global", **options: Any) -> Mask:
    budget = {"kind": "density", "value": density}
    given = {"fidelity": "upstream", "scope": scope} | options
    return METHODS[method](task, budget, generator(0, "search"), **given).mask


def flat(tensors: list[Tensor]) -> Tensor:
    return torch.cat([tensor.reshape(-1) for tensor in tensors])


def slopes_at(task: Denoise, scale: float) -> dict[str, Tensor]:
    """Return the gradient of the loss in float64, all weights ``scale`` times the initial ones."""
    model = task.build().train().double()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(scale)
    task.loss(model(task.example.double()), task.noisy.double()).backward()
    return {name: parameter.grad for name, parameter in model.named_parameters()}


def derivatives(task: Denoise) -> dict[str, tuple[Tensor, Tensor, Tensor]]:
    """Return (w, g, H w) per tensor, H w as the difference of the gradients at slightly larger and smaller weights."""
    step = 1e-5
    here, above, below = (slopes_at(task, scale) for scale in (1, 1 + step, 1 - step))
    weights = {name: parameter.detach() for name, parameter in task.build().named_parameters()}
    return {name: (weights[name], here[name], (above[name] - below[name]) / (2 * step)) for name in weights}


def expected(scores: dict[str, Tensor], active: dict[str, Tensor], share: float, lowest: bool = False) -> Tensor:
    """Sort all scores and keep those above (or, lowest, up to) the int(share * n)-th largest, of the active ones."""
    values = flat(list(scores.values()))
    limit = values.sort(descending=True).values[int(share * len(values)) - 1]
    return (values <= limit if lowest else values > limit) & flat(list(active.values()))


@pytest.mark.parametrize(
    ("method", "scope", "least", "most"),
    [
        ("random", "global", 150_338, 150_338),
        ("random", "local", 150_315, 150_315),
        ("magnitude", "global", 150_338, 150_338),
        ("snip", "global", 2_857_200, 2_858_422),
        ("snip", "local", 2_856_000, 2_856_344),
        ("synflow", "global", 2_857_200, 2_857_299),
        ("synflow", "local", 2_856_100, 2_856_344),
        ("grasp", "global", 150_420, 150_440),
        ("grasp", "local", 2_856_100, 2_856_344),
    ],
)
def test_the_numbers_kept_on_the_published_network(
    published: Denoise, method: str, scope: str, least: int, most: int
) -> None:
    mask = find(published, method, scope=scope)
    assert mask.size == 3_008_867 and len(mask) == 86
    assert least <= mask.kept <= most
    assert not any(kept.any() for name, kept in mask.items() if "bn" in name and name.endswith("bias"))


def test_magnitude_removes_the_smallest_of_the_active(task: Denoise) -> None:
    mask, parameters = find(task, "magnitude", 0.3), dict(task.build().named_parameters())
    sizes = flat([parameter.detach().abs() for parameter in parameters.values()])
    active = int((sizes > 0).sum())
    cut = sizes[sizes > 0].sort().values[ceil(0.7 * active) - 1]
    assert torch.equal(torch.from_numpy(mask.flat()), sizes > cut)
    assert mask.kept == active - ceil(0.7 * active)


def test_random_removes_a_share_of_the_active_of_all_or_of_each(task: Denoise) -> None:
    active = {name: int((parameter != 0).sum()) for name, parameter in task.build().named_parameters()}
    whole, each = find(task, "random", 0.2), find(task, "random", 0.2, "local")
    assert whole.kept == sum(active.values()) - ceil(0.8 * sum(active.values()))
    assert {name: kept for name, _, kept, _ in each.layers()} == {n: a - ceil(0.8 * a) for n, a in active.items()}


@pytest.mark.parametrize("method", ["snip", "grasp"])
def test_scores_of_the_loss_are_the_dense_formulas(task: Denoise, method: str) -> None:
    found = derivatives(task)
    active = {name: weight != 0 for name, (weight, _, _) in found.items()}
    if method == "snip":
        scores = {name: slope.abs() for name, (_, slope, _) in found.items()}
        share = 0.6
        wanted = expected(scores, active, share)
    else:
        share, total = 0.9, flat([slope + product for _, slope, product in found.values()]).sum().abs()
        scores = {name: (slope + product) / (total + 1e-10) for name, (_, slope, product) in found.items()}
        wanted = expected(scores, active, share, lowest=True)
    mask = find(task, method, 1 - share)
    differ = (torch.from_numpy(mask.flat()) != wanted).float().mean()
    assert differ < 2e-3  # the last digits of a gradient decide at the threshold and where it is zero
    assert mask.density == pytest.approx(share if method == "snip" else 1 - share, abs=0.02)


def test_local_grasp_ranks_the_ratio_of_each_tensor(task: Denoise) -> None:
    mask = find(task, "grasp", 0.4, "local")
    for name, (weight, slope, product) in derivatives(task).items():
        if weight.dim() == 4:
            ratio = slope.abs() / ((slope + product).abs() + 1e-10)
            wanted = expected({name: ratio}, {name: weight != 0}, 0.6)
            assert (mask[name].reshape(-1) != wanted).float().mean() < 0.02, name
            assert int(0.6 * weight.numel()) - 1 == mask[name].sum(), name


def test_synflow_is_the_slope_of_the_real_output(task: Denoise) -> None:
    model = task.build().train().double()
    model(task.example.double()).sum().backward()
    scores = {name: parameter.grad.abs() for name, parameter in model.named_parameters()}
    wanted = expected(scores, {name: parameter != 0 for name, parameter in model.named_parameters()}, 0.7)
    mask = find(task, "synflow", 0.3)
    assert (torch.from_numpy(mask.flat()) != wanted).float().mean() < 2e-3
    local = find(task, "synflow", 0.3, "local")
    assert all(kept < 0.7 * size for _, _, kept, size in local.layers())


@pytest.mark.parametrize("method", LOCAL[1:])
def test_where_the_authors_code_crashes_it_says_so(task: Denoise, method: str) -> None:
    with pytest.raises(MethodError, match=r"int\(0\.2 \* 3\) = 0 entries of head\.bias .* code fails here too"):
        find(task, method, 0.8, "local")
    assert find(task, method, 0.8).kept > 0


@pytest.mark.parametrize(
    ("method", "options", "words"),
    [(method, {"prune": "weights"}, "'prune' says weights") for method in METHODS]
    + [(method, {"repair": "layer"}, "'repair' says layer") for method in METHODS]
    + [("synflow", {"rounds": 100}, "'rounds' says 100"), ("magnitude", {"scope": "local"}, "scope global")],
)
def test_what_the_authors_code_does_not_have_is_refused(
    task: Denoise, method: str, options: dict[str, Any], words: str
) -> None:
    with pytest.raises(MethodError, match=words):
        find(task, method, **options)


@pytest.mark.parametrize(("density", "share"), [(0.05, 0.95), (0.1, 0.9), (0.8, 0.2), (0.035, 0.965)])
def test_a_density_is_read_as_its_complement(density: float, share: float) -> None:
    assert upstream.sparse({"value": density}) == share
