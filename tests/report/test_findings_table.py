import pandas as pd
import pytest

from prunelib.report.findings.gather import findings
from prunelib.report.findings.table import COLUMNS, findings_rows, read_findings
from prunelib.report.tables import write_table
from tests.report.trees import table_of


def texts(finding):
    return [[cell.text for cell in row] for row in finding.evidence.rows]


def graph(method, budget, seed, **more):
    row = {"paper": "expanders", "task": "t", "model": "m", "method": method, "budget": budget, "seed": seed}
    return row | {"top1": 0.9, "density": 0.05, "density_nonzero": 0.05, "graph_edges": 100} | more


RUNS = table_of(
    *(graph("rreg", "degree2", seed, graph_isolated_out=0) for seed in (0, 1)),
    *(graph("rreg-leaky", "degree2", seed, density_nonzero=1.0, top1=0.95, graph_isolated_out=0) for seed in (0, 1)),
    *(graph("xnet", "degree2", seed, top1=0.6, graph_edges=90, graph_isolated_out=30) for seed in (0, 1)),
    {"paper": "oes", "task": "t", "method": "gumbel", "seed": 0, "psnr_final": 24.0, "psnr_last10": 24.5},
    {"paper": "oes", "task": "t", "method": "magnitude", "budget": "density0.05", "seed": 0, "status": "dead"},
    {"paper": "isomorphic", "method": "global", "budget": "macs0.5", "seed": 0, "macs_compact": 2e6, "top1": 0.9},
    {"paper": "isomorphic", "method": "global-sum", "budget": "macs0.5", "seed": 0, "macs_compact": 2e6, "top1": 0.5},
    {"paper": "ising", "method": "ising", "seed": 0, "density_upstream": 0.5, "density_compact": 0.3, "top1": 0.9},
)
LATENCY = pd.DataFrame(
    {"model": "r", "mode": ["dense", "isomorphic"], "round_to": [None, 8], "batch": 1, "gmacs": [4.0, 2.0]}
    | {"ms": [10.0, 8.0], "speed_up": [1.0, 1.25]}
)
STEP = pd.DataFrame(
    {"network": "resnet18", "step": ["plain", "margin"], "authors": [None, 17.21], "ratio": [1.0, 1.9], "bound": 3.67}
)
MEASURED = {"isomorphic_latency": LATENCY, "ising_step": STEP}


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    path = tmp_path_factory.mktemp("tables") / "findings.csv"
    write_table(path, COLUMNS, findings_rows(RUNS, MEASURED))
    return {paper: read_findings(path, paper) for paper in ("oes", "expanders", "isomorphic", "ising", "crossover")}


def evidence(found, paper, words):
    (finding,) = [finding for finding in found[paper] if words in finding.title]
    return texts(finding)


@pytest.mark.parametrize("paper", ["oes", "expanders", "isomorphic", "ising"])
def test_what_the_table_holds_is_what_was_found(found, paper):
    made = findings(paper, RUNS, MEASURED)
    assert [finding.title for finding in made] == [finding.title for finding in found[paper]] != []
    for theirs, ours in zip(made, found[paper], strict=True):
        assert (theirs.text, theirs.evidence.caption) == (ours.text, ours.evidence.caption)
        assert theirs.evidence.columns == ours.evidence.columns and texts(theirs) == texts(ours)
        assert [[type(c.sort) is str for c in r] for r in theirs.evidence.rows] == [
            [type(c.sort) is str for c in r] for r in ours.evidence.rows
        ]
    assert found["crossover"] == []


def test_leaky_networks_stand_beside_strict_ones(found):
    rows = {row[0]: row for row in evidence(found, "expanders", "not sparse")}
    assert rows["RReg"][7] == "5.0" and rows["RReg, leaky"][7] == "100.0" and "XNet" not in rows


def test_equal_degree_is_shown_with_edges_and_idle_channels(found):
    rows = {row[0]: row for row in evidence(found, "expanders", "Equal degree")}
    assert [rows[name][6] for name in ("RReg", "XNet")] == ["100", "90"]
    idle = {row[0]: row[5] for row in evidence(found, "expanders", "without any input")}
    assert idle == {"RReg": "0", "XNet": "30"}


def test_time_is_shown_beside_macs(found):
    assert evidence(found, "isomorphic", "half of the time") == [
        ["r", "isomorphic", "8", "1", "2.00", "8.0", "1.25", "2.00"]
    ]
    assert len(evidence(found, "isomorphic", "normalisation")) == 2


def test_published_contradictions_are_listed(found):
    rows = evidence(found, "isomorphic", "do not agree")
    assert ["ConvNeXt-T, top-1", "82.19", "README, list of models", "82.18", "abstract of the paper"] in rows
    assert rows[-1][4] == "printed as +0.16; the printed accuracies give +0.18"


def test_the_energies_counts_and_cost(found):
    assert evidence(found, "ising", "R counts")[0][5:] == ["50.0", "30.0"]
    assert evidence(found, "ising", "searching step") == [["resnet18", "margin", "17.21", "1.90", "3.67"]]


def test_names_spikes_and_dead_baselines_of_oes(found):
    names = {row[0]: row[1:] for row in evidence(found, "oes", "named loosely")}
    assert names["IMP, 14 × 20 %, “5 %”"] == ["5.00", "5.49", "165\N{NARROW NO-BREAK SPACE}297"]
    assert evidence(found, "oes", "spike") == [["OES", "ours, t", "0.50", "0.50", "1"]]
    dead = evidence(found, "oes", "whole layers")
    assert ["Magnitude", "ours", "density 5 %", "1 of 1"] in dead
    assert ["GraSP, authors' code", "published", "20 %", "4 of 4"] in dead
