"""Both forms of the wire say the same, whatever they say; and no bytes break the codec."""

from __future__ import annotations

import json

import msgspec
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from benchmarks.fuzz_codec import broken_rule, complaint, run, valid_block
from engine.block import Block
from engine.kinds import KINDS
from schemas.codec import decode, encode_batch, encode_chunk_json
from schemas.encode import take, wire_block
from schemas.generate import chunk_schema
from schemas.grouping import grouped
from schemas.models import Chunk
from schemas.wire import Envelope

SCHEMA = Draft202012Validator(chunk_schema())
RELAXED = settings(deadline=None)  # the first call compiles a kernel
DEVICES = st.text(st.characters(exclude_categories=("C", "Z")), min_size=1, max_size=128)


@st.composite
def blocks(draw: st.DrawFn) -> Block:
    """A valid block of any kind, odd device names and repeated devices included."""
    kind = KINDS[draw(st.sampled_from(sorted(KINDS)))]
    k, n = draw(st.integers(1, 5)), draw(st.integers(1, min(8, kind.samples_max)))
    block = valid_block(kind, np.random.default_rng(draw(st.integers(0, 2**32))), k, n)
    return block._replace(
        devices=tuple(draw(st.lists(DEVICES, min_size=k, max_size=k))),
        t0_ns=np.array(draw(st.lists(st.integers(0, 9 * 10**18), min_size=k, max_size=k)), np.int64),
        seq=np.array(draw(st.lists(st.integers(-1, 2**63 - 1), min_size=k, max_size=k)), np.int64),
    )


def same(a: Block, b: Block) -> bool:
    return (a.kind, a.devices, a.rate_hz, a.shape, a.samples.dtype) == (b.kind, b.devices, b.rate_hz, b.shape, b.samples.dtype) and all(
        np.array_equal(x, y, equal_nan=x.dtype.kind == "f")
        for x, y in zip((a.t0_ns, a.seq, a.quality, a.samples), (b.t0_ns, b.seq, b.quality, b.samples), strict=True)
    )


@RELAXED
@given(blocks())
def test_binary_json_and_json_array_decode_to_the_same_block(block: Block) -> None:
    binary = decode(encode_batch("home/ward", [block], gateway="g", seq=5, sent_ns=6))
    assert (binary.ward, binary.gateway, binary.seq, binary.sent_ns, binary.rejects) == ("home/ward", "g", 5, 6, [])
    chunks = [encode_chunk_json(block, row) for row in range(len(block.devices))]
    array = decode(b"[" + b",".join(chunks) + b"]")
    assert array.rejects == []
    assert same(binary.blocks[0], block)
    assert same(array.blocks[0], block)
    for row, chunk in enumerate(chunks):
        assert same(decode(chunk).blocks[0], take(block, slice(row, row + 1)))


@RELAXED
@given(st.lists(blocks(), min_size=1, max_size=4))
def test_a_batch_keeps_its_blocks_apart(found: list[Block]) -> None:
    decoded = decode(encode_batch("a/b", found))
    assert decoded.rejects == []
    assert all(same(a, b) for a, b in zip(decoded.blocks, found, strict=True))


@RELAXED
@given(st.sampled_from(["accel", "ecg", "ppg", "vitals", "room_air"]), st.integers(0, 2**32), st.data())
def test_one_bad_chunk_leaves_alone(kind: str, seed: int, data: st.DataObject) -> None:
    """Infinity in one chunk: that chunk is refused, its bytes decode to the same refusal, its neighbours are untouched."""
    block = valid_block(KINDS[kind], np.random.default_rng(seed), 4, 3)
    row = data.draw(st.integers(0, 3))
    broken = block.samples.copy()
    broken[row, data.draw(st.integers(0, 2)), 0] = data.draw(st.sampled_from([np.inf, -np.inf, 3e38, -3e38]))
    decoded = decode(encode_batch("a/b", [block._replace(samples=broken)]))
    (reject,) = decoded.rejects
    assert reject.device == block.devices[row]
    assert reject.readings == 3
    again = decode(reject.payload)
    assert again.blocks == []
    assert [(r.reason, r.device, r.detail) for r in again.rejects] == [(reject.reason, reject.device, reject.detail)]
    assert same(decoded.blocks[0], take(block, np.array([i for i in range(4) if i != row])))


@RELAXED
@given(st.binary(max_size=300))
def test_any_bytes_get_an_answer(message: bytes) -> None:
    assert complaint(message, decode(message)) is None


