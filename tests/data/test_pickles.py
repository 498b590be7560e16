"""Pickles of old data sets: plain data come out, nothing ever runs."""

import pickle
import subprocess

import numpy as np
import pytest

from prunelib.data.pickles import load_plain
from prunelib.errors import DataError


def test_an_array_of_python_2_comes_back(make):
    array = np.random.default_rng(0).integers(0, 256, (3, 3072), dtype=np.uint8)
    content = b"\x80\x02}U\x04data" + make["python2_array"](array) + b"sU\x06labels]K\x05as."
    found = load_plain(content, "batch")
    assert np.array_equal(found[b"data"], array) and found[b"labels"] == [5]


def test_what_numpy_pickles_today_at_protocol_2_is_read_too():
    values = {b"labels": [1, 2], b"name": "x", b"share": 0.5}
    assert load_plain(pickle.dumps(values, 3), "batch") == values


class Evil:
    def __init__(self, *call):
        self.call = call

    def __reduce__(self):
        return self.call[0], self.call[1:]


@pytest.mark.parametrize("kind", ["system", "open", "getattr", "eval"])
@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_payloads_do_not_run(tmp_path, kind, protocol):
    ran = tmp_path / "ran"
    payload = {
        "system": Evil(subprocess.call, ["touch", str(ran)]),
        "open": Evil(open, str(ran), "w"),
        "getattr": Evil(getattr, np.ndarray, "tofile"),
        "eval": Evil(eval, f"open({str(ran)!r}, 'w')"),
    }[kind]
    with pytest.raises(DataError, match=r"batch: not a pickle of plain data \(it asks for"):
        load_plain(pickle.dumps({"data": payload}, protocol), "batch")
    assert not ran.exists()


def test_a_reconstruction_can_not_ask_for_memory_or_another_class():
    huge = b"\x80\x02cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nJ\xff\xff\xff\x7f\x85U\x01b\x87R."
    with pytest.raises(DataError, match="holds a _Array; expected a dict"):
        load_plain(huge, "batch")
    other = b"\x80\x02cnumpy.core.multiarray\n_reconstruct\ncnumpy\ndtype\nK\x00\x85U\x01b\x87R."
    with pytest.raises(DataError, match="holds a _Array; expected a dict"):
        load_plain(other, "batch")


@pytest.mark.parametrize("content", [b"", b"\x80\x02", b"not a pickle", pickle.dumps([1, 2])])
def test_torn_and_foreign_pickles_are_refused(content):
    with pytest.raises(DataError, match="batch"):
        load_plain(content, "batch")


# A tuple of itself twice, sixty times over: its hash and its text would take for ever. Then what asks for one of them.
NEST = b")q\x00" + b"h\x00h\x00\x86q\x00" * 60


@pytest.mark.timeout(20)
@pytest.mark.parametrize(
    "end",
    [
        NEST + b"K\x01R.",
        NEST + b")R.",
        b"}" + NEST + b"K\x01s.",
        b"cnumpy\ndtype\n" + NEST + b"\x85R.",
        b"cnumpy\nndarray\n" + NEST + b"R(K\x01)cnumpy\ndtype\n" + NEST + b"\x85RK\x00C\x00tb.",
    ],
    ids=["called with a number", "called", "a key", "a kind of array", "an array of that kind"],
)
def test_nested_tuples_are_refused_at_once(end):
    with pytest.raises(DataError):
        load_plain(b"\x80\x02" + end, "batch")
