"""The wall dashboard asks what InfluxDB really holds: every query of it, against a real server filled by the real sink."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from engine.frame import NS_PER_S
from simulator.scenario import Scenario
from sinks.influx import InfluxConfig, InfluxSink
from sinks.items import Item, alert_item, event_item, measurements_item
from sinks.outcome import Accepted
from streams.pipeline.assembly import DEFAULT_CODES, TEXTS
from streams.recordings.format import read
from streams.recordings.replay import replay
from tests.conftest import missing_service
from tests.services import influx

text = TEXTS.of
ROOT: Final = Path(__file__).parents[2]
DASHBOARD: Final[dict[str, Any]] = json.loads((ROOT / "deploy/grafana/dashboards/ward.json").read_text(encoding="utf-8"))
PLAYED: Final = ("fall", "sos", "spo2-low", "turn-overdue", "smouldering-plug")
"""Together they have everything the wall shows."""
BATCH: Final = 200
SIMULATED_NS: Final = Scenario().start_ns
"""When the example recordings begin."""


def queries() -> dict[str, str]:
    """Every InfluxQL text of the dashboard, by where it stands."""
    found = {f"{panel['title']} {target['refId']}": target["query"] for panel in DASHBOARD["panels"] for target in panel["targets"]}
    found |= {f"variable {variable['name']}": variable["query"] for variable in DASHBOARD["templating"]["list"]}
    return found | {f"annotation {note['name']}": note["query"] for note in DASHBOARD["annotations"]["list"]}


def filled_in(query: str, resident: str = ".*") -> str:
    """`query` as Grafana sends it, for all residents or for one (it escapes the slash of the name)."""
    window = f"time >= {SIMULATED_NS} AND time < {SIMULATED_NS + 3600 * NS_PER_S}"
    return query.replace("$timeFilter", window).replace("$__interval", "10s").replace("$resident", resident.replace("/", r"\/"))


@pytest.fixture(scope="module")
def wall(tmp_path_factory: pytest.TempPathFactory) -> Iterator[influx.Influx]:
    reason = influx.missing()
    if reason:
        missing_service(f"InfluxDB: {reason}")
    items: list[Item] = []
    for name in PLAYED:
        said = replay(read(ROOT / "examples" / f"{name}.vigil"), measurements=True)
        items += [alert_item(transition, alert) for transition, alert in said.transitions]
        items += [event_item(event) for event in said.events]
        items += [measurements_item(rows) for rows in said.measurements]
    with influx.running(tmp_path_factory.mktemp("influx")) as running:
        sink = InfluxSink(
            InfluxConfig.model_validate({"url": running.url, "token": "t", "org": "home", "bucket": f"{running.bucket}/autogen"})
        )
        for start in range(0, len(items), BATCH):
            assert set(sink.deliver(items[start : start + BATCH])) == {Accepted()}
        sink.close()
        yield running


@pytest.mark.services
@pytest.mark.parametrize("where", queries())
def test_a_query_of_the_wall_returns_rows(wall: influx.Influx, where: str) -> None:
    rows = wall.query(filled_in(queries()[where]))
    columns = [[value for key, value in row.items() if key != "time"] for row in rows]
    assert any(value not in (None, "") for row in columns for value in row), f"{where}: no values"


@pytest.mark.services
def test_the_number_of_open_alerts_is_the_number_of_rows(wall: influx.Influx) -> None:
    counted = wall.query(filled_in(queries()["当前报警 · Open alerts A"]))
    listed = wall.query(filled_in(queries()["报警明细 · Alerts A"]))
    assert counted[0]["count"] == len(listed) >= 3
    assert {"sos.pressed", "falls.fall"} <= {row["code"] for row in listed}


@pytest.mark.services
def test_one_resident_can_be_chosen(wall: influx.Influx) -> None:
    query = queries()["心率 · Heart rate A"]
    everybody = {row["subject"] for row in wall.query(filled_in(query))}
    chosen = min(everybody)
    assert len(everybody) > 1
    assert {row["subject"] for row in wall.query(filled_in(query, chosen))} == {chosen}


def test_titles_are_in_both_languages() -> None:
    titles = [DASHBOARD["title"], *(panel["title"] for panel in DASHBOARD["panels"])]
    assert [title for title in titles if " · " not in title] == []


def test_alerts_are_called_what_the_console_calls_them() -> None:
    table = next(panel for panel in DASHBOARD["panels"] if panel["title"].startswith("报警明细"))
    override = next(o for o in table["fieldConfig"]["overrides"] if o["matcher"]["options"] == "code")
    names = next(p["value"][0]["options"] for p in override["properties"] if p["id"] == "mappings")
    assert {code: name["text"] for code, name in names.items()} == {
        code: f"{text(code, 'zh-CN').title} · {text(code, 'en').title}" for code in DEFAULT_CODES
    }
