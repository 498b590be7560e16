"""Folders, tars and zips: read whole; hostile, torn and oversized ones refused with nothing left behind."""

import gzip
import io
import os
import stat
import tarfile
import zipfile

import pytest

from prunelib.data import archives
from prunelib.data.archives import contents, names
from prunelib.data.prepare import prepare
from prunelib.errors import DataError

FORMS = ("tar", "tar.gz", "zip")


def special(name, kind, target="/etc/passwd"):
    """A tar member of a kind other than file or directory."""
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


def unix_zip(name, mode):
    info = zipfile.ZipInfo("placeholder")
    info.filename = info.orig_filename = name
    info.create_system, info.external_attr = 3, mode << 16
    return info


TAR_HOSTILE = {
    "parent": ("../escape.png", b"x"),
    "absolute": ("/tmp/prunelib-escape.png", b"x"),
    "symlink": (special("train/a/link.png", tarfile.SYMTYPE), b""),
    "hardlink": (special("train/a/hard.png", tarfile.LNKTYPE, "train/a/0.png"), b""),
    "device": (special("train/a/device.png", tarfile.CHRTYPE), b""),
    "fifo": (special("train/a/fifo.png", tarfile.FIFOTYPE), b""),
    "inner parent": ("train/../../escape.png", b"x"),
    "backslash": ("train\\..\\..\\escape.png", b"x"),
    "drive": ("C:/escape.png", b"x"),
    "twice": ("./train//a/0.png", b"x"),
    "control": ("train/a/\x1b[2J.png", b"x"),
}
ZIP_HOSTILE = {
    "parent": ("../escape.png", b"x"),
    "absolute": ("/tmp/prunelib-escape.png", b"x"),
    "symlink": (unix_zip("train/a/link.png", stat.S_IFLNK | 0o777), b"/etc/passwd"),
    "device": (unix_zip("train/a/device.png", stat.S_IFCHR | 0o666), b""),
    "fifo": (unix_zip("train/a/fifo.png", stat.S_IFIFO | 0o666), b""),
    "inner parent": ("train/../../escape.png", b"x"),
    "backslash": (unix_zip("train\\..\\..\\escape.png", stat.S_IFREG), b"x"),
    "drive": ("C:/escape.png", b"x"),
    "twice": ("train//a/0.png", b"x"),
    "control": ("train/a/\x1b[2J.png", b"x"),
}
CASES = [(form, name) for form in FORMS for name in (ZIP_HOSTILE if form == "zip" else TAR_HOSTILE)]


def good_files(make):
    return [(f"train/{label}/{number}.png", make["noise"](number)) for label in "ab" for number in range(5)]


@pytest.mark.parametrize("form", FORMS)
def test_all_forms_give_the_same_sorted_names_and_bytes(tmp_path, make, form):
    files = {"b/2.bin": b"two", "./a/1.bin": b"one", "b/10.bin": b""}
    archive = tmp_path / f"set.{form}"
    archive.write_bytes(make["packers"][form](files))
    assert names(archive) == ["a/1.bin", "b/10.bin", "b/2.bin"]
    assert dict(contents(archive, {"a/1.bin", "b/10.bin"})) == {"a/1.bin": b"one", "b/10.bin": b""}


def test_the_kind_is_told_by_content_not_by_name(tmp_path, make):
    (tmp_path / "misnamed.zip").write_bytes(make["packers"]["tar.gz"]({"a/1": b"one"}))
    assert names(tmp_path / "misnamed.zip") == ["a/1"]


def test_a_folder_is_walked_through_links_but_never_in_circles(tmp_path):
    (tmp_path / "set" / "a").mkdir(parents=True)
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "set" / "a" / "1").write_bytes(b"one")
    (tmp_path / "elsewhere" / "2").write_bytes(b"two")
    (tmp_path / "set" / "b").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "set" / "a" / "loop").symlink_to(tmp_path / "set")
    (tmp_path / "set" / "a" / "dangling").symlink_to(tmp_path / "nowhere")
    os.mkfifo(tmp_path / "set" / "a" / "fifo")
    assert names(tmp_path / "set") == ["a/1", "b/2"]
    assert dict(contents(tmp_path / "set", {"b/2"})) == {"b/2": b"two"}


