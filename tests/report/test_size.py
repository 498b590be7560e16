"""A page of a grid of thousands of runs: built in a minute, small enough to send, and it says what it leaves out."""

from __future__ import annotations

import time

import numpy as np
import pytest

from prunelib.report.figures.draw import draw_figures
from prunelib.report.page.build import build_page
from prunelib.report.tables import STATUSES
from tests.report.test_page import read
from tests.report.trees import collected, write_run

RUNS = 5000


@pytest.fixture(scope="module")
def many(tmp_path_factory):
    """5000 runs of four parts: most are fine, some dead, missing, or with numbers that are none."""
    from prunelib.runs import Run

    root = tmp_path_factory.mktemp("many")
    paths = []
    for number in range(RUNS):
        paper, method = ("oes", "expanders", "ising", "crossover")[number % 4], f"method{number // 40 % 32}"
        task, model = ("denoise-x", "hourglass") if paper == "oes" else (f"classify-{number // 4 % 3}", "vgg")
        run = Run(paper, task, model, method, f"density0.{1 + number // 1280 % 9}", number // 4)
        quality = {"psnr_final": 20 + number % 7, "psnr_peak": 28.0} if paper == "oes" else {"top1": number % 97 / 97}
        state = number % 50
        if state == 1:
            paths.append(root / "runs" / run.path / "metrics.json")
        elif state == 2:
            paths.append(write_run(root, run, dict.fromkeys(quality), status="dead", why="nothing is kept"))
        elif state == 3:
            paths.append(write_run(root, run, dict.fromkeys(quality)))
        else:
            paths.append(write_run(root, run, {**quality, "density": 0.1, "density_compact": 0.2}))
    collected(root, paths)
    draw_figures(root / "tables", [], root / "figures")
    start = time.process_time()
    page = root / "report" / "index.html"
    build_page(root / "tables", root / "figures", root / "provenance" / "runtimes.csv", page, "quick")
    return root, time.process_time() - start


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_page_of_thousands_of_runs_is_quick_and_small(many):
    root, seconds = many
    assert seconds <= 60
    assert (root / "report" / "index.html").stat().st_size <= 10_000_000


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_what_gave_no_result_is_shown_as_such(many):
    html = read(many[0])
    assert f"{RUNS - RUNS // 50 * 2} of {RUNS} runs finished" in html.prose
    assert f"{RUNS // 50} dead" in html.prose and f"{RUNS // 50} missing" in html.prose
    assert STATUSES["missing"] in html.prose and "nothing is kept" in html.prose
    assert "its result is no number" in html.prose
    assert "nan" not in {cell.strip().lower() for cell in html.cells}
    assert f"The first 300 of {RUNS} rows" in html.prose
    assert {"../tables/all_runs.csv", "../provenance/runtimes.csv"} <= {link["href"] for link in html.all("a")}
    assert np.mean([len(cell) for cell in html.cells]) < 60
