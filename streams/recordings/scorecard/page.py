"""The scorecard as one HTML file that needs nothing else: figures, plots, and every miss and false alarm by name."""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from html import escape
from typing import Final

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure as Plot
from matplotlib.ticker import FuncFormatter

from engine.frame import NS_PER_S
from engine.watch import HAZARD_NAMES
from streams.recordings.intervals import Figure
from streams.recordings.scorecard.match import Matched
from streams.recordings.scorecard.score import RESIDENTS, ROOMS, Row, Scorecard, said, said_by_others, said_not_labelled
from streams.recordings.scorecard.text import WATCHED_RULE

TIMELINES_MAX: Final = 12
"""Recordings drawn; those with misses and false alarms come first."""
LISTED_MAX: Final = 200
"""Misses and false alarms listed; the rest is counted."""
_TRUTH, _CAUGHT, _FALSE, _REPEAT = "#c9d3dd", "#1a7f4b", "#c0392b", "#8a6d1d"
_INK: Final = "#1c2733"

_STYLE: Final = """
:root { color-scheme: light }
body { font: 15px/1.5 system-ui, "Noto Sans", sans-serif; color: #1c2733; background: #f6f8fa; margin: 0 auto; max-width: 1080px; padding: 2rem 1.5rem }
h1 { font-size: 1.6rem; margin: 0 } h2 { font-size: 1.15rem; margin: 2.2rem 0 .6rem }
p.under { color: #51606f; margin: .2rem 0 1.4rem; max-width: 75ch }
.cards { display: grid; grid-template-columns: repeat(3, 1fr); gap: 1rem } .card { background: #fff; border: 1px solid #dde4ea; border-radius: 8px; padding: .9rem 1.1rem }
.card b { display: block; font-size: 1.5rem; font-weight: 600 } .card small { font-size: .9rem; font-weight: 400 } .card span { color: #51606f; font-size: .85rem }
table { border-collapse: collapse; width: 100%; background: #fff; border: 1px solid #dde4ea; font-size: .88rem }
th, td { padding: .4rem .6rem; text-align: right; border-bottom: 1px solid #eaeff3; font-variant-numeric: tabular-nums } th { color: #51606f; font-weight: 600 }
th:first-child, td:first-child, table.list td, table.list th { text-align: left } td:first-child { white-space: nowrap } tr.all td { font-weight: 600; background: #f2f6f9 } tr.open td { text-align: left; background: #fdf8ec }
td small { color: #51606f; display: block } figure { margin: 0; background: #fff; border: 1px solid #dde4ea; border-radius: 8px; padding: .6rem } svg { width: 100%; height: auto; display: block }
"""


def html_page(card: Scorecard, title: str = "Vigil scorecard") -> str:
    """A self-contained page: no script, no link, plots as inline SVG."""
    overall = [row for row in card.rows if row.code in {RESIDENTS, ROOMS}]
    rule = (
        "Intervals are 95 %: Wilson for sensitivity, exact Poisson for false alarms, a bootstrap over people for times. An event counts when it "
        "was decided; it answers a truth of its subject and code, or of another code of the same happening that is left (caught by others), from the tolerance before the truth's start to the allowed latency after its "
        "end. Times to alert run from the truth's start."
    )
    parts = [
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">',
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head><body><h1>{escape(title)}</h1>",
        f'<p class="under">{_count(card)}. {rule}</p>',
        '<div class="cards">' + "".join(map(_cards, overall)) + "</div>",
        "<h2>By code</h2>" + _table(card),
    ]
    if card.coverage:
        parts.append(f'<h2>Watched, by hazard</h2>{_covered(card)}<p class="under">{WATCHED_RULE}</p>')
    delays = [row for row in card.rows if row.caught and row not in overall]
    if delays:
        parts.append("<h2>Time to alert</h2>" + _figure(_delays(card, delays)))
    counted = [row for row in card.rows if row not in overall and not np.isnan(row.false_alarms_per_day.value)]
    if counted:
        parts.append("<h2>False alarms a day</h2>" + _figure(_false_alarms(counted)))
    drawn = sorted((m for m in card.matched if m.case.truth or m.false_alarms), key=lambda m: -len(m.missed) - len(m.false_alarms))
    if drawn:
        more = f" (the {TIMELINES_MAX} of {len(drawn)} with most misses and false alarms)" if len(drawn) > TIMELINES_MAX else ""
        parts.append(f"<h2>Truth and events{more}</h2>" + _figure(_timelines(drawn[:TIMELINES_MAX])))
    if card.matched or not card.not_labelled:
        parts += [_list("Missed", _missed(card.matched)), _list("False alarms", _false(card.matched))]
    parts.append("</body></html>")
    return "".join(parts)


