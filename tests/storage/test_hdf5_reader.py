"""The reader of HDF5: what libhdf5 reads of the project's files it reads too, to the bit; the rest it refuses."""

from pathlib import Path

import h5py
import hypothesis.extra.numpy as arrays
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prunelib.errors import ArtefactError
from prunelib.storage.hdf5 import BLOCK, DEPTH, creating, reading
from prunelib.storage.hdf5_bytes import Cursor, Source
from prunelib.storage.hdf5_reader import Group, read_root

FORM = "prunelib-test-1"
SMALL = arrays.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4)
VALUES = st.one_of(arrays.arrays(kind, SMALL) for kind in ("u1", "<i8", "<f8"))
NAMES = st.text(st.characters(codec="utf-8", exclude_characters="/.\0"), min_size=1, max_size=5)
ATTRIBUTES = st.one_of(st.booleans(), st.integers(-(2**63), 2**63 - 1), st.floats(), NAMES, st.just(""), VALUES)


def everything(group, name="/"):
    """List all that is in a group: names in order, attributes, types, shapes, bytes."""
    yield name, sorted((key, described(value)) for key, value in group.attrs.items())
    for key, member in group.items():
        if hasattr(member, "shape"):
            attributes = sorted((key, described(value)) for key, value in member.attrs.items())
            yield name + key, attributes, member.shape, described(member[()])
        else:
            yield from everything(member, f"{name}{key}/")


def described(value):
    return type(value).__name__, getattr(value, "shape", None), str(getattr(value, "dtype", "")), to_bytes(value)


def to_bytes(value):
    return value.encode() if isinstance(value, str) else value.tobytes()


def same_as_libhdf5(path):
    """Whether both readers say the same of a file; how many things there are."""
    with reading(path, FORM) as found, h5py.File(path) as expected:
        ours, theirs = list(everything(found)), list(everything(expected))
    assert ours == theirs
    return len(ours)


@pytest.mark.parametrize("count", [0, 1, 8, 9, 33, 34, 700])
def test_few_and_many_members_come_back_in_order(tmp_path, count):
    """Few lie in the header, more in a heap of one block or a table, with a tree of one node, two levels, three."""
    with creating(tmp_path / "a.h5", FORM) as file:
        group = file.create_group("masks", track_order=True)
        for number in range(count):
            data = group.create_dataset(f"{(number * 7919) % 1000:04d}", data=np.arange(number % 5, dtype=np.uint8))
            data.attrs["name"], data.attrs["shape"] = f"layer{number}", (number, 3)
    assert same_as_libhdf5(tmp_path / "a.h5") == 2 + count
    with reading(tmp_path / "a.h5", FORM) as file:
        names = [data.attrs["name"] for data in file["masks"].values()]
    assert names == [f"layer{number}" for number in range(count)]


@pytest.mark.parametrize("count", [7, 8, 9, 300])
def test_few_and_many_attributes_come_back(tmp_path, count):
    with creating(tmp_path / "a.h5", FORM) as file:
        for number in range(count):
            file.attrs[f"a{number}"] = "t" * number if number % 2 else number / 2
        data = file.create_dataset("b", data=np.zeros(2))
        data.attrs.update({f"b{number}": number for number in range(count)})
    assert same_as_libhdf5(tmp_path / "a.h5") == 2


def test_tables_of_tables_are_followed(tmp_path):
    """A heap of over 512 KiB of names; long ones, so that the file need not have thousands."""
    with creating(tmp_path / "a.h5", FORM) as file:
        group = file.create_group("g", track_order=True)
        for number in range(200):
            group.create_group(f"{number:03d}" + "x" * 4000)
    assert same_as_libhdf5(tmp_path / "a.h5") == 202


@given(
    members=st.dictionaries(NAMES, VALUES, max_size=12),
    attributes=st.dictionaries(NAMES.filter(lambda name: name != "format"), ATTRIBUTES, max_size=12),
)
@settings(deadline=None, max_examples=25)
def test_whatever_is_written_comes_back(tmp_path_factory, members, attributes):
    path = tmp_path_factory.mktemp("h") / "a.h5"
    with creating(path, FORM) as file:
        file.attrs.update(attributes)
        group = file.create_group("g/h", track_order=True)
        for name, value in members.items():
            group.create_dataset(name, data=value)
    assert same_as_libhdf5(path) == 3 + len(members)


