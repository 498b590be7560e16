"""Atomic files: whole or absent."""

import json

import pytest

from prunelib.errors import ArtefactError
from prunelib.storage.files import atomic_path, read_json, sha256, write_json, write_text


def test_a_file_appears_when_the_block_ends_well_and_not_before(tmp_path):
    target = tmp_path / "deep" / "a.txt"
    with atomic_path(target) as temporary:
        temporary.write_text("new")
        assert not target.exists() and temporary.parent == target.parent
    assert target.read_text() == "new" and target.stat().st_mode & 0o777 == 0o644
    assert [path.name for path in target.parent.iterdir()] == ["a.txt"]


def test_a_block_that_fails_leaves_the_old_file_alone(tmp_path):
    write_text(tmp_path / "a.txt", "old")
    with pytest.raises(KeyError), atomic_path(tmp_path / "a.txt") as temporary:
        temporary.write_text("half")
        raise KeyError
    assert (tmp_path / "a.txt").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]


def test_json_keeps_its_order_and_refuses_nan(tmp_path):
    write_json(tmp_path / "a.json", {"z": 1, "a": None})
    assert list(read_json(tmp_path / "a.json")) == ["z", "a"]
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "a.json", {"z": float("nan")})
    assert json.loads((tmp_path / "a.json").read_text()) == {"z": 1, "a": None}


@pytest.mark.parametrize("content", [b"", b'{"a": 1', b"\xff\xfe"])
def test_missing_and_torn_json_is_refused_by_name(tmp_path, content):
    with pytest.raises(ArtefactError, match=r"a\.json: missing"):
        read_json(tmp_path / "a.json")
    (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(ArtefactError, match=r"a\.json: not valid JSON"):
        read_json(tmp_path / "a.json")


def test_sha256_is_that_of_the_bytes(tmp_path):
    (tmp_path / "a").write_bytes(b"abc")
    assert sha256(tmp_path / "a") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
