"""Readers of foreign data sets: archives, old pickles, idx and Matlab files, flat masks."""

from __future__ import annotations

import gzip
import io
import pickle
import stat
import struct
import tarfile
import zipfile
import zlib
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
from scipy.io import savemat

from prunelib.data.archives import contents, names
from prunelib.data.sources.cifar import read_batch, read_classes
from prunelib.data.sources.flowers import read_ids
from prunelib.data.sources.idx import read_idx
from prunelib.masks.flat import read_flat
from tests.fuzz.mutate import Alter, retarred, rezipped, unpacked
from tests.fuzz.targets import Target

FILES = {"train/a/1.png": b"one" * 50, "train/b/2.png": b"", "./train/b/3.png": bytes(700)}


def read_archive(path: Path) -> dict[str, bytes]:
    """List an archive and read all of it."""
    return dict(contents(path, set(names(path))))


def tars(_: Path) -> list[bytes]:
    """One tar per format."""
    found = []
    for form in (tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT):
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w", format=form) as archive:
            for name, content in FILES.items():
                info = tarfile.TarInfo(name)
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))
            long = tarfile.TarInfo("train/a/" + "ü" * 120 + ".png")
            if form != tarfile.USTAR_FORMAT:
                archive.addfile(long)
        found.append(buffer.getvalue())
    return found


def hostile_tars(_: Path) -> list[bytes]:
    """Links, devices, ways out, sparse files and headers that lie."""
    found = []
    members = [("../out", tarfile.REGTYPE, ""), ("/tmp/fuzz-out", tarfile.REGTYPE, "")]
    members += [("link", kind, "/etc/passwd") for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE)]
    members += [("device", kind, "") for kind in (tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE, tarfile.CONTTYPE)]
    members += [("sparse", tarfile.GNUTYPE_SPARSE, ""), ("@LongLink", tarfile.GNUTYPE_LONGNAME, "")]
    members += [("pax", tarfile.XHDTYPE, ""), ("global", tarfile.XGLTYPE, "")]
    for name, kind, target in members:
        for size in (0, 600, 2**33 - 1):
            info = tarfile.TarInfo(name)
            info.type, info.linkname, info.size = kind, target, size
            found.append(info.tobuf(tarfile.GNU_FORMAT) + b"30 GNU.sparse.size=99999999999\n" + bytes(2048))
    return found


def tar_made(random: Random, seed: bytes, alter: Alter) -> bytes:
    """Change a tar, mostly with its headers' checksums put right, sometimes under gzip."""
    content = alter(seed)
    content = retarred(content) if random.random() < 0.8 else content
    if random.random() < 0.3:
        content = gzip.compress(content, 1, mtime=0)
        content = alter(content) if random.random() < 0.3 else content
    return content


def zips(_: Path) -> list[bytes]:
    """A stored and a deflated zip."""
    found = []
    for kind in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w", kind) as archive:
            for name, content in FILES.items():
                archive.writestr(zipfile.ZipInfo(name), content, kind)
        found.append(buffer.getvalue())
    return found


def hostile_zips(_: Path) -> list[bytes]:
    """Ways out, links, a bomb, members that lie over one another."""
    found = []
    for name, mode in (("../out", 0), ("/tmp/fuzz-out", 0), ("C:/x", 0), ("l", stat.S_IFLNK), ("d", stat.S_IFCHR)):
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w") as archive:
            info = zipfile.ZipInfo(name)
            info.external_attr = (mode | 0o777) << 16
            archive.writestr(info, "/etc/passwd")
        found.append(buffer.getvalue())
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for number in range(10):
            archive.writestr(f"a/{number}", bytes(2**24))
    return [*found, buffer.getvalue()]


def batches(_: Path) -> list[bytes]:
    """A batch of CIFAR and a list of class names; bytes of protocol 3 are what strings of Python 2 are read as."""
    data = np.arange(2 * 3072, dtype=np.uint8).reshape(2, 3072)
    batch = {b"data": data, b"labels": [0, 1], b"batch_label": b"x", b"filenames": [b"a.png", b"b.png"]}
    meta = {b"label_names": [b"cat", b"dog"], b"num_vis": 3072}
    return [pickle.dumps(value, protocol=3) for value in (batch, meta)]


