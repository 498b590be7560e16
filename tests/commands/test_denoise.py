"""The denoise command: real small pictures through it, its resume, what it keeps of a picture, every refusal."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from prunelib.__main__ import main
from prunelib.commands.clean import FILES, channels, choose, describe
from prunelib.commands.picture import look
from prunelib.config import Pictures
from prunelib.errors import MethodError
from prunelib.masks.mask import Mask
from prunelib.storage.checkpoint import Checkpointer

ROOT = Path(__file__).parents[2]
HEIGHT, WIDTH, SIGMA = 40, 52, 0.1
SMALL = ["--channels", "16", "32", "--search-steps", "40", "--steps", "200", "--density", "0.5", "--threads", "1"]
BRIEF = [*SMALL, "--channels", "8", "8", "--search-steps", "10", "--steps", "20", "--density", "0.9"]


def clean_picture(grey: bool = False) -> np.ndarray:
    """Smooth gradients and a dark disc, float (H, W, 3 or 1) in [0, 1]."""
    rows, columns = np.mgrid[0:HEIGHT, 0:WIDTH] / WIDTH
    image = np.stack([0.2 + 0.7 * rows, 0.8 - 0.6 * columns, 0.5 + 0.3 * np.sin(6 * rows + 4 * columns)], axis=-1)
    image[(rows - 0.3) ** 2 + (columns - 0.5) ** 2 < 0.03] = 0.15
    return image.mean(axis=-1, keepdims=True) if grey else image


def noisy_picture(grey: bool = False) -> np.ndarray:
    """The same with noise, uint8."""
    clean = clean_picture(grey)
    noise = np.random.Generator(np.random.PCG64(5)).normal(0, SIGMA, clean.shape)
    return (np.clip(clean + noise, 0, 1) * 255).round().astype(np.uint8)


def write(path: Path, grey: bool = False, **options: object) -> Path:
    image = noisy_picture(grey)
    Image.fromarray(image[..., 0] if grey else image).save(path, **options)
    return path


def psnr_to_clean(path: Path, grey: bool) -> float:
    image = np.asarray(Image.open(path)).reshape(HEIGHT, WIDTH, -1) / 255
    return float(-10 * np.log10(np.mean((image - clean_picture(grey)) ** 2)))


def refused(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    """Run a command that must fail as a user's error does; return its paragraph."""
    assert main(["denoise", *map(str, arguments)]) == 2
    text = capsys.readouterr().err
    assert "Traceback" not in text
    return text


@pytest.mark.parametrize("grey", [False, True])
def test_a_noisy_picture_comes_out_cleaner(tmp_path, grey):
    picture = write(tmp_path / "photo.png", grey)
    assert main(["denoise", str(picture), "--sigma", str(SIGMA), *SMALL]) == 0
    folder = tmp_path / "photo-denoised"
    assert sorted(path.name for path in folder.iterdir()) == sorted(FILES)
    found = Image.open(folder / "denoised.png")
    assert (found.mode, found.size) == ("L" if grey else "RGB", (WIDTH, HEIGHT))
    assert psnr_to_clean(folder / "denoised.png", grey) > psnr_to_clean(picture, grey) + 3
    record = json.loads((folder / "record.json").read_text())
    assert record["sigma"] == {"value": SIGMA, "source": "given"}
    assert record["request"]["settings"]["recipe"]["steps"] == 200
    assert record["timing"]["search_s"] > 0 and record["provenance"]["packages"]["torch"]
    mask = Mask.load(folder / "mask.h5")
    assert mask.kept == int(0.5 * mask.size)
    rows = (folder / "curve.csv").read_text().splitlines()
    assert rows[0].startswith("step,loss") and len(rows) == 1 + 21
    assert Image.open(folder / "curve.png").format == "PNG"


