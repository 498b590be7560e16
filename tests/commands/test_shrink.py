"""The shrink command on small networks and real picture files: what it makes, its resume, a second time, refusals."""

import json

import numpy as np
import pytest
import timm
import torch
from PIL import Image

import prunelib
from prunelib.__main__ import main
from prunelib.commands import shrinking
from prunelib.commands.shrink_report import notes
from prunelib.commands.shrinking import FILES, Shrink, configuration, origin_of
from prunelib.errors import PrunelibError
from prunelib.measure.cost import macs, parameters
from prunelib.storage.weights import save_weights

SIDE = 32
NETWORK = ["test_resnet", "--weights", "none", "--side", str(SIDE)]
BRIEF = ["--batch-size", "16", "--batches", "2", "--lr", "0.003", "--threads", "1"]


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """Three classes told apart by their colour, in train/ and val/."""
    folder, random = tmp_path_factory.mktemp("pictures"), np.random.Generator(np.random.PCG64(0))
    for split, count in (("train", 16), ("val", 6)):
        for channel, name in enumerate(("red", "green", "blue")):
            (folder / split / name).mkdir(parents=True)
            for index in range(count):
                image = random.integers(0, 90, (36, 44, 3), dtype=np.uint8)
                image[:, :, channel] += 120
                Image.fromarray(image).save(folder / split / name / f"{index}.png")
    return folder


@pytest.fixture(scope="module")
def shrunk(pictures, tmp_path_factory):
    """One network trained for two epochs, pruned to half its MACs and fine-tuned for one."""
    folder = tmp_path_factory.mktemp("out") / "half"
    trained = ["--dense-epochs", "2", "--epochs", "1"]
    assert (
        main(["shrink", *NETWORK, "--macs", "50%", "--data", str(pictures), *trained, *BRIEF, "--out", str(folder)])
        == 0
    )
    return folder


def refused(capsys, *arguments):
    """Run a command that must fail as a user's error does; return its paragraph."""
    assert main(["shrink", *map(str, arguments)]) == 2
    text = capsys.readouterr().err
    assert "Traceback" not in text
    return text


def test_half_the_macs_are_left_and_the_network_works(shrunk):
    assert sorted(path.name for path in shrunk.iterdir()) == sorted(FILES)
    report = json.loads((shrunk / "report.json").read_text())
    model, example = prunelib.load(shrunk), torch.zeros(1, 3, SIDE, SIDE)
    assert (macs(model, example), parameters(model)) == (report["pruned"]["macs"], report["pruned"]["parameters"])
    dense = timm.create_model("test_resnet", num_classes=3)
    assert (macs(dense, example), parameters(dense)) == (report["dense"]["macs"], report["dense"]["parameters"])
    assert report["pruned"]["macs"] == pytest.approx(0.5 * report["dense"]["macs"], rel=0.1)
    assert report["pruning"]["realised"] == pytest.approx(report["pruned"]["macs"] / report["dense"]["macs"])
    assert report["dense"]["top1"] > 0.9 and report["pruned"]["top1_start"] is not None
    with torch.no_grad():
        assert model(example).shape == (1, 3)


def test_the_text_says_what_the_numbers_do(shrunk):
    text, report = (shrunk / "report.txt").read_text(), json.loads((shrunk / "report.json").read_text())
    row = next(line for line in text.splitlines() if line.startswith("parameters (M)")).split()
    assert float(row[2]) == pytest.approx(report["dense"]["parameters"] / 1e6, rel=1e-3)
    assert float(row[3]) == pytest.approx(report["pruned"]["parameters"] / 1e6, rel=1e-3)
    assert all(group["name"] in text for group in report["pruning"]["groups"])


def test_the_record_stands_on_no_other_file(shrunk):
    record = json.loads((shrunk / "model.json").read_text())
    assert record["model"]["options"]["weights"] is None and record["input"] == [3, SIDE, SIDE]


def test_a_shrunk_network_is_shrunk_again(shrunk, pictures, tmp_path):
    """By another budget and criterion, which needs no gradients; pictures are of the size the record says."""
    command = ["shrink", str(shrunk), "--parameters", "0.6", "--criterion", "l1", "--data", str(pictures), *BRIEF]
    assert main([*command, "--round-to", "2", "--out", str(tmp_path / "again")]) == 0
    first, second = (json.loads((folder / "report.json").read_text()) for folder in (shrunk, tmp_path / "again"))
    assert second["dense"]["parameters"] == first["pruned"]["parameters"]
    assert second["dense"]["top1"] == first["pruned"]["top1"]  # its weights, untouched by 0 epochs
    assert second["pruned"]["parameters"] == pytest.approx(0.6 * first["pruned"]["parameters"], rel=0.02)
    assert parameters(prunelib.load(tmp_path / "again")) == second["pruned"]["parameters"]


