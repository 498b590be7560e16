"""Flat masks: every format reads back the same bits, a hostile or foreign file is refused and nothing in it runs."""

from __future__ import annotations

import csv
import io
import pickle
import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from prunelib.errors import ArtefactError, MethodError
from prunelib.masks.flat import read_flat
from prunelib.masks.mask import Mask
from prunelib.models.hourglass import hourglass
from prunelib.report import published

PUBLISHED = Path(published.__file__).with_name("oes_mask_layers.csv")
PHOTOS = {"baboon": 0, "barbara": 1, "lena": 2, "pepper": 3}
BITS = np.random.default_rng(0).random(300) < 0.4
INNER = b"\x80\x02a torch file of old form: \x01\x00"  # what stands before the bytes; its content is not looked at


def pickled(bits: np.ndarray, inner: bytes = INNER, size: int | None = None, head: bytes = b"") -> bytes:
    """Spell out the pickle (protocol 3) of one flat BoolTensor as torch writes it: two rebuilders around one string."""
    held = inner + struct.pack("<Q", len(bits)) + bits.astype(np.uint8).tobytes()
    number = b"J" + struct.pack("<i", len(bits) if size is None else size)
    return (
        b"\x80\x03" + head + b"ctorch._utils\n_rebuild_tensor_v2\nq\x00("
        b"ctorch.storage\n_load_from_bytes\nq\x01B" + struct.pack("<I", len(held)) + held + b"q\x02\x85q\x03Rq\x04"
        b"K\x00" + number + b"\x85q\x05K\x01\x85q\x06\x89ccollections\nOrderedDict\nq\x07)Rq\x08tq\x09Rq\x0a."
    )  # fmt: skip


