"""How well Vigil did on recordings whose truth is known: sensitivity, false alarms, time to alert, each with its interval.

Matching rule (`streams.recordings.scorecard.match`). An event counts at the moment it was decided, for that is when somebody would have
been called. It belongs to a truth of the same subject and an accepted code when

    start - tolerance  <=  decided  <=  end + latency + tolerance

A truth is caught when at least one event is left for it; a truth is matched once and an event is matched once, as many truths
as possible. An event that belongs to a truth already caught is a repeat. An event that belongs to no truth is a false alarm.
"""

from __future__ import annotations

from streams.recordings.scorecard.evaluate import evaluate, windows_of_catalogue
from streams.recordings.scorecard.match import Case, Window, compare
from streams.recordings.scorecard.page import html_page
from streams.recordings.scorecard.score import Row, Scorecard, figures, score, summarise, table, to_json

__all__ = [
    "Case",
    "Row",
    "Scorecard",
    "Window",
    "compare",
    "evaluate",
    "figures",
    "html_page",
    "score",
    "summarise",
    "table",
    "to_json",
    "windows_of_catalogue",
]
