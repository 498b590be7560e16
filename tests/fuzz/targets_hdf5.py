"""The readers of HDF5: files changed under a right seal, and well-formed ones of what no file of the project holds."""

from __future__ import annotations

import hashlib
from pathlib import Path
from random import Random
from typing import Any

import h5py
import numpy as np
import torch

from prunelib.data.datasets import Photo, assemble, read_images, read_photo, write
from prunelib.data.images import Form
from prunelib.data.in_place import FileImages
from prunelib.errors import ArtefactError
from prunelib.masks.mask import Mask, read_figures
from prunelib.methods.expander.families import biadjacency
from prunelib.methods.expander.store import Stored, load_graphs, save_graphs
from prunelib.storage import hdf5
from tests.fuzz.mutate import Alter
from tests.fuzz.targets import Target

READERS = (hdf5.load_history, Mask.load, read_figures, read_images, read_photo, load_graphs)


def read_hdf5(path: Path) -> list[Any]:
    """Read a file with every reader of HDF5; at least one must take it."""
    found, refused = [], ArtefactError("none")
    for read in READERS:
        try:
            found.append(read(path))
        except ArtefactError as error:
            refused = error
    if not found:
        raise refused
    return found


def hdf5_files(place: Path) -> list[bytes]:
    """One file per format."""
    place.mkdir(parents=True)
    hdf5.save_history(place / "a", {"step": [0, 1], "loss": [1.0, None]}, {"final": np.zeros((2, 2, 3))})
    Mask({"w": torch.arange(20).reshape(4, 5) % 2 == 0}).save(place / "b", {"loss": [1.0]}, seed=0, figures='{"x": 1}')
    images, labels = np.arange(96, dtype=np.uint8).reshape(6, 4, 4, 1), np.arange(6) % 2
    splits = {"train": np.arange(4), "val": np.arange(4, 5), "test": np.arange(5, 6)}
    made = assemble("x", images, labels, splits, ["a", "b"], "here", {})
    write(place / "c", made)
    paths = FileImages(place, [f"{number}.png" for number in range(6)], np.arange(6), Form(4))
    write(place / "d", type(made)(**{**vars(made), "images": paths}))
    write(place / "e", Photo("x", np.zeros((3, 4, 3), dtype=np.uint8), "here"))
    many = {f"layer{number}": torch.ones(number) > 0 for number in range(40)}  # HDF5 keeps them in heaps and trees
    Mask(many).save(place / "g", **{f"word{number}": "x" * number for number in range(12)})
    save_graphs(place / "f", {"w": Stored(biadjacency(np.array([0, 5, 7]), 3, 4), "rreg", 0, 1.0)})
    return [(place / name).read_bytes() for name in "abcdefg"]


def sealed(random: Random, seed: bytes, alter: Alter) -> bytes:
    """Change the part of an HDF5 file that its seal covers, and seal it again."""
    return seal(alter(seed[hdf5.BLOCK :]) if random.random() < 0.97 else b"")


def seal(body: bytes) -> bytes:
    """Put the user block of a whole file before a body."""
    return (hdf5.MAGIC + hashlib.sha256(body).hexdigest().encode()).ljust(hdf5.BLOCK, b"\0") + body


def hostile_hdf5(place: Path) -> list[bytes]:
    """Well-formed files, made by the library itself, of what no file of the project holds."""
    place.mkdir(parents=True)
    target = place / "outside.h5"
    with h5py.File(target, "w") as file:
        file["secret"] = np.arange(8)
    (place / "raw").write_bytes(bytes(64))
    found = []
    for number, (form, attack) in enumerate((form, attack) for form in FORMS for attack in ATTACKS):
        path = place / f"{number}.h5"
        with h5py.File(path, "w", libver="v110", userblock_size=hdf5.BLOCK) as file:
            file.attrs["format"] = form
            attack(file, FORMS[form], target)
        found.append(seal(path.read_bytes()[hdf5.BLOCK :]))
    return found


FORMS = {
    hdf5.HISTORY: "columns/a",
    hdf5.MASK: "masks/0000",
    "prunelib-images-1": "images",
    "prunelib-photo-1": "image",
    "prunelib-graphs-1": "graphs/0000",
}


