"""Write tables as LaTeX (pandas' Styler, booktabs) and as Markdown."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import pandas as pd

# What words use beyond ASCII, in LaTeX; anything else is an error that a test would see.
SYMBOLS = {
    "\N{PLUS-MINUS SIGN}": r"$\pm$",
    "\N{MINUS SIGN}": "$-$",
    "\N{EN DASH}": "--",
    "\N{NARROW NO-BREAK SPACE}": r"\,",
    "\N{LESS-THAN OR EQUAL TO}": r"$\leq$",
    "\N{MULTIPLICATION SIGN}": r"$\times$",
    "\N{LEFT DOUBLE QUOTATION MARK}": "``",
    "\N{RIGHT DOUBLE QUOTATION MARK}": "''",
    "\N{GREEK SMALL LETTER SIGMA}": r"$\sigma$",
    "\N{SUPERSCRIPT TWO}": r"$^2$",
}
NOTHING = "No finished run yet."


@dataclass(frozen=True)
class PaperTable:
    """One table: caption, unique headings, rows of text."""

    caption: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def latex(tables: Sequence[PaperTable], name: str) -> str:
    r"""Return table environments for \input into a document that loads booktabs and graphicx."""
    head = "% \\usepackage{booktabs,graphicx} in the preamble; \\input this file. Made by prunelib.\n"
    if not tables:
        return f"{head}% {NOTHING}\n"
    return head + "\n".join(_latex(table, f"tab:{name}-{place}") for place, table in enumerate(tables, start=1))


def _latex(table: PaperTable, label: str) -> str:
    frame = pd.DataFrame(list(table.rows), columns=list(table.columns), dtype=str)
    styled = frame.style.hide(axis="index").format(escape="latex").format_index(escape="latex", axis="columns")
    letters = "l" + "".join("r" if _is_numeric(frame[column]) else "l" for column in frame.columns[1:])
    body = _symbols(styled.to_latex(hrules=True, column_format=letters)).rstrip("\n")
    caption = _symbols(_escaped(table.caption))
    return (
        "\\begin{table}[htbp]\n\\centering\n"
        f"\\caption{{{caption}}}\n\\label{{{label}}}\n"
        f"\\resizebox{{\\ifdim\\width>\\linewidth\\linewidth\\else\\width\\fi}}{{!}}{{%\n{body}%\n}}\n\\end{{table}}\n"
    )


def _is_numeric(column: pd.Series) -> bool:
    return bool(column.str.contains(r"\d").mean() > 0.5) and not bool(column.str.contains("[A-Za-z]{3}").any())


def _escaped(text: str) -> str:
    """Escape as pandas does; the caption is no cell, so Styler does not do it."""
    frame = pd.DataFrame([[text]])
    cell = frame.style.hide(axis="index").hide(axis="columns").format(escape="latex").to_latex()
    return cell.split("\n")[1].removesuffix(r" \\")


def _symbols(text: str) -> str:
    for symbol, command in SYMBOLS.items():
        text = text.replace(symbol, command)
    return text


def markdown(tables: Sequence[PaperTable], name: str) -> str:
    """Return pipe tables, each below its caption."""
    return "\n".join(_markdown(table) for table in tables) if tables else f"{NOTHING}\n"


def _markdown(table: PaperTable) -> str:
    lines = [table.columns, ("---",) * len(table.columns), *table.rows]
    body = "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)
    return f"{table.caption}\n\n{body}\n"


FORMATS: dict[str, Callable[[Sequence[PaperTable], str], str]] = {".tex": latex, ".md": markdown}
