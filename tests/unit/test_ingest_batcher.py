"""From messages to ward batches: nothing changed, nothing lost, nobody speaks for another's ward."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.block import NO_SEQ, Block
from engine.outputs import Reason
from engine.registry import Binding, RegistryData
from schemas.codec import decode, encode_batch, encode_chunk_json
from schemas.encode import take
from schemas.wire import MESSAGE_BYTES_MAX
from sinks.items import ItemKind, Quarantined
from streams.ingest.batcher import FOREIGN_WARD, Batcher, BatchRecord
from streams.ingest.spool import SpooledMessage
from streams.ingest.wards import Wards
from streams.kafka import topics
from streams.kafka.records import items_in, parse
from streams.pipeline.handovers import DIRECT, Handover
from streams.storage.journal_records import Entry, Topic

MS = 1_000_000
LINGER_NS = 100 * MS
START_NS = 1_760_000_000_000_000_000


def registry(ward: str, *devices: str) -> RegistryData:
    return RegistryData(bindings=tuple(Binding(device, f"resident/{device}", ward) for device in devices))


def some_wards(**bound: tuple[str, ...]) -> Wards:
    wards = Wards()
    for ward, devices in bound.items():
        wards.set(f"h/{ward}", registry(f"h/{ward}", *devices))
    return wards


@dataclass
class Feed:
    """Puts messages into a batcher as the spool would."""

    wards: Wards
    batch_bytes: int = 100_000
    batcher: Batcher = field(init=False)
    offset: int = 0

    def __post_init__(self) -> None:
        self.batcher = Batcher(self.wards, identity=7, linger_ns=LINGER_NS, batch_bytes=self.batch_bytes, unbound_ward="vigil/unbound")

    def put(
        self,
        payload: bytes,
        *,
        at_ms: int = 0,
        key: str = "",
        name: str = "",
        wards: tuple[str, ...] | None = None,
        handover: Handover = DIRECT,
    ) -> None:
        given = SpooledMessage(name, wards, key, payload, handover.retained, handover.again, handover.packet)
        message = msgspec.msgpack.encode(given)
        self.batcher.add(Entry(self.offset, START_NS + at_ms * MS, Topic.TELEMETRY, message))
        self.offset += 1


def block(*devices: str, kind: str = "accel", n: int = 5, t0_ns: int = START_NS, seq: int = NO_SEQ, seed: int = 0) -> Block:
    rng = np.random.default_rng(seed)
    k = len(devices)
    samples = rng.uniform(-2, 2, (k, n, 3)).astype(np.float32)
    samples[:, 0, 0] = np.nan
    return Block(
        kind, devices, np.arange(k, dtype=np.int64) + t0_ns, np.full(k, seq, np.int64), 50.0, samples, np.zeros(k, np.uint8), (1, 3)
    )


def button(device: str, t0_ns: int = START_NS) -> bytes:
    return msgspec.json.encode({"v": 1, "device": device, "kind": "button", "t0_ns": t0_ns, "samples": [[1]]})


def chunks(payloads: list[bytes]) -> list[tuple[Any, ...]]:
    """Everything that a core would get to know, chunk by chunk, in order for each stream."""
    found = []
    for payload in payloads:
        decoded = decode(payload)
        assert not decoded.rejects
        for each in decoded.blocks:
            for row, device in enumerate(each.devices):
                form = (each.kind, each.rate_hz, each.shape, each.samples[row].shape, str(each.samples.dtype))
                facts = (int(each.t0_ns[row]), int(each.seq[row]), int(each.quality[row]), each.samples[row].tobytes())
                found.append(((device, each.kind), form, facts))
    return sorted(found, key=lambda entry: entry[0])  # stable: a stream keeps its order


def telemetry(out: list[BatchRecord]) -> list[BatchRecord]:
    return [each for each in out if each.topic == topics.TELEMETRY]


def key_of(out: BatchRecord) -> str:
    return parse(0, 0, None, None, out.headers).key


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.lists(st.sampled_from("abcd"), min_size=1, max_size=4, unique=True),
            st.integers(1, 3),
            st.booleans(),
            st.integers(-1, 5),
            st.integers(0, 3),
        ),
        min_size=1,
        max_size=12,
    ),
    st.sampled_from([1_000, 100_000]),
)
def test_batches_hold_exactly_what_came(sent: list[tuple[list[str], int, bool, int, int]], batch_bytes: int) -> None:
    feed = Feed(some_wards(one=("a", "b", "c", "d")), batch_bytes)
    payloads = []
    for number, (devices, n, as_json, seq, quality) in enumerate(sent):
        made = block(*devices, n=n, t0_ns=START_NS + number * 1_000, seq=seq, seed=number)
        made = made._replace(quality=np.full(len(devices), quality, np.uint8))
        if as_json:
            payloads += [encode_chunk_json(made, row) for row in range(len(devices))]
        else:
            payloads.append(encode_batch("h/one", [made], seq=number))
    for payload in payloads:
        feed.put(payload)
    out = feed.batcher.close()
    assert {each.ward for each in out} == {"h/one"}
    assert chunks([each.value for each in out]) == chunks(payloads)
    assert len({key_of(each) for each in out}) == len(out)


def test_one_block_a_kind_and_one_batch_a_ward() -> None:
    feed = Feed(some_wards(one=("a", "b"), two=("x",)))
    for device in ("a", "x", "b", "a"):
        feed.put(button(device, START_NS + feed.offset))
    out = feed.batcher.close()
    assert [each.ward for each in out] == ["h/one", "h/two"]
    (first,) = decode(out[0].value).blocks
    assert first.devices == ("a", "b", "a")
    assert decode(out[0].value).ward == "h/one"
    assert decode(out[0].value).seq == NO_SEQ


def test_a_message_of_two_wards_is_split() -> None:
    feed = Feed(some_wards(one=("a",), two=("x", "y")))
    feed.put(encode_batch("h/one", [block("x", "a", "y")]))
    out = feed.batcher.close()
    assert {each.ward: decode(each.value).blocks[0].devices for each in out} == {"h/two": ("x", "y"), "h/one": ("a",)}


def test_unknown_devices_go_where_somebody_looks() -> None:
    feed = Feed(some_wards(one=("a",), two=("x",)))
    feed.put(button("stranger"))
    feed.put(button("stranger"), name="gateway", wards=("h/two",))
    feed.put(encode_batch("h/two", [block("stranger")]))
    feed.put(b"[" + button("stranger") + b"," + button("a") + b"]")
    assert [(each.ward, len(chunks([each.value]))) for each in feed.batcher.close()] == [("vigil/unbound", 1), ("h/two", 2), ("h/one", 2)]


def test_a_sender_cannot_speak_for_another_ward() -> None:
    feed = Feed(some_wards(one=("a",), two=("x",)))
    feed.put(encode_batch("h/one", [block("a", "x")]), name="gateway-1", wards=("h/one",))
    quarantined, good = feed.batcher.close()
    assert (good.ward, decode(good.value).blocks[0].devices) == ("h/one", ("a",))
    (item,) = items_in(quarantined.topic, quarantined.value)
    assert item.kind is ItemKind.QUARANTINE
    assert isinstance(item.body, Quarantined)
    assert (item.body.reason, item.body.device, item.body.readings) == (FOREIGN_WARD, "x", 5)
    assert decode(item.body.payload).blocks[0].devices == ("x",)
    assert feed.batcher.refused[FOREIGN_WARD] == 1


def test_nobody_listed_speaks_for_nobody() -> None:
    feed = Feed(some_wards(one=("a",)))
    feed.put(button("a"), name="stranger", wards=())
    assert [each.topic for each in feed.batcher.close()] == [topics.QUARANTINE]


def test_two_homes_may_call_a_device_the_same() -> None:
    feed = Feed(some_wards(one=("a",), two=("a",)))
    feed.put(button("a"), name="gateway-1", wards=("h/one",))
    feed.put(button("a", START_NS + 1), name="gateway-2", wards=("h/two",))
    assert [each.ward for each in feed.batcher.close()] == ["h/one", "h/two"]


def test_what_is_refused_is_refused_by_the_core_with_the_same_reason() -> None:
    feed = Feed(some_wards(one=("a", "b")))
    bad = block("a", "b")
    bad.samples[1, 0, 1] = 1e9
    wire = encode_batch("h/one", [bad, take(bad, np.array([1]))._replace(rate_hz=100.0)], seq=5, sent_ns=9)
    wanted = decode(wire).rejects
    assert len(wanted) == 2
    feed.put(wire)
    feed.put(b"noise")
    feed.put(b"")
    feed.put(b'{"v": 1, "device": "a", "kind": "telepathy", "t0_ns": 1, "samples": [[1]]}', name="g", wards=("h/one",))
    out = feed.batcher.close()
    assert {each.ward for each in out} == {"h/one", "vigil/unbound"}
    found = [(reject.reason, reject.device, reject.readings) for each in out for reject in decode(each.value).rejects]
    assert sorted(found) == sorted(
        [(r.reason, r.device, r.readings) for r in wanted]
        + [(Reason.MALFORMED, "", 0), (Reason.TRUNCATED, "", 0), (Reason.UNKNOWN_KIND, "a", 1)]
    )
    assert [decode(each.value).seq for each in out] == [NO_SEQ] * len(out)


def test_too_long_a_message_still_says_so() -> None:
    feed = Feed(some_wards(one=("a",)))
    feed.put(b"[" * (MESSAGE_BYTES_MAX + 1))
    (out,) = feed.batcher.close()
    assert decode(out.value).rejects[0].reason is Reason.TOO_LARGE


def test_sent_again_is_taken_once() -> None:
    feed = Feed(some_wards(one=("a",)))
    batch, press = encode_batch("h/one", [block("a")], seq=3, sent_ns=START_NS), button("a")
    for key in ("", "k1"):
        feed.put(batch)
        feed.put(press, key=key)
    feed.put(press, key="k1")
    feed.put(press, key="k1", name="another")
    assert len(chunks([each.value for each in feed.batcher.close()])) == 4
    assert feed.batcher.repeated == 2


def test_a_gateway_that_batches_well_is_passed_on_in_its_place() -> None:
    feed = Feed(some_wards(one=("a", "b")), batch_bytes=1_000)
    big = encode_batch("h/one", [block("a", n=200)], seq=1)
    feed.put(button("b"))
    feed.put(big)
    feed.put(button("b", START_NS + 1))
    first, second, third = feed.batcher.close()
    assert second.value == big
    assert [decode(each.value).blocks[0].devices for each in (first, third)] == [("b",), ("b",)]


def test_the_same_messages_give_the_same_records_again() -> None:
    def run(skip: int) -> list[BatchRecord]:
        feed = Feed(some_wards(one=("a", "b"), two=("x",)), batch_bytes=1_000)
        feed.offset = skip
        out: list[BatchRecord] = []
        for number in range(skip, 40):
            at_ms = number * 30
            if feed.batcher.window not in {-1, feed.batcher.window_of(START_NS + at_ms * MS)}:
                out += feed.batcher.close()
            feed.put(encode_batch("h/one", [block("a", "x", n=60, seed=number)], seq=number), at_ms=at_ms)
        return out + feed.batcher.close()

    whole, later = run(0), run(20)  # 20 is the first of a window
    assert later == whole[-len(later) :]
    assert len({(each.ward, key_of(each)) for each in whole}) == len(whole)


@pytest.mark.parametrize("linger_ms", [50, 100, 125, 200, 250])
def test_no_window_reaches_over_a_second(linger_ms: int) -> None:
    assert 1_000 % linger_ms == 0


def test_the_first_arrival_counts_for_the_batch() -> None:
    feed = Feed(some_wards(one=("a",)))
    feed.put(button("a"), at_ms=3)
    feed.put(button("a", START_NS + 1), at_ms=90)
    (out,) = telemetry(feed.batcher.close())
    assert parse(0, 0, None, None, out.headers).arrival_ns == START_NS + 3 * MS


def test_what_a_broker_had_kept_goes_alone_and_marked_in_its_place() -> None:
    feed = Feed(some_wards(east=("a", "b")))
    feed.put(button("a"))
    feed.put(button("b", 0), handover=Handover(retained=True))
    feed.put(button("a", START_NS + 1))
    out = telemetry(feed.batcher.close())
    assert [parse(0, 0, None, None, each.headers).handover.retained for each in out] == [False, True, False]
    assert [decode(each.value).blocks[0].devices for each in out] == [("a",), ("b",), ("a",)]
    assert len({key_of(each) for each in out}) == 3


def test_only_what_the_broker_calls_a_second_try_is_dropped_as_one() -> None:
    feed = Feed(some_wards(east=("a",)))
    for handover in (Handover(packet=7), Handover(again=True, packet=7), Handover(packet=7), Handover(again=True, packet=8)):
        feed.put(button("a", 0), handover=handover)
    assert feed.batcher.repeated == 1
    assert len(chunks([each.value for each in telemetry(feed.batcher.close())])) == 3
