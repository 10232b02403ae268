"""The lists of events in documents that are written by hand otherwise: `python -m streams.ops.event_lists` brings them up to date.

    docs/contracts.md                      the table of event codes, between its two markers
    deploy/grafana/dashboards/ward.json    what the wall dashboard calls each code

A test fails when they differ from the declarations.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Final

from alerts.events import EVENTS as OF_VIGIL
from engine.events import EventType
from engine.technical import EVENTS as OF_ENGINE
from schemas.generate import between
from streams.pipeline.assembly import EVENTS

ROOT: Final = Path(__file__).parents[2]
BEGIN: Final = "<!-- events: written by `make generated` from the declarations -->\n"
END: Final = "<!-- /events -->\n"


def table(events: Iterable[EventType]) -> str:
    """The table of codes: whom each is about, and who ends it."""
    rows = ["| code | subject | cleared by |", "|---|---|---|"]
    rows += [f"| {event.code} | {event.subject.value} | {_cleared_by(event)} |" for event in events]
    return "\n".join(rows) + "\n"


def _cleared_by(event: EventType) -> str:
    if not event.clears:
        return "staff"
    return "engine" if event in OF_ENGINE else "canary" if event in OF_VIGIL else "detector"


def contracts(page: str, events: Iterable[EventType]) -> str:
    """`page` with the table of `events`; ValueError when it lacks the markers."""
    return between(page, BEGIN, f"\n{table(events)}\n", END)


def dashboard(text: str, events: Iterable[EventType]) -> str:
    """The dashboard `text` (Grafana's JSON) with the titles of `events`; ValueError when no column is named "code"."""
    board = json.loads(text)
    lists = [mapping for panel in board["panels"] for mapping in _names_of_codes(panel)]
    if not lists:
        raise ValueError('the dashboard must have a column "code" with value mappings, under which the titles stand')
    for mapping in lists:
        mapping["options"] = {
            event.code: {"text": f"{event.zh.title} · {event.en.title}", "index": index} for index, event in enumerate(events)
        }
    return json.dumps(board, indent=1, ensure_ascii=False) + "\n"


def _names_of_codes(panel: dict[str, Any]) -> list[dict[str, Any]]:
    overrides = panel.get("fieldConfig", {}).get("overrides", [])
    columns = [override for override in overrides if override["matcher"].get("options") == "code"]
    return [p["value"][0] for override in columns for p in override["properties"] if p["id"] == "mappings"]


DOCUMENTS: Final[dict[str, Callable[[str, Iterable[EventType]], str]]] = {
    "docs/contracts.md": contracts,
    "deploy/grafana/dashboards/ward.json": dashboard,
}
"""File to what brings its text up to date."""


def main() -> None:
    """Write the documents."""
    for name, updated in DOCUMENTS.items():
        path = ROOT / name
        path.write_text(updated(path.read_text(encoding="utf-8"), EVENTS), encoding="utf-8")
        sys.stdout.write(f"{name}\n")


if __name__ == "__main__":
    main()
