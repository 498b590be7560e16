"""The parts of envs/bootstrap.py: which Python, which environment, which words for which failure."""

import ast
from pathlib import Path
from types import SimpleNamespace

import pytest

SOURCE = Path(__file__).resolve().parents[2] / "envs" / "bootstrap.py"
PIP_CONFIG = """:env:.index-url='https://mirror.example/simple'
global.cert='/etc/site.pem'
global.find-links='/opt/wheels'
global.index-url='https://other.example/simple'
global.trusted-host='\\none.example\\ntwo.example'
install.proxy='http://proxy.example:3128'
"""


def test_an_old_python_can_read_the_script():
    tree = ast.parse(SOURCE.read_text(), feature_version=(3, 7))
    assert "annotations" not in {
        name.name for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) for name in node.names
    }


def use_version(bootstrap, monkeypatch, version):
    system = SimpleNamespace(
        version_info=version, version="{}.{}.{} (x)".format(*version), executable="/bin/py", argv=["b.py", "v"]
    )
    monkeypatch.setattr(bootstrap, "sys", system)


def test_python_3_10_is_refused_by_name(bootstrap, monkeypatch):
    use_version(bootstrap, monkeypatch, (3, 10, 13))
    with pytest.raises(
        bootstrap.SetupError, match=r"^needs Python 3.11 or newer, but /bin/py is 3.10.13: run make PYTHON="
    ):
        bootstrap.require_python(search=False)


@pytest.mark.parametrize("version", [(3, 10, 13), (3, 14, 0)])
def test_search_changes_over_to_a_working_python(bootstrap, monkeypatch, version):
    started = []
    use_version(bootstrap, monkeypatch, version)
    monkeypatch.setattr(bootstrap.shutil, "which", lambda name: None if name == "python3.13" else f"/bin/{name}")
    monkeypatch.setattr(bootstrap.subprocess, "call", lambda command, **_: int("3.12" in command[0]))  # a dead shim
    monkeypatch.setattr(bootstrap.os, "execv", lambda path, argv: started.append((path, argv)))
    if version < (3, 11):
        with pytest.raises(bootstrap.SetupError):
            bootstrap.require_python(search=True)
    else:
        bootstrap.require_python(search=True)
    assert started == [("/bin/python3.11", ["/bin/python3.11", "b.py", "v"])]


def test_a_python_without_ensurepip_is_refused(bootstrap, monkeypatch):
    use_version(bootstrap, monkeypatch, (3, 12, 1))
    monkeypatch.setattr(bootstrap.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(bootstrap.SetupError, match="python3-venv"):
        bootstrap.require_python(search=True)


def test_environment_keeps_the_way_to_the_index_and_drops_what_changes_the_set(bootstrap):
    kept = {"PATH": "/bin", "HTTPS_PROXY": "p", "SSL_CERT_FILE": "c", "PIP_INDEX_URL": "i", "PIP_CERT": "c"}
    kept |= {"UV_CACHE_DIR": "d", "UV_DEFAULT_INDEX": "i", "UV_OFFLINE": "1"}
    dropped = {"PIP_FIND_LINKS": "/opt/wheels", "PIP_EXTRA_INDEX_URL": "x", "PIP_CONSTRAINT": "c", "PIP_TARGET": "t"}
    dropped |= {"UV_FIND_LINKS": "w", "UV_TORCH_BACKEND": "cpu", "UV_EXTRA_INDEX_URL": "x", "UV_EXCLUDE_NEWER": "2020"}
    dropped |= {"PYTHONPATH": "/x", "PYTHONHOME": "/x", "VIRTUAL_ENV": "/x", "CONDA_PREFIX": "/x"}
    assert bootstrap.clean_environment(kept | dropped) == kept


def test_pip_configuration_is_handed_on_to_uv(bootstrap):
    assert bootstrap.hand_on({}, PIP_CONFIG) == {
        "UV_DEFAULT_INDEX": "https://mirror.example/simple",
        "SSL_CERT_FILE": "/etc/site.pem",
        "ALL_PROXY": "http://proxy.example:3128",
        "UV_INSECURE_HOST": "one.example two.example",
    }


def test_what_the_user_told_uv_wins_over_pip(bootstrap):
    env = {"UV_INDEX_URL": "https://uv.example", "SSL_CERT_FILE": "/mine.pem"}
    handed = bootstrap.hand_on(env, PIP_CONFIG)
    assert "UV_DEFAULT_INDEX" not in handed
    assert handed["SSL_CERT_FILE"] == "/mine.pem"


@pytest.mark.parametrize(
    ("output", "start"),
    [
        ("cause: tcp connect error\n  cause: Connection refused (os error 111)", "cannot reach the package index"),
        ("connection broken by 'NewConnectionError('<x>: Failed')'\nERROR: No matching distribution", "cannot reach"),
        ("Failed to build `connection-pool`\n cause: dns error", "cannot reach the package index"),
        ("cause: Failed to copy: No space left on device (os error 28)", "the disk is full"),
        ("OSError: [Errno 122] Disk quota exceeded: 'x'", "the disk is full"),
        ("cause: invalid peer certificate: UnknownIssuer", "the package index's certificate is not trusted"),
        ("[SSL: CERTIFICATE_VERIFY_FAILED] connection broken", "the package index's certificate is not trusted"),
        ("error: Hash mismatch for `torch==2.15.0`", "the package index served a file that is not the pinned one"),
        ("ERROR: THESE PACKAGES DO NOT MATCH THE HASHES FROM", "the package index served a file"),
        ("error: Failed to build `immutables==0.21`\n/bin/cc: not found", "a package has no ready-made build"),
        ("hint: torch has no wheels with a matching platform tag", "a package has no ready-made build"),
        ("Error: Command '[python, -m, ensurepip]' returned 1", "this Python cannot make environments"),
        ("first\nerror: something new\n\n", "error: something new"),
    ],
)
def test_failures_are_put_into_one_line(bootstrap, output, start):
    line = bootstrap.explain(output)
    assert line.startswith(start)
    assert "\n" not in line


def test_space_that_is_already_filled_counts(bootstrap, monkeypatch, tmp_path):
    monkeypatch.setattr(bootstrap.shutil, "disk_usage", lambda path: SimpleNamespace(free=1.0e9))
    monkeypatch.setenv("PRUNELIB_NEED_GB", "1.5")
    with pytest.raises(bootstrap.SetupError, match=r"needs 1\.5 GB more disk space, there is 1\.0 GB"):
        bootstrap.check_space(tmp_path / "not" / "there")
    with open(tmp_path / "library", "wb") as sparse:
        sparse.truncate(600_000_000)
    bootstrap.check_space(tmp_path)