def _linked(file: h5py.File, name: str, target: Path) -> None:
    file[name] = h5py.ExternalLink(str(target), "secret")


def _soft(file: h5py.File, name: str, target: Path) -> None:
    file[name] = h5py.SoftLink("/" + name.split("/")[0])


def _external(file: h5py.File, name: str, target: Path) -> None:
    file.create_dataset(name, shape=(64,), dtype="u1", external=[(str(target.with_name("raw")), 0, 64)])


def _virtual(file: h5py.File, name: str, target: Path) -> None:
    layout = h5py.VirtualLayout((8,), "i8")
    layout[:] = h5py.VirtualSource(str(target), "secret", (8,))
    file.create_virtual_dataset(name, layout)


def _huge(file: h5py.File, name: str, target: Path) -> None:
    file.create_dataset(name, shape=(2**40,), dtype="u1", chunks=(2**20,))


def _packed(file: h5py.File, name: str, target: Path) -> None:
    file.create_dataset(name, data=np.zeros(2**28, dtype=np.uint8), chunks=(2**22,), compression="gzip")


def _text(file: h5py.File, name: str, target: Path) -> None:
    file.create_dataset(name, data=["a" * 10] * 5, dtype=h5py.string_dtype())


def _compound(file: h5py.File, name: str, target: Path) -> None:
    file.create_dataset(name, data=np.zeros(3, dtype=[("a", "i4"), ("b", "f8")]))


def _objects(file: h5py.File, name: str, target: Path) -> None:
    file.create_dataset(name, data=np.array([file.ref] * 3, dtype=h5py.ref_dtype))


def _deep(file: h5py.File, name: str, target: Path) -> None:
    file.create_group(name + "/x" * 900)


def _circle(file: h5py.File, name: str, target: Path) -> None:
    group = file.require_group(name.split("/")[0])
    group["again"] = group


def _wide(file: h5py.File, name: str, target: Path) -> None:
    for number in range(3000):
        file.create_group(f"{name.split('/')[0]}/{number}")


def _shape(file: h5py.File, name: str, target: Path) -> None:
    data = file.create_dataset(name, data=np.zeros(5, dtype=np.uint8))
    data.attrs.update(
        {"name": "w", "layer": "w", "shape": [2**31, 2**31, 2**31], "family": "x", "seed": 2**62, "degree": 1.0}
    )


def _large_shape(file: h5py.File, name: str, target: Path) -> None:
    data = file.create_dataset(name, data=np.zeros(0, dtype=np.int64))
    data.attrs.update(
        {"name": "w", "layer": "w", "shape": [2**31 - 1, 2**31 - 1], "family": "x", "seed": 0, "degree": 1.0}
    )


def _figures(file: h5py.File, name: str, target: Path) -> None:
    file.attrs["figures"] = "[" * 60_000
    file.require_group(name.split("/")[0])


def _attributes(file: h5py.File, name: str, target: Path) -> None:
    file.attrs.update({"classes": "[" * 60_000, "provenance": "{}", "name": 5, "mean": "x", "std": np.zeros((2, 2))})
    file.attrs.update({"source": np.zeros(3), "sha256": 1.5, "figures": 7})
    file.create_dataset("labels", data=np.zeros((2, 2)))


def _plain(file: h5py.File, name: str, target: Path) -> None:
    file.create_dataset(name.split("/")[0], data=7)


ATTACKS = (
    _linked,
    _soft,
    _external,
    _virtual,
    _huge,
    _packed,
    _text,
    _compound,
    _objects,
    _deep,
    _circle,
    _wide,
    _shape,
    _large_shape,
    _figures,
    _attributes,
    _plain,
)


SIGNATURES = (b"OHDR", b"OCHK", b"BTHD", b"BTIN", b"BTLF", b"FRHP", b"FHDB", b"FHIB", b"GCOL")
TARGETS = [Target("hdf5", read_hdf5, hdf5_files, sealed, hostile_hdf5, SIGNATURES, ".h5")]
