"""The webhook against a real HTTP server that accepts, refuses, stalls, hangs and comes back."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from email.utils import formatdate
from pathlib import Path

import msgspec
import pytest
from pydantic import ValidationError

from sinks.delivery import Delivery, DeliverySettings
from sinks.examples import item
from sinks.items import AlertChange, Item, ItemKind
from sinks.outcome import Accepted, Rejected, Retry
from sinks.webhook import WebhookConfig, WebhookSink, retry_after_s, signature, verify
from streams.pipeline.assembly import TEXTS
from tests.services.receiver import Answer, Got, Receiver, receiving

SECRET = "sixteen characters and more"


def config(receiver: Receiver, **more: object) -> WebhookConfig:
    return WebhookConfig.model_validate({"url": receiver.url, "secret": SECRET, "timeout_s": 0.3, **more})


def alert(index: int = 0) -> Item:
    return item(ItemKind.ALERT, index)


def wait_for(condition: Callable[[], bool], give_up_s: float = 20) -> None:
    give_up = time.monotonic() + give_up_s
    while not condition():
        assert time.monotonic() < give_up
        time.sleep(0.01)


def test_a_message_is_signed_idempotent_and_bilingual() -> None:
    with receiving() as receiver:
        sink = WebhookSink(config(receiver), TEXTS, clock=lambda: 1_760_000_100.7)
        assert sink.deliver([alert()]) == [Accepted()]
        (got,) = receiver.got
    assert got.headers["idempotency-key"] == alert().id
    stamp, given = got.headers["vigil-timestamp"], got.headers["vigil-signature"]
    assert stamp == "1760000100"
    assert verify(SECRET, stamp, got.body, given, 1_760_000_101)
    assert not verify(SECRET, stamp, got.body + b" ", given, 1_760_000_101)
    assert not verify(SECRET + "x", stamp, got.body, given, 1_760_000_101)
    assert not verify(SECRET, stamp, got.body, given, 1_760_000_100 + 301)
    assert not verify(SECRET, "1760000101", got.body, given, 1_760_000_101)
    message = json.loads(got.body)
    assert message["text"]["zh-CN"]["title"] == "跌倒"
    assert message["text"]["en"]["state"] == "firing"
    assert message["alert"]["subject"] == "resident/r-0"
    assert "identity" not in message
    assert "history" not in message["alert"]  # it grows without end and the receiver has seen every step


def test_the_signature_is_the_published_hmac() -> None:
    # printf '1.{}' | openssl dgst -sha256 -hmac Jefe
    assert signature("Jefe", "1", b"{}") == "v1=dc7943cccf20f64327d263db5e2aca27c2b8175e8e6e7ea04f482091bf456b0f"


def test_names_come_from_the_resolver_alone_and_its_failure_stops_nothing() -> None:
    def unknown(_: str) -> dict[str, str]:
        raise KeyError("no such person")

    with receiving() as receiver:
        WebhookSink(config(receiver), TEXTS, identity=lambda subject: {"name": f"王奶奶 ({subject})"}).deliver([alert()])
        assert WebhookSink(config(receiver), TEXTS, identity=unknown).deliver([alert()]) == [Accepted()]
        first, second = (json.loads(got.body) for got in receiver.got)
    assert first["identity"] == {"name": "王奶奶 (resident/r-0)"}
    assert second["identity_missing"] == "KeyError"


def test_a_step_that_notifies_nobody_is_not_sent() -> None:
    body = alert().body
    assert isinstance(body, AlertChange)
    quiet = alert()._replace(body=AlertChange(msgspec.structs.replace(body.transition, notify=False), body.alert))
    with receiving() as receiver:
        assert WebhookSink(config(receiver), TEXTS).deliver([quiet]) == [Accepted()]
        assert receiver.got == []
        assert WebhookSink(config(receiver, every_step=True), TEXTS).deliver([quiet]) == [Accepted()]
        assert len(receiver.got) == 1


URL_REMEDY = "set the sink's url to the final address"


@pytest.mark.parametrize(
    ("status", "headers", "expected"),
    [
        (200, {}, Accepted()),
        (202, {}, Accepted()),
        *[
            (
                status,
                {"Location": "http://127.0.0.1:1/"},
                Retry(f"receiver answered {status}, a redirect, which is not followed: {URL_REMEDY}"),
            )
            for status in (301, 302, 307, 308)
        ],
        (400, {}, Retry("receiver answered 400: check that the sink's url expects Vigil's messages", scope="doubtful")),
        (401, {}, Retry("receiver answered 401: check the sink's url and its token")),
        (403, {}, Retry("receiver answered 403: check the sink's url, its token and the receiver's list of allowed addresses")),
        (404, {}, Retry("receiver answered 404: check the path in the sink's url")),
        (405, {}, Retry("receiver answered 405: check that the sink's url takes POST")),
        (410, {}, Retry("receiver answered 410: the receiver's address was withdrawn, set the sink's url to the new one")),
        (409, {}, Retry("receiver answered 409", scope="item")),
        (413, {}, Rejected("receiver answered 413: it will not take this message")),
        (422, {}, Rejected("receiver answered 422: it will not take this message")),
        (408, {}, Retry("receiver answered 408")),
        (425, {}, Retry("receiver answered 425")),
        (429, {"Retry-After": "17"}, Retry("receiver answered 429", 17.0)),
        (500, {}, Retry("receiver answered 500", scope="item")),
        (503, {"Retry-After": "never"}, Retry("receiver answered 503")),
    ],
)
def test_answers_are_judged(status: int, headers: dict[str, str], expected: object) -> None:
    with receiving(lambda _: (status, headers)) as receiver:
        sink = WebhookSink(config(receiver, timeout_s=5), TEXTS)
        assert sink.deliver([alert()]) == [expected]
        sink.close()


def test_retry_after_may_be_a_date() -> None:
    assert retry_after_s(formatdate(1_760_000_060, usegmt=True), 1_760_000_000) == 60
    assert retry_after_s(formatdate(1_760_000_000, usegmt=True), 1_760_000_060) == 0
    assert retry_after_s("soon", 0) is None


def test_a_hanging_receiver_is_left_and_the_rest_not_tried() -> None:
    release, answered = threading.Event(), threading.Event()

    def hang(_: Got) -> Answer:
        release.wait(120)
        answered.set()
        return 204, {}

    with receiving(hang) as receiver:
        sink = WebhookSink(config(receiver), TEXTS)
        first, second, third = sink.deliver([alert(0), alert(1), alert(2)])
        assert not answered.is_set(), "the receiver was waited for"
        assert len(receiver.got) == 1
        release.set()
    assert isinstance(first, Retry)
    assert "token-in-path" not in first.why
    assert isinstance(second, Retry)
    assert second.scope == "untried" == third.scope  # type: ignore[union-attr]


def test_a_receiver_that_is_down_then_ill_then_well_gets_everything_once(tmp_path: Path) -> None:
    ill = [2]

    def answer(_: Got) -> Answer:
        ill[0] -= 1
        return (503, {}) if ill[0] >= 0 else (204, {})

    with receiving() as receiver:
        settings = config(receiver, timeout_s=2)
        port = int(receiver.url.split(":")[2].split("/")[0])
    fast = DeliverySettings(backoff_first_s=0.02, backoff_max_s=0.1)
    delivery = Delivery(WebhookSink(settings, TEXTS), tmp_path / "spool", fast)
    delivery.start()
    delivery.put([alert(index) for index in range(20)])
    wait_for(lambda: delivery.statistics().retried > 2)
    assert delivery.statistics().accepted == 0
    back = Receiver(answer, port)
    wait_for(lambda: delivery.statistics().queued == 0)
    assert delivery.close()
    back.close()
    accepted = back.keys[2:]
    assert sorted(accepted) == sorted(alert(index).id for index in range(20))
    assert delivery.statistics().dead == 0


def test_an_unsafe_configuration_is_refused_without_showing_it() -> None:
    for fields in ({"url": "ftp://x/secret-path", "secret": SECRET}, {"url": "https://x/secret-path", "secret": "short-secret"}):
        with pytest.raises(ValidationError) as refused:
            WebhookConfig.model_validate(fields)
        assert "secret-path" not in str(refused.value)
        assert "short-secret" not in str(refused.value)