def write(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def formats(folder: Path, bits: np.ndarray) -> list[Path]:
    """The same mask in every format."""
    np.save(folder / "mask.npy", bits)
    np.save(folder / "numbers.npy", bits.astype(np.int64).reshape(3, -1))
    np.savez_compressed(folder / "mask.npz", mask=bits)
    return [
        folder / "mask.npy",
        folder / "numbers.npy",
        folder / "mask.npz",
        write(folder / "raw.bin", bits.astype(np.uint8).tobytes()),
        write(folder / "packed.bin", np.packbits(bits).tobytes()),
        write(folder / "mask.pkl", pickled(bits)),
        write(folder / "torch.pkl", pickle.dumps(torch.from_numpy(bits), protocol=3)),
    ]


def test_every_format_gives_the_same_bits(tmp_path: Path) -> None:
    for path in formats(tmp_path, BITS):
        found = read_flat(path, size=len(BITS))
        assert found.dtype == bool and np.array_equal(found, BITS), path


@settings(deadline=None, max_examples=40)
@given(bits=st.lists(st.booleans(), min_size=1, max_size=70))
def test_bits_of_any_length_survive_a_pickle_and_packing(
    tmp_path_factory: pytest.TempPathFactory, bits: list[bool]
) -> None:
    folder, array = tmp_path_factory.mktemp("flat"), np.array(bits)
    assert np.array_equal(read_flat(write(folder / "p", pickled(array))), array)
    if len(bits) > 8:
        assert np.array_equal(read_flat(write(folder / "b", np.packbits(array).tobytes()), len(bits)), array)


class Runs:
    """Unpickling this would write a file."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)

    def __reduce__(self) -> tuple[object, ...]:
        return open, (self.path, "w")


def hostile(trace: Path) -> dict[str, bytes]:
    """Pickles that would run something, alone, in front of a good one, or in the names torch's rebuilders stand for."""
    command = f"touch {trace}".encode()
    text = b"X" + struct.pack("<I", len(command)) + command
    return {
        "reduce": pickle.dumps(Runs(trace), protocol=3),
        "in front": pickled(BITS, head=b"cos\nsystem\n" + text + b"\x85R0"),
        "eval": pickled(BITS).replace(b"ctorch._utils\n_rebuild_tensor_v2\n", b"cbuiltins\neval\n"),
        "stack global": pickled(BITS, head=b"X\x02\x00\x00\x00osX\x06\x00\x00\x00system\x930"),
        "inst": pickled(BITS, head=b"(" + text + b"ios\nsystem\n0"),
        "build": pickled(BITS)[:-1] + b"}b.",
    }


def test_hostile_pickles_are_refused_and_run_nothing(tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    for name, content in hostile(trace).items():
        with pytest.raises(ArtefactError, match="this pickle asks for"):
            read_flat(write(tmp_path / "mask.pkl", content))
        assert not trace.exists(), name


def array(bits: np.ndarray) -> bytes:
    """The content of a .npy file."""
    stream = io.BytesIO()
    np.save(stream, bits)
    return stream.getvalue()


def archive(*arrays: np.ndarray) -> bytes:
    """The content of a .npz file."""
    stream = io.BytesIO()
    np.savez(stream, *arrays)
    return stream.getvalue()


FOREIGN = {
    "two byte strings": pickled(BITS).replace(b"K\x00", b"B\x01\x00\x00\x00aK\x00"),
    "a size too small": pickled(BITS, size=len(BITS) - 1),
    "a size beyond its bytes": pickled(BITS, inner=b"", size=10**6),
    "a negative size": pickled(BITS, size=-5),
    "a stride": pickled(BITS).replace(b"K\x01\x85q\x06", b"K\x02\x85q\x06"),
    "bytes of 7": pickled(BITS.astype(np.uint8) * 7),
    "a pickle cut off": pickled(BITS)[:-9],
    "text": b"hello world",
    "nothing": b"",
    "floats": array(np.ones(4)),
    "objects": array(np.array([{}, 1], dtype=object)),
    "an array cut off": array(BITS)[:-5],
    "two arrays": archive(BITS, BITS),
    "an archive cut off": archive(BITS)[:-30],
    "bytes beyond one": bytes([0, 1, 2]),
}


@pytest.mark.parametrize("name", FOREIGN)
def test_anything_else_is_an_artefact_error_that_names_the_file(tmp_path: Path, name: str) -> None:
    with pytest.raises(ArtefactError, match=r"mask\.bin"):
        read_flat(write(tmp_path / "mask.bin", FOREIGN[name]))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ArtefactError, match=r"gone\.npy: can't be read"):
        read_flat(tmp_path / "gone.npy")


@settings(deadline=None, max_examples=150)
@given(data=st.data())
def test_a_damaged_pickle_is_read_or_refused(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    content = bytearray(pickled(BITS[:40]))
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path = write(
        tmp_path_factory.mktemp("flat") / "mask.pkl", bytes(content[: data.draw(st.integers(1, len(content)))])
    )
    try:
        assert read_flat(path).dtype == bool
    except ArtefactError as error:
        assert str(path) in str(error)


def test_a_mask_goes_to_flat_and_back() -> None:
    model = hourglass(channels=[4, 6])
    total = sum(parameter.numel() for parameter in model.parameters())
    bits = np.random.default_rng(1).random(total) < 0.5
    mask = Mask.from_flat(bits, model)
    assert list(mask) == [name for name, _ in model.named_parameters()] and np.array_equal(mask.flat(), bits)
    first = model.encoder.level0.conv1.weight.numel()
    assert np.array_equal(mask["encoder.level0.conv1.weight"].numpy().ravel(), bits[:first])
    with pytest.raises(MethodError, match=f"{total} parameters"):
        Mask.from_flat(bits[:-1], model)


@pytest.mark.parametrize("photo", PHOTOS)
def test_a_published_mask_falls_into_the_right_tensors(tmp_path: Path, photo: str) -> None:
    """Bits made up from the published masks' counts per tensor: 150 443 ones, no norm bias, joined norms' masks equal.

    Source of the counts: the authors' four mask files, read for the fact card of OES (its conformance test e).
    """
    rows = list(csv.DictReader(PUBLISHED.open()))
    random = np.random.default_rng(PHOTOS[photo])
    kept = {}
    for row in rows:
        bits = np.zeros(int(row["numel"]), dtype=bool)
        bits[random.permutation(len(bits))[: int(row[f"{photo}_5pct"])]] = True
        kept[row["tensor"]] = bits
    joined = {f"decoder.level{i}.upbn.weight": f"decoder.level{i + 1}.bn.weight" for i in range(5)}
    joined["decoder.level5.upbn.weight"] = "encoder.level5.bn2.weight"
    kept |= {after: kept[before] for after, before in joined.items()}
    path = write(tmp_path / "mask.pkl", pickled(np.concatenate(list(kept.values()))))
    mask = Mask.from_flat(read_flat(path), hourglass())
    assert (mask.kept, mask.size, len(mask)) == (150_443, 3_008_867, 86)
    assert [count for _, _, count, _ in mask.layers()] == [int(row[f"{photo}_5pct"]) for row in rows]
    assert all(torch.equal(mask[after], mask[before]) for after, before in joined.items())
    assert not any(mask[name].any() for name in mask if "bn" in name and name.endswith("bias"))