FOREIGN = {
    "chunks": lambda file: file.create_dataset("a", data=np.zeros(9), chunks=(3,)),
    "packed": lambda file: file.create_dataset("a", data=np.zeros(9), compression="gzip"),
    "compact": lambda file: compact(file),
    "compound": lambda file: file.create_dataset("a", data=np.zeros(3, dtype=[("x", "i4"), ("y", "f8")])),
    "references": lambda file: file.create_dataset("a", data=np.array([file.ref], dtype=h5py.ref_dtype)),
    "texts": lambda file: file.create_dataset("a", data=["x", "y"]),
    "several texts": lambda file: file.attrs.update({"a": ["x", "y"]}),
    "fixed text": lambda file: file.attrs.update({"a": np.bytes_("x")}),
    "another type": lambda file: file.create_dataset("a", data=np.zeros(3, dtype=np.float32)),
    "other bytes": lambda file: file.create_dataset("a", data=np.zeros(3, dtype=">f8")),
    "no shape": lambda file: file.create_dataset("a", data=h5py.Empty("f8")),
    "a stored type": lambda file: file.__setitem__("a", np.dtype("f8")),
    "soft": lambda file: file.__setitem__("a", h5py.SoftLink("/b")),
    "external": lambda file: file.__setitem__("a", h5py.ExternalLink("b.h5", "/b")),
    "circle": lambda file: file.__setitem__("a", file["/"]),
    "deep": lambda file: file.create_group("a/b/c/d"),
}


def compact(file):
    """Data within the header."""
    plan = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    plan.set_layout(h5py.h5d.COMPACT)
    h5py.h5d.create(file.id, b"a", h5py.h5t.NATIVE_DOUBLE, h5py.h5s.create_simple((3,)), plan)


@pytest.mark.parametrize("name", FOREIGN)
def test_what_no_file_of_the_project_holds_is_refused(tmp_path, name):
    with creating(tmp_path / "a.h5", FORM) as file:
        FOREIGN[name](file)
    with pytest.raises(ArtefactError, match=r"a\.h5: can't be read"), reading(tmp_path / "a.h5", FORM):
        pytest.fail("the file was opened")


@pytest.mark.parametrize("version", ["earliest", "v108"])
def test_files_of_another_version_are_refused(tmp_path, version):
    with h5py.File(tmp_path / "a.h5", "w", libver=(version, "latest"), userblock_size=BLOCK) as file:
        file["a"] = np.zeros(3)
    with open(tmp_path / "a.h5", "rb") as stream, pytest.raises(ValueError, match=r"not write|no .* where it should"):
        read_root(stream, BLOCK, DEPTH)


def test_a_file_gives_no_more_bytes_than_it_has(tmp_path):
    (tmp_path / "a").write_bytes(b"0123456789")
    with open(tmp_path / "a", "rb") as stream:
        source = Source(stream, 2)
        assert source.take(1, 3, b"3").bytes(2) == b"45"
        source.claim(0, 5)
        for start, size in ((4, 5), (2**64 - 1, 1), (0, 0), (0, 1)):
            with pytest.raises(ValueError, match="does not have"):
                source.claim(start, size)
    with pytest.raises(ValueError, match="ends too early"):
        Cursor(b"123").numbers(2, 2)


def test_a_file_that_shrinks_while_it_is_read_is_an_error(tmp_path):
    with creating(tmp_path / "a.h5", FORM) as file:
        file.create_dataset("a", data=np.zeros(1000))
    message = r"a\.h5: .*became shorter"
    with pytest.raises(ArtefactError, match=message), reading(tmp_path / "a.h5", FORM) as file:
        (tmp_path / "a.h5").write_bytes(b"")
        file["a"][()]


def test_what_is_read_belongs_to_the_reader(tmp_path):
    """Arrays can be changed, and stay when the file is closed."""
    with creating(tmp_path / "a.h5", FORM) as file:
        file.create_dataset("a", data=np.arange(3.0))
        file.attrs["b"] = np.arange(3)
    with reading(tmp_path / "a.h5", FORM) as file:
        assert isinstance(file, Group) and list(file) == ["a"] and len(file) == 1
        found, attribute = file["a"][()], file.attrs["b"]
        assert file["a"][1] == 1.0
    found += 1
    attribute += 1
    assert found.tolist() == [1, 2, 3] and attribute.tolist() == [1, 2, 3]


def test_only_writing_uses_the_library():
    """h5py opens no file for reading anywhere in the package."""
    root = Path(__file__).parents[2] / "prunelib"
    lines = [line.strip() for path in root.rglob("*.py") for line in path.read_text().splitlines()]
    opened = [line for line in lines if "h5py.File(" in line]
    assert opened == ['with h5py.File(stream, "w", libver="v110", userblock_size=BLOCK, track_order=True) as file:']
