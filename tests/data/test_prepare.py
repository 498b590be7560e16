"""prepare: one specification in, one file out; errors leave nothing."""

import subprocess
import sys

import pytest

from prunelib import registry
from prunelib.data.datasets import read_images
from prunelib.data.prepare import prepare
from prunelib.errors import ConfigError, DataError

SOURCES = {
    "cifar10",
    "cifar100",
    "digits",
    "fashion_mnist",
    "flowers102",
    "folder",
    "image_file",
    "imagenet",
    "kmnist",
    "photo",
    "tiny_imagenet",
}


def test_all_sources_are_registered_with_a_summary_and_checkable_options():
    found = registry.entries("data")
    assert found.keys() >= SOURCES
    for name in SOURCES:
        assert found[name].summary.endswith((".", "..."))
        assert all(option.annotation != "object" for option in found[name].options.values())


def test_provenance_holds_what_decides_the_bytes_and_not_the_machine(tmp_path):
    prepare({"source": "digits", "options": {"val_share": 0.1}, "seed": 5}, tmp_path / "d.h5")
    found = read_images(tmp_path / "d.h5").provenance
    options = {"side": 8, "val_share": 0.1, "test_share": 0.25}
    assert found["spec"] == {"source": "digits", "options": options, "seed": 5}
    assert found.keys() == {"spec", "prunelib", "packages", "inputs"} and "numpy" in found["packages"]


def test_two_processes_write_the_same_bytes_without_torch(tmp_path):
    code = (
        "import sys; from prunelib.data.prepare import prepare;"
        "prepare({'source': 'photo', 'options': {'side': 64}}, sys.argv[1]); assert 'torch' not in sys.modules"
    )
    for name in ("a.h5", "b.h5"):
        subprocess.run([sys.executable, "-c", code, tmp_path / name], check=True)
    assert (tmp_path / "a.h5").read_bytes() == (tmp_path / "b.h5").read_bytes()


@pytest.mark.parametrize(
    ("spec", "error", "message"),
    [
        ({"source": "digit"}, ConfigError, "unknown data 'digit'. Did you mean 'digits'"),
        ({"source": "digits", "options": {"sides": 8}}, ConfigError, "sides: unknown option.*Did you mean 'side'"),
        ({"source": "digits", "options": {"side": 0}}, ConfigError, "side: got 0"),
        ({"source": "digits", "options": {"val_share": 1.0}}, ConfigError, "val_share: got 1.0"),
        ({"source": "photo", "options": {"name": "lena"}}, ConfigError, "name: got 'lena'.*'astronaut'"),
        ({"source": "folder", "options": {"side": 8}}, ConfigError, "needs location"),
        ({"source": "image_file", "options": {"location": "none.png"}}, DataError, "none.png: no such file"),
        ({"source": "imagenet", "options": {"root": "nowhere"}}, DataError, "nowhere: needs the folders train/ and"),
    ],
)
def test_errors_name_the_fault_and_leave_the_old_file_alone(tmp_path, monkeypatch, spec, error, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "out.h5").write_bytes(b"old")
    with pytest.raises(error, match=message):
        prepare(spec, tmp_path / "out.h5")
    assert (tmp_path / "out.h5").read_bytes() == b"old" and len(list(tmp_path.iterdir())) == 1
