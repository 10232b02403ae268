"""What comes through the doors (commands, registry) is taken or refused; it neither stops a partition nor silences it."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest

from alerts.model import Action, Command
from engine.registry import Binding, RegistryData
from schemas.recording import START_NS
from schemas.wire import MESSAGE_BYTES_MAX
from sinks.codec import encode
from sinks.items import Item, ItemKind, Quarantined
from streams.kafka import topics
from streams.kafka.records import FRAMED, frame, headers, parse, single
from streams.pipeline.partition import AUTHOR_MAX, COMMAND_BYTES_MAX, WHY_MAX, Partition
from streams.pipeline.records import Input, Kind
from streams.pipeline.registries import Registries
from streams.recordings.format import Builder
from tests.unit.test_worker_partition import SECOND_NS, WARD, changes, command, pressed, telemetry

NESTED_DEEPLY = b'{"x":' + b"[" * 5_000 + b"]" * 5_000 + b"}"


def registry(offset: int, at_ns: int, value: bytes, number: int = 7, ward: bytes = WARD.encode()) -> Input:
    return parse(offset, 0, ward, value, [*headers(at_ns, kind=Kind.REGISTRY), ("vigil-registry-offset", b"%d" % number)])


def sizes(items: list[Item]) -> list[int]:
    return [len(frame([encode(item)]) if item.kind in FRAMED else single(item)[1]) for item in items]


def alerted() -> tuple[Partition, str, int]:
    """A partition with an open alert: its id, and its time."""
    data, sent = pressed(2, 30)
    partition = Partition(0, live=False, registries=Registries({WARD: data}, 1))
    return partition, changes(partition.apply(telemetry(0, *sent[0])).items)[0].alert.id, sent[0][0]


def contradiction() -> bytes:
    """Two residents wear one device."""
    return msgspec.json.encode(RegistryData(bindings=tuple(Binding("button", f"resident/r-{n}", WARD) for n in (1, 2))))


def test_a_refused_registry_does_not_take_with_it_what_the_clocks_had_to_say() -> None:
    builder = Builder("silence", "made up", ward=WARD)
    builder.bind("patch", "resident/r-1")
    builder.add("patch", "ecg", START_NS, 250.0, np.zeros(250, np.float32))
    made = builder.build()
    records = list(made.records)
    at_ns = records[-1].arrival_ns + 40 * 60 * SECOND_NS
    told, asked = (Partition(0, live=False, registries=Registries({WARD: made.registry}, 1)) for _ in range(2))
    for partition in (told, asked):
        for offset, record in enumerate(records):
            partition.apply(telemetry(offset, record.arrival_ns, record.payload))
    offset = len(records)
    wanted = told.apply(parse(offset, 0, None, b"", headers(at_ns, kind=Kind.TIME))).items
    said = asked.apply(registry(offset, at_ns, contradiction())).items
    assert changes(wanted), "nothing was due: this shows nothing"
    assert list(map(encode, said))[: len(wanted)] == list(map(encode, wanted))
    assert any(isinstance(item.body, Quarantined) for item in said[len(wanted) :])


@pytest.mark.parametrize(
    "value",
    [
        b'{"id":"1","action":"acknowledge","alert_id":"x","by":"m\xfcller","at_ns":0}',
        NESTED_DEEPLY,
        b"\xff\xfe",
        b"",
        b"x" * (COMMAND_BYTES_MAX + 1),
        msgspec.json.encode(Command("c", Action.ACKNOWLEDGE, "a", "l" * (AUTHOR_MAX + 1), 0)),
        b'{"id":"1","action":"' + b"x" * 10_000 + b'"}',
    ],
)
def test_no_command_kills_a_worker(value: bytes) -> None:
    partition, _, at_ns = alerted()
    items = partition.apply(parse(1, 0, WARD.encode(), value, headers(at_ns, kind=Kind.COMMAND))).items
    (body,) = [item.body for item in items if isinstance(item.body, Quarantined)]
    assert (body.reason, body.payload) == ("malformed", value)
    assert len(body.detail) <= WHY_MAX


def test_an_alert_fits_into_a_record_whatever_staff_write() -> None:
    partition, alert, at_ns = alerted()
    said = []
    for offset, by in enumerate(["护" * AUTHOR_MAX, "a" * AUTHOR_MAX, "b" * 3_000_000], start=1):
        value = msgspec.json.encode(Command(f"c-{offset}", Action.ATTEND, alert, by, 0, note="n" * 200_000))
        said += partition.apply(parse(offset, 0, WARD.encode(), value, headers(at_ns, kind=Kind.COMMAND))).items
    assert {item.kind for item in said} >= {ItemKind.AUDIT, ItemKind.QUARANTINE}
    assert max(sizes(said)) < topics.RECORD_BYTES_MAX - 1024


@pytest.mark.parametrize(
    ("value", "ward"),
    [
        (NESTED_DEEPLY, WARD.encode()),
        (b'{"bindings":' + b"[" * 5_000, WARD.encode()),
        (b'{"bindings":[{"device":"\xff"}]}', WARD.encode()),
        (b"{" + b" " * MESSAGE_BYTES_MAX, WARD.encode()),
        (b"{}", b"w" * 5_000),
        (contradiction().replace(b'"button"', b'"' + b"d" * 1_500_000 + b'"'), WARD.encode()),
    ],
)
def test_no_registry_kills_a_worker(value: bytes, ward: bytes) -> None:
    partition, _, at_ns = alerted()
    before = partition.registries.merged()
    items = partition.apply(registry(1, at_ns, value, ward=ward)).items
    assert {item.kind for item in items} in ({ItemKind.AUDIT, ItemKind.QUARANTINE}, {ItemKind.AUDIT})
    assert max(sizes(items)) < topics.RECORD_BYTES_MAX - 1024
    if value is not NESTED_DEEPLY:  # fields nobody knows are not looked into
        assert partition.registries.merged() == before


def test_a_record_passed_over_fits_into_a_record() -> None:
    partition = Partition(0, live=False)
    (item,) = partition.skip_poison(telemetry(0, START_NS, b"x" * (MESSAGE_BYTES_MAX + 10**6)), "workers died on it").items
    assert sizes([item])[0] < topics.RECORD_BYTES_MAX - 1024


def test_a_command_that_is_one_is_taken() -> None:
    partition, alert, at_ns = alerted()
    assert changes(partition.apply(command(1, at_ns, alert)).items)[0].alert.acknowledged_by == "li"