def test_a_stopped_command_goes_on_and_ends_with_the_same_picture(tmp_path, monkeypatch, capsys):
    """Stopped by ctrl-C once in the search and once in the training, just after a second checkpoint."""
    for name in ("whole", "stopped"):
        (tmp_path / name).mkdir()
        write(tmp_path / name / "photo.png")
    assert main(["denoise", str(tmp_path / "whole" / "photo.png"), *BRIEF]) == 0
    save, saved, starts = Checkpointer.save, [], []

    def save_and_stop(self, state):
        save(self, state)
        saved.append(self.directory.name)
        if saved.count(saved[-1]) == 2:
            raise KeyboardInterrupt

    def load_and_note(self):
        state = load(self)
        starts.append((self.directory.name, state is not None))
        return state

    load = Checkpointer.load
    monkeypatch.setattr(Checkpointer, "save", save_and_stop)
    monkeypatch.setattr(Checkpointer, "load", load_and_note)
    monkeypatch.setattr(Checkpointer, "due", lambda self: saved.count(self.directory.name) < 2)
    command = ["denoise", str(tmp_path / "stopped" / "photo.png"), *BRIEF]
    assert [main(command) for _ in range(3)] == [130, 130, 0]
    assert "give the same command again" in capsys.readouterr().err
    assert starts == [("search", False), ("search", True), ("training", False), ("training", True)]
    for name in ("denoised.png", "mask.h5", "curve.csv", "curve.png"):
        parts = [tmp_path / run / "photo-denoised" / name for run in ("whole", "stopped")]
        assert parts[0].read_bytes() == parts[1].read_bytes(), name
    assert not (tmp_path / "stopped" / "photo-denoised" / "unfinished").exists()


def test_alpha_profile_and_orientation_are_kept(tmp_path):
    image = Image.fromarray(noisy_picture())
    alpha = Image.fromarray(np.tile(np.arange(WIDTH, dtype=np.uint8), (HEIGHT, 1)))
    image.putalpha(alpha)
    exif = Image.Exif()
    exif[0x0112] = 6  # held upright after a quarter turn clockwise
    image.save(tmp_path / "photo.png", exif=exif, icc_profile=b"a profile")
    assert main(["denoise", str(tmp_path / "photo.png"), "--out", str(tmp_path / "out"), *BRIEF]) == 0
    found = Image.open(tmp_path / "out" / "denoised.png")
    assert (found.mode, found.size) == ("RGBA", (HEIGHT, WIDTH))
    assert found.getexif().get(0x0112, 1) == 1 and found.info["icc_profile"] == b"a profile"
    assert np.array_equal(np.asarray(found)[..., 3], np.rot90(np.asarray(alpha), -1))


def test_finished_folders_are_left_alone_unless_forced(tmp_path, capsys):
    picture = write(tmp_path / "photo.png")
    assert main(["denoise", str(picture), *BRIEF]) == 0
    record = tmp_path / "photo-denoised" / "record.json"
    written = record.stat().st_mtime_ns
    assert main(["denoise", str(picture), *BRIEF]) == 0
    assert record.stat().st_mtime_ns == written
    assert json.loads(record.read_text())["sigma"]["source"] == "estimated"
    text = refused(capsys, picture, *BRIEF, "--seed", "1")
    assert "denoised.png: already there" in text and "--force" in text
    assert record.stat().st_mtime_ns == written
    assert main(["denoise", str(picture), *BRIEF, "--seed", "1", "--force"]) == 0
    assert json.loads(record.read_text())["request"]["settings"]["seed"] == 1


def test_one_bad_picture_does_not_stop_the_others(tmp_path, capsys):
    good = write(tmp_path / "good.png")
    text = refused(capsys, tmp_path / "none.png", good, "--out", tmp_path / "out", *BRIEF)
    assert "none.png: can't be read (No such file or directory)." in text
    assert (tmp_path / "out" / "good" / "denoised.png").is_file()


