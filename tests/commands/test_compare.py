"""`python -m prunelib compare`: what it prints, writes and returns."""

import pandas as pd
import pytest

from prunelib.__main__ import main
from prunelib.runs import Run
from tests.report.trees import write_run

RUN = Run("oes", "denoise-x", "hourglass", "snip", "density0.5", 0)


@pytest.fixture
def trees(tmp_path):
    for name, value in (("a", 25.0), ("b", 25.25)):
        write_run(tmp_path / name, RUN, {"psnr_final": value})
    return str(tmp_path / "a"), str(tmp_path / "b")


def test_the_exit_code_says_whether_they_differ(trees, tmp_path, capsys):
    assert main(["compare", trees[0], trees[0]]) == 0
    assert "1 runs, 2 values, 0 differences" in capsys.readouterr().out
    table = tmp_path / "differences.csv"
    assert main(["compare", *trees, "--csv", str(table)]) == 1
    said = capsys.readouterr().out
    assert "oes/denoise-x/hourglass/snip/density0.5/seed0: psnr_final 25.0 -> 25.25" in said
    rows = pd.read_csv(table)
    assert rows.verdict.tolist() == ["equal", "differs"] and rows.difference[1] == 0.25
    for allowed in (["--absolute", "0.3"], ["--relative", "0.01"], ["--tolerance", "psnr_final=0.25"]):
        assert main(["compare", *trees, *allowed]) == 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--absolute", "-1"], "--absolute: got -1.0; a tolerance is 0 or more"),
        (["--absolute", "nan"], "--absolute: got nan"),
        (["--tolerance", "psnr_final"], "it is written NAME=VALUE"),
        (["--tolerance", "psnr_final=little"], "got 'little', which is no number"),
        (["--metric", "psnr"], "neither tree has it"),
        (["--as", "snap=snip"], "tree A has no method 'snap'"),
    ],
)
def test_mistakes_are_said_in_a_line(trees, capsys, arguments, said):
    assert main(["compare", *trees, *arguments]) == 2
    error = capsys.readouterr().err
    assert said in error and "Traceback" not in error