def _count(card: Scorecard) -> str:
    truths = sum(len(m.case.truth) for m in card.matched)
    open_ones = f" ({len(card.not_labelled)} more are not labelled)" if card.not_labelled else ""
    return f"{len(card.matched)} recordings{open_ones}, {truths} truths, {card.resident_days:.3g} resident-days, {card.room_days:.3g} room-days"


def _cards(row: Row) -> str:
    shown = (
        (f"sensitivity, {row.code}", f"{row.caught} of {row.truths}", row.sensitivity, 1),
        (f"false alarms, {row.code}", f"{row.false_alarms} in all", row.false_alarms_per_day, 2),
        (f"median to alert, {row.code}", "", row.time_to_alert_median, 1),
    )
    return "".join(
        f'<div class="card"><span>{escape(name)}</span><b>{_value(figure.value, figure.unit, digits)}</b>'
        f"<span>{escape(' · '.join(filter(None, (count, _interval(figure, digits)))))}</span></div>"
        for name, count, figure, digits in shown
    )


def _value(value: float, unit: str, digits: int) -> str:
    return "–" if np.isnan(value) else f"{value:.{digits}f} <small>{escape(unit)}</small>"


def _interval(figure: Figure, digits: int) -> str:
    return "" if np.isnan(figure.value) or np.isnan(figure.low) else f"{figure.low:.{digits}f} to {figure.high:.{digits}f}"


def _table(card: Scorecard) -> str:
    head = "".join(
        f"<th>{name}</th>"
        for name in (
            "code",
            "truths",
            "caught",
            "caught by others",
            "sensitivity",
            "false alarms",
            "a day",
            "median to alert",
            "90 % within",
            "repeats",
            "alerts called",
        )
    )
    body = "".join(
        f"<tr{' class=all' if row.code in {RESIDENTS, ROOMS} else ''}><td>{escape(row.code)}</td><td>{row.truths}</td><td>{row.caught}</td>"
        f"<td>{escape(said_by_others(row.by_others)) or '–'}</td>"
        f"<td>{_cell(said(row.sensitivity))}</td><td>{row.false_alarms}</td><td>{_cell(said(row.false_alarms_per_day, 2))}</td>"
        f"<td>{_cell(said(row.time_to_alert_median))}</td><td>{_cell(said(row.time_to_alert_p90))}</td><td>{row.repeats}</td><td>{row.called}</td></tr>"
        for row in card.rows
    )
    if card.not_labelled:
        body += f'<tr class="open"><td>not labelled</td><td colspan="10">{escape(said_not_labelled(card))}</td></tr>'
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _covered(card: Scorecard) -> str:
    head = "".join(f"<th>{name}</th>" for name in ("hazard", "watched", "of the time bound", "residents and rooms", "recordings"))
    body = "".join(
        f"<tr><td>{escape(HAZARD_NAMES[one.hazard].en)}</td><td>{escape(said(one.figure))}</td><td>{one.hours}</td>"
        f"<td>{one.subjects}</td><td>{one.recordings}</td></tr>"
        for one in card.coverage
    )
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _cell(text: str) -> str:
    value, _, interval = text.partition(" (")
    return escape(value) + (f"<small>{escape(interval.rstrip(')'))}</small>" if interval else "")


def _plot(height: float) -> Plot:
    return Plot(figsize=(10, height), layout="constrained")


def _figure(plot: Plot) -> str:
    out = io.StringIO()
    with mpl.rc_context({"svg.hashsalt": "vigil", "svg.fonttype": "none", "font.family": "sans-serif"}):
        plot.savefig(out, format="svg", metadata={"Date": None})
    text = out.getvalue()
    return f"<figure>{text[text.index('<svg') :]}</figure>"


def _delays(card: Scorecard, rows: Sequence[Row]) -> Plot:
    """Share of caught truths alerted within t, by code."""
    plot = _plot(3.4)
    axes = plot.subplots()
    for row in rows:
        delays = sorted((e.decided_ns - t.start_ns) / NS_PER_S for m in card.matched for t, e in m.caught if t.code == e.code == row.code)
        share = np.arange(1, len(delays) + 1) / len(delays) * 100
        axes.step([delays[0], *delays], [0, *share], where="post", label=f"{row.code} ({len(delays)})", linewidth=1.8)
    axes.set(xlabel="seconds from the truth's start to the decision", ylabel="caught truths alerted, %", ylim=(0, 103))
    axes.grid(alpha=0.25)
    axes.legend(frameon=False, fontsize=9, loc="lower right")
    _plain(axes)
    return plot


