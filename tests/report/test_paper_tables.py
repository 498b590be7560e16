"""Tables in the papers' layouts: what is in them, that LaTeX takes them and that Markdown has its columns."""

import re
import shutil
import subprocess

import pandas as pd
import pytest

from prunelib.report.paper_formats import PaperTable, latex, markdown
from prunelib.report.paper_tables import LAYOUTS, paper_tables, write_paper_tables
from prunelib.report.tables import read_table
from prunelib.report.words import shown
from tests.report.trees import table_of

NAMES = (*LAYOUTS, "claims")
DOCUMENT = "\\documentclass{article}\n\\usepackage{booktabs,graphicx}\n\\begin{document}\nx\n%s\n\\end{document}\n"


@pytest.fixture(scope="module")
def written(tree, tmp_path_factory):
    root, _ = tree
    folder = tmp_path_factory.mktemp("tables")
    for name in ("all_runs.csv", "scorecard.csv"):
        shutil.copyfile(root / "tables" / name, folder / name)
    write_paper_tables(folder, NAMES)
    return folder


def rows_of(text):
    return [line for line in text.splitlines() if line.endswith(r"\\")]


@pytest.mark.parametrize("name", NAMES)
def test_latex_is_well_formed(written, name):
    text = (written / f"{name}.tex").read_text()
    assert text.isascii() and text.count(r"\begin{table}") == text.count(r"\end{table}")
    body = "\n".join(line for line in text.splitlines() if not line.startswith("%"))
    assert body.count("{") - body.count(r"\{") == body.count("}") - body.count(r"\}")
    assert not re.search(r"(?<!\\)[#_]", re.sub(r"\\label\{[^}]*\}", "", body))
    for table in re.findall(r"\\begin\{tabular\}\{([lr]+)\}(.*?)\\end\{tabular\}", text, re.DOTALL):
        widths = {len(re.findall(r"(?<!\\)&", row)) + 1 for row in rows_of(table[1])}
        assert widths == {len(table[0])} and all(
            rule in table[1] for rule in (r"\toprule", r"\midrule", r"\bottomrule")
        )


def test_latex_compiles(written, tmp_path):
    if shutil.which("pdflatex") is None:
        pytest.skip("no pdflatex here: the tables' structure is checked, but no LaTeX has read them")
    inputs = "\n".join(f"\\input{{{written / name}.tex}}" for name in NAMES)
    (tmp_path / "all.tex").write_text(DOCUMENT % inputs)
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "all.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout[-2000:]
    assert "Undefined control sequence" not in done.stdout and (tmp_path / "all.pdf").stat().st_size > 10_000


@pytest.mark.parametrize("name", NAMES)
def test_markdown_has_one_width_per_table(written, name):
    text = (written / f"{name}.md").read_text()
    blocks = [block.splitlines() for block in text.split("\n\n") if block.startswith("|")]
    for block in blocks:
        assert len({len(re.findall(r"(?<!\\)\|", line)) for line in block}) == 1 and set(block[1]) <= set("|- ")
        assert len(block) > 2
    assert bool(blocks) or text == "No finished run yet.\n"


def test_every_part_is_laid_out_as_its_paper(written):
    runs, card = (read_table(written / f"{name}.csv") for name in ("all_runs", "scorecard"))
    (oes,) = paper_tables("oes", runs, card)
    assert oes.columns == ("Method", "denoise-astronaut", "denoise-coffee")
    row = next(row for row in oes.rows if row[0] == "OES, density 10 %")
    mine = runs[(runs.method == "gumbel") & (runs.task == "denoise-coffee")]
    ends = [shown(name, mine[name].mean(), mine[name].std()) for name in ("psnr_peak", "psnr_final")]
    assert row[2] == " / ".join(ends)
    (expanders,) = paper_tables("expanders", runs, card)
    assert expanders.columns == ("Network", "Mask", "dense", "degree 3", "degree 8")
    assert expanders.rows[0][:2] == ("vgg-tiny", "Dense") and expanders.rows[0][3] == "\N{EN DASH}"
    (structural,) = paper_tables("isomorphic", runs, card)
    assert structural.columns[2:4] == ("Params (M)", "MACs (G)") and structural.rows[0][:2] == (
        "resnet-tiny",
        "resnet-tiny",
    )
    (energies,) = paper_tables("ising", runs, card)
    assert energies.columns[2:] == ("Loss", "Top-1 (%)", "Top-3 (%)", "Top-5 (%)", "R (%)", "#p (M)")
    assert energies.rows[0][1] == "Original"


def test_rows_f_and_p_stand_apart():
    rows = [
        {"paper": "ising", "method": "ising", "seed": seed, "top1": 0.9, "top1_full": 0.8, "density_upstream": 0.5}
        | {"parameters": 2_000_000}
        for seed in (0, 1)
    ]
    (table,) = paper_tables("ising", table_of(*rows), pd.DataFrame())
    assert [row[1] for row in table.rows] == ["Ising energy (F)", "Ising energy (P)"]
    assert [row[3] for row in table.rows] == ["80.0", "90.0"]
    assert table.rows[0][-2:] == ("50.0", "1.000")


def test_claims_stand_with_their_test(written):
    text = (written / "claims.md").read_text()
    line = next(line for line in text.splitlines() if line.startswith("| OES ends above dense |"))
    cells = [cell.strip() for cell in line.strip("|").split("|")]
    assert cells[1].startswith("abstract") and cells[2] == "+4.07" and cells[5] == "3" and cells[-1] == "direction only"
    assert re.fullmatch(r"\[\+[\d.]+, \+[\d.]+\]", cells[4])


def test_what_users_name_is_escaped():
    table = PaperTable("50 % of a_b & c", ("A_x", "#p"), (("d_e|f", "1 ± 2 \N{MINUS SIGN}3"),))
    text = latex([table], "x")
    assert r"50 \% of a\_b \& c" in text and r"A\_x & \#p" in text and r"d\_e|f & 1 $\pm$ 2 $-$3" in text
    assert r"| d_e\|f | 1 ± 2" in markdown([table], "x")
    assert latex([], "x").endswith("% No finished run yet.\n")
