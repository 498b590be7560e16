"""Provenance: versions without imports, the commit of this code and of no other, checksums of inputs."""

import hashlib
import json
import subprocess
import sys
from importlib import metadata

import numpy as np
import psutil
import pytest

from prunelib.storage import provenance as module
from prunelib.storage.provenance import peak_memory_mb, provenance, versions


@pytest.fixture(autouse=True)
def fresh():
    module.code.cache_clear()
    yield
    module.code.cache_clear()


def test_it_holds_versions_machine_and_input_checksums_as_plain_types(tmp_path):
    (tmp_path / "data.h5").write_bytes(b"pixels")
    found = provenance({"data": tmp_path / "data.h5"})
    assert found["inputs"] == {"data": hashlib.sha256(b"pixels").hexdigest()}
    assert found["packages"]["numpy"] == metadata.version("numpy")
    assert found["python"] == sys.version.split()[0]
    assert found["machine"]["cores"] >= 1 and found["machine"]["cpu"]
    assert json.loads(json.dumps(found)) == found


def test_it_imports_no_torch():
    code = (
        "import sys; from prunelib.storage.provenance import provenance; found = provenance({});"
        "assert 'torch' in found['packages'] and found['machine']['gpu'] is found['machine']['threads'] is None;"
        "assert not {'torch', 'numpy', 'pandas'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_threads_are_those_of_an_imported_torch():
    import torch

    assert provenance({})["machine"]["threads"] == torch.get_num_threads()


def test_a_package_that_is_not_installed_is_left_out():
    assert versions(["numpy", "no-such-package"]) == {"numpy": metadata.version("numpy")}


def test_peak_memory_is_that_of_this_process_in_mebibytes():
    now = psutil.Process().memory_info().rss / 2**20
    assert 0.9 * now <= peak_memory_mb() < 100 * now


def test_peak_memory_is_not_that_of_the_process_that_started_this_one():
    large = np.ones(2**25)  # 256 MiB
    code = "from prunelib.storage.provenance import peak_memory_mb; print(peak_memory_mb())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert 5 < float(done.stdout) < large.nbytes / 2**20


def _git(folder, *arguments):
    identity = ["-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false"]
    done = subprocess.run(["git", "-C", folder, *identity, *arguments], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_commit_and_dirty_flag_follow_the_checkout(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "HOME", tmp_path)
    assert module.code() == {"commit": None, "dirty": None}  # no checkout at all
    module.code.cache_clear()
    _git(tmp_path, "init", "-q")
    (tmp_path / "__init__.py").write_text("")
    assert module.code() == {"commit": None, "dirty": None}  # a checkout, but not of this code
    module.code.cache_clear()
    _git(tmp_path, "add", "__init__.py")
    _git(tmp_path, "commit", "-qm", "first")
    assert module.code() == {"commit": _git(tmp_path, "rev-parse", "HEAD"), "dirty": False}
    module.code.cache_clear()
    (tmp_path / "untracked").write_text("")
    assert module.code()["dirty"] is False
    module.code.cache_clear()
    (tmp_path / "__init__.py").write_text("changed")
    assert module.code()["dirty"] is True


def test_a_missing_git_is_no_error(monkeypatch):
    monkeypatch.setenv("PATH", "")
    assert module.code() == {"commit": None, "dirty": None}
