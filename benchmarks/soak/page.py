"""The soak's figures as a page with plots, self-contained."""

from __future__ import annotations

import io
import json
from html import escape
from typing import Any

import matplotlib as mpl

mpl.use("svg")
from matplotlib import pyplot as plt

_STYLE = (
    "body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:1100px;padding:0 1rem;color:#1b2430}"
    "pre{font-size:12px;background:#f4f6f9;padding:1rem;overflow:auto}svg{max-width:100%;height:auto}"
)
_LATENCY_WANTED_MS = 500
_SHARE_WANTED = 0.7


def page(found: dict[str, Any]) -> str:
    """HTML of all parts: plots where there is something to see, below them every figure."""
    plots = [
        _throughput(found["throughput"]) if "throughput" in found else "",
        _latency(found["latency"], found.get("backlog")) if "latency" in found else "",
        _memory(found["hour"]) if "hour" in found else "",
    ]
    tables = "".join(
        f"<h2>{escape(name)}</h2><pre>{escape(json.dumps({k: v for k, v in figures.items() if k != 'memory'}, indent=1, ensure_ascii=False))}</pre>"
        for name, figures in found.items()
    )
    return (
        f"<!doctype html><html lang=en><meta charset=utf-8><title>Vigil: soak</title><style>{_STYLE}</style>"
        f"<h1>The distributed Vigil on a real Kafka</h1>{''.join(plots)}{tables}</html>"
    )


def _throughput(figures: dict[str, Any]) -> str:
    names = ["bare_before", "bare_after", "workers_1", "workers_2"]
    fig, axes = plt.subplots(figsize=(9, 2.4))
    rates = [figures[name]["mb_a_second"] for name in names]
    bars = axes.barh(
        ["bare consumer", "bare consumer, again", "1 worker", "2 workers"], rates, color=["#9fb0c6", "#9fb0c6", "#1f5fbf", "#1f5fbf"]
    )
    axes.bar_label(bars, fmt="%.0f MB/s", padding=3)
    axes.axvline(_SHARE_WANTED * max(rates[:2]), color="#c0262d", lw=1)
    axes.set_xlim(0, max(rates) * 1.15)
    axes.invert_yaxis()
    return _svg(fig, axes, "Throughput of a backlog; red: 70 % of the bare consumer")


def _latency(latency: dict[str, Any], backlog: dict[str, Any] | None) -> str:
    rows = [("half load", latency)]
    if backlog is not None:
        rows.append(("beside a backlog", backlog["live_wards_meanwhile"]))
    fig, axes = plt.subplots(figsize=(9, 1.2 + 0.6 * len(rows)))
    for y, (name, figures) in enumerate(rows):
        spread = figures["worker_said_it"]
        axes.plot([spread["p50_ms"], spread["p99_ms"]], [y, y], color="#1f5fbf", lw=3)
        axes.plot([spread["p50_ms"]], [y], "o", color="#1f5fbf")
        axes.plot([spread["max_ms"]], [y], "|", color="#7a8ca5", ms=12, mew=2)
        axes.text(0, y + 0.2, f" {name}: p50 {spread['p50_ms']:.0f}, p99 {spread['p99_ms']:.0f} ms", fontsize=8)
    axes.axvline(_LATENCY_WANTED_MS, color="#c0262d", lw=1)
    axes.set_ylim(-0.4, len(rows) - 0.4)
    axes.set_yticks([])
    axes.set_xlim(0, 1.1 * max(_LATENCY_WANTED_MS, *(figures["worker_said_it"]["max_ms"] for _, figures in rows)))
    axes.set_xlabel("ms from the broker's clock to the alert (dot: median, line: to p99, mark: longest)")
    return _svg(fig, axes, "Latency of alerts; red: 500 ms")


def _memory(figures: dict[str, Any]) -> str:
    fig, axes = plt.subplots(figsize=(9, 3.2))
    for name, seen in figures["memory"].items():
        axes.plot([at_s / 60 for at_s, _ in seen], [mb for _, mb in seen], label=name)
    axes.set_ylim(bottom=0)
    axes.set_xlabel("minutes")
    axes.set_ylabel("resident memory, MB")
    axes.legend(fontsize=8, ncols=3)
    return _svg(fig, axes, f"Memory with {figures['residents']} residents in real time")


def _svg(fig: Any, axes: Any, title: str) -> str:
    axes.set_title(title, loc="left", fontsize=11)
    axes.grid(axis="x", alpha=0.3)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    buffer = io.StringIO()
    fig.savefig(buffer, format="svg", bbox_inches="tight")
    plt.close(fig)
    return buffer.getvalue().partition("<!DOCTYPE")[2].partition(">")[2]
