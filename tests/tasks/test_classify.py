"""The classification task: pixels, batches, folds, and what the seed decides."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from prunelib.data.datasets import read_images
from prunelib.errors import ConfigError
from prunelib.tasks.classify import FIGURES, Classify
from tests.tiny import COUNTS, MODEL, write_squares


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_squares(tmp_path_factory.mktemp("data") / "squares.h5", channels=3)


@pytest.fixture(scope="module")
def task(data):
    return Classify(data, MODEL, 0, batch_size=16)


def test_training_pixels_have_mean_zero_and_deviation_one(task):
    images = torch.cat([images for images, _ in task.fold("train", 7)])
    assert images.shape == (COUNTS["train"], 3, 8, 8)
    assert images.mean((0, 2, 3)).abs().max() < 1e-5
    assert (images.std((0, 2, 3), correction=0) - 1).abs().max() < 1e-5


def test_a_stored_order_fold_gives_every_image_of_its_split_once(task, data):
    stored = read_images(data)
    images, labels = (torch.cat(parts) for parts in zip(*task.fold("test", 8), strict=True))
    expected = stored.images[stored.splits["test"]].transpose(0, 3, 1, 2) / 255.0
    expected = (expected - stored.mean.reshape(-1, 1, 1)) / stored.std.reshape(-1, 1, 1)
    assert np.allclose(images, expected, atol=1e-5)
    assert labels.tolist() == stored.labels[stored.splits["test"]].tolist()


def test_shuffled_folds_are_permutations_fixed_by_their_generator(task):
    def labels_of(seed):
        fold = task.fold("train", 16, torch.Generator().manual_seed(seed))
        return torch.cat([labels for _, labels in fold])

    assert torch.equal(labels_of(1), labels_of(1))
    assert not torch.equal(labels_of(1), labels_of(2))
    assert labels_of(1).bincount().tolist() == [20, 20, 20]


def test_a_single_image_left_over_is_skipped_in_training_only(task):
    assert [len(y) for _, y in task.fold("train", 59, torch.Generator())] == [59]
    assert [len(y) for _, y in task.fold("train", 59)] == [59, 1]
    assert len(list(task.fold("train", 1, torch.Generator()))) == 60


def test_batches_depend_on_seed_and_purpose_and_come_from_training(task, data):
    def first(seed, purpose):
        return next(iter(Classify(data, MODEL, seed).batches(purpose, 1)))[0]

    assert torch.equal(first(0, "score"), first(0, "score"))
    assert not torch.equal(first(0, "score"), first(0, "search"))
    assert not torch.equal(first(0, "score"), first(1, "score"))
    pictures = {image.numpy().tobytes() for images, _ in task.fold("train", 60) for image in images}
    drawn = [image.numpy().tobytes() for images, _ in task.batches("score", 4) for image in images]
    assert len(drawn) == 60 and set(drawn) == pictures


def test_as_many_batches_as_asked_for(task):
    for count in (0, 1, 4, 9):
        assert len(list(task.batches("score", count))) == count


def test_initial_weights_are_those_of_the_seed(data, task):
    first, again = task.build().state_dict(), Classify(data, MODEL, 0).build().state_dict()
    assert all(torch.equal(first[name], again[name]) for name in first)
    other = Classify(data, MODEL, 1).build().state_dict()
    assert any(not torch.equal(first[name], other[name]) for name in first)


def test_images_are_resized_on_the_fly(data, task):
    larger = Classify(data, MODEL, 0, size=20)
    assert larger.example.shape == (2, 3, 20, 20)
    assert larger.example.mean((2, 3)) == pytest.approx(task.example.mean((2, 3)), abs=0.05)


def test_a_crop_is_the_centre_unless_the_whole_image_is_asked_for(data, task):
    cut = Classify(data, MODEL, 0, batch_size=16, crop=4)
    (whole, labels), (cropped, same) = next(task.fold("test", 30)), next(cut.fold("test", 30))
    assert torch.equal(cropped, whole[:, :, 2:6, 2:6]) and torch.equal(labels, same)
    assert torch.equal(next(cut.fold("test", 30, whole=True))[0], whole)
    assert cut.example.shape == (2, 3, 4, 4) and next(cut.batches("score", 1))[0].shape == (16, 3, 4, 4)
    larger = Classify(data, MODEL, 0, size=20, crop=16)
    assert torch.equal(larger.example, Classify(data, MODEL, 0, size=20).example[:, :, 2:18, 2:18])


def test_a_crop_must_fit(data):
    with pytest.raises(ConfigError, match=r"crop: got 9; .* 8 pixels"):
        Classify(data, MODEL, 0, crop=9)


def test_the_loss_is_the_mean_cross_entropy(task):
    logits = torch.zeros(4, 3)
    assert task.loss(logits, torch.tensor([0, 1, 2, 0])).item() == pytest.approx(np.log(3))


def test_pictures_in_files_give_the_same_batches(task, data, monkeypatch):
    """Pictures that stay in files come through an object that is indexed like an array; here it wraps one."""
    stored = read_images(data)

    class Wrapped:
        shape = stored.images.shape

        def __getitem__(self, index):
            return stored.images[index]

    monkeypatch.setattr("prunelib.tasks.classify.read_images", lambda path: replace(stored, images=Wrapped()))
    wrapped = Classify(data, MODEL, 0, batch_size=16)
    for whole, decoded in zip(task.fold("val", 5), wrapped.fold("val", 5), strict=True):
        assert torch.equal(whole[0], decoded[0]) and torch.equal(whole[1], decoded[1])


@pytest.mark.parametrize("name", list(FIGURES))
def test_colour_figures_of_publications_replace_the_data_sets(task, data, name):
    other = Classify(data, MODEL, 0, preprocess=name)
    mean, std = (torch.tensor(values).reshape(1, -1, 1, 1) for values in FIGURES[name])
    pixels = task.example * torch.tensor(task.std).reshape(1, -1, 1, 1) + torch.tensor(task.mean).reshape(1, -1, 1, 1)
    assert torch.allclose(other.example, (pixels - mean) / std, atol=1e-5)
    assert len(other.mean) == len(other.std) == 3  # what records of a network keep


def test_figures_of_three_channels_do_not_fit_grey_images(tmp_path):
    grey = write_squares(tmp_path / "grey.h5", channels=1)
    with pytest.raises(ConfigError, match=r"3 channels; the images have 1\. Allowed: data, none"):
        Classify(grey, MODEL, 0, preprocess="imagenet")
    assert Classify(grey, MODEL, 0, preprocess="none").example.amax() <= 1


def test_preprocessing_as_the_models_weights_want_it(data):
    """timm's half: 0.5 for means and deviations, a side of 224 pixels."""
    model = {"builder": "timm", "options": {"name": "vit_tiny_patch16_224"}}
    own = Classify(data, model, 0, preprocess="model")
    assert own.example.shape == (2, 3, 224, 224) and own.mean == own.std == (0.5, 0.5, 0.5)
    stored = read_images(data)
    pixels = stored.images[stored.splits["train"][:2]] / 255
    assert own.example.mean().item() == pytest.approx(float((pixels.mean() - 0.5) / 0.5), abs=0.02)
    with pytest.raises(ConfigError, match=r"task\.preprocess: .* leave size and crop out"):
        Classify(data, model, 0, preprocess="model", size=32)


def test_folds_shared_out_hold_every_batch_once(task):
    whole = [labels for _, labels in task.fold("test", 7)]
    shares = [[labels for _, labels in task.fold("test", 7, shard=(index, 3))] for index in range(3)]
    assert [len(share) for share in shares] == [2, 2, 1]
    for place, labels in enumerate(whole):
        assert torch.equal(shares[place % 3][place // 3], labels)


def test_a_picture_is_what_is_stored(task, data):
    stored = read_images(data)
    assert np.array_equal(np.asarray(task.picture(5)), stored.images[5])
