"""Findings about the published energies: shares near one half, rows F and P, cells that can't be right."""

from prunelib.report.findings.gather import findings
from tests.report.trees import table_of

RUN = {"paper": "ising", "task": "classify-digits", "model": "resnet-tiny", "method": "ising", "budget": "full"}


def found(*rows):
    return findings("ising", table_of(*rows))


def texts(finding):
    return [[cell.text for cell in row] for row in finding.evidence.rows]


def test_published_shares_and_ours_stand_together():
    rows = texts(
        found(
            *(RUN | {"seed": seed, "top1": 0.9, "density_upstream": 0.49 + seed / 50, "units": 0.5} for seed in (0, 1))
        )[0]
    )
    assert ["Ising energy", "published, IPruning", "resnet18", "full", "47.9 to 51.8", ""] in rows
    assert ["Ising energy", "ours, classify-digits", "resnet-tiny", "full", "50.0 ± 1.4", "50.0"] in rows
    assert len(rows) == 2 * 6 + 1


def test_open_gates_differ_from_pruned_networks_by_more_than_published():
    rows = {row[0]: row[1:] for row in texts(found(RUN | {"seed": 0, "top1": 0.9, "top1_full": 0.8})[1])}
    assert rows["published, edropout"] == ["95.0", "94.9", "0.09", "12"]
    assert rows["published, ipruning"][2:] == ["0.40", "27"]
    assert rows["ours, classify-digits, Ising energy, full"] == ["80.0", "90.0", "10.00", "1"]


def test_doubtful_cells_are_listed_with_what_is_wrong():
    rows = texts(found(RUN | {"seed": 0, "top1": 0.9})[2])
    impossible = [row for row in rows if "impossible" in row[3]]
    assert [row[:3] for row in impossible] == [["Kuzushiji", "alexnet", "P"], ["Kuzushiji", "squeezenet", "P"]]
    assert impossible[0][4] == "Top-3 (%) 97.4, Top-5 (%) 97.0, R (%) 65.35"
    assert sum("copying" in row[3] for row in rows) == 3 and {row[2] for row in rows} > {"Deep Compression"}
