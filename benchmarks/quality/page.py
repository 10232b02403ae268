"""The figures as a page with plots, self-contained."""

from __future__ import annotations

import io
import math
from html import escape
from typing import Any

import matplotlib as mpl

mpl.use("svg")
from matplotlib import pyplot as plt

from benchmarks.quality.report import Report, interval, limits
from streams.recordings.intervals import Figure


def page(report: Report, floors: dict[str, dict[str, Any]]) -> str:
    """HTML: what failed, one plot per detector and unit (value, interval, floor), each figure's basis, and what was not measured or left
    out, with the reason."""
    figures = report.figures
    groups: dict[tuple[str, str], list[str]] = {}
    for key, figure in figures.items():
        if math.isfinite(figure.value):
            groups.setdefault((key.split(".")[0], figure.unit), []).append(key)
    parts = [_plot(f"{detector} ({unit})", keys, figures, floors) for (detector, unit), keys in groups.items()]
    rows = "".join(
        f"<tr><td>{escape(key)}</td><td>{figure.value:.4g} {escape(figure.unit)}</td><td>{interval(figure)}</td>"
        f"<td>{escape(limits(floors.get(key, {})))}</td><td>{escape(figure.basis)}</td></tr>"
        for key, figure in figures.items()
    )
    left_out = {name: "; ".join(entries) for name, entries in report.left_out.items()}
    style = "body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:1200px;color:#1b2430}table{border-collapse:collapse;font-size:13px}td,th{border-bottom:1px solid #dde;padding:.3rem .6rem;text-align:left;vertical-align:top}svg{max-width:100%;height:auto}table.bad{border-left:4px solid #c0262d}"
    return (
        f"<!doctype html><html lang=en><meta charset=utf-8><title>Vigil: quality on real recordings</title><style>{style}</style>"
        "<h1>Quality on real recordings</h1><p>Dot: the figure. Line: its 95 % interval. Red mark: the committed floor or ceiling.</p>"
        f"{_list('Failed', report.failed, 'bad')}{''.join(parts)}<h2>All figures</h2><table><tr><th>figure<th>value<th>95 % interval<th>floor<th>basis</tr>{rows}</table>"
        f"{_list('Not measured', report.not_measured)}{_list('Left out', left_out)}</html>"
    )


def _list(title: str, entries: dict[str, str], kind: str = "") -> str:
    """A table of names and reasons; nothing when there are none."""
    if not entries:
        return ""
    rows = "".join(f"<tr><td>{escape(name)}</td><td>{escape(why)}</td></tr>" for name, why in entries.items())
    return f'<h2>{title}: {len(entries)}</h2><table class="{kind}"><tr><th>what<th>why</tr>{rows}</table>'


def _plot(title: str, keys: list[str], figures: dict[str, Figure], floors: dict[str, dict[str, Any]]) -> str:
    fig, axes = plt.subplots(figsize=(9, 0.9 + 0.32 * len(keys)))
    for y, key in enumerate(reversed(keys)):
        f = figures[key]
        if math.isfinite(f.low) and math.isfinite(f.high):
            axes.plot([f.low, f.high], [y, y], color="#7a8ca5", lw=2, zorder=1)
        axes.plot([f.value], [y], "o", color="#1f5fbf", zorder=2)
        for limit in floors.get(key, {}).values():
            if isinstance(limit, int | float):
                axes.plot([limit], [y], "|", color="#c0262d", ms=14, mew=2, zorder=3)
    axes.set_yticks(range(len(keys)), [key.partition(".")[2] for key in reversed(keys)], fontsize=8)
    axes.grid(axis="x", alpha=0.3)
    axes.set_title(title, loc="left", fontsize=11)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    buffer = io.StringIO()
    fig.savefig(buffer, format="svg", bbox_inches="tight")
    plt.close(fig)
    return buffer.getvalue().partition("<!DOCTYPE")[2].partition(">")[2]
