"""The set-up script as a module, and a small repository that can be set up without a network."""

import base64
import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

TOP = Path(__file__).resolve().parents[2]

# Stands in for uv: notes how it was called, then does what the test asks of it.
FAKE_UV = """#!python
import json, os, pathlib, sys, sysconfig, time
packages = pathlib.Path(sysconfig.get_path("purelib"))
with open(os.environ["TEST_CALLS"], "a") as calls:
    print(json.dumps({{"build": "{build}", "argv": sys.argv[1:], "env": dict(os.environ)}}), file=calls)
behaviour = os.environ.get("TEST_UV", "work")
if behaviour == "hang":
    (packages / "half_installed.py").touch()
    time.sleep(600)
if behaviour == "offline":
    sys.exit("error: Failed to fetch: `x`\\n  cause: client error (Connect)\\n  cause: dns error")
print("Installed 1 package in 1ms")
(packages / "installed.py").touch()
"""


def write_wheel(folder, build):
    """Write a wheel of uv 1.0 whose program is the stand-in; return its sha256."""
    folder.mkdir(parents=True)
    path = folder / "uv-1.0-py3-none-any.whl"
    info = "uv-1.0.dist-info"
    files = {
        "uv-1.0.data/scripts/uv": FAKE_UV.format(build=build),
        f"{info}/METADATA": "Metadata-Version: 2.1\nName: uv\nVersion: 1.0\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = [f"{info}/RECORD,,"]
    with zipfile.ZipFile(path, "w") as wheel:
        for name, text in files.items():
            entry = zipfile.ZipInfo(name)
            entry.external_attr = 0o100755 << 16  # pip makes regular, executable files executable
            wheel.writestr(entry, text)
            digest = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).decode().rstrip("=")
            record.append(f"{name},sha256={digest},{len(text)}")
        wheel.writestr(f"{info}/RECORD", "\n".join(record) + "\n")
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture
def bootstrap():
    """Import envs/bootstrap.py anew."""
    spec = importlib.util.spec_from_file_location("bootstrap", TOP / "envs" / "bootstrap.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Sandbox:
    """A copy of the set-up files, a package index on disk, and a hostile pip and uv configuration."""

    def __init__(self, folder):
        self.folder = folder / "repository"
        self.venv = self.folder / ".venv"
        self.calls = folder / "calls"
        (self.folder / "envs").mkdir(parents=True)
        shutil.copy(TOP / "Makefile", self.folder)
        shutil.copy(TOP / "envs" / "bootstrap.py", self.folder / "envs")
        digest = write_wheel(folder / "index" / "uv", "pinned")
        page = f'<a href="uv-1.0-py3-none-any.whl#sha256={digest}">uv-1.0-py3-none-any.whl</a>'
        (folder / "index" / "uv" / "index.html").write_text(page)
        requirements = (
            f"six==1.0 \\\n    --hash=sha256:{'0' * 64}\nuv==1.0 \\\n    --hash=sha256:{digest}\n    # via x\n"
        )
        (self.folder / "envs" / "requirements.txt").write_text(requirements)
        other = folder / "wheels"
        write_wheel(other, "other")
        (folder / "pip.conf").write_text(
            f"[global]\nfind-links = {other}\nextra-index-url = file://{other}\nuser = true\n"
        )
        own = {k: v for k, v in os.environ.items() if not k.startswith(("PIP_", "UV_", "MAKE", "PRUNELIB_", "PYTHON"))}
        hostile = {
            "PIP_FIND_LINKS": str(other),
            "PIP_TARGET": str(folder / "target"),
            "PIP_USER": "1",
            "PIP_NO_DEPS": "0",
        }
        hostile |= {"UV_FIND_LINKS": str(other), "UV_TORCH_BACKEND": "cpu", "UV_INDEX": f"file://{other}"}
        hostile |= {"PYTHONPATH": str(other), "VIRTUAL_ENV": str(other), "CONDA_PREFIX": str(other)}
        reach = {"PIP_CONFIG_FILE": str(folder / "pip.conf"), "PIP_INDEX_URL": f"file://{folder / 'index'}"}
        self.env = {**own, **hostile, **reach, "PRUNELIB_NEED_GB": "0", "TEST_CALLS": str(self.calls)}

    def command(self, *arguments):
        """Return the make command that uses the interpreter of these tests."""
        return ["make", "--no-print-directory", f"PYTHON={sys.executable}", *arguments]

    def make(self, *arguments, **variables):
        """Run make and return the finished process."""
        return subprocess.run(
            self.command(*arguments),
            cwd=self.folder,
            env=self.env | variables,
            text=True,
            capture_output=True,
            timeout=120,
        )


@pytest.fixture
def sandbox(tmp_path):
    return Sandbox(tmp_path)