def test_finished_work_stays_and_other_requests_do_not_replace_it(shrunk, pictures, capsys):
    before = {path.name: path.stat().st_mtime_ns for path in shrunk.iterdir()}
    same = [*NETWORK, "--macs", "50%", "--data", pictures, "--dense-epochs", 2, "--epochs", 1, *BRIEF, "--out", shrunk]
    assert main(["shrink", *map(str, same)]) == 0
    assert {path.name: path.stat().st_mtime_ns for path in shrunk.iterdir()} == before
    assert "already there" in refused(capsys, *same, "--seed", "1")
    assert {path.name: path.stat().st_mtime_ns for path in shrunk.iterdir()} == before


def test_a_stopped_command_goes_on_with_what_is_done(pictures, tmp_path, monkeypatch, capsys):
    command = ["shrink", *NETWORK, "--macs", "50%", "--data", str(pictures), *BRIEF, "--out", str(tmp_path / "out")]
    measure = shrinking._measure

    def stop(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(shrinking, "_measure", stop)
    assert main(command) == 130
    captured = capsys.readouterr()
    assert "give the same command again" in captured.err and "pruning to macs0.5" in captured.out
    pruned = next((tmp_path / "out" / "unfinished").rglob("pruned.json")).read_bytes()
    monkeypatch.setattr(shrinking, "_measure", measure)
    assert main(command) == 0
    assert "pruning to macs0.5" not in capsys.readouterr().out
    assert (tmp_path / "out" / "model.json").read_bytes() == pruned
    assert not (tmp_path / "out" / "unfinished").exists()


def test_weights_of_a_file_are_the_dense_network(pictures, tmp_path):
    state = timm.create_model("test_resnet").state_dict()
    save_weights(tmp_path / "w.safetensors", state)
    asked = Shrink("test_resnet", str(pictures), "macs0.5", weights=str(tmp_path / "w.safetensors"))
    model = origin_of(asked, tmp_path).model
    assert model == {"builder": "timm", "options": {"name": "test_resnet", "weights": str(tmp_path / "w.safetensors")}}
    raw = configuration(asked, origin_of(asked, tmp_path))
    assert raw["tasks"]["pictures"]["preprocess"] == "model" and "side" not in raw["data"]["images"]
    published = origin_of(Shrink("test_resnet", str(pictures), "macs0.5"), tmp_path)
    assert published.model["options"]["weights"] == str(tmp_path / "published.safetensors")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["resnet51", "--macs", "1G"], "neither a file or run, nor an architecture.* Did you mean 'resnet"),
        ([*NETWORK, "--macs", "150%"], "--macs: got 150%. Allowed: MACs such as 2.0G or 300M, or a share below 1"),
        ([*NETWORK, "--macs", "2X"], "--macs: got 2X"),
        ([*NETWORK, "--parameters", "2M"], "--parameters: got 2M. Allowed: a share below 1"),
        ([*NETWORK, "--latency", "0"], "--latency: got 0"),
        ([*NETWORK, "--macs", "50%", "--epochs", "-1"], "--epochs: got -1; it must be at least 0"),
        ([*NETWORK, "--macs", "50%", "--lr", "0"], "--lr: got 0; it must be more than 0"),
        (["test_resnet", "--macs", "50%", "--weights", "w.pth"], "--weights: got w.pth, which is no file"),
    ],
)
def test_what_cannot_be_is_refused_before_any_work(pictures, tmp_path, capsys, given, message):
    import re

    text = refused(capsys, *given, "--data", pictures, "--out", tmp_path / "out")
    assert re.search(message, text), text
    assert not (tmp_path / "out").exists()


def test_a_budget_out_of_reach_and_data_that_are_none_are_said(pictures, tmp_path, capsys):
    text = refused(capsys, *NETWORK, "--macs", "1%", "--data", tmp_path / "none", "--out", tmp_path / "out")
    assert "is no directory" in text
    text = refused(capsys, *NETWORK, "--macs", "0.1%", "--data", pictures, *BRIEF, "--out", tmp_path / "out")
    assert "MethodError" in text


@pytest.mark.parametrize(
    ("dense", "pruned", "epochs", "met", "word"),
    [
        (0.9, 0.9, 0, True, None),
        (0.9, 0.5, 0, True, "add --epochs"),
        (0.9, 0.5, 3, True, None),
        (0.3, 0.3, 3, True, "--dense-epochs"),
        (0.9, 0.9, 0, False, "--round-to"),
    ],
)
def test_notes_warn_of_what_matters(dense, pruned, epochs, met, word):
    found = {"dense": {"top1": dense}, "pruned": {"top1": pruned}, "classes": 4, "pruning": {"met": met}}
    said = list(notes(found | {"request": {"shrink": {"epochs": epochs}}}))
    assert len(said) == (word is not None) and all(word in note for note in said)


def test_no_error_of_a_user_is_a_traceback(pictures, tmp_path):
    with pytest.raises(PrunelibError):
        shrinking.shrink(Shrink("nothing", str(pictures), "macs0.5"), tmp_path / "out")
