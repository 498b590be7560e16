"""The verdicts of the scorecard and what each means; docs/scorecard.md has the rules in full."""

from __future__ import annotations

REPRODUCED, DIFFERS, DIRECTION = "reproduced", "differs", "direction only"
NEEDS_PAPER, IMPOSSIBLE = "needs paper scale", "published value impossible"
UNDECIDED, NOT_COMPARED = "not decided", "not compared"

# In the order in which a reader looks for them.
VERDICTS = {
    REPRODUCED: "compared at scale paper: a value within its tolerance, a claim that the test confirms",
    DIFFERS: "a value outside its tolerance at scale paper; a claim whose opposite the test finds, at the scale named",
    DIRECTION: "smaller runs only: the paired test finds the published direction; the size can't be compared",
    UNDECIDED: "a claim whose test finds neither it nor its opposite in these runs",
    NEEDS_PAPER: "there is no run of scale paper, and smaller ones say nothing about it",
    IMPOSSIBLE: "the published number contradicts itself or another published number",
    NOT_COMPARED: "nothing of ours can stand beside it, for the reason in the note",
}
