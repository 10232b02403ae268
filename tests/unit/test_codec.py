"""The wire contract: examples, limits, units, and what is cut out of a batch."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import msgspec
import numpy as np
import pytest
from jsonschema import Draft202012Validator

from engine.block import NO_SEQ, Block
from engine.frame import NS_PER_S
from engine.kinds import KINDS, MISSING_MAP
from engine.outputs import Reason
from schemas import generate
from schemas.binary import CHUNKS_MESSAGE_MAX, DeviceCache
from schemas.codec import decode, encode_batch, encode_chunk_json
from schemas.encode import batches, wire_block
from schemas.wire import BLOCKS_MAX, CHUNKS_MAX, MESSAGE_BYTES_MAX, Envelope

EXAMPLES = Path(generate.__file__).parent / "examples"
VALID = sorted((EXAMPLES / "valid").iterdir())
INVALID = sorted((EXAMPLES / "invalid").iterdir())
T0_NS = 1_767_571_200 * NS_PER_S
ENGINE_REASONS = {Reason.TIME_FUTURE, Reason.TIME_PAST, Reason.UNKNOWN_DEVICE, Reason.RATE_EXCEEDED, Reason.LATE, Reason.INTERNAL}
"""They need a clock, a registry or a history."""
CODEC_REASONS = set(Reason) - ENGINE_REASONS


def block(kind: str, samples: object, rate_hz: float = 0.0, shape: tuple[int, int] | None = None) -> Block:
    values = np.asarray(samples)
    k, _, c = values.shape
    names = tuple(f"{kind}-{i}" for i in range(k))
    return Block(kind, names, np.full(k, T0_NS), np.arange(k), rate_hz, values, np.zeros(k, np.uint8), shape or (1, c))


def chunk(**fields: object) -> bytes:
    return json.dumps({"v": 1, "device": "d", "kind": "accel", "t0_ns": T0_NS, "rate_hz": 50, "samples": [[0, 0, 1]], **fields}).encode()


def only_reason(message: bytes) -> Reason:
    decoded = decode(message)
    assert decoded.blocks == []
    (reject,) = decoded.rejects
    return reject.reason


@pytest.mark.parametrize("path", VALID, ids=lambda p: p.name)
def test_valid_examples_are_taken_whole(path: Path) -> None:
    decoded = decode(path.read_bytes())
    assert decoded.rejects == []
    assert decoded.blocks


@pytest.mark.parametrize("path", INVALID, ids=lambda p: p.name)
def test_invalid_examples_are_refused_for_the_reason_in_their_name(path: Path) -> None:
    decoded = decode(path.read_bytes())
    reject = decoded.rejects[0]
    assert reject.reason == path.name.split("--")[0]
    assert reject.detail
    assert reject.payload


def test_every_kind_and_every_reason_has_an_example() -> None:
    assert {b.kind for path in VALID for b in decode(path.read_bytes()).blocks} == set(KINDS)
    assert {path.name.split("--")[0] for path in INVALID} == CODEC_REASONS


def _seen_by_schema(path: Path) -> bool:
    """Does a JSON reader of the strict sort hand the example on to a validator at all?"""
    return path.suffix == ".json" and not path.name.startswith(("malformed", "truncated", "non_finite"))


@pytest.mark.parametrize("path", [p for p in (*VALID, *INVALID) if _seen_by_schema(p)], ids=lambda p: p.name)
def test_the_json_schema_says_what_the_codec_says(path: Path) -> None:
    found = json.loads(path.read_text())
    validator = Draft202012Validator(generate.chunk_schema())
    errors = [e.message for item in (found if isinstance(found, list) else [found]) for e in validator.iter_errors(item)]
    assert bool(errors) == (path.parent.name == "invalid"), errors


def test_generated_documents_are_up_to_date() -> None:
    for name, content in generate.documents().items():
        assert (generate.FOLDER / name).read_text(encoding="utf-8") == content, f"{name} differs: run python -m schemas.generate"
    assert sorted(p.name for p in generate.FOLDER.iterdir()) == sorted(generate.documents())
    Draft202012Validator.check_schema(generate.chunk_schema())


def test_references_of_the_asyncapi_document_lead_somewhere() -> None:
    document = generate.asyncapi()

    def references(node: object) -> list[str]:
        if isinstance(node, dict):
            return [v for k, v in node.items() if k == "$ref"] + [r for v in node.values() for r in references(v)]
        return [r for v in node for r in references(v)] if isinstance(node, list) else []

    found = references(document)
    assert len(found) >= 8
    for reference in found:
        node: object = document
        for step in reference.removeprefix("#/").split("/"):
            assert isinstance(node, dict)
            node = node[step]


@pytest.mark.parametrize(
    ("kind", "unit", "sent", "canonical"),
    [
        ("accel", "m/s2", [[9.80665, 0, -19.6133]], [[1, 0, -2]]),
        ("gyro", "rad/s", [[1, 0, 0]], [[57.29578, 0, 0]]),
        ("ecg", "uV", [1500], [[1.5]]),
    ],
)
def test_units_become_canonical(kind: str, unit: str, sent: list[object], canonical: list[list[float]]) -> None:
    (found,) = decode(chunk(kind=kind, unit=unit, rate_hz=100, samples=sent)).blocks
    assert np.allclose(found.samples[0], canonical, atol=1e-5)
    assert found.samples.dtype == np.float32


@pytest.mark.parametrize(("dtype", "missing"), [("i2", -32768), ("u2", 65535)])
def test_integers_with_a_scale_have_their_own_missing(dtype: str, missing: int) -> None:
    raw = np.array([200, missing, 400], f"<{dtype}")
    wire = wire_block(block("ecg", np.zeros((1, 3, 1), np.float32), 250.0))
    wire = msgspec.structs.replace(wire, dtype=dtype, scale=0.005, samples=memoryview(raw.tobytes()))
    (found,) = decode(msgspec.msgpack.encode(Envelope(1, "a/b", [wire]))).blocks
    assert np.allclose(found.samples[0, :, 0], [1.0, np.nan, 2.0], equal_nan=True)


def test_pressure_maps_are_cells_with_a_mark_for_missing() -> None:
    (found,) = decode(chunk(kind="pressure_map", rate_hz=1, shape=[2, 2], samples=[[0, 7.4, None, 65534]])).blocks
    assert found.samples.dtype == np.uint16
    assert found.samples[0, 0].tolist() == [0, 7, MISSING_MAP, 65534]
    assert found.shape == (2, 2)


def test_small_cells_travel_as_bytes_and_come_back_the_same() -> None:
    small = block("pressure_map", np.arange(6, dtype=np.uint16).reshape(1, 1, 6), 1.0, (2, 3))
    large = small._replace(samples=small.samples * 1000)
    assert (wire_block(small).dtype, wire_block(large).dtype) == ("u1", "u2")
    for b in (small, large):
        (found,) = decode(encode_batch("a/b", [b])).blocks
        assert np.array_equal(found.samples, b.samples)


def test_a_single_reading_may_have_no_rate_and_a_chunk_of_several_needs_one() -> None:
    reading = {"v": 1, "device": "d", "kind": "vitals", "t0_ns": T0_NS}
    (found,) = decode(json.dumps({**reading, "values": {"heart_rate_bpm": 71}}).encode()).blocks
    assert (found.rate_hz, found.seq[0], found.samples[0, 0, 0]) == (0.0, NO_SEQ, 71)
    assert np.isnan(found.samples[0, 0, 1:]).all()
    assert only_reason(json.dumps({**reading, "samples": [[71] + [None] * 5] * 2}).encode()) is Reason.BAD_RATE


@pytest.mark.parametrize("t0_ns", [-1, -(2**63), 2**63 - 1, 2**70, -(2**70)])
def test_a_press_is_taken_whatever_its_clock_says(t0_ns: int) -> None:
    press = {"v": 1, "device": "call", "kind": "button", "t0_ns": t0_ns, "values": {"pressed": 1}}
    decoded = decode(json.dumps(press).encode())
    assert (decoded.rejects, decoded.blocks[0].t0_ns.tolist()) == ([], [0])


def test_bad_chunks_are_cut_out_and_the_rest_of_the_batch_goes_on() -> None:
    samples = np.zeros((4, 2, 3), np.float32)
    samples[1, 0, 0], samples[2, 1, 2] = 90.0, np.inf
    broken = block("accel", samples, 50.0)._replace(t0_ns=np.array([T0_NS, T0_NS, T0_NS, -5]))
    wires = [
        wire_block(broken),
        msgspec.structs.replace(wire_block(broken), kind="radar"),
        wire_block(block("button", np.ones((2, 1, 1), np.float32))),
    ]
    decoded = decode(msgspec.msgpack.encode(Envelope(1, "a/b", wires)))
    assert [(b.kind, b.devices) for b in decoded.blocks] == [("accel", ("accel-0",)), ("button", ("button-0", "button-1"))]
    assert [(r.reason.value, r.device, r.readings) for r in decoded.rejects] == [
        ("out_of_range", "accel-1", 2), ("non_finite", "accel-2", 2), ("bad_time", "accel-3", 2),
        *(("unknown_kind", f"accel-{i}", 2) for i in range(4)),
    ]  # fmt: skip


def test_a_block_that_cannot_be_read_leaves_the_others() -> None:
    good = msgspec.msgpack.decode(encode_batch("a/b", [block("button", np.ones((1, 1, 1), np.float32))] * 3))
    good["blocks"][1]["n"] = "one"
    decoded = decode(msgspec.msgpack.encode(good))
    assert len(decoded.blocks) == 2
    assert [r.reason for r in decoded.rejects] == [Reason.WRONG_TYPE]


def test_a_json_array_is_judged_chunk_by_chunk_with_its_bytes() -> None:
    parts = [chunk(), chunk(device=""), chunk(t0_ns=T0_NS + NS_PER_S)]
    decoded = decode(b"[" + b" , ".join(parts) + b"]")
    assert [len(b.devices) for b in decoded.blocks] == [2]
    assert [(r.reason, r.payload) for r in decoded.rejects] == [(Reason.BAD_DEVICE, parts[1])]


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        (b"", Reason.TRUNCATED),
        (b" " * (MESSAGE_BYTES_MAX + 1), Reason.TOO_LARGE),
        (b"[" + b"1," * CHUNKS_MAX + b"1]", Reason.TOO_LARGE),
        (b"[]", Reason.BAD_SHAPE),
        (b"[" * 100_000, Reason.MALFORMED),
        (b'{"a":' * 100_000, Reason.MALFORMED),
        (b'{"v":1,"t0_ns":' + b"9" * 5000 + b"}", Reason.MALFORMED),
        (b'{"v":1,"device":"\xff"}', Reason.MALFORMED),
        (chunk(device="\ud800"), Reason.BAD_DEVICE),
        (chunk(t0_ns=True), Reason.WRONG_TYPE),
        (chunk(samples=[[10**400, 0, 0]]), Reason.WRONG_TYPE),
        (chunk(samples=[[1, 2, 3], [1]]), Reason.BAD_SHAPE),
        (chunk(samples=None), Reason.WRONG_TYPE),
        (chunk(kind="pressure_map", rate_hz=1, shape=[1, 3], samples=[[0, -1, 3]]), Reason.OUT_OF_RANGE),
    ],
    ids=range(14),
)
def test_edges(message: bytes, reason: Reason) -> None:
    assert only_reason(message) is reason


def ward_batch(**fields: object) -> bytes:
    """Two accelerometers, one sample each, with `fields` of their block changed."""
    own = {"kind": "accel", "rate_hz": 50.0, "n": 1, "c": 3, "devices": b"a\nb", "t0_ns": T0_NS, "samples": bytes(24), **fields}
    return msgspec.msgpack.encode({"v": 1, "ward": "a/b", "blocks": [own]})


@pytest.mark.parametrize(
    ("message", "reason", "sentence"),
    [
        (b"\xef\xbb\xbf" + chunk(), Reason.MALFORMED, "the message starts with a byte order mark (BOM): send JSON as UTF-8 without one"),
        (chunk().decode().encode("utf-16"), Reason.MALFORMED, "the message is UTF-16: send JSON as UTF-8"),
        (chunk().decode().encode("utf-16-le"), Reason.MALFORMED, "the message is UTF-16: send JSON as UTF-8"),
        (chunk().decode().encode("utf-16-be"), Reason.MALFORMED, "the message is UTF-16: send JSON as UTF-8"),
        (gzip.compress(chunk()), Reason.MALFORMED, "the message is compressed (gzip): send it uncompressed"),
        (b"[" * 100_000, Reason.MALFORMED, "the JSON is nested far deeper than a chunk can be"),
        (b"\x82\xa1v\x01\xa6blocks" + b"\x91" * 100_000, Reason.MALFORMED, "it is nested far deeper than a ward batch can be"),
        (
            chunk(rate_hz=0),
            Reason.BAD_RATE,
            "rate_hz of accel is missing, allowed are 5 to 400",
        ),
        (
            chunk(kind="button", rate_hz=0, samples=[1, 0]),
            Reason.BAD_SHAPE,
            "a chunk of button holds 2 samples: it is one moment, t0_ns, so send one sample a chunk",
        ),
        (chunk(t0_ns=-5), Reason.BAD_TIME, "t0_ns is -5: it must be UTC nanoseconds since 1970-01-01, 2255-03-14 at the latest"),
        (chunk(t0_ns=2**70), Reason.BAD_TIME, "it must be UTC nanoseconds since 1970-01-01, 2255-03-14 at the latest"),
        (ward_batch(t0_ns=2**63), Reason.BAD_TIME, "it must be UTC nanoseconds since 1970-01-01, 2255-03-14 at the latest"),
        (ward_batch(devices=b"a\nb\n"), Reason.BAD_SHAPE, "devices ends with a line feed, which makes an empty device id at the end"),
        (ward_batch(dtype="f8"), Reason.WRONG_TYPE, "allowed are f4, i2, u1, u2"),
        (
            ward_batch(kind="pressure_map", rate_hz=1.0, dtype="u1", samples=bytes(6)),
            Reason.BAD_SHAPE,
            "rows and cols are missing or 0: a pressure_map needs both, rows x cols = 3 values a sample",
        ),
        (ward_batch(kind="vitals", rate_hz=1.0), Reason.BAD_SHAPE, "bp_diastolic_mmhg (NaN if not measured)"),
        (chunk(kind="vitals", rate_hz=1), Reason.BAD_SHAPE, "bp_diastolic_mmhg (null if not measured)"),
    ],
    ids=range(17),
)
def test_sentences_name_the_mistake(message: bytes, reason: Reason, sentence: str) -> None:
    decoded = decode(message)
    assert decoded.blocks == []
    assert {reject.reason for reject in decoded.rejects} == {reason}
    assert all(sentence in reject.detail for reject in decoded.rejects)


def test_a_sentence_repeats_no_long_text() -> None:
    (reject,) = decode(ward_batch(dtype="x" * 100_000)).rejects
    assert len(reject.detail) < 300


def test_counts_are_bounded() -> None:
    press = wire_block(block("button", np.ones((1, 1, 1), np.float32)))
    assert only_reason(msgspec.msgpack.encode(Envelope(1, "a/b", [press] * (BLOCKS_MAX + 1)))) is Reason.TOO_LARGE
    crowd = wire_block(block("button", np.ones((CHUNKS_MAX, 1, 1), np.float32)))
    assert only_reason(msgspec.msgpack.encode(Envelope(1, "a/b", [crowd] * (CHUNKS_MESSAGE_MAX // CHUNKS_MAX + 1)))) is Reason.TOO_LARGE
    with pytest.raises(ValueError, match="send fewer blocks"):
        encode_batch("a/b", [block("ecg", np.zeros((100, 16_000, 1), np.float32), 500.0)])


def test_batches_keep_below_the_message_limit_and_lose_nothing() -> None:
    big = block("ecg", np.random.default_rng(1).normal(size=(300, 1000, 4)).astype(np.float32), 500.0)
    found = [decode(msgspec.msgpack.encode(Envelope(1, "a/b", wires))) for wires in batches([(big, "")], 1 << 20)]
    assert len(found) > 4
    assert np.array_equal(np.concatenate([b.samples for d in found for b in d.blocks]), big.samples)


def test_the_device_cache_is_bounded_and_a_pure_memo() -> None:
    cache = DeviceCache(bytes_max=1600)
    for i in range(1000):
        assert cache.read(memoryview(f"a{i}\nb{i}".encode())) == ((f"a{i}", f"b{i}"), ())
        assert sum(map(len, cache._known)) <= 1600
    first = cache.read(memoryview(b"x\ny"))[0]
    assert cache.read(memoryview(b"x\ny"))[0] is first
    assert cache.read(memoryview(b"ok\n\xff\n\x07"))[1] == (1, 2)
    assert b"ok\n\xff\n\x07" not in cache._known


def test_samples_are_ready_for_a_kernel_whatever_the_alignment() -> None:
    for pad in range(4):
        b = block("ecg", np.ones((2, 5, 1), np.float32), 250.0)._replace(devices=("a" * (pad + 1), "b"))
        (found,) = decode(encode_batch("a/b", [b])).blocks
        for array in (found.samples, found.t0_ns, found.seq, found.quality):
            assert array.flags.c_contiguous
            assert array.flags.aligned
            assert array.flags.writeable


def test_infinity_cannot_be_written_as_json() -> None:
    with pytest.raises(ValueError, match="infinity"):
        encode_chunk_json(block("ecg", np.full((1, 2, 1), np.inf, np.float32), 250.0), 0)
