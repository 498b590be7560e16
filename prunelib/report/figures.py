"""Draw every figure of the report from the tables and histories; each comes with the numbers behind it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import pandas as pd

from prunelib.report.figures_classify import expanders_degree, ising_kept, ising_search, isomorphic_modes
from prunelib.report.figures_crossover import crossover_methods
from prunelib.report.figures_oes import oes_curves, oes_final
from prunelib.report.figures_pictures import oes_pictures
from prunelib.report.histories import History, read_histories
from prunelib.report.plots import Drawing, placeholder, save, style
from prunelib.report.tables import read_table

# In the order, and under the names, of prunelib.report.captions.
FIGURES: dict[str, Callable[[pd.DataFrame, Sequence[History]], Drawing | None]] = {
    "oes_curves": oes_curves,
    "oes_final": oes_final,
    "oes_pictures": oes_pictures,
    "expanders_degree": expanders_degree,
    "isomorphic_modes": isomorphic_modes,
    "ising_kept": ising_kept,
    "ising_search": ising_search,
    "crossover_methods": crossover_methods,
}


def draw_figures(tables: Path, histories: Iterable[Path], output: Path) -> None:
    """Write <name>.svg, .png and .csv for every figure of prunelib.report.captions into ``output``.

    ``tables`` is the directory of all_runs.csv; ``histories`` are history.h5 paths (absent ones are skipped). A figure
    without data is a card that says so and an empty CSV, so that the set of files never varies.
    """
    runs, read = read_table(Path(tables) / "all_runs.csv"), read_histories(histories)
    with style():
        for name, draw in FIGURES.items():
            save(draw(runs, read) or placeholder("No finished run to draw yet."), name, Path(output))
