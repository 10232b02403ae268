"""The results as a page, self-contained: fault × detector, and every failure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from html import escape
from typing import Final

from benchmarks.faults.catalogue import FAULT_BY_NAME
from benchmarks.faults.judge import Outcome, Result
from benchmarks.faults.report import ORDER, demanded, failures, matrix, sentence

COLOURS: Final = {
    Outcome.ALARM: ("#d8efdc", "#123c1b"),
    Outcome.CALL: ("#d8efdc", "#123c1b"),
    Outcome.TOLD: ("#d9e8fb", "#10325e"),
    Outcome.TOLD_ONLY: ("#fdf0c8", "#4d3a00"),
    Outcome.LATE: ("#fbd9b8", "#5a2a00"),
    Outcome.UNTRUE: ("#f6c3a5", "#5a1f00"),
    Outcome.SILENT: ("#c0262d", "#ffffff"),
}
"""Ground and text of a cell: its worst outcome."""
SHOWN_MAX: Final = 400
_STYLE: Final = (
    "body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:1500px;padding:0 1rem;color:#1b2430}"
    "table{border-collapse:collapse;font-size:13px}td,th{border:1px solid #d5dce6;padding:.25rem .5rem;text-align:left;vertical-align:top}"
    "thead th{position:sticky;top:0;background:#f4f6f9}td.n{white-space:nowrap}.key span{padding:.15rem .5rem;margin-right:.4rem;border-radius:3px}"
)


def page(results: Sequence[Result], left_out: Sequence[str]) -> str:
    """HTML."""
    columns, rows = matrix(results)
    head = "".join(f"<th>{escape(name)}" for name in columns)
    body = "".join(_row(name, columns, cells) for name, cells in rows.items())
    key = "".join(f'<span style="{_style(outcome)}">{escape(outcome.value)}</span>' for outcome in ORDER)
    failed = failures(results)
    false = [result for result in results if result.false]
    return (
        f"<!doctype html><html lang=en><meta charset=utf-8><title>Vigil: device faults</title><style>{_STYLE}</style>"
        f"<h1>Device faults</h1><p>{escape(sentence(results))}.</p><p class=key>{key}</p>"
        f"<table><thead><tr><th>fault<th>what does so<th>due{head}</thead>{body}</table>"
        f"{_list('Failures', failed)}{_list('False calls besides', false)}{_texts('Left out', left_out)}</html>"
    )


def _style(outcome: Outcome) -> str:
    ground, text = COLOURS[outcome]
    return f"background:{ground};color:{text}"


def _row(name: str, columns: Sequence[str], cells: dict[str, Counter[Outcome]]) -> str:
    fault = FAULT_BY_NAME[name]
    found = "".join(_cell(cells.get(column)) for column in columns)
    return f"<tr><th>{escape(name)}<td>{escape(fault.device)}<td>{escape(demanded(fault))}{found}</tr>"


def _cell(counts: Counter[Outcome] | None) -> str:
    if counts is None:
        return "<td>–"
    worst = max(counts, key=ORDER.index)
    text = "<br>".join(f"{counts[outcome]} {escape(outcome.value)}" for outcome in ORDER if counts[outcome])
    return f'<td class=n style="{_style(worst)}">{text}'


def _list(title: str, results: Sequence[Result]) -> str:
    rows = "".join(
        f"<tr><td>{escape(r.fault)}<td>{escape(r.case)}<td>{escape(r.outcome.value)}<td>{'' if r.alarm_s is None else f'{r.alarm_s:.0f} s'}"
        f"<td>{r.due_s:.0f} s<td>{escape(', '.join(f'{why} {at:.0f} s' for why, at in r.technical))}<td>{escape(', '.join(r.false))}"
        f"<td>{escape(', '.join(f'{why} {count}' for why, count in r.refused.items()))}<td>{r.late or ''}<td>{escape(r.error)}</tr>"
        for r in results[:SHOWN_MAX]
    )
    if not rows:
        return f"<h2>{title}: none</h2>"
    more = f"<p>The first {SHOWN_MAX} of {len(results)}.</p>" if len(results) > SHOWN_MAX else ""
    return (
        f"<h2>{title}: {len(results)}</h2>{more}<table><thead><tr><th>fault<th>danger<th>outcome<th>alarm<th>due<th>told<th>false calls"
        f"<th>refused<th>late chunks<th>error</thead>{rows}</table>"
    )


def _texts(title: str, lines: Sequence[str]) -> str:
    return f"<h2>{title}: {len(lines)}</h2><ul>{''.join(f'<li>{escape(line)}' for line in lines)}</ul>" if lines else ""
