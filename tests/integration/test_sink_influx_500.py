"""An InfluxDB that answers 500 for one point and stores nothing of that write, as some versions do; and one that answers 500 for everything."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np

from engine.outputs import Measurements
from sinks.delivery import Delivery, DeliverySettings
from sinks.examples import T0_NS, item
from sinks.influx import InfluxConfig, InfluxSink
from sinks.items import Item, ItemKind, measurements_item
from sinks.outcome import Accepted, Outcome, Rejected, Retry
from tests.services.receiver import Answer, Got, Receiver, receiving

REQUESTS_MAX = 30
"""Writes that isolating one item of 26 may take: each halving sends two."""


class Database:
    """Lines that were stored; `refuses` says of a line whether a write with it is answered 500, `down` answers all so."""

    def __init__(self, refuses: Callable[[str], bool] = lambda _: False) -> None:
        self.lines: list[str] = []
        self.refuses = refuses
        self.down = False
        self.writes = 0

    def __call__(self, got: Got) -> Answer:
        self.writes += 1
        lines = got.body.decode().splitlines()
        if self.down or any(map(self.refuses, lines)):
            return 500, {}
        self.lines += lines
        return 204, {}


def vital(number: int) -> Item:
    t_ns = np.array([T0_NS + number * 1_000_000_000])
    return measurements_item(Measurements("vitals", (f"resident/r-{number}",), t_ns, ("pulse_bpm",), np.array([[60.0]], np.float32)))


def of(number: int) -> str:
    return f"subject=resident/r-{number} "


def sink_of(receiver: Receiver) -> InfluxSink:
    url = receiver.url.removesuffix("/hook/token-in-path")
    return InfluxSink(InfluxConfig.model_validate({"url": url, "token": "t", "org": "home", "bucket": "vigil", "gzip": False}))


def delivering(folder: Path, receiver: Receiver) -> Delivery:
    return Delivery(sink_of(receiver), folder, DeliverySettings(backoff_first_s=0.01, backoff_max_s=0.02))


def kinds(outcomes: list[Outcome]) -> list[type[Outcome]]:
    return [type(outcome) for outcome in outcomes]


def test_one_bad_point_is_a_dead_letter_and_all_others_are_written(tmp_path: Path) -> None:
    database = Database(lambda line: of(3) in line)
    with receiving(database) as receiver:
        delivery = delivering(tmp_path, receiver)
        vitals = [vital(number) for number in range(25)]
        delivery.put([*vitals, item(ItemKind.ALERT)])
        delivery.run_once()
        known = delivery.statistics()
        delivery.close()
    assert (known.accepted, known.dead, known.queued) == (25, 1, 0)
    assert database.writes <= REQUESTS_MAX
    written = [line for line in database.lines if line.startswith("vitals")]
    assert [line.split(" ")[0] for line in written] == [
        f"vitals,subject=resident/r-{n}" for n in range(25) if n != 3
    ]  # in order, once each
    assert sum(line.startswith("alerts") for line in database.lines) == 1
    (letter,) = [json.loads(line) for line in (tmp_path / "dead-measurements.jsonl").read_text().splitlines()]
    assert letter["id"] == vitals[3].id
    assert "InfluxDB answered 500" in letter["why"]
    assert "while others were accepted" in letter["why"]


def test_a_bad_alert_makes_the_sink_unwell_and_holds_no_other(tmp_path: Path) -> None:
    database = Database(lambda line: line.startswith("alerts") and of(0) in line)
    with receiving(database) as receiver:
        delivery = delivering(tmp_path, receiver)
        delivery.put([item(ItemKind.ALERT, 0), item(ItemKind.ALERT, 1)])
        delivery.run_once()
        assert delivery.statistics().given_up.open == 1
        assert delivery.statistics().accepted == 1
        delivery.close()


def test_a_server_that_fails_on_everything_loses_nothing_and_is_not_flooded(tmp_path: Path) -> None:
    database = Database()
    database.down = True
    with receiving(database) as receiver:
        delivery = delivering(tmp_path, receiver)
        delivery.put([*(vital(number) for number in range(25)), item(ItemKind.ALERT)])
        delivery.run_once()
        assert database.writes <= REQUESTS_MAX // 2
        for _ in range(20):
            time.sleep(delivery.run_once() or 0)
        known = delivery.statistics()
        assert (known.accepted, known.dead, known.queued) == (0, 0, 26)
        assert known.failures > 2
        assert "500" in known.last_error
        database.down = False
        give_up = time.monotonic() + 30
        while delivery.statistics().queued and time.monotonic() < give_up:
            time.sleep(delivery.run_once() or 0)
        known = delivery.statistics()
        delivery.close()
    assert (known.accepted, known.dead) == (26, 0)
    assert {line.split(" ")[0] for line in database.lines if line.startswith("vitals")} == {
        f"vitals,subject=resident/r-{n}" for n in range(25)
    }


def test_an_item_that_is_alone_with_a_500_waits(tmp_path: Path) -> None:
    """Nothing tells whether it or the server is at fault, until the server takes another."""
    database = Database(lambda line: of(0) in line)
    with receiving(database) as receiver:
        delivery = delivering(tmp_path, receiver)
        delivery.put([vital(0)])
        for _ in range(12):
            time.sleep(delivery.run_once() or 0)
        assert (delivery.statistics().dead, delivery.statistics().queued) == (0, 1)
        delivery.put([vital(1)])
        give_up = time.monotonic() + 30
        while delivery.statistics().queued and time.monotonic() < give_up:
            time.sleep(delivery.run_once() or 0)
        assert (delivery.statistics().accepted, delivery.statistics().dead) == (1, 1)
        delivery.close()


def test_a_500_by_chance_costs_nothing() -> None:
    chance = [500, 204, 500, 204, 204, 204]
    with receiving(lambda _: (chance.pop(0), {})) as receiver:
        sink = sink_of(receiver)
        assert kinds(sink.deliver([vital(0), vital(1)])) == [Accepted, Accepted]
        sink.close()


def test_a_server_that_goes_down_meanwhile_is_a_retry() -> None:
    answers = [500, 204, 500, 503]
    with receiving(lambda _: (answers.pop(0), {})) as receiver:
        sink = sink_of(receiver)
        outcomes = sink.deliver([vital(number) for number in range(2)])
        sink.close()
    assert kinds(outcomes) == [Accepted, Retry]
    assert isinstance(outcomes[1], Retry)
    assert outcomes[1].scope == "target"


def test_every_one_of_several_bad_points_is_found(tmp_path: Path) -> None:
    bad = {0, 7, 8, 24}
    database = Database(lambda line: any(of(number) in line for number in bad))
    with receiving(database) as receiver:
        delivery = delivering(tmp_path, receiver)
        delivery.put([vital(number) for number in range(25)])
        give_up = time.monotonic() + 30
        while delivery.statistics().queued and time.monotonic() < give_up:
            time.sleep(delivery.run_once() or 0)
        known = delivery.statistics()
        delivery.close()
    assert (known.accepted, known.dead) == (25 - len(bad), len(bad))


def test_what_the_server_says_about_the_data_counts_whatever_the_status() -> None:
    """Some versions answer 500 and say what is wrong with the point: that is enough, also for one alone."""
    words = 'unexpected error writing points to database: partial write: field type conflict: input field "x" is type float'
    body = json.dumps({"code": "internal error", "message": words}).encode()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(500)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        config = {"url": f"http://127.0.0.1:{server.server_port}", "token": "t", "org": "home", "bucket": "vigil"}
        sink = InfluxSink(InfluxConfig.model_validate(config))
        (outcome,) = sink.deliver([vital(0)])
        sink.close()
        server.shutdown()
    assert isinstance(outcome, Rejected)
    assert "field type conflict" in outcome.why
