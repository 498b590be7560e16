"""The page in a real browser: widths, colour schemes, sorting, searching, the keyboard, and axe-core."""

from __future__ import annotations

import pytest

from tests.report.browser import opened
from tests.report.trees import collected, drawn, write_crossover, write_tree

WIDTHS = {"phone": 375, "tablet": 820, "desktop": 1440}
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory):
    """A page with all parts, dead and missing runs among them."""
    root = tmp_path_factory.mktemp("whole")
    paths = write_tree(root, range(3)) + write_crossover(root, range(2))
    collected(root, paths)
    return drawn(root, paths) / "report" / "index.html"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_stands_in_the_way_of_a_screen_reader(whole, scheme):
    from axe_playwright_python.sync_playwright import Axe

    with opened(whole, WIDTHS["desktop"], scheme) as tab:
        tab.evaluate("document.querySelectorAll('details').forEach((item) => { item.open = true })")
        found = Axe().run(tab)
    said = [f"{item['id']}: {item['nodes'][0]['html'][:150]}" for item in found.response["violations"]]
    assert said == []


@pytest.mark.parametrize("width", WIDTHS.values(), ids=WIDTHS)
def test_it_fits_every_width_and_the_console_is_clean(whole, tmp_path, width):
    with opened(whole, width) as tab:
        assert tab.evaluate("document.documentElement.scrollWidth") <= width
        assert all(tab.evaluate("[...document.images].map((image) => image.naturalWidth > 0)"))
        tab.screenshot(path=tmp_path / "page.png", full_page=True)
        assert tab.said == []
    assert (tmp_path / "page.png").stat().st_size > 50_000


def test_colours_follow_the_scheme(whole):
    colours = {}
    for scheme in ("light", "dark"):
        with opened(whole, WIDTHS["desktop"], scheme) as tab:
            read = "getComputedStyle(document.body).backgroundColor"
            colours[scheme] = sum(map(int, tab.evaluate(read).removeprefix("rgb(").removesuffix(")").split(",")))
    assert colours["light"] > 600 > 150 > colours["dark"]


def test_links_lead_to_their_sections(whole):
    with opened(whole, WIDTHS["desktop"]) as tab:
        targets = [link.get_attribute("href") for link in tab.query_selector_all("nav a")]
        order = ["overview", "oes", "expanders", "isomorphic", "ising", "crossover", "cost", "rerun", "provenance"]
        assert [target[1:] for target in targets if target[1:] in order] == order
        for target in targets:
            tab.click(f"nav a[href='{target}']")
            assert tab.evaluate("location.hash") == target
        assert tab.said == []


def test_a_click_sorts_and_a_second_click_sorts_the_other_way(whole):
    with opened(whole, WIDTHS["desktop"]) as tab:
        table = tab.query_selector("#oes table.tight")
        header = table.query_selector_all("thead th")
        place = next(index for index, cell in enumerate(header) if "Final PSNR" in cell.inner_text())
        read = f"(t) => [...t.tBodies[0].rows].map((row) => Number(row.cells[{place}].dataset.sort || 'NaN'))"
        header[place].query_selector("button").click()
        rising = [value for value in table.evaluate(read) if value == value]
        assert header[place].get_attribute("aria-sort") == "ascending" and rising == sorted(rising)
        header[place].query_selector("button").press("Enter")  # the keyboard does what a click does
        falling = [value for value in table.evaluate(read) if value == value]
        assert header[place].get_attribute("aria-sort") == "descending" and falling == sorted(rising, reverse=True)
        assert len(rising) > 4


def test_searching_leaves_the_rows_with_every_word(whole):
    with opened(whole, WIDTHS["desktop"]) as tab:
        tab.evaluate("document.querySelector('#provenance details').open = true")
        box = tab.query_selector("#provenance .table:has(input)")
        field = box.query_selector("input[type=search]")
        field.fill("expanders rreg")
        shown = [row.inner_text() for row in box.query_selector_all("tbody tr") if row.is_visible()]
        assert shown and all("expanders" in row and "rreg" in row for row in shown)
        assert box.query_selector("output").inner_text().startswith(f"{len(shown)} of ")
        field.fill("")
        assert box.query_selector("output").inner_text().split(" of ")[0] == str(
            len(box.query_selector_all("tbody tr"))
        )


def test_the_keyboard_reaches_the_results_at_once(whole):
    with opened(whole, WIDTHS["desktop"]) as tab:
        tab.keyboard.press("Tab")
        assert tab.evaluate("document.activeElement.className") == "skip"
        tab.keyboard.press("Enter")
        assert tab.evaluate("location.hash") == "#main"


def test_a_newcomer_reads_claims_and_verdicts_first(whole):
    with opened(whole, WIDTHS["desktop"]) as tab:
        cards = tab.query_selector_all("#overview .card.claim")
        titles = [card.query_selector("h3").inner_text() for card in cards]
        assert len(cards) == 4 and titles[0] == "Optimal Eye Surgeon"
        for card in cards:
            verdict = card.query_selector(".badge").inner_text()
            assert any(word in verdict for word in ("holds", "partly", "does not hold here", "not enough data"))
            assert len(card.inner_text()) > 200 and card.query_selector_all("dl div")