@RELAXED
@given(
    st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(), lambda s: st.lists(s) | st.dictionaries(st.text(), s))
)
def test_any_json_value_gets_an_answer(value: object) -> None:
    message = json.dumps([value]).encode()
    decoded = decode(message)
    assert decoded.blocks == []
    assert complaint(message, decoded) is None


@RELAXED
@given(blocks(), st.sampled_from(["i2", "u1", "u2", "f4"]), st.floats(allow_nan=True), st.binary(min_size=1, max_size=64), st.data())
def test_any_sample_type_scale_and_bytes_keep_the_rules(block: Block, dtype: str, scale: float, raw: bytes, data: st.DataObject) -> None:
    wire = wire_block(block)
    width = int(dtype[1])
    samples = (raw * (block.samples.size * width))[: block.samples.size * width]
    unit = data.draw(st.sampled_from(["", *KINDS[block.kind].units]))
    changed = msgspec.structs.replace(wire, dtype=dtype, scale=scale, samples=memoryview(samples), unit=unit)
    decoded = decode(msgspec.msgpack.encode(Envelope(1, "a/b", [changed])))
    assert sum(len(b.devices) for b in decoded.blocks) + len(decoded.rejects) == len(block.devices)
    assert [broken_rule(b) for b in decoded.blocks] == [None] * len(decoded.blocks)


@RELAXED
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 2)), max_size=30))
def test_grouping_loses_nothing_and_reorders_no_stream(chunks: list[tuple[int, int]]) -> None:
    groups = grouped(chunks)
    order = [i for group in groups for i in group]
    assert sorted(order) == list(range(len(chunks)))
    assert all(len({chunks[i][0] for i in group}) == 1 for group in groups)
    for stream in {s for _, s in chunks}:
        own = [i for i in order if chunks[i][1] == stream]
        assert own == sorted(own)


ODD: st.SearchStrategy[object] = st.sampled_from(
    [None, True, "", "x", -1, 0, 1, 2, 0.5, 40, 5000, 2**63, [], [[]], [[None]], [0], [1, 1], [[0, 0, 1]] * 2, {}, {"pressed": 1}]
)


@st.composite
def json_chunks(draw: st.DrawFn) -> dict[str, object]:
    """Chunks that are almost right: a valid one in any unit, some values near the ends of their range, a field or two made odd."""
    kind = KINDS[draw(st.sampled_from(sorted(KINDS)))]
    block = valid_block(kind, np.random.default_rng(draw(st.integers(0, 2**32))), 1, draw(st.integers(1, min(3, kind.samples_max))))
    found: dict[str, object] = json.loads(encode_chunk_json(block, 0))
    if draw(st.booleans()):
        unit = draw(st.sampled_from(sorted(kind.units)))
        low, high = (kind.channels[0].low, kind.channels[0].high) if kind.channels else kind.wide
        edge = draw(st.sampled_from([low * 1.01 - 1, low, 0.99 * high, high * 1.01 + 1])) / kind.units[unit]
        rows = len(found["samples"])  # type: ignore[arg-type]
        found.update(unit=unit, samples=[[edge, *[None] * (block.samples.shape[2] - 1)]] * rows)
    for _ in range(draw(st.integers(0, 2))):
        name = draw(st.sampled_from([*Chunk.model_fields, "extra"]))
        if draw(st.booleans()):
            found.pop(name, None)
        else:
            found[name] = draw(ODD)
    return found


@RELAXED
@given(json_chunks())
def test_the_generated_json_schema_and_the_codec_agree(found: dict[str, object]) -> None:
    """Except for what JSON Schema cannot say: equally many channels in all samples, and rows x columns that make up a sample."""
    samples = found.get("samples")
    lengths = {len(row) for row in samples if isinstance(row, list)} if isinstance(samples, list) else set()
    assume(len(lengths) <= 1)
    match found:
        case {"kind": "pressure_map", "shape": [int(rows), int(cols)]}:
            assume(not lengths or rows * cols in lengths)
    decoded = decode(json.dumps(found).encode())
    assert bool(decoded.rejects or decoded.partly) == bool(list(SCHEMA.iter_errors(found))), [e.message for e in SCHEMA.iter_errors(found)]


@pytest.mark.parametrize("seed", [1, 2])
def test_thousands_of_malformed_messages(seed: int) -> None:
    """The short form of `python -m benchmarks.fuzz_codec --inputs 100000`, which raises at the first broken promise."""
    report = run(2_500, seed, memory_every=10)
    assert report.refused > 0.8 * report.inputs
    assert len(report.reasons) >= 12
    assert report.peak_bytes < 64 * 1024 * 1024