def hostile_pickles(_: Path) -> list[bytes]:
    """Calls, memory by a word, keys whose hash takes for ever, depth."""

    class Attack:
        def __init__(self, *call: Any) -> None:
            self.call = call

        def __reduce__(self) -> Any:
            return self.call[0], self.call[1:]

    found = [pickle.dumps(Attack(print, "run"), 2), pickle.dumps({b"data": Attack(eval, "1")}, 2)]
    found.append(b"\x80\x02}r\xff\xff\xff\x7f.")  # a place of the memo that asks for gigabytes
    found.append(b"\x80\x05\x96\x00\x00\x00\x00\x20\x00\x00\x00.")  # a bytearray that asks for 128 GiB
    found.append(b"\x80\x02" + b"}" + b")" + b"q\x00h\x00\x86" * 60 + b"K\x01s.")  # hash of 2^60 tuples
    found.append(b"\x80\x02" + b"]" * 30_000 + b"a" * 29_999 + b".")
    found.append(b"\x80\x02cnumpy\nndarray\n.")
    for shape in (b"J\xff\xff\xff\x7f", b"\x8a\x08\xff\xff\xff\xff\xff\xff\xff\x7f"):
        found.append(
            b"\x80\x02}U\x04datacnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R(K\x01"
            + shape
            + b"K\x01\x86cnumpy\ndtype\nU\x02u1K\x00K\x01\x87RI00\nU\x01xtbs."
        )
    return found


def read_cifar(path: Path) -> object:
    """Read one file of CIFAR as a batch and as the names of classes."""
    content = path.read_bytes()
    return (
        read_batch(content, 10, "batch")
        if b"label_names" not in content
        else read_classes(content, b"label_names", "m")
    )


def idx_files(_: Path) -> list[bytes]:
    """Three idx files, unpacked."""
    vector = struct.pack(">HBBI", 0, 8, 1, 6) + bytes(range(6))
    cube = struct.pack(">HBBIII", 0, 8, 3, 2, 4, 4) + bytes(32)
    return [vector, cube, cube + b"x"]


def hostile_idx(_: Path) -> list[bytes]:
    """Sizes beyond memory, with and without bytes that unpack to them."""
    found = [struct.pack(">HBBIII", 0, 8, 3, 2**32 - 1, 2**32 - 1, 2**32 - 1), struct.pack(">HBBI", 0, 8, 1, 2**31)]
    bomb = struct.pack(">HBBIII", 0, 8, 3, 1000, 1000, 150) + bytes(150_000_000)
    return [gzip.compress(head, 1, mtime=0) for head in found] + [gzip.compress(bomb, 6, mtime=0)]


def idx_made(random: Random, seed: bytes, alter: Alter) -> bytes:
    """Change an idx file under a whole gzip, or the gzip."""
    if seed.startswith(b"\x1f\x8b"):
        return alter(seed)
    content = gzip.compress(alter(seed), 1, mtime=0)
    return alter(content) if random.random() < 0.2 else content


def matlab(place: Path) -> list[bytes]:
    """Matlab files of both versions that are read, packed and not."""
    place.mkdir(parents=True)
    found = []
    for number, options in enumerate(({"format": "4"}, {"do_compression": False}, {"do_compression": True})):
        savemat(place / f"{number}.mat", {"labels": np.arange(1, 9, dtype=np.float64)[None]}, **options)
        found.append((place / f"{number}.mat").read_bytes())
    savemat(place / "cell.mat", {"labels": {"a": np.array([["x", 1]], dtype=object)}})
    return [*found, (place / "cell.mat").read_bytes()]