def test_bad_pictures_are_refused_in_a_sentence(tmp_path, capsys, monkeypatch):
    (tmp_path / "text.png").write_text("not a picture")
    assert "text.png: not a readable picture" in refused(capsys, tmp_path / "text.png")
    whole = write(tmp_path / "photo.png").read_bytes()
    (tmp_path / "torn.png").write_bytes(whole[: len(whole) // 2])
    assert "torn.png: not a readable picture" in refused(capsys, tmp_path / "torn.png")
    Image.new("RGB", (200, 8)).save(tmp_path / "thin.png")
    assert "thin.png: 200 x 8 pixels; a side has at least 16" in refused(capsys, tmp_path / "thin.png")
    monkeypatch.setattr("prunelib.commands.picture.MOST", 1000)
    assert "photo.png: 52 x 40 pixels; a side has at least 16 and the picture at most 1,000" in refused(
        capsys, tmp_path / "photo.png"
    )
    assert "is a directory" in refused(capsys, tmp_path)
    assert not list(tmp_path.glob("*-denoised"))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--sigma", "0"], "--sigma: got 0.0. Input should be greater than 0."),
        (["--sigma", "25.5"], "--sigma: got 25.5. Input should be less than or equal to 1."),
        (["--density", "1.5"], "--density: got 1.5."),
        (["--search-steps", "0"], "--search-steps: got 0."),
        (["--steps", "-3"], "--steps: got -3."),
        (["--threads", "0"], "--threads: got 0"),
        (["--channels", "0"], "--channels: got 0."),
        (["--device", "cuda"], "torch finds no GPU"),
        (["--pick", "stop"], "too short for the output 'stop'"),
        (["--density", "1e-3"], "can't carry a signal"),
    ],
)
def test_bad_options_are_refused_in_a_sentence(tmp_path, capsys, arguments, words):
    if "cuda" in arguments and __import__("torch").cuda.is_available():
        pytest.skip("there is a GPU")
    assert words in refused(capsys, write(tmp_path / "photo.png"), *BRIEF, *arguments)
    assert not (tmp_path / "photo-denoised" / "denoised.png").exists()


def test_two_pictures_never_share_a_folder(tmp_path, capsys):
    text = refused(capsys, write(tmp_path / "a.png"), write(tmp_path / "a.bmp"))
    assert "a.png and" in text and "a.bmp: both would be written to" in text


def test_the_settings_are_those_of_a_run_of_the_grid(tmp_path):
    found = describe(look(write(tmp_path / "photo.png", grey=True)), Pictures(sigma=0.2, seed=3))
    assert found["task"] == {"kind": "restore", "options": {"sigma": 0.2}}
    assert found["model"]["options"]["channels"] == [16, 32, 64]
    assert found["method"]["uses"] == "gumbel" and found["budget"] == {"kind": "density", "value": 0.05}
    assert (found["seed"], found["scale"], found["recipe"]["loop"]) == (3, "quick", "fit_image")
    full = describe(look(tmp_path / "photo.png"), Pictures(scale="full"))
    assert (full["method"]["options"]["steps"], full["recipe"]["steps"]) == (60000, 40000)


@pytest.mark.parametrize(("side", "levels"), [(16, 2), (40, 3), (191, 5), (192, 6), (3000, 6)])
def test_levels_follow_the_shorter_side(tmp_path, side, levels):
    Image.new("L", (side, 3000)).save(tmp_path / "p.png")
    assert channels(look(tmp_path / "p.png")) == [16, 32, 64, 128, 128, 128][:levels]


@pytest.mark.parametrize(
    ("image", "mode"),
    [
        (Image.new("1", (20, 20)), "L"),
        (Image.new("I;16", (20, 20)), "L"),
        (Image.new("LA", (20, 20)), "LA"),
        (Image.new("P", (20, 20)), "RGB"),
        (Image.new("RGBA", (20, 20)), "RGBA"),
    ],
    ids=lambda value: getattr(value, "mode", value),
)
def test_modes(tmp_path, image, mode):
    image.save(tmp_path / "p.png")
    assert look(tmp_path / "p.png").mode == mode


def test_help_costs_no_torch_and_shows_examples():
    lines = (
        "import sys; from prunelib.__main__ import main",
        "try: main(['denoise', '--help'])",
        "finally: assert 'torch' not in sys.modules",
    )
    command = [sys.executable, "-c", "\n".join(lines)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert "python -m prunelib denoise photo.jpg --sigma 0.1" in done.stdout


def test_choice_of_the_output():
    images = {name: np.zeros((1, 1, 3), np.uint8) for name in ("noisy", "final", "average")}
    assert choose("final", images) == "final" and choose("auto", images) == "average"
    with pytest.raises(MethodError, match="raise --steps"):
        choose("stop", images)
