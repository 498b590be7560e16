"""The page: one self-contained HTML file that opens offline, on a phone, in light and in dark."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from prunelib import __version__
from prunelib.report.claims.judge import judge
from prunelib.report.page import sections
from prunelib.report.page.benchmarks import benchmarks
from prunelib.report.page.recorded import recorded
from prunelib.report.page.tables import data_uri, runs_table
from prunelib.report.papers import PARTS
from prunelib.report.tables import read_table
from prunelib.storage.files import write_text

TEMPLATES = Path(__file__).parent / "templates"


def build_page(
    tables: Path,
    figures: Path,
    runtimes: Path,
    output: Path,
    scale: str,
    measured: Iterable[Path] = (),
    reference: Iterable[Path] = (),
) -> None:
    """Write the page from the tables, the figures and the run times; it needs no other file and no network.

    ``measured``: tables of recorded benchmarks, see ``prunelib.report.page.benchmarks``; ``reference``: runs.csv of
    recorded runs, see ``prunelib.report.page.recorded``.
    ``tables`` and ``figures`` are directories as ``collect`` and ``draw_figures`` leave them. Every number on the page
    comes from their CSV files. A part without runs is shown as not run. Raises ArtefactError for a missing table.
    """
    tables, figures = Path(tables), Path(figures)
    runs, times = read_table(tables / "all_runs.csv"), read_table(runtimes)
    judgements = {judgement.paper: judgement for judgement in judge(runs)}
    parts = [part for part in PARTS if part.key in judgements or (runs.paper == part.key).any()]
    page = (
        _environment()
        .get_template("page.html")
        .render(
            scale=scale,
            version=__version__,
            overview=sections.overview(runs, times),
            sections=[sections.section(part, runs, times, judgements.get(part.key), tables, figures) for part in parts],
            costs={"figures": sections.figures_of("cost", figures)},
            limits={"lost": sections.MOST_LOST},
            recorded=recorded(reference),
            benchmarks=benchmarks(measured),
            runs=runs_table(times),
            example=next(iter(times.path), ""),
            provenance=sections.provenance(times),
            stub=sections.is_stub(times),
            rules=sections.rules(),
            runtimes=data_uri(Path(runtimes), "text/csv"),
            all_runs=data_uri(tables / "all_runs.csv", "text/csv"),
        )
    )
    write_text(output, page)


def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals["most_rows"] = sections.MOST_ROWS
    return environment
