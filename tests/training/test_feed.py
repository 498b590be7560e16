"""What steps are fed with: every image in one part of one process, draws that belong to places and to nothing else."""

import pytest
import torch
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from prunelib.errors import ConfigError
from prunelib.tasks.classify import Classify
from prunelib.training.distributed import World
from prunelib.training.feed import Changed, cuts, feed, steps
from tests.tiny import MODEL, recipe, write_squares

PICTURES = {"scale": [0.3, 1.0], "flip": 0.5, "erase": 0.5}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_squares(tmp_path_factory.mktemp("data") / "squares.h5", channels=3)


@pytest.fixture(scope="module")
def task(data):
    return Classify(data, MODEL, 0)


def fed(task, world=None, epoch=0, **fields):
    return list(feed(task, recipe(**fields), epoch, world or World(), torch.contiguous_format))


@hypothesis_settings(deadline=None, max_examples=60)
@given(st.integers(2, 70), st.integers(1, 20) | st.none(), st.integers(1, 9))
def test_processes_share_a_batch_out_without_rest_or_overlap(count, size, processes):
    found = [cuts(count, size, World(rank, processes)) for rank in range(processes)]
    counted = sorted(cut for share in found for cut in share if cut[3] > 0)
    assert all(found) and [cut[0] for cut in counted] == list(range(len(counted)))
    edges = [edge for cut in counted for edge in cut[1:3]]
    whole = edges[-1]
    assert edges[0] == 0 and edges[1:-1:2] == edges[2::2] and count - whole <= (size not in (1, None))
    assert sum(cut[3] for cut in counted) == pytest.approx(1)
    assert all(cut[3] == pytest.approx((cut[2] - cut[1]) / whole) for cut in counted)
    assert all(cut[2] - cut[1] > 1 or size == 1 for cut in counted)


@pytest.mark.parametrize("transform", [None, PICTURES])
@pytest.mark.parametrize(("batch_size", "counts"), [(16, [16, 16, 16, 12]), (59, [59]), (60, [60])])
def test_an_epoch_has_as_many_steps_as_it_says(task, transform, batch_size, counts):
    found = fed(task, batch_size=batch_size, transform=transform)
    assert [sum(len(part.labels) for part in parts) for parts in found] == counts
    assert steps(task, recipe(batch_size=batch_size)) == len(counts)


@pytest.mark.parametrize("fields", [{"transform": PICTURES}, {"augment": "crop-flip"}])
def test_a_part_holds_the_same_pixels_whoever_makes_it(task, fields):
    fields |= {"batch_size": 16, "micro_batch": 4, "repeats": 2}
    alone = fed(task, **fields)
    for rank in range(3):
        for own, whole in zip(fed(task, World(rank, 3), **fields), alone, strict=True):
            for part in own:
                same = whole[part.number]
                assert torch.equal(part.images, same.images) and torch.equal(part.labels, same.labels)


@pytest.mark.parametrize("fields", [{"transform": PICTURES}, {"augment": "shift"}])
def test_draws_follow_seed_and_epoch_and_leave_global_streams_alone(data, task, fields):
    first = fed(task, **fields)[0][0].images
    before = torch.get_rng_state()
    torch.rand(3)
    assert torch.equal(fed(task, **fields)[0][0].images, first)
    torch.set_rng_state(before)
    fed(task, **fields)
    assert torch.equal(torch.get_rng_state(), before)
    assert not torch.equal(fed(task, epoch=1, **fields)[0][0].images, first)
    assert not torch.equal(fed(Classify(data, MODEL, 1), **fields)[0][0].images, first)


def test_repeats_show_fewer_pictures_more_often_and_change_each_copy(task):
    parts = [part for step in fed(task, transform=PICTURES, repeats=3, batch_size=15) for part in step]
    images, labels = torch.cat([part.images for part in parts]), torch.cat([part.labels for part in parts])
    assert len(images) == 60 and torch.equal(labels[0::3], labels[1::3]) and torch.equal(labels[0::3], labels[2::3])
    assert not torch.equal(images[0::3], images[1::3])
    order = task.order("train", torch.Generator().manual_seed(0), 3)
    assert order.unique().numel() == 20 and torch.equal(order[0::3], order[2::3])


def test_without_changes_a_transform_gives_what_evaluation_sees(task):
    """A window that is the whole picture, neither mirrored nor erased: what is left is scaling and normalising."""
    still = {"scale": [1.0, 1.0], "ratio": [1.0, 1.0], "flip": 0.0, "interpolation": "bilinear"}
    (part,) = fed(task, transform=still, batch_size=60)[0]
    stored = torch.cat([images for images, _ in task.fold("train", 60)])
    found = {image.mul(1000).round().to(torch.int64).numpy().tobytes() for image in part.images}
    assert found == {image.mul(1000).round().to(torch.int64).numpy().tobytes() for image in stored}


def test_erasing_hits_the_share_asked_for(task):
    changed = Changed(task, recipe(transform={"scale": [1.0, 1.0], "flip": 0.0, "erase": 0.25})["transform"], 0)
    erased = sum(bool((changed[place, 0][0] == 0).all(0).any()) for place in range(400))
    assert 70 < erased < 130


def test_a_policy_that_timm_does_not_know_is_named(task):
    with pytest.raises(ConfigError, match=r"recipe\.transform\.auto: timm can't read 'rand-x9'"):
        fed(task, transform={"auto": "rand-x9"})


def test_grey_pictures_are_refused(tmp_path):
    grey = Classify(write_squares(tmp_path / "grey.h5"), MODEL, 0)
    with pytest.raises(ConfigError, match=r"recipe\.transform: needs pictures in colour"):
        fed(grey, transform={})
