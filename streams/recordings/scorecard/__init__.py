"""How well Vigil did on recordings whose truth is known: sensitivity, false alarms, time to alert, each with its interval.

Matching rule (`streams.recordings.scorecard.match`). An event counts at the moment it was decided, for that is when somebody would have
been called. It belongs to a truth of the same subject and an accepted code when

    start - tolerance  <=  decided  <=  end + latency + tolerance

A truth is matched once and an event is matched once. Truths take events of their own code first, as many as possible; then what is left
of the truths takes what is left of the events of the same happening (a fall that only the camera reported). A caught truth is credited to
the code that fired: a code's sensitivity counts what it caught itself, its row says who caught the rest, and the overall rows count both.
An event that belongs to a truth already caught is a repeat. An event that belongs to no truth is a false alarm.

A recording of which nobody said what happened (`Recording.labelled`) is not judged: its events are neither right nor false, and its time
is in no denominator.

Beside what was missed stands what was watched: of a hazard that was blind half of the time, half was not looked for.
"""

from __future__ import annotations

from streams.recordings.scorecard.evaluate import evaluate, windows_of_catalogue
from streams.recordings.scorecard.match import Case, Window, compare
from streams.recordings.scorecard.page import html_page
from streams.recordings.scorecard.score import Covered, Row, Scorecard, figures, score, summarise, to_json
from streams.recordings.scorecard.text import coverage_table, table

__all__ = [
    "Case",
    "Covered",
    "Row",
    "Scorecard",
    "Window",
    "compare",
    "coverage_table",
    "evaluate",
    "figures",
    "html_page",
    "score",
    "summarise",
    "table",
    "to_json",
    "windows_of_catalogue",
]