def hostile_matlab(_: Path) -> list[bytes]:
    """Huge dimensions, and an element that unpacks to much."""
    found = [struct.pack("<IIIII", kind, 2**20, 2**20, 0, 7) + b"labels\0" for kind in (0, 10, 50, 51, 52)]
    head = b"MATLAB 5.0".ljust(124) + struct.pack("<HH", 0x0100, 0x4D49)
    bomb = zlib.compress(struct.pack("<II", 14, 100_000_000) + bytes(100_000_000), 6)
    found.append(head + struct.pack("<II", 15, len(bomb)) + bomb)
    body = struct.pack("<IIII", 6, 8, 6, 0) + struct.pack("<IIii", 5, 8, 2**15, 2**15)
    body += struct.pack("<II", 1, 6) + b"labels\0\0" + struct.pack("<II", 9, 0)
    return [*found, head + struct.pack("<II", 14, len(body)) + body]


def matlab_made(random: Random, seed: bytes, alter: Alter) -> bytes:
    """Change a Matlab file, or what its packed element unpacks to."""
    if seed[128:132] == struct.pack("<I", 15) and random.random() < 0.7:
        try:
            inner = zlib.compress(alter(unpacked(seed[136:])), 1)
        except zlib.error:
            return alter(seed)
        return seed[:128] + struct.pack("<II", 15, len(inner)) + inner
    return alter(seed)


def flat_masks(place: Path) -> list[bytes]:
    """Flat masks in every form."""
    place.mkdir(parents=True)
    bits = np.arange(40) % 3 == 0
    np.save(place / "a.npy", bits)
    np.savez(place / "a.npz", bits)
    np.savez_compressed(place / "b.npz", bits)
    return [(place / name).read_bytes() for name in ("a.npy", "a.npz", "b.npz")] + [
        bytes(bits),
        np.packbits(bits).tobytes(),
    ]


def hostile_flat(place: Path) -> list[bytes]:
    """Arrays of huge shapes and of objects, an archive that unpacks to much, a pickle."""
    place.mkdir(parents=True)
    found = []
    for shape, kind in (("(9999999999,)", "|b1"), ("(0, 9999999999999)", "|b1"), ("(1,)", "|O"), ("(-1,)", "|b1")):
        text = f"{{'descr': '{kind}', 'fortran_order': False, 'shape': {shape}, }}".encode().ljust(117) + b"\n"
        found.append(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text)
    np.savez_compressed(place / "bomb.npz", np.zeros(150_000_000, dtype=bool))
    deep = b"\x93NUMPY\x01\x00" + struct.pack("<H", 60000) + b"(" * 60000
    return [*found, (place / "bomb.npz").read_bytes(), deep, b"\x80\x03cposix\nsystem\nU\x02idR."]


WORDS = "} ] ) ( R b s u a e \x85 \x86 \x87 2 0 \x81 \x93 \x8f \x90 \x96 q\x00 h\x00 \x8a\xff r\xff\xff\xff\x7f"
OPCODES = (
    *(word.encode("latin-1") for word in WORDS.split(" ")),
    b"cnumpy\nndarray\n",
    b"cbuiltins\neval\n",
    b"I9999999999\n",
)
TAR = (b"../", b"/etc/", b"2", b"\x80", b"GNU.sparse.map", b"30 path=../../x\n")
ZIP = (b"PK\x01\x02", b"PK\x05\x06", b"PK\x06\x06", b"../")
FLAT = (b"'descr'", b"'|O'", b"\x93NUMPY\x03\x00", b"(")
TARGETS = [
    Target("tar", read_archive, tars, tar_made, hostile_tars, TAR, ".tar"),
    Target("zip", read_archive, zips, crafted=hostile_zips, tokens=ZIP, suffix=".zip"),
    Target("cifar pickle", read_cifar, batches, crafted=hostile_pickles, tokens=OPCODES),
    Target("idx", read_idx, idx_files, idx_made, hostile_idx, suffix=".gz"),
    Target("matlab", lambda path: read_ids(path, "labels"), matlab, matlab_made, hostile_matlab, (b"labels",), ".mat"),
    Target("flat mask", lambda path: read_flat(path, 40), flat_masks, rezipped, hostile_flat, FLAT, ".npy"),
]
