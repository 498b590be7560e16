"""Make the environment that `make` uses: a venv, uv by its hash, then the pinned, hashed set in requirements.txt.

Standard library only, in syntax an old Python can read, so that it can say what is wrong. A whole environment is left
alone, an interrupted one is made anew from uv's cache. Exit status: 0 ready, 3 after one line that says why it is not.
"""

import argparse
import ast
import contextlib
import fcntl
import hashlib
import importlib.util
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

REQUIREMENTS = Path("envs/requirements.txt")
STAMP = "prunelib-setup"  # in the venv: hash of the requirements, place, Python; one line only while incomplete
OLDEST, NEWEST = (3, 11), (3, 13)  # NEWEST: the last Python for which every package has a ready-made build
NEED_GB = 7.0 if sys.platform == "linux" else 2.0  # 5.7 on Linux, where torch brings CUDA along

# Kept from pip's and uv's variables: how the package index is reached. Dropped: what changes the set that is installed
# (find-links and extra indexes with another build of torch, constraints, a user or target folder, ...).
KEPT = {"PIP_CERT", "PIP_CONFIG_FILE", "PIP_INDEX_URL", "PIP_PROXY", "PIP_TRUSTED_HOST"}
KEPT |= {"UV_CACHE_DIR", "UV_CONFIG_FILE", "UV_DEFAULT_INDEX", "UV_INDEX_URL", "UV_INSECURE_HOST", "UV_OFFLINE"}
KEPT |= {"PIP_DEFAULT_TIMEOUT", "UV_HTTP_TIMEOUT", "UV_LINK_MODE", "UV_NATIVE_TLS", "UV_SYSTEM_CERTS"}
FOREIGN = {"CONDA_PREFIX", "PYTHONHOME", "PYTHONPATH", "VIRTUAL_ENV"}
# uv does not read pip's configuration: these settings of it are handed on.
PIP_TO_UV = {
    "cert": "SSL_CERT_FILE",
    "index-url": "UV_DEFAULT_INDEX",
    "proxy": "ALL_PROXY",
    "trusted-host": "UV_INSECURE_HOST",
}

VENV = "this Python cannot make environments: install its venv package (Debian: python3-venv) or use make PYTHON=..."
REASONS = {  # what a failed command printed: what the user reads; the first match counts
    r"no space left|quota exceeded|os error 28\b": "the disk is full: free some space, or move the environment"
    " (PRUNELIB_VENV=/larger/disk/venv) or uv's cache (UV_CACHE_DIR=/larger/disk/uv)",
    r"hash mismatch|do not match the hashes": "the package index served a file that is not the pinned one:"
    " use an index that mirrors the official one faithfully",
    r"certificate_verify|invalid peer certificate|unknownissuer": "the package index's certificate is not trusted:"
    " set SSL_CERT_FILE to your site's certificates",
    r"dns error|connect error|connection (broken|refused|reset)|timed out|tunnel|network was disabled": "cannot reach"
    " the package index: check the network, HTTPS_PROXY and PIP_INDEX_URL, then run make again",
    r"failed to build|no usable wheels|no wheels with": "a package has no ready-made build for this machine:"
    " use Python 3.11 to 3.13 (make PYTHON=...) on Linux or Apple silicon",
    r"ensurepip": VENV,
}


class SetupError(Exception):
    """Says in one line why the environment is not ready and what to do."""


def explain(output: str) -> str:
    """Return one line for the user from what a failed command printed."""
    found = (reason for pattern, reason in REASONS.items() if re.search(pattern, output, re.IGNORECASE))
    return next(found, output.strip().split("\n")[-1][:300])


def require_python(search: bool) -> None:
    """Raise unless this Python will do; with `search`, first try to start again under a better one on PATH."""
    if search and not OLDEST <= sys.version_info[:2] <= NEWEST:
        for path in filter(None, map(shutil.which, ("python3.13", "python3.12", "python3.11"))):
            # A name on PATH may be a pyenv shim with no Python behind it: only a working import counts.
            if subprocess.call([path, "-c", "import ensurepip"], stderr=subprocess.DEVNULL) == 0:
                os.execv(path, [path, *sys.argv])
    if sys.version_info[:2] < OLDEST:
        found = f"{sys.executable} is {sys.version.split()[0]}"
        raise SetupError(f"needs Python 3.11 or newer, but {found}: run make PYTHON=/path/to/python3.13")
    if importlib.util.find_spec("ensurepip") is None:
        raise SetupError(VENV)


def clean_environment(environ: "dict[str, str]") -> "dict[str, str]":
    """Return `environ` without the variables that change what pip and uv install, or where."""
    return {k: v for k, v in environ.items() if k in KEPT or not (k in FOREIGN or k.startswith(("PIP_", "UV_")))}


def hand_on(env: "dict[str, str]", pip_config: str) -> "dict[str, str]":
    """Return `env` with what `pip config list` says of index, proxy and certificates in the variables uv reads."""
    found = {}
    for section in ("global", "install", ":env:"):  # the last one wins, as in pip
        for key, value in re.findall(rf"^{section}\.([a-z-]+)=(.*)$", pip_config, re.MULTILINE):
            if key in PIP_TO_UV:
                found[PIP_TO_UV[key]] = " ".join(ast.literal_eval(value).split())
    if "UV_INDEX_URL" in env:
        found.pop("UV_DEFAULT_INDEX", None)
    return {**found, **env}


def run(command: "list[str]", env: "dict[str, str]", log_path: Path) -> str:
    """Run a command and return its output; all of it goes to the log, uv's progress lines to the terminal too."""
    lines = []
    streams = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    with open(log_path, "ab") as log, subprocess.Popen(command, env=env, **streams) as child:
        for raw in child.stdout:
            log.write(raw)
            lines.append(raw.decode("utf-8", "replace"))
            if lines[-1].startswith(("Downloading", " Downloaded", "Installed")):
                print("  " + lines[-1].strip(), flush=True)
    if child.returncode != 0:
        raise SetupError(f"{explain(''.join(lines))} (details: {log_path})")
    return "".join(lines)


