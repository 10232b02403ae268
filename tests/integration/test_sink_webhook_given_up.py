"""An alert that a receiver refuses for good: nobody is told less than the whole, until somebody has seen to it."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from typer.testing import CliRunner

from sinks.delivery import Delivery, DeliverySettings
from sinks.examples import item
from sinks.items import Item, ItemKind
from sinks.webhook import WebhookConfig, WebhookSink
from streams.cli.main import app
from streams.config import VigilConfig
from streams.embedded.service import Service
from streams.pipeline.assembly import TEXTS
from streams.sink_process.metrics import SinkMetrics, health
from tests.services.receiver import Answerer, Got, Receiver, accept, receiving

SECRET = "sixteen characters and more"
FAST = DeliverySettings(backoff_first_s=0.02, backoff_max_s=0.1)


def alert(index: int) -> Item:
    return item(ItemKind.ALERT, index)


def refusing(status: int, *indices: int) -> Answerer:
    """`status` for these alerts, 204 for all others."""
    bad = {alert(index).id for index in indices}
    return lambda got: (status, {}) if got.headers["idempotency-key"] in bad else (204, {})


def wait_for(condition: Callable[[], object], give_up_s: float = 30) -> None:
    give_up = time.monotonic() + give_up_s
    while not condition():
        assert time.monotonic() < give_up
        time.sleep(0.02)


def vigil(*words: str, status: int = 0) -> str:
    result = CliRunner().invoke(app, ["dead-letters", *words])
    assert result.exit_code == status, result.output
    return result.output


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as running:
        yield running


def oncall(folder: Path, receiver: Receiver, **more: object) -> Delivery:
    config = WebhookConfig.model_validate({"url": receiver.url, "secret": SECRET, "timeout_s": 5.0})
    settings = DeliverySettings.model_validate({**FAST.model_dump(), **more})
    delivery = Delivery(WebhookSink(config, TEXTS), folder, settings, name="oncall")
    delivery.start()
    return delivery


def configured(data: Path, receiver: Receiver) -> VigilConfig:
    to = {"type": "webhook", "url": receiver.url, "secret": SECRET}
    sink = {"name": "oncall", "to": to, "delivery": FAST.model_dump()}
    return VigilConfig.model_validate({"data_dir": data, "listen": {"port": 0}, "sinks": [sink]})


def shown(client: httpx.Client) -> dict[str, Any]:
    deliveries = client.get("/api/system").json()["deliveries"]
    return next(view for view in deliveries if view["name"] == "oncall")


@pytest.mark.parametrize("status", [413, 422])
def test_vigil_is_not_well_until_the_alert_is_delivered_again(tmp_path: Path, receiver: Receiver, status: int) -> None:
    receiver.answerer = refusing(status, 1)
    service = Service(configured(tmp_path, receiver))
    service.start()
    (delivery,) = (one for one in service.vigil.deliveries if one.name == "oncall")
    with httpx.Client(base_url=service.url, timeout=10) as client:
        wait_for(lambda: client.get("/healthz").status_code == 200)
        delivery.put([alert(index) for index in range(3)])
        wait_for(lambda: delivery.statistics().given_up.open)
        wait_for(lambda: shown(client)["health"] == "down")
        view = shown(client)
        assert view["given_up"] == view["undelivered"] == 1
        assert f"receiver answered {status}" in view["detail"]
        assert "vigil dead-letters" in view["detail"]
        answer = client.get("/healthz")
        assert answer.status_code == 503
        assert answer.json()["why"] == ["sink oncall: 1 alerts or audit entries given up"]
        assert client.get("/livez").status_code == 200  # a restart would not help
    service.stop()

    service = Service(configured(tmp_path, receiver))  # a restart makes nothing well
    service.start()
    with httpx.Client(base_url=service.url, timeout=10) as client:
        assert client.get("/healthz").status_code == 503
        assert alert(1).id in vigil("list", "--data", str(tmp_path))
        receiver.answerer = accept
        assert alert(1).id in vigil("replay", "oncall", "--data", str(tmp_path))
        wait_for(lambda: receiver.keys.count(alert(1).id) == 2)
        wait_for(lambda: client.get("/healthz").status_code == 200)
        wait_for(lambda: shown(client)["health"] == "ok")
    service.stop()
    assert sorted(receiver.keys) == sorted([alert(0).id, alert(1).id, alert(1).id, alert(2).id])
    assert "nothing is undelivered" in vigil("list", "--data", str(tmp_path))


def test_vigil_is_not_well_while_an_alert_waits_for_those_it_should_call(
    tmp_path: Path, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("streams.embedded.backend.CALLED_WITHIN_S", 1.0)
    receiver.answerer = lambda _: (404, {})
    service = Service(configured(tmp_path, receiver))
    service.start()
    (delivery,) = (one for one in service.vigil.deliveries if one.name == "oncall")
    with httpx.Client(base_url=service.url, timeout=10) as client:
        delivery.put([alert(0)])
        wait_for(lambda: client.get("/healthz").status_code == 503)
        assert client.get("/healthz").json()["why"] == ["sink oncall: alerts wait to be delivered"]
        assert "check the path in the sink's url" in shown(client)["detail"]
        receiver.answerer = accept
        wait_for(lambda: client.get("/healthz").status_code == 200)
    service.stop()
    assert receiver.keys[-1] == alert(0).id


def test_a_sink_process_is_not_well_until_somebody_has_seen_the_letter(tmp_path: Path, receiver: Receiver) -> None:
    receiver.answerer = refusing(422, 0)
    folder = tmp_path / "data" / "spool" / "oncall"
    delivery = oncall(folder, receiver)
    checked = health(SinkMetrics("oncall", late_after_s=300.0), delivery, stalled_s=60.0)
    assert checked()[0]
    delivery.put([alert(0), alert(1)])
    wait_for(lambda: delivery.statistics().queued == 0)
    ok, details = checked()
    assert (ok, details["state"], details["undelivered"]) == (False, "undelivered", 1)
    assert "receiver answered 422" in details["why"]
    data = str(tmp_path / "data")
    vigil("acknowledge", "oncall", "--by", "night-shift", "--data", data, "--id", "another", status=1)
    assert not checked()[0]
    assert alert(0).id in vigil("acknowledge", "oncall", "--by", "night-shift", "--data", data, "--id", alert(0).id)
    assert checked()[0]
    kept = json.loads((folder / "acknowledged.jsonl").read_text())
    assert (kept["acknowledged_by"], kept["id"], kept["body"]["alert"]["subject"]) == ("night-shift", alert(0).id, "resident/r-0")
    assert delivery.close()


def test_one_alert_answered_400_is_given_up_and_holds_no_other(tmp_path: Path, receiver: Receiver) -> None:
    receiver.answerer = refusing(400, 0)
    delivery = oncall(tmp_path, receiver, batch_max=1)
    delivery.put([alert(index) for index in range(4)])
    wait_for(lambda: len(set(receiver.keys)) == 4)
    assert receiver.keys[1:4] == [alert(index).id for index in (1, 2, 3)]  # each at once, after one attempt on the bad one
    delivery.put([alert(4)])
    wait_for(lambda: delivery.statistics().given_up.open)
    assert delivery.statistics().queued == 0
    assert "400" in delivery.statistics().given_up.why
    assert "while others were accepted" in delivery.statistics().given_up.why
    assert delivery.close()


def test_400_to_everything_is_the_configuration_and_loses_nothing(tmp_path: Path, receiver: Receiver) -> None:
    receiver.answerer = lambda _: (400, {})
    delivery = oncall(tmp_path, receiver)
    alerts = [alert(index) for index in range(4)]
    delivery.put(alerts)
    wait_for(lambda: len(receiver.got) > 60)  # far more than a single bad item is granted
    known = delivery.statistics()
    assert (known.given_up.open, known.dead, known.queued) == (0, 0, 4)
    assert known.failures > 2
    assert "check that the sink's url" in known.last_error
    taken: list[str] = []

    def take(got: Got) -> tuple[int, dict[str, str]]:
        taken.append(got.headers["idempotency-key"])
        return accept(got)

    receiver.answerer = take
    wait_for(lambda: delivery.statistics().queued == 0)
    assert sorted(taken) == sorted(one.id for one in alerts)
    assert delivery.close()


def test_what_is_being_delivered_again_survives_the_end_of_the_process(tmp_path: Path, receiver: Receiver) -> None:
    receiver.answerer = refusing(422, 0, 1)
    delivery = oncall(tmp_path / "spool" / "oncall", receiver)
    delivery.put([alert(0), alert(1)])
    wait_for(lambda: delivery.statistics().given_up.open == 2)
    receiver.answerer = lambda got: (204, {}) if got.headers["idempotency-key"] == alert(0).id else (503, {})
    vigil("replay", "oncall", "--data", str(tmp_path))
    wait_for(lambda: receiver.keys.count(alert(0).id) == 2 and receiver.keys.count(alert(1).id) >= 2)
    assert delivery.statistics().failures > 0
    delivery.withdraw()  # as a sink process does at its start: Kafka has what was not committed, but this was
    assert delivery.close()
    receiver.answerer = accept
    again = oncall(tmp_path / "spool" / "oncall", receiver)
    before = len(receiver.got)
    wait_for(lambda: alert(1).id in receiver.keys[before:])
    wait_for(lambda: not list((tmp_path / "spool" / "oncall").glob("replay*")))
    assert again.statistics().given_up.open == 0
    assert again.close()


def test_a_letter_that_is_refused_again_is_open_again(tmp_path: Path, receiver: Receiver) -> None:
    seen: list[Got] = []

    def refuse(got: Got) -> tuple[int, dict[str, str]]:
        seen.append(got)
        return 422, {}

    receiver.answerer = refuse
    delivery = oncall(tmp_path / "spool" / "oncall", receiver)
    delivery.put([alert(0)])
    for times in (1, 2, 3):
        wait_for(lambda times=times: len(seen) == times)  # type: ignore[misc]
        wait_for(lambda: delivery.statistics().given_up.open == 1)
        vigil("replay", "oncall", "--data", str(tmp_path))
    wait_for(lambda: len(seen) == 4)
    assert delivery.close()
