"""What the system page says about a sink: the error of the item that was tried, and when something last got through."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from console.backend import Delivery as DeliveryView
from console.backend import SystemView
from sinks.delivery import Delivery
from sinks.items import Item, ItemKind
from sinks.outcome import ACCEPTED, UNTRIED, Outcome, Retry
from sinks.webhook import WebhookConfig, WebhookSink
from streams.embedded.backend import Backend
from streams.embedded.vigil import Vigil
from streams.pipeline.assembly import TEXTS
from tests.services.receiver import receiving
from tests.unit.test_sinks_delivery import Clock, Target, delivery, items

FAILED = Retry("receiver answered 503")


class Stopping(Target):
    """Accepts `accepts` items, fails on the next, and does not try the rest."""

    accepts = 0

    def deliver(self, items: Sequence[Item]) -> list[Outcome]:
        outcomes: list[Outcome] = [ACCEPTED] * min(self.accepts, len(items))
        rest = len(items) - len(outcomes)
        return [*outcomes, *[FAILED, *[UNTRIED] * (rest - 1)][:rest]]


@pytest.mark.parametrize("accepts", [0, 2])
def test_the_last_error_is_that_of_the_item_that_was_tried(tmp_path: Path, accepts: int) -> None:
    target = Stopping()
    target.accepts = accepts
    subject = delivery(tmp_path, target, Clock())
    subject.put(items(ItemKind.ALERT, 5))
    subject.run_once()
    assert subject.statistics().last_error == "receiver answered 503"
    assert (subject.statistics().queued, subject.statistics().retried) == (5 - accepts, 1)


def test_the_last_success_is_when_the_target_accepted_something(tmp_path: Path) -> None:
    clock, target = Clock(), Stopping()
    subject = delivery(tmp_path, target, clock)
    subject.put(items(ItemKind.ALERT, 2))
    subject.run_once()
    assert subject.statistics().since_accepted_s is None
    target.accepts = 9
    clock.now_s += 60
    subject.run_once()
    assert subject.statistics().since_accepted_s == 0.0
    clock.now_s += 7
    assert subject.run_once() is None
    assert subject.statistics().since_accepted_s == 7.0


def test_the_system_page_tells_why_a_sink_fails_and_when_it_last_worked(tmp_path: Path) -> None:
    with receiving(lambda _: (503, {})) as receiver:
        config = WebhookConfig.model_validate({"url": receiver.url, "secret": "sixteen characters"})
        oncall = Delivery(WebhookSink(config, TEXTS), tmp_path / "spool", name="oncall")
        vigil = Vigil(tmp_path, deliveries=[oncall], live=False)
        oncall.put(items(ItemKind.ALERT, 3))
        oncall.run_once()
        before = shown(vigil)
        receiver.answerer = lambda _: (204, {})
        give_up = time.monotonic() + 20
        while oncall.statistics().queued and time.monotonic() < give_up:
            time.sleep(oncall.run_once() or 0)
        began_ns = vigil.clock()
        after = shown(vigil)
        vigil.stop()
    assert (before.health, before.waiting, before.detail, before.last_ok_ms) == ("waiting", 3, "receiver answered 503", None)
    assert (after.health, after.waiting, after.detail) == ("ok", 0, "")
    assert after.last_ok_ms is not None
    assert 0 <= began_ns // 1_000_000 - after.last_ok_ms < 5_000


def shown(vigil: Any) -> DeliveryView:
    """What the system page is given about the sink, not from its cache of a second."""

    async def look() -> SystemView:
        return Backend(vigil).system()

    return next(view for view in asyncio.run(look()).deliveries if view.name == "oncall")