def _false_alarms(rows: Sequence[Row]) -> Plot:
    plot = _plot(0.7 + 0.38 * len(rows))
    axes = plot.subplots()
    figures = [row.false_alarms_per_day for row in rows]
    values = [figure.value for figure in figures]
    spans = [[f.value - f.low for f in figures], [f.high - f.value for f in figures]]
    axes.errorbar(values, range(len(rows)), xerr=spans, fmt="o", color=_FALSE, ecolor=_FALSE, elinewidth=1.4, capsize=3)
    axes.set_yticks(range(len(rows)), [f"{row.code}  {row.false_alarms}" for row in rows])
    axes.invert_yaxis()
    axes.margins(y=0.12)
    axes.set_xlim(left=0)
    units = sorted({figure.unit[1:] for figure in figures})
    axes.set_xlabel(f"false alarms per {' or '.join(units)}, with 95 % interval")
    axes.grid(axis="x", alpha=0.25)
    _plain(axes)
    return plot


def _timelines(matched: Sequence[Matched]) -> Plot:
    """One strip a recording: bars are truths (hatched when missed), dots are events by fate."""
    plot = _plot(0.6 + 0.75 * len(matched))
    strips = plot.subplots(len(matched), squeeze=False)[:, 0]
    for axes, m in zip(strips, matched, strict=True):
        times = [t.start_ns for t in m.case.truth] + [e.decided_ns for e in m.case.events]
        zero = min(times)
        span_s = (max([*times, *(t.end_ns for t in m.case.truth)]) - zero) / NS_PER_S or 1.0
        for truth in m.case.truth:
            start, length = (truth.start_ns - zero) / NS_PER_S, max((truth.end_ns - truth.start_ns) / NS_PER_S, span_s / 200)
            gone = truth in m.missed
            axes.broken_barh(
                [(start, length)],
                (0.15, 0.7),
                facecolor="white" if gone else _TRUTH,
                edgecolor=_FALSE if gone else _TRUTH,
                hatch="///" if gone else "",
            )
        for events, colour, marker in (([e for _, e in m.caught], _CAUGHT, "o"), (m.false_alarms, _FALSE, "X"), (m.repeats, _REPEAT, ".")):
            axes.scatter([(e.decided_ns - zero) / NS_PER_S for e in events], [0.5] * len(events), c=colour, marker=marker, s=42, zorder=3)
        axes.set_xlim(-0.02 * span_s, 1.02 * span_s)
        axes.set_ylim(0, 1)
        axes.set_yticks([0.5], [m.case.name[-34:]])
        axes.xaxis.set_major_formatter(FuncFormatter(lambda s, _: f"{s / 3600:.3g} h" if abs(s) >= 7200 else f"{s:.4g} s"))
        axes.tick_params(labelsize=8)
        _plain(axes)
    strips[0].set_title("bars: truth (hatched red: missed)  |  ● caught  |  ✖ false alarm  |  · repeat", fontsize=9, color=_INK, loc="left")
    return plot


def _plain(axes: mpl.axes.Axes) -> None:
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    axes.tick_params(colors=_INK)


def _missed(matched: Iterable[Matched]) -> list[tuple[str, str, str, str, str]]:
    return [(m.case.name, t.subject, t.code, _when(t.start_ns), t.note) for m in matched for t in m.missed]


def _false(matched: Iterable[Matched]) -> list[tuple[str, str, str, str, str]]:
    return [(m.case.name, e.subject, e.code, _when(e.decided_ns), f"score {e.score:.2f}") for m in matched for e in m.false_alarms]


def _when(t_ns: int) -> str:
    return datetime.fromtimestamp(t_ns / NS_PER_S, UTC).strftime("%Y-%m-%d %H:%M:%S")


def _list(title: str, rows: Sequence[tuple[str, str, str, str, str]]) -> str:
    if not rows:
        return f"<h2>{title}: none</h2>"
    body = "".join("<tr>" + "".join(f"<td>{escape(text)}</td>" for text in row) + "</tr>" for row in rows[:LISTED_MAX])
    more = f'<p class="under">and {len(rows) - LISTED_MAX} more</p>' if len(rows) > LISTED_MAX else ""
    head = "".join(f"<th>{name}</th>" for name in ("recording", "subject", "code", "time (UTC)", "note"))
    return f"<h2>{title}: {len(rows)}</h2><table class=list><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>{more}"
