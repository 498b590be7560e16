"""The scorecard: every claim and every published number beside ours, each with a verdict by written rules.

docs/scorecard.md has the rules; ``prunelib.report.scorecard.verdicts`` the verdicts. Claims come first, then the values
of every paper in prunelib/report/published. What runs at a smaller scale than the papers' can say is the direction of a
difference, never its size.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pandas as pd

from prunelib.report import published
from prunelib.report.claims.all import UNTESTED
from prunelib.report.claims.judge import Judgement, Result, judge
from prunelib.report.claims.paired import limits
from prunelib.report.scorecard.effects import published_effects
from prunelib.report.scorecard.values import value_rows
from prunelib.report.scorecard.verdicts import DIFFERS, DIRECTION, NEEDS_PAPER, NOT_COMPARED, REPRODUCED, UNDECIDED
from prunelib.report.words import metric, number

COLUMNS = (
    "kind", "paper", "id", "text", "dataset", "task", "model", "method", "density", "metric", "unit", "published",
    "ours", "sd", "seeds", "scale", "difference", "low", "high", "d_z", "p", "p_flip", "verdict", "our_method",
    "our_density", "evidence", "source", "note", "limits", "runs",
)  # fmt: skip
PAPER = "paper"  # the scale at which sizes of effects are compared
GRID = "grid"  # the name of this grid's own runs among the sources of evidence
RECORDED = "../reference"  # of recorded runs, as seen from results/runs
KNOWN_BY = {"abstract": "abstract", "third-party": "second-hand", ".ipynb": "notebook"}
AT_PAPER = {"yes": REPRODUCED, "no": DIFFERS, "unclear": UNDECIDED}


def scorecard(
    runs: pd.DataFrame, judgements: Sequence[Judgement], recorded: Mapping[str, pd.DataFrame] | None = None
) -> list[dict[str, Any]]:
    """Return the rows of the scorecard (keys of COLUMNS): the claims first, then every published value.

    ``runs`` is a table of all runs, ``judgements`` what ``judge`` says of it, ``recorded`` tables of recorded runs by
    the name of their folder, which count as evidence too. Values and differences are in the metric's own unit (PSNR:
    dB, data range 1); a difference is ours minus published, of a claim the mean difference that speaks for it.
    """
    found = {GRID: judgements} | {name: judge(table) for name, table in (recorded or {}).items()}
    rows = list(_claim_rows(found))
    rows += [_untested(claim) for claim in UNTESTED]
    every = pd.concat([runs, *(recorded or {}).values()], ignore_index=True)
    for paper in published.PAPERS:
        rows += value_rows(paper, every[every.paper == paper])
    return rows


def _claim_rows(found: Mapping[str, Sequence[Judgement]]) -> Iterator[dict[str, Any]]:
    effects = published_effects()
    for place, judgement in enumerate(found[GRID]):
        for index, result in enumerate(judgement.results):
            if not result.check.effect:
                each = {name: judged[place].results[index] for name, judged in found.items()}
                yield _claim_row(judgement.paper, each, effects.get(f"{judgement.paper}-{result.check.name}"))


def _claim_row(paper: str, each: Mapping[str, Result], effect: float | None) -> dict[str, Any]:
    """Return the row of one claim from what every source of evidence says of it."""
    verdict, name = claim_verdict(each)
    result = each[name]
    check, test = result.check, result.test
    others = [_said(other, each[other]) for other in each if other != name and each[other].outcome != "no data"]
    where = result.runs if name == GRID else (f"{RECORDED}/{name}/runs.csv",)
    row = {"kind": "claim", "paper": paper, "id": f"{paper}-{check.name}", "text": check.text, "metric": check.metric}
    row |= {"published": effect}
    row |= {"evidence": _evidence(check.stated), "source": check.stated, "verdict": verdict}
    row |= {"ours": result.mean, "sd": result.sd, "seeds": result.seeds, "scale": result.scale}
    row |= {"p": result.p, "p_flip": result.p_flip, "note": "; ".join(filter(None, [result.note, *others]))}
    if test:
        row |= {"low": test.low, "high": test.high, "d_z": test.dz, "limits": limits(test)}
    if effect is not None and result.mean is not None and PAPER in result.scale:
        row["difference"] = result.mean - effect
    return row | {"runs": "; ".join(where) if result.outcome != "no data" else ""}


def claim_verdict(each: Mapping[str, Result]) -> tuple[str, str]:
    """Return a claim's verdict from its results by source of evidence, and the source to show.

    Runs of scale paper decide alone. Else all smaller ones speak: "direction only" when some confirm the claim and none
    its opposite, "differs" the other way round, "not decided" when they contradict each other or none is clear.
    """
    said = {name: result for name, result in each.items() if result.outcome != "no data"}
    full = [name for name, result in said.items() if PAPER in result.scale.split(", ")]
    if full:
        return AT_PAPER[said[full[0]].outcome], full[0]
    if not said:
        return NEEDS_PAPER, next(iter(each))
    answers = {result.outcome for result in said.values()}
    decided = answers & {"yes", "no"}
    shown = max(said, key=lambda name: (said[name].outcome in decided, said[name].seeds, name == GRID))
    if len(decided) != 1:
        return UNDECIDED, shown
    return (DIRECTION if decided == {"yes"} else DIFFERS), shown


def _evidence(stated: str) -> str:
    """Return how a claim is known, in the words of published values: the strongest of where it is stated."""
    found = [kind for word, kind in KNOWN_BY.items() if word in stated]
    return found[0] if found else "figure"


def _said(name: str, result: Result) -> str:
    how = metric(result.check.metric)
    size = "" if result.mean is None else f", {number(how.factor * result.mean, how.decimals, signed=True)}"
    words = {"yes": "confirmed", "no": "the opposite", "unclear": "not decided"}
    return f"{'this grid' if name == GRID else name} ({result.scale}): {words[result.outcome]}{size}"


def _untested(claim: Any) -> dict[str, Any]:
    row = {"kind": "claim", "paper": claim.paper, "id": f"{claim.paper}-{claim.name}", "text": claim.text}
    return row | {
        "evidence": _evidence(claim.stated),
        "source": claim.stated,
        "verdict": NOT_COMPARED,
        "note": claim.why,
    }