def check_space(venv: Path) -> None:
    """Raise unless the venv's disk has room for what is not yet installed; PRUNELIB_NEED_GB replaces the estimate."""
    there = sum(path.lstat().st_size for path in venv.rglob("*")) / 1e9
    need = float(os.environ.get("PRUNELIB_NEED_GB", NEED_GB)) - there
    folder = next(parent for parent in [venv, *venv.absolute().parents] if parent.is_dir())
    free = shutil.disk_usage(str(folder)).free / 1e9
    if free < need:
        cure = "free some, or set PRUNELIB_VENV=/larger/disk/venv (PRUNELIB_NEED_GB=0 skips this check)"
        raise SetupError(f"{venv} needs {need:.1f} GB more disk space, there is {free:.1f} GB: {cure}")


def read_stamp(venv: Path) -> "list[str]":
    """Return the lines of the venv's stamp; none when the venv was not made here."""
    return (venv / STAMP).read_text().split("\n") if (venv / STAMP).exists() else []


def make_venv(venv: Path, wanted: "list[str]", env: "dict[str, str]", log: Path) -> None:
    """Leave a venv with pip, marked incomplete: the one there if whole, not moved and of this Python, or a new one."""
    stamp = read_stamp(venv)
    if venv.is_dir() and any(venv.iterdir()) and not (stamp or (venv / "pyvenv.cfg").exists()):
        raise SetupError(f"{venv} holds other files and stays as it is: set PRUNELIB_VENV=/another/folder")
    venv.mkdir(parents=True, exist_ok=True)
    (venv / STAMP).write_text("incomplete")
    python = venv / "bin" / "python"
    same = [str(python), "-c", "import sys; sys.exit('%d.%d' % sys.version_info[:2] != sys.argv[1])", wanted[2]]
    known = stamp in ([], [*stamp[:1], *wanted[1:]])  # made by hand, or whole when other requirements were pinned
    if not (known and os.access(python, os.X_OK) and subprocess.call(same, env=env) == 0):
        for entry in list(venv.iterdir()):
            if entry.is_dir() and not entry.is_symlink():
                shutil.rmtree(entry)
            elif entry.name != STAMP:
                entry.unlink()
        # Not sys.executable: that may be the interpreter of the venv that was just emptied.
        run([getattr(sys, "_base_executable", sys.executable), "-m", "venv", "--without-pip", str(venv)], env, log)
    if subprocess.call([str(python), "-c", "import pip"], env=env, stderr=subprocess.DEVNULL) != 0:
        run([str(python), "-m", "ensurepip"], env, log)


def install(venv: Path, wanted: "list[str]") -> None:
    """Bring the venv to exactly the pinned set."""
    check_space(venv)
    print(f"prunelib setup: installing {REQUIREMENTS} into {venv} (several GB the first time)", flush=True)
    env, log, uv_pin = clean_environment(dict(os.environ)), venv / "install.log", venv / "uv-requirement.txt"
    make_venv(venv, wanted, env, log)
    uv_pin.write_text(re.search(r"^uv==(.*\\\n)+.*\n", REQUIREMENTS.read_text(), re.MULTILINE).group())
    pip = [str(venv / "bin" / "python"), "-m", "pip"]
    hashed = ["--require-hashes", "--no-deps", "--only-binary=:all:", "--no-user"]
    run([*pip, "install", *hashed, "-r", str(uv_pin)], env, log)
    env = hand_on(env, run([*pip, "config", "list"], env, log))
    # The build constraint pins, by hash too, the setuptools that builds the few packages without a wheel.
    sync = [str(venv / "bin" / "uv"), "pip", "sync", "--require-hashes", "--python", pip[0]]
    run([*sync, "--build-constraint", str(REQUIREMENTS), str(REQUIREMENTS)], env, log)


def set_up(venv: Path, search: bool) -> None:
    """Install unless the stamp says that the venv is whole: of these requirements, in this place, of this Python."""
    with open(REQUIREMENTS, "rb") as requirements:
        with contextlib.suppress(OSError):  # some network disks have no locks: there, one `make` at a time
            fcntl.flock(requirements, fcntl.LOCK_EX)
        digest = hashlib.sha256(requirements.read()).hexdigest()
        wanted = [digest, str(venv.resolve()), "{}.{}".format(*sys.version_info)]
        compared = 2 if search else 3  # whoever names no Python keeps the one that the venv has
        whole = read_stamp(venv)[:compared] == wanted[:compared]
        if not (whole and os.access(venv / "bin" / "python", os.X_OK)):
            install(venv, wanted)
            (venv / STAMP).write_text("\n".join(wanted))


def main() -> int:
    """Run the set-up from the repository's top folder and return the exit status."""
    parser = argparse.ArgumentParser(description="Create or complete prunelib's virtual environment.")
    parser.add_argument("venv", type=Path, help="its folder")
    parser.add_argument("--search", action="store_true", help="try other Pythons on PATH when this one will not do")
    args = parser.parse_args()
    try:
        require_python(args.search)
        os.chdir(str(Path(__file__).resolve().parent.parent))
        set_up(args.venv, args.search)
    except (SetupError, OSError) as error:
        message = error if isinstance(error, SetupError) else explain(str(error))
    except KeyboardInterrupt:
        message = "interrupted; run make again to go on"
    else:
        return 0
    print(f"prunelib setup: {message}", file=sys.stderr)
    return 3


if __name__ == "__main__":
    sys.exit(main())
