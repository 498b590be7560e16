import json
import sys

import pytest

from benchmarks.common import command, save
from prunelib.errors import ArtefactError
from prunelib.report.page.benchmarks import benchmarks
from prunelib.report.page.build import build_page
from tests.report.test_page import Page, read

WHAT = "Time a step against a plain one: python benchmarks/some_step.py.\n\nMore."


def saved(folder, monkeypatch):
    """A table of two rows as a benchmark saves it."""
    monkeypatch.setattr(sys, "argv", ["/there/benchmarks/some_step.py", "--csv", "/there/x.csv", "--side", "64"])
    path = folder / "some_step.csv"
    save(path, WHAT, ("step", "ms", "ratio"), [("plain", 1234.5678, 1.0), ("<sparse>", 61.728, 0.05)], clock="cpu")
    return path


def test_a_table_is_saved_with_what_it_was_measured_with(tmp_path, monkeypatch):
    path = saved(tmp_path, monkeypatch)
    assert path.read_text() == "step,ms,ratio\nplain,1234.5678,1.0\n<sparse>,61.728,0.05\n"
    record = json.loads(path.with_suffix(".json").read_text())
    assert (record["what"], record["clock"]) == ("Time a step against a plain one", "cpu")
    assert record["command"] == "python benchmarks/some_step.py --side 64"
    assert record["machine"]["cores"] >= 1 and {"threads", "cpu", "gpu"} <= set(record["machine"])
    assert record["date"][:2] == "20" and record["load"] >= 0 and "numpy" in record["packages"]
    assert "/there" not in path.with_suffix(".json").read_text()


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        (["b.py"], "python benchmarks/b.py"),
        (["b.py", "--csv=x.csv", "--threads", "1"], "python benchmarks/b.py --threads 1"),
        (
            ["b.py", "--options", '{"width": 16}', "--csv", "--odd"],
            "python benchmarks/b.py --options '{\"width\": 16}'",
        ),
    ],
)
def test_the_command_leaves_out_where_the_table_went(given, kept):
    assert command(given) == kept


def test_the_page_shows_each_table_with_its_machine(page, tmp_path, monkeypatch):
    path, output = saved(tmp_path, monkeypatch), tmp_path / "report" / "index.html"
    build_page(page / "tables", page / "figures", page / "provenance" / "runtimes.csv", output, "quick", [path])
    shown = read(tmp_path)
    cpu = json.loads(path.with_suffix(".json").read_text())["machine"]["cpu"]
    assert "#benchmarks" in [attributes.get("href") for attributes in shown.all("a")]
    assert f"Measured on {cpu}" in shown.prose and "(clock cpu)" in shown.prose
    assert "python benchmarks/some_step.py --side 64" in shown.prose
    assert {"plain", "<sparse>", "0.050", "61.728"} <= set(shown.cells)


def test_without_a_recorded_benchmark_the_page_has_no_such_section(page):
    shown: Page = read(page)
    assert "#benchmarks" not in [attributes.get("href") for attributes in shown.all("a")]


def test_a_table_without_a_machine_is_named(tmp_path, monkeypatch):
    path = saved(tmp_path, monkeypatch)
    path.with_suffix(".json").write_text('{"what": "x"}')
    with pytest.raises(ArtefactError, match=r"some_step\.json: says no machine"):
        benchmarks([path])
    path.with_suffix(".json").unlink()
    with pytest.raises(ArtefactError, match=r"some_step\.json: missing"):
        benchmarks([path])
