"""The scorecard for a terminal: every cell whole on 80 columns."""

from __future__ import annotations

from typing import Final

import numpy as np
from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from engine.watch import HAZARD_NAMES
from streams.recordings.intervals import Figure
from streams.recordings.scorecard.score import OVERALL, Row, Scorecard, said, said_by_others, said_not_labelled

_CODE_MAX: Final = 24
"""A longer code is broken behind its dot."""
WATCHED_RULE: Final = (
    "Percent of the time in which something was bound to watch for it. What happened in the rest of the time could not be found: nothing missed "
    "there is nothing looked for. An empty bed is not watched, a button from its first press on."
)


def table(card: Scorecard) -> Table:
    """What was found, missed and called falsely, a row for each code. A figure's interval stands under it; all else is in page and JSON."""
    out = Table(
        title=f"{len(card.matched)} recordings, {card.resident_days:.3g} resident-days, {card.room_days:.3g} room-days",
        box=SIMPLE_HEAD,
        show_edge=False,
        pad_edge=False,
        padding=(0, 1, 0, 0),
        title_justify="left",
        caption_justify="left",
    )
    out.add_column("code", no_wrap=True)
    for heading in ("caught\ncalled", "sensitivity\n%", "false alarms\na day", "to alert\nmedian, s\n90 %, s"):
        out.add_column(heading, justify="right", no_wrap=True)
    for row in card.rows:
        out.add_row(
            _code(row),
            (f"{row.caught} of {row.truths}" if row.truths else "–") + f"\n{row.called}",
            _lines(row.sensitivity),
            _lines(row.false_alarms_per_day, f"{row.false_alarms}, "),
            _times(row),
            style="bold" if row.code in OVERALL else None,
        )
    notes = [
        "Under a figure its 95 % interval. Called: alerts that reached people. A day is that of a resident, or of a room where the code is about rooms."
    ]
    if card.not_labelled:
        out.add_row("not labelled", *["–"] * (len(out.columns) - 1))
        notes.append(f"not labelled: {said_not_labelled(card)}")
    out.caption = Text("\n".join(notes))
    return out


def coverage_table(card: Scorecard) -> Table:
    """How much of the time each hazard was watched, of how many hours."""
    out = Table(title="watched, by hazard", box=SIMPLE_HEAD, show_edge=False, pad_edge=False, title_justify="left", caption_justify="left")
    out.add_column("hazard")
    for heading in ("watched", "of the time bound", "residents and rooms", "recordings"):
        out.add_column(heading, justify="right", no_wrap=True)
    for one in card.coverage:
        out.add_row(HAZARD_NAMES[one.hazard].en, said(one.figure), one.hours, str(one.subjects), str(one.recordings))
    out.caption = Text(WATCHED_RULE)
    return out


def _code(row: Row) -> str:
    name = row.code if len(row.code) <= _CODE_MAX else row.code.replace(".", ".\n  ", 1)
    return "\n".join([name, *(f"  + {said_by_others((one,))}" for one in row.by_others)])


def _lines(figure: Figure, before: str = "") -> str:
    if np.isnan(figure.value):
        return "–"
    interval = "" if np.isnan(figure.low) else f"\n{_short(figure.low)} to {_short(figure.high)}"
    return f"{before}{_short(figure.value)}{interval}"


def _short(value: float) -> str:
    """Three digits or all before the point: a rate over two minutes runs into thousands a day."""
    return f"{value:.0f}" if value >= 1000 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def _times(row: Row) -> str:
    median, most = row.time_to_alert_median.value, row.time_to_alert_p90.value
    return "–" if np.isnan(median) else f"{median:.1f}\n{most:.1f}"
