import pandas as pd

from prunelib.report.figures.published import oes_layers
from prunelib.report.findings.gather import findings
from prunelib.report.layers import COLUMNS
from tests.report.trees import table_of


def cells(finding):
    return [[cell.text for cell in row] for row in finding.evidence.rows]


def run(method, density, budget="density0.05", **more):
    row = {"paper": "oes", "task": "denoise-chelsea-s0.1", "method": method, "seed": 0, "budget": budget}
    return row | {"density_all": density, "psnr_peak": 26.0, "psnr_final": 23.0} | more


def test_dense_baselines_name_what_is_really_kept():
    runs = table_of(run("synflow", 0.05), run("synflow-upstream", 0.951), run("magnitude", 0.05), run("gumbel", 0.05))
    table = cells(findings("oes", runs)[0])
    assert [row[3] for row in table if row[1] == "published"] == ["5.0", "94.9", "94.9"]
    ours = {row[0]: row[2:4] for row in table if row[1].startswith("ours")}
    assert ours == {"SynFlow": ["5.0", "5.0"], "SynFlow, authors' code": ["5.0", "95.1"], "OES": ["5.0", "5.0"]}


def test_without_such_runs_the_published_side_stands_alone():
    table = cells(findings("oes", table_of(run("gumbel", 0.05)))[0])
    assert [row[1] for row in table] == ["published"] * 3


def test_two_conventions_differ_by_two_thirds_of_a_decibel_on_pepper():
    rows = cells(findings("oes", table_of(run("dense", 1.0)))[1])
    dense = next(row for row in rows if row[0] == "Dense")
    assert dense[1:4] == ["max(clean)", "21.21", "0.63"] and abs(float(dense[4]) - 21.845) < 0.006
    assert ["OES", "data range 1", "27.05", "0.00", "27.05"] in rows


def test_dead_masks_are_counted_beside_the_published_ones():
    dead = {"status": "dead", "psnr_peak": None, "psnr_final": None}
    runs = table_of(
        run("gumbel", 0.03, "density0.03", **dead), run("gumbel", 0.03, "density0.03", seed=1), run("gumbel", 0.05)
    )
    rows = {row[0]: row[1:] for row in cells(findings("oes", runs)[3])}
    assert rows["3.00"] == ["9 of 14", "1 of 2"]
    assert rows["5.00"] == ["0 of 14", "0 of 1"]
    assert rows["4.00"] == ["2 of 14", "\u2013"]


def test_without_runs_the_expanders_have_no_findings():
    assert findings("expanders", table_of(run("gumbel", 0.05))) == []
    assert findings("crossover", table_of(run("gumbel", 0.05))) == []


def test_imp_stands_beside_the_oes_mask_of_nearly_its_density():
    labels = {"paper": "oes", "task": "t", "model": "hourglass", "seed": 0, "index": 0, "numel": 100}
    rows = [
        labels | {"method": method, "budget": budget, "tensor": "encoder.level0.conv1.weight", "kept": kept}
        for method, budget, kept in (
            ("gumbel", "density0.05", 4),
            ("imp", "density0.05498", 9),
            ("imp", "density0.512", 60),
            ("random", "density0.05", 5),
        )
    ]
    drawing = oes_layers(pd.DataFrame(rows, columns=list(COLUMNS)))
    ours = drawing.data[drawing.data.source == "ours"].set_index("method")
    assert ours.share.to_dict() == {"gumbel": 4.0, "imp": 9.0, "random": 5.0} and set(ours.budget) == {"density0.05"}
