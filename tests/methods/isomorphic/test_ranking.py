"""Ranking: what competes with what, floors, rounding, heads - on made-up groups."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from prunelib.channels.coupling import Group
from prunelib.methods.isomorphic.ranking import Ranking, Rules
from prunelib.models.attention import Attention
from prunelib.seeds import generator


def group(name, size, signature="a", heads=0):
    attention = Attention(name, heads, size // heads) if heads else None
    return Group(name, size, max(heads, 1), signature, (), attention)


def lost(groups, scores, ratio, **rules):
    values = {name: torch.tensor(score, dtype=torch.float64) for name, score in scores.items()}
    ranking = Ranking(groups, values, Rules(**{"mode": "isomorphic", **rules}), generator(0, "ties"))
    return {name: ids.tolist() for name, ids in ranking.removed(ranking.counts(ratio)).items()}


GROUPS = [group("x", 4), group("y", 4), group("z", 4, "b")]
SCORES = {"x": [0.1, 0.2, 0.3, 3.0], "y": [1.0, 1.1, 1.2, 1.3], "z": [5.0, 0.4, 6.0, 7.0]}


def test_isomorphic_ranks_within_equal_signatures():
    assert lost(GROUPS, SCORES, 0.25) == {"x": [0, 1], "y": [], "z": [1]}


def test_global_ranks_everything_together():
    assert lost(GROUPS, SCORES, 0.25, mode="global") == {"x": [0, 1, 2], "y": [], "z": []}


def test_local_removes_the_same_share_everywhere():
    assert lost(GROUPS, SCORES, 0.25, mode="local") == {"x": [0], "y": [0], "z": [1]}


def test_a_group_is_never_emptied():
    scores = SCORES | {"x": [0.1, 0.2, 0.3, 0.31]}
    assert lost(GROUPS, scores, 0.5, mode="global") == {"x": [0, 1, 2], "y": [0, 1], "z": [1]}
    assert lost(GROUPS, scores, 1.0, mode="global") == {"x": [0, 1, 2], "y": [0, 1, 2], "z": [0, 1, 2]}


def test_heads_are_ranked_over_all_blocks_and_without_head_dims():
    blocks = [group("p", 6, heads=3), group("q", 6, heads=3)]
    scores = {"p": [1, 1, 9, 9, 2, 2], "q": [8, 8, 7, 7, 3, 3]}
    assert lost(blocks, scores, 0.5, heads=1.0, head_dims=0.0) == {"p": [0, 1, 4, 5], "q": [4, 5]}


def test_a_block_keeps_a_head_when_all_of_its_heads_rank_lowest():
    blocks = [group("p", 6, heads=3), group("q", 6, heads=3)]
    scores = {"p": [1, 1, 2, 2, 3, 3], "q": [8, 8, 7, 7, 9, 9]}
    assert lost(blocks, scores, 0.5, heads=1.0, head_dims=0.0) == {"p": [0, 1, 2, 3], "q": [2, 3]}


def test_head_dims_go_from_every_head():
    scores = {"p": [1.0, 9.0, 2.0, 1.0, 9.0, 2.0]}
    assert lost([group("p", 6, heads=2)], scores, 0.34, heads=0.0, head_dims=1.0) == {"p": [0, 2, 3, 5]}


def test_grouped_convolutions_lose_the_same_channels_in_every_group():
    grouped = Group("g", 8, 2, "a", ())
    assert lost([grouped], {"g": [1, 2, 3, 4, 1, 2, 3, 4]}, 0.5, round_to=4) == {"g": [0, 1, 4, 5]}
    assert lost([grouped], {"g": [1, 2, 3, 4, 1, 2, 3, 4]}, 0.5, round_to=8) == {"g": []}


def test_widths_are_rounded_to_the_nearest_multiple():
    wide = group("w", 32)
    scores = {"w": list(range(32))}
    kept = {
        ratio: 32 - len(lost([wide], scores, ratio, round_to=8)["w"]) for ratio in (0.05, 0.1, 0.2, 0.35, 0.4, 0.99)
    }
    assert kept == {0.05: 32, 0.1: 24, 0.2: 24, 0.35: 16, 0.4: 16, 0.99: 8}


def test_what_rounding_leaves_over_goes_to_the_group_nearest_to_its_next_step():
    """Of 24 channels 5 are to go, 1, 2 and 2 of the groups: each by itself would be rounded up to its full width."""
    groups = [group(name, 8) for name in "xyz"]
    scores = {"x": [5, *range(11, 18)], "y": [1, 2, 6, *range(21, 26)], "z": [3, 4, 7, *range(31, 36)]}
    kept = {name: 8 - len(ids) for name, ids in lost(groups, scores, 0.2, round_to=4).items()}
    assert kept == {"x": 8, "y": 4, "z": 8}


def test_caps_and_floors_hold_and_are_said():
    """Nine tenths of both groups may not go: the unimportant one shrinks to its floor and never stays whole."""
    groups = [group("x", 20), group("y", 20)]
    values = {"x": torch.arange(20.0).double(), "y": 100 + torch.arange(20.0).double()}
    for rules, floor in ((Rules("global", 2, 1, 0.75), 6), (Rules("global", 1, 7, 1.0), 7)):
        ranking = Ranking(groups, values, rules, generator(0, "ties"))
        removed = ranking.removed(ranking.counts(0.5))
        assert 20 - len(removed["x"]) == floor and 20 - len(removed["y"]) == 20 - floor
        assert ranking.at_floor(removed) == {"x"}
        assert ranking.at_floor(ranking.removed(ranking.limits)) == {"x", "y"}


def test_further_rounds_count_from_the_dense_network():
    """Ratio and cap refer to the 40 channels there were, of which 20 are left."""
    ranking = Ranking([group("x", 20)], {"x": torch.arange(20.0)}, Rules("local", 1, 1, 0.9), generator(0, "ties"),
                      {"x": (1, 40)})  # fmt: skip
    left = {ratio: 20 - len(ranking.removed(ranking.counts(ratio))["x"]) for ratio in (0.2, 0.5, 0.6, 1.0)}
    assert left == {0.2: 20, 0.5: 20, 0.6: 16, 1.0: 4}


def test_ties_are_broken_by_the_generator():
    equal = {"w": [1.0] * 32}
    first = lost([group("w", 32)], equal, 0.5)
    assert first == lost([group("w", 32)], equal, 0.5)
    assert first["w"] != list(range(16))


@settings(deadline=None, max_examples=60)
@given(
    sizes=st.lists(st.integers(2, 40), min_size=1, max_size=4),
    ratios=st.tuples(st.floats(0, 1), st.floats(0, 1)),
    round_to=st.integers(1, 9),
    min_keep=st.integers(1, 12),
    max_ratio=st.floats(0.1, 1),
    mode=st.sampled_from(["isomorphic", "global", "local", "uniform"]),
    seed=st.integers(0, 99),
)
def test_floors_multiples_and_nesting_hold(sizes, ratios, round_to, min_keep, max_ratio, mode, seed):
    groups = [group(f"g{index}", size, str(index % 2)) for index, size in enumerate(sizes)]
    random = generator(seed, "scores")
    scores = {g.name: torch.rand(g.size, generator=random, dtype=torch.float64) for g in groups}
    ranking = Ranking(groups, scores, Rules(mode, round_to, min_keep, max_ratio), random)
    few, many = (ranking.removed(ranking.counts(ratio)) for ratio in sorted(ratios))
    for g in groups:
        assert set(few[g.name].tolist()) <= set(many[g.name].tolist())
        kept = g.size - len(many[g.name])
        assert kept >= min(g.size, max(min_keep, (1 - max_ratio) * g.size - 1e-6))
        assert kept % round_to == 0 or kept == g.size
        gone = torch.zeros(g.size, dtype=torch.bool)
        gone[many[g.name]] = True
        if gone.any() and not gone.all():
            assert scores[g.name][gone].max() <= scores[g.name][~gone].min()


@pytest.mark.parametrize("ratio", [0.0, 0.3, 0.5, 1.0])
def test_the_number_removed_is_exact(ratio):
    groups = [group("x", 30), group("y", 50)]
    scores = {"x": torch.arange(30.0), "y": torch.arange(50.0)}
    ranking = Ranking(groups, scores, Rules("global"), generator(0, "ties"))
    removed = ranking.removed(ranking.counts(ratio))
    expected = min(80 - int(80 * (1 - ratio)), 78)  # one channel of each group stays
    assert sum(len(ids) for ids in removed.values()) == expected
