"""Repair of dead masks: only what is dead is touched, counts stay, minima hold, and it says what it did."""

from __future__ import annotations

from math import ceil
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from prunelib.masks.liveness import Liveness
from prunelib.masks.mask import Mask, from_scores
from prunelib.masks.repair import Ranking, only_weights, repair, with_minimum
from prunelib.methods.saliency.datafree import magnitude, random
from prunelib.methods.saliency.gradients import grasp, snip
from prunelib.seeds import generator
from prunelib.tasks.base import alive, prunable
from prunelib.tasks.denoise import Denoise
from tests.picture import denoise, write_picture

SIZES = st.lists(st.integers(1, 60), min_size=1, max_size=6)


@pytest.fixture(scope="module")
def task(tmp_path_factory: pytest.TempPathFactory) -> Denoise:
    picture = write_picture(tmp_path_factory.mktemp("data") / "picture.h5")
    return denoise(picture, model={"builder": "hourglass", "options": {"channels": [4, 32]}})


def scored(sizes: list[int], seed: int = 0) -> dict[str, Tensor]:
    """Scores of very different size per tensor, so that a global ranking empties some; many ties."""
    random = torch.Generator().manual_seed(seed)
    draws = [torch.randint(0, 9, (size,), generator=random).float() for size in sizes]
    return {f"tensor{index}": 10.0**-index * draw for index, draw in enumerate(draws)}


def stream() -> torch.Generator:
    return generator(0, "search")


@settings(deadline=None, max_examples=60)
@given(SIZES, st.floats(0.02, 1.0), st.sampled_from([0.1, 0.3, 0.5, 1.0]), st.booleans())
def test_the_count_stays_and_every_tensor_has_its_minimum(
    sizes: list[int], density: float, share: float, some: bool
) -> None:
    scores = scored(sizes)
    among = {name: score > 0 for name, score in scores.items()} if some else None
    ranking = Ranking(scores, density, among)
    possible = {name: int(ranking.allowed(name).sum()) for name in scores}
    mask = from_scores(scores, density, stream())
    if some:
        mask = Mask({name: kept & among[name] for name, kept in mask.items()})
    least = {name: max(1, ceil(share * density * len(score))) for name, score in scores.items()}
    least = {name: min(number, possible[name]) for name, number in least.items()}
    changed = with_minimum(mask, ranking, share, stream())
    if changed is None:
        assert sum(least.values()) > mask.kept
        return
    assert changed.kept == mask.kept
    for name, _, kept, _ in changed.layers():
        assert kept >= least[name]
        assert (changed[name] <= ranking.allowed(name)).all()
        if kept and kept < possible[name]:  # its best entries, whatever the other tensors hold
            assert scores[name][changed[name]].min() >= scores[name][~changed[name] & ranking.allowed(name)].max()


def test_what_has_its_minimum_already_does_not_change() -> None:
    scores = {"a": torch.arange(20.0), "b": torch.arange(20.0) + 0.5}
    mask = from_scores(scores, 0.5, stream())
    same = with_minimum(mask, Ranking(scores, 0.5), 0.5, stream())
    assert all(torch.equal(mask[name], same[name]) for name in mask)


def test_only_weights_stay_in_the_mask() -> None:
    scores = scored([40, 5, 20])
    among = {"tensor0": torch.arange(40) < 4, "tensor1": torch.ones(5) > 0, "tensor2": torch.arange(20) < 2}
    weights = ("tensor0", "tensor2")
    assert only_weights(Ranking(scores, 0.25), weights, stream()).kept == 15
    few = only_weights(Ranking(scores, 0.25, among), weights, stream())
    assert list(few) == ["tensor0", "tensor2"] and few.kept == 6
    assert all((few[name] <= among[name]).all() for name in few)


def test_a_living_mask_is_left_alone() -> None:
    mask, ranking = Mask({"a": torch.tensor([True, False])}), Ranking({"a": torch.tensor([1.0, 0.0])}, 0.5)
    assert repair(mask, ranking, "layer", lambda tried: Liveness(True, "", []), ["a"], stream()) == (mask, "")


@pytest.mark.parametrize("how", ["layer", "weights"])
def test_a_mask_beyond_repair_stays_as_it_was_and_says_so(how: str) -> None:
    mask, ranking = Mask({"a": torch.tensor([True, False])}), Ranking({"a": torch.tensor([1.0, 0.0])}, 0.5)
    same, what = repair(mask, ranking, how, lambda tried: Liveness(False, "no signal", []), ["a"], stream())
    assert same is mask and what.startswith("in vain") and "no signal" in what


def test_the_smallest_share_that_lives_is_taken() -> None:
    scores = {"a": torch.arange(100.0) + 100, "b": torch.arange(100.0)}
    mask, tried = from_scores(scores, 0.4, stream()), []

    def check(mask: Mask) -> Liveness:
        tried.append(int(mask["b"].sum()))
        return Liveness(tried[-1] >= 10, "b is thin", [])

    mended, what = repair(mask, Ranking(scores, 0.4), "layer", check, ["a", "b"], stream())
    assert tried == [0, 4, 8, 12] and mended.kept == mask.kept
    assert what == "every tensor keeps at least 0.3 of the density, because else b is thin"


@pytest.mark.parametrize(
    ("method", "how"),
    [
        (magnitude, "layer"),
        (snip, "layer"),
        (snip, "weights"),
        (grasp, "layer"),
        (grasp, "weights"),
        (random, "weights"),
    ],
)
def test_a_baseline_that_collapses_at_five_percent_lives_once_repaired(task: Denoise, method: Any, how: str) -> None:
    """What OES's authors met: emptied layers of many inputs (magnitude) and of norms (the others)."""
    budget = {"kind": "density", "value": 0.05}
    dead = method(task, budget, stream(), prune="all").mask
    assert not alive(task, task.build(), dead).alive
    found = method(task, budget, stream(), prune="all", repair=how)
    assert alive(task, task.build(), found.mask).alive
    assert "nothing is kept of" in found.figures["repaired"]
    if how == "layer":
        assert found.mask.kept == dead.kept == int(0.05 * dead.size)
    else:
        assert list(found.mask) == list(prunable(task.build()))
        assert found.mask.kept == int(0.05 * found.mask.size)


def test_norms_do_not_save_magnitude(task: Denoise) -> None:
    found = magnitude(task, {"kind": "density", "value": 0.05}, stream(), prune="all", repair="weights")
    assert not alive(task, task.build(), found.mask).alive
    assert found.figures["repaired"].startswith("in vain") and len(found.mask) == len(
        dict(task.build().named_parameters())
    )
