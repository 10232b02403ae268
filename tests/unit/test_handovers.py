"""What a broker says of a message, on its way through journal and spool."""

from __future__ import annotations

import itertools

import msgspec
import pytest

from streams.ingest.spool import SpooledMessage
from streams.pipeline.handovers import REMEMBERED, Handover, SecondTries
from streams.pipeline.records import Kind
from streams.storage.journal_records import Entry, Topic, as_input, brokered

EVERY = [Handover(*flags, packet) for *flags, packet in itertools.product((False, True), (False, True), (0, 1, 65_535))]


@pytest.mark.parametrize("handover", EVERY)
def test_the_journal_keeps_it(handover: Handover) -> None:
    record = as_input(Entry(3, 5, Topic.BROKER_TELEMETRY, brokered(handover, b"{}")))
    assert (record.kind, record.handover, record.value, record.arrival_ns) == (Kind.TELEMETRY, handover, b"{}", 5)


def test_a_spool_of_before_is_read() -> None:
    old = msgspec.msgpack.encode(("gateway", None, "", b"{}"))
    message = msgspec.msgpack.decode(old, type=SpooledMessage)
    assert (message.payload, message.retained, message.again, message.packet) == (b"{}", False, False, 0)


def test_second_tries_are_known_over_a_restart_and_up_to_a_bound() -> None:
    tries = SecondTries()
    assert not tries.is_one(Handover(packet=1), b"a")
    assert SecondTries(tries.marks()).is_one(Handover(again=True, packet=1), b"a")
    assert not tries.is_one(Handover(again=True, packet=1), b"b")
    for packet in range(2, REMEMBERED + 2):
        assert not tries.is_one(Handover(packet=packet), b"a")
    assert len(tries.marks()) == REMEMBERED
    assert not tries.is_one(Handover(again=True, packet=1), b"a")
