import itertools
import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest

from prunelib.report.claims.all import CLAIMS
from prunelib.report.claims.judge import Result
from prunelib.report.page import sections
from prunelib.report.tables import read_table
from prunelib.report.words import METRICS, shown
from tests.report.trees import collected, drawn, write_crossover, write_expanders

VOID = {"meta", "img", "link", "br", "hr", "input"}


class Page(HTMLParser):
    """Collects what the tests look at and checks that every tag is closed where it should be."""

    def __init__(self, text):
        super().__init__()
        self.stack, self.tags, self.text, self.cells = [], [], [], []
        self.feed(text)
        assert self.stack == []

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag not in VOID:
            self.stack.append(tag)
        if tag in ("td", "th"):
            self.cells.append("")

    def handle_endtag(self, tag):
        assert self.stack.pop() == tag, f"</{tag}> closes {self.stack[-3:]}"

    def handle_data(self, data):
        if not {"script", "style"} & set(self.stack):
            self.text.append(data)
        if {"td", "th"} & set(self.stack):
            self.cells[-1] += data

    @property
    def prose(self):
        return re.sub(r"\s+", " ", " ".join(self.text))

    def all(self, *names):
        return [attributes for tag, attributes in self.tags if tag in names]


def read(root):
    return Page((root / "report" / "index.html").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def html(page):
    return read(page)


def test_it_needs_nothing_from_outside(page, html):
    for tag, attributes in html.tags:
        for name in ("src", "href", "srcset", "action"):
            address = attributes.get(name, "#")
            if address.startswith("../"):  # a link to a table beside the page; nothing is loaded from it
                assert tag == "a" and (page / "report" / address).is_file(), address
                continue
            assert address.startswith(("#", "data:")), (tag, address[:80])
    text = (page / "report" / "index.html").read_text()
    assert "@import" not in text and "url(" not in text
    assert len(text) < 5_000_000


def test_links_inside_the_page_lead_somewhere(html):
    ids = [attributes["id"] for _, attributes in html.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    wanted = {attributes["href"][1:] for attributes in html.all("a") if attributes["href"].startswith("#")}
    assert wanted <= set(ids) and {"overview", "oes", "expanders", "isomorphic", "ising"} <= wanted


def test_it_can_be_read_without_eyes(html):
    assert all(len(attributes["alt"]) > 30 for attributes in html.all("img"))
    levels = [int(tag[1]) for tag, _ in html.tags if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(after <= before + 1 for before, after in itertools.pairwise(levels))
    assert len(html.all("caption")) == len(html.all("table"))
    assert all(attributes.get("scope") in ("col", "row") for attributes in html.all("th"))
    assert html.all("html")[0]["lang"] == "en"


def test_each_paper_has_its_verdict_and_figures(html):
    for words in ("holds", "partly", "OES ends above dense", "RReg beats XNet", "Read this first"):
        assert words in html.prose
    assert len(html.all("img")) == 13  # the crossover has no runs, so no section


def test_numbers_are_those_of_the_summary(page, html):
    summary = read_table(page / "tables" / "summary.csv")
    cells = set(html.cells)
    shown_metrics = {"psnr_final", "psnr_peak", "psnr_gap", "top1", "top1_start", "loss", "density", "macs_compact"}
    for row in summary[summary.metric.isin(shown_metrics)].itertuples():
        assert shown(row.metric, row.mean, row.sd) in cells, row


def test_every_number_in_a_table_of_results_comes_from_a_csv(page, html):
    summary = read_table(page / "tables" / "summary.csv")
    known = {shown(row.metric, row.mean, row.sd) for row in summary.itertuples()}
    modes = read_table(page / "tables" / "modes.csv")
    pairs = [*zip(modes["mean"], modes.sd, strict=True), *zip(modes.below_best, modes.below_best_sd, strict=True)]
    known |= {shown("top1", *pair) for pair in pairs}
    spread = {cell for cell in html.cells if re.fullmatch(r"[\d.\u202f]+ ± [\d.]+", cell)}
    assert len(spread) > 50 and spread <= known
    assert set(summary.metric) <= set(METRICS)


def test_findings_stand_with_their_numbers(html):
    assert "keep 95 % of the weights" in html.prose
    assert {"2\u202f856\u202f234", "2\u202f856\u202f219", "9 of 14", "576x576", "29.20"} <= set(html.cells)
    assert "SynFlow, authors' code" in html.cells and "964\u202f800" in html.cells  # our own 90 % at asked 10 %


def test_the_scorecard_says_what_needs_the_paper_grid(page, html):
    rows = read_table(page / "tables" / "scorecard.csv")
    assert set(rows.verdict[rows.kind == "value"]) == {
        "direction only", "needs paper scale", "not compared", "published value impossible"
    }  # fmt: skip
    claim = rows[rows.id == "oes-above-dense"].iloc[0]
    assert claim.verdict == "direction only" and f"{claim.published:.2f}" in html.cells
    caption = next(text for text in html.text if "Published values and claims" in text)
    assert f"of all {sum(rows.paper == 'oes')}: " in caption
    assert len(html.all("a")) and any(link.get("download") == "scorecard.csv" for link in html.all("a"))


def test_slimming_is_shown_before_and_after(html):
    assert "Before and after slimming" in html.prose
    assert {"61.44", "20.48", "3.00", "11.00", "4.00", "2.75"} <= set(html.cells)


def test_search_figures_and_the_stopping_rule_are_columns(html):
    for words in ("Mask search", "Threshold", "PSNR, stopped", "Stopped at step"):
        assert words in html.prose


def test_effects_are_those_of_the_claims(page, html):
    claims = read_table(page / "tables" / "claims.csv").set_index("check")
    effect = claims.loc["above-dense"]
    assert f"+{effect['mean']:.2f} ± {effect.sd:.2f} dB" in html.prose
    assert f"{effect.left:.2f} against {effect.right:.2f} dB" in html.prose


def test_dead_and_missing_runs_are_shown_with_their_cause(html):
    assert "0 (3 dead)" in html.cells and "0 (2 missing)" in html.cells
    assert "the output does not depend on the input" in html.prose
    assert "138 of 146 runs finished , 6 dead , 2 missing" in html.prose.replace("finished,", "finished ,").replace(
        "dead,", "dead ,"
    )


def test_every_run_can_be_found_and_run_again(page, html):
    paths = read_table(page / "provenance" / "runtimes.csv").path
    assert set(paths) <= set(html.cells)
    assert f".venv/bin/snakemake --force results/runs/{paths[0]}/metrics.json" in html.prose
    assert "machine.cpu" in html.cells and "Test CPU" in html.cells


def test_without_any_run_the_page_says_so(tmp_path):
    collected(tmp_path, [])
    html = read(drawn(tmp_path, []))
    assert "0 of 0 runs finished" in html.prose
    assert html.prose.count("not enough data") >= 4 and html.prose.count("Not run.") == 4
    assert html.all("img") == []


def test_one_seed_of_one_paper_is_no_proof(tmp_path):
    paths = write_expanders(tmp_path, range(1))
    collected(tmp_path, paths)
    html = read(drawn(tmp_path, paths))
    assert "not enough data" in html.prose and "holds </span>" not in html.prose
    assert len(html.all("img")) == 2


def test_the_crossover_is_shown_without_a_verdict(tmp_path):
    paths = write_crossover(tmp_path, range(2))
    collected(tmp_path, paths)
    html = read(drawn(tmp_path, paths))
    assert "25.05 ± 0.07" in html.cells
    assert [attributes["alt"][:8] for attributes in html.all("img")] == ["Dot plot"]
    assert "Crossover" in html.prose and html.prose.count("not enough data") >= 4


def test_names_are_escaped(tmp_path, page):
    paths = write_expanders(tmp_path, range(1))
    record = paths[0].read_text().replace('"why": ""', '"why": "<script>alert(1)</script>"').replace('"ok"', '"dead"')
    paths[0].write_text(record)
    collected(tmp_path, paths)
    drawn(tmp_path, paths)
    assert "<script>alert" not in (tmp_path / "report" / "index.html").read_text()


def test_masks_as_graphs_are_a_table(html):
    assert "Masks as graphs: spectra, expansion, channels reached" in html.prose
    assert {"Edges", "Expansion", "Effective (%)"} <= set(html.cells)


def test_a_card_shows_the_main_comparisons_and_those_against_the_claim():
    plain = replace(CLAIMS["oes"][0], headline=False, effect=False, optional=False)
    main, effect = replace(plain, headline=True), replace(plain, effect=True)
    shown = {(check, outcome) for check in (plain, main, effect) for outcome in ("yes", "no", "unclear")}
    shown = {pair for pair in shown if sections._on_the_card(Result(*pair))}
    assert shown == {(plain, "no"), (plain, "unclear"), (main, "yes"), (main, "no"), (main, "unclear")}