@pytest.mark.parametrize(("form", "case"), CASES)
def test_hostile_members_are_refused_and_nothing_is_written(tmp_path, make, form, case):
    hostile = (ZIP_HOSTILE if form == "zip" else TAR_HOSTILE)[case]
    (tmp_path / "work").mkdir()
    archive = tmp_path / "work" / f"set.{form}"
    archive.write_bytes(make["packers"][form]([*good_files(make), hostile]))
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(DataError, match=rf"set\.{form}: .*refused"):
        prepare({"source": "folder", "options": {"location": str(archive), "side": 8}}, tmp_path / "work" / "out.h5")
    assert sorted(tmp_path.rglob("*")) == before
    assert not os.path.exists("/tmp/prunelib-escape.png")


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("share", [0.02, 0.1, 0.3, 0.5, 0.7, 0.9, 0.97])
def test_truncated_archives_are_refused_and_nothing_is_written(tmp_path, make, form, share):
    archive = tmp_path / f"set.{form}"
    whole = make["packers"][form](good_files(make))
    archive.write_bytes(whole[: int(share * len(whole.rstrip(b"\0")))])  # a tar ends in kilobytes of padding
    with pytest.raises(DataError, match=rf"set\.{form}"):
        prepare({"source": "folder", "options": {"location": str(archive), "side": 8}}, tmp_path / "out.h5")
    assert list(tmp_path.iterdir()) == [archive]


def test_a_tar_cut_between_two_members_is_not_taken_for_a_smaller_one(tmp_path, make):
    whole = make["tar"](good_files(make))
    with tarfile.open(fileobj=io.BytesIO(whole)) as archive:
        cut = archive.getmembers()[6].offset
    (tmp_path / "cut.tar").write_bytes(whole[:cut])
    with pytest.raises(DataError, match="ends early"):
        names(tmp_path / "cut.tar")
    (tmp_path / "cut.tar.gz").write_bytes(gzip.compress(whole[:cut]))
    with pytest.raises(DataError, match="ends early"):
        names(tmp_path / "cut.tar.gz")


def test_a_gzip_whose_checksum_is_wrong_is_refused(tmp_path, make):
    packed = bytearray(make["packers"]["tar.gz"](good_files(make)))
    packed[-6] ^= 1
    (tmp_path / "set.tar.gz").write_bytes(packed)
    with pytest.raises(DataError, match="CRC"):
        names(tmp_path / "set.tar.gz")


def test_a_flipped_bit_in_a_zip_is_found_when_the_member_is_read(tmp_path, make):
    packed = bytearray(make["zip"]({"a/1": os.urandom(4000)}))
    packed[2000] ^= 1
    (tmp_path / "set.zip").write_bytes(packed)
    with pytest.raises(DataError, match=r"set\.zip"):
        dict(contents(tmp_path / "set.zip", {"a/1"}))


@pytest.mark.parametrize("content", [b"", b"PK", b"\x1f\x8b", b"<html></html>" * 100, b"PK\x03\x04" + b"x" * 99])
def test_what_is_no_archive_is_refused(tmp_path, content):
    (tmp_path / "set.zip").write_bytes(content)
    with pytest.raises(DataError, match="not a whole"):
        names(tmp_path / "set.zip")


@pytest.mark.parametrize("form", ["tar.gz", "zip"])
def test_bombs_are_refused(tmp_path, make, form, monkeypatch):
    monkeypatch.setattr(archives, "RATIO_FREE", 2**20)
    archive = tmp_path / f"bomb.{form}"
    archive.write_bytes(make["packers"][form]({f"a/{number}.png": bytes(2**19) for number in range(8)}))
    assert archive.stat().st_size < 10_000
    with pytest.raises(DataError, match=r"bomb.*unpacks to.*refused"):
        names(archive)


@pytest.mark.parametrize("form", FORMS)
def test_member_size_and_count_are_bounded(tmp_path, make, form, monkeypatch):
    archive = tmp_path / f"set.{form}"
    archive.write_bytes(make["packers"][form]({f"a/{number}": os.urandom(3000) for number in range(8)}))
    monkeypatch.setattr(archives, "MEMBER_BYTES", 2999)
    with pytest.raises(DataError, match=r"set.*refused"):
        names(archive)
    monkeypatch.setattr(archives, "MEMBER_BYTES", 3000)
    assert len(names(archive)) == 8
    monkeypatch.setattr(archives, "MEMBERS", 7)
    with pytest.raises(DataError, match="over 7 files; refused"):
        names(archive)


def test_a_tar_header_that_claims_a_huge_size_asks_for_no_memory(tmp_path):
    header = tarfile.TarInfo("././@LongLink")
    header.type, header.size = tarfile.GNUTYPE_LONGNAME, 2**32
    (tmp_path / "long.tar").write_bytes(header.tobuf() + bytes(2048))
    with pytest.raises(DataError, match="claims 4,294,96"):
        names(tmp_path / "long.tar")


def test_encrypted_and_oddly_packed_zips_are_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "odd.zip", "w", zipfile.ZIP_LZMA) as archive:
        archive.writestr("a/1", b"one" * 100)
    with pytest.raises(DataError, match="oddly packed"):
        names(tmp_path / "odd.zip")
    packed = bytearray((tmp_path / "odd.zip").read_bytes())
    packed[packed.index(b"PK\x01\x02") + 8] |= 1
    (tmp_path / "odd.zip").write_bytes(packed)
    with pytest.raises(DataError, match="encrypted"):
        names(tmp_path / "odd.zip")
