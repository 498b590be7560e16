"""`python -m prunelib status` on a tree of a few runs."""

import json
import subprocess
import sys

import pytest
import yaml

from prunelib.__main__ import main
from prunelib.commands.status import span
from prunelib.runs import Run
from tests.report.trees import write_run

CONFIG = {
    "seeds": [0, 1],
    "data": {"digits": {"source": "digits"}},
    "tasks": {"classify-digits": {"kind": "classify", "data": "digits"}},
    "models": {"small": {"builder": "resnet_small"}},
    "methods": {},
    "recipes": {"short": {"loop": "classify", "epochs": 1, "batch_size": 8, "lr": 0.1}},
    "grid": {
        "expanders": [{"tasks": ["classify-digits"], "models": ["small"], "methods": ["dense"], "recipe": "short"}]
    },
}


@pytest.fixture
def tree(tmp_path):
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(CONFIG))
    run = Run("expanders", "classify-digits", "small", "dense", "full", 0)
    write_run(tmp_path / "results", run, {"top1": 0.5})
    folder = tmp_path / "results" / "benchmarks" / run.path
    folder.mkdir(parents=True)
    (folder / "train.tsv").write_text("s\n90.4\n")
    return tmp_path


def test_the_table_counts_runs_and_time(tree, capsys):
    assert main(["status", str(tree / "config.yaml"), "--results", str(tree / "results")]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["done", "dead", "running", "failed", "begun", "missing", "spent", "left"]
    assert lines[1].split("  ")[0] == "expanders" and lines[1].split()[1:7] == ["1", "0", "0", "0", "0", "1"]
    assert lines[1].endswith("1 min 30 s  1 min 30 s") and "1 min 30 s with 1 at a time" in lines[-1]


def test_runs_can_be_named_and_read_by_programs(tree, capsys):
    arguments = ["status", str(tree / "config.yaml"), "--results", str(tree / "results")]
    assert main([*arguments, "--list", "missing"]) == 0
    assert "missing  expanders/classify-digits/small/dense/full/seed1" in capsys.readouterr().out
    assert main([*arguments, "--json"]) == 0
    states = [json.loads(line)["state"] for line in capsys.readouterr().out.splitlines()]
    assert states == ["done", "missing"]


def test_nothing_yet_is_said_plainly(tree, capsys):
    assert main(["status", str(tree / "config.yaml"), "--results", str(tree / "elsewhere")]) == 0
    assert "No run has finished yet" in capsys.readouterr().out


def test_it_imports_no_torch_or_pandas(tree):
    code = "import sys\nfrom prunelib.__main__ import main\nmain(sys.argv[1:])\n"
    code += "print('torch' in sys.modules, 'pandas' in sys.modules)"
    command = [sys.executable, "-c", code, "status", str(tree / "config.yaml"), "--results", str(tree / "results")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.endswith("False False\n")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 s"), (59.4, "59 s"), (60, "1 min 0 s"), (3725, "1 h 2 min"), (90000, "1 d 1 h")],
)
def test_times_have_two_units(seconds, text):
    assert span(seconds) == text
