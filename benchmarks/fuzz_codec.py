"""Malformed input by the hundred thousand: `python -m benchmarks.fuzz_codec --inputs 100000 [--seed 1]`.

Inputs are mutations of valid messages of both forms (bytes flipped, cut, inserted, repeated; fields dropped, renamed, given
wrong values) and structured nonsense (right syntax, absurd content). What must hold for every one: `decode` returns; what it
returns is blocks that keep every rule of their kind, or rejects with a reason and a sentence; and never nothing at all.
"""

from __future__ import annotations

import argparse
import json
import resource
import time
import tracemalloc
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any, Final, NamedTuple

import msgspec
import numpy as np

from engine.block import Block
from engine.kinds import KINDS, MISSING_MAP, Kind
from engine.outputs import Reason
from schemas.check import QUALITY_BITS, T_MAX_NS, good_device
from schemas.codec import Decoded, decode, encode_batch, encode_chunk_json

T0_NS: Final = 1_767_571_200_000_000_000
DETAIL_MAX: Final = 600
"""Characters of the longest sentence a reject may hold, whatever was sent."""
_NASTY: Final[tuple[Any, ...]] = (
    None, True, False, 0, -1, 1, 2, 2**31, 2**63 - 1, 2**63, 2**64, -(2**63), 10**30, 10**400, 0.0, -0.0, 1.5, 1e308, -1e308, 5e-324,
    float("nan"), float("inf"), float("-inf"), "", "a", "1", "accel", "x" * 200, "\x00", "\n", "\ud800", "😀", "ward\nward", [], [[]], [None],
    [[None]], [1, [2]], [[1], 2], {}, {"a": 1}, {"heart_rate_bpm": None}, [[[[[[1]]]]]], [0] * 20_000, [[0, 0, 0]] * 9_000, ["1"], [True], b"",
    b"\xff\xfe", b"\x00" * 64,
)  # fmt: skip
_LOUD: Final = (1e9, -1e9, 1e39, -70_000, 65_536, float("inf"), float("-inf"))
"""Numbers of the right type that no sensor sends."""


class Report(NamedTuple):
    """What came of the inputs: how many were refused (wholly, partly), how many stayed valid, and messages by reason."""

    inputs: int
    refused: int
    partly: int
    valid: int
    reasons: Counter[str]
    peak_bytes: int
    seconds: float


def valid_block(kind: Kind, rng: np.random.Generator, k: int, n: int) -> Block:
    """A block of `kind` with plausible noise, some samples missing."""
    grid = kind.dtype is np.uint16
    shape = (8, 4) if grid else (1, len(kind.channels) or int(rng.integers(1, kind.channels_max + 1)))
    c = shape[0] * shape[1]
    limits = [(entry.low, entry.high) for entry in kind.channels] or [kind.wide] * c
    low, high = np.array(limits, np.float64).T
    for j, entry in enumerate(kind.channels):  # what looks like another unit is no measurement
        low[j] = max([entry.low, *(scale.high for scale in entry.scales if scale.low < entry.high)])
    values = rng.uniform(low, high, (k, n, c))
    samples = np.rint(values).astype(np.uint16) if grid else np.clip(values.astype(np.float32), low, high).astype(np.float32)
    if grid:
        samples[rng.random(samples.shape) < 0.02] = MISSING_MAP
    else:
        samples[rng.random(samples.shape) < 0.02] = np.nan
    rate_hz = float(np.clip(50.0, kind.rate_hz_min, kind.rate_hz_max))
    devices = tuple(f"{kind.name}-{i:03d}" for i in range(k))
    t0_ns = T0_NS + rng.integers(0, 10**9, k)
    return Block(kind.name, devices, t0_ns, np.arange(k, dtype=np.int64), rate_hz, samples, rng.integers(0, 4, k).astype(np.uint8), shape)


def seeds(rng: np.random.Generator) -> tuple[list[bytes], list[bytes]]:
    """Valid messages of both forms: (JSON, binary)."""
    blocks = [valid_block(kind, rng, k=3, n=min(4, kind.samples_max)) for kind in KINDS.values()]
    text = [encode_chunk_json(block, row) for block in blocks for row in range(2)]
    text.append(b"[" + b",".join(text[:8]) + b"]")
    text.append(json.dumps({"v": 1, "device": "cuff", "kind": "vitals", "t0_ns": T0_NS, "values": {"heart_rate_bpm": 71}}).encode())
    binary = [encode_batch("home/ward", [block]) for block in blocks]
    binary.append(encode_batch("home/ward", blocks[:5]))
    return text, binary


def inputs(count: int, seed: int) -> Iterator[bytes]:
    """`count` hostile messages, the same for the same seed."""
    rng = np.random.default_rng(seed)
    text, binary = seeds(rng)
    makers: list[Callable[[], bytes]] = [
        lambda: _bytes_changed(_pick(rng, text), rng),
        lambda: _bytes_changed(_pick(rng, binary), rng),
        lambda: _json_field_changed(_pick(rng, text), rng),
        lambda: _binary_field_changed(_pick(rng, binary), rng),
        lambda: _nonsense(rng),
    ]
    for i in range(count):
        yield makers[i % len(makers)]()


def _pick(rng: np.random.Generator, choices: Any) -> Any:
    return choices[int(rng.integers(len(choices)))]


def _bytes_changed(message: bytes, rng: np.random.Generator) -> bytes:
    data = bytearray(message)
    for _ in range(int(rng.integers(1, 4))):
        at = int(rng.integers(len(data))) if data else 0
        match int(rng.integers(6)):
            case 0:
                data[at : at + 1] = bytes([int(rng.integers(256))])
            case 1:
                del data[at:]
            case 2:
                data[at:at] = rng.bytes(int(rng.integers(1, 9)))
            case 3:
                del data[at : at + int(rng.integers(1, 17))]
            case 4:
                data[at:at] = data[at : at + int(rng.integers(1, 65))]
            case _:
                data[:0] = _pick(rng, (b" ", b"\xef\xbb\xbf", b"\x00", b"[", b"{", b"\n"))
    return bytes(data)


def _json_field_changed(message: bytes, rng: np.random.Generator) -> bytes:
    found = json.loads(message)
    _change(_pick(rng, found) if isinstance(found, list) else found, rng)
    return json.dumps(found, default=lambda value: value.decode("latin-1")).encode()


def _binary_field_changed(message: bytes, rng: np.random.Generator) -> bytes:
    found = msgspec.msgpack.decode(message)
    _change(found if rng.random() < 0.3 else _pick(rng, found["blocks"]), rng)
    return msgspec.msgpack.encode(_packable(found))


def _change(found: dict[str, Any], rng: np.random.Generator) -> None:
    name = _pick(rng, list(found))
    match int(rng.integers(5)):
        case 0:
            del found[name]
        case 1:
            found[f"{name}_"] = found.pop(name)
        case 2:
            value = found[name]
            if isinstance(value, list) and value:
                row = value[int(rng.integers(len(value)))]
                inner = row if isinstance(row, list) and row else value
                inner[int(rng.integers(len(inner)))] = _pick(rng, _NASTY if rng.random() < 0.5 else _LOUD)
            elif isinstance(value, bytes) and value:
                kept = int(rng.integers(len(value)))
                found[name] = value[:kept] + rng.bytes(len(value) - kept if rng.random() < 0.7 else int(rng.integers(9)))
            elif isinstance(value, int | float) and not isinstance(value, bool):
                found[name] = value * _pick(rng, (-1, 10, 1e-6, 1e6, 1e12))
            else:
                found[name] = _pick(rng, _NASTY)
        case _:
            found[name] = _pick(rng, _NASTY)


def _packable(value: Any) -> Any:
    """Without what MessagePack cannot say at all: integers beyond 64 bits, lone surrogates."""
    if isinstance(value, dict):
        return {name: _packable(entry) for name, entry in value.items()}
    if isinstance(value, list):
        return [_packable(entry) for entry in value]
    if isinstance(value, int) and not -(2**63) <= value < 2**64:
        return float("inf")
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    return value


def _size(rng: np.random.Generator, most: int) -> int:
    """1 to `most`, small ones as likely as large ones."""
    return int(most ** float(rng.random()))


def _nonsense(rng: np.random.Generator) -> bytes:
    match int(rng.integers(8)):
        case 0:
            return rng.bytes(int(rng.integers(0, 400)))
        case 1:
            return _pick(rng, (b"[", b'{"a":', b"\x91", b"\x81\xa1a")) * _size(rng, 5000)  # type: ignore[no-any-return]
        case 2:
            return b"[" + b",".join([_pick(rng, (b"1", b"{}", b"[]", b"null"))] * (_size(rng, 6000) - 1)) + b"]"
        case 3:
            name = _pick(rng, ("v", "device", "kind", "samples", "t0_ns"))
            return f'{{"v":1,"{name}":1,"{name}":1,"device":"a"}}'.encode()
        case 4:
            return b'{"v":1,"device":"a","kind":"ecg","rate_hz":250,"t0_ns":' + b"9" * int(rng.integers(1, 6000)) + b',"samples":[0]}'
        case 5:
            return msgspec.msgpack.encode(_packable(_pick(rng, _NASTY)))
        case 6:
            return json.dumps(_pick(rng, _NASTY), default=str).encode()
        case _:
            devices = b"\n" * _size(rng, 9000)
            block = {
                "kind": "button",
                "n": 1,
                "c": 1,
                "devices": devices,
                "t0_ns": 0,
                "samples": b"\x00" * (len(devices) + 1),
                "dtype": "u1",
            }
            return msgspec.msgpack.encode({"v": 1, "ward": "a/b", "blocks": [block] * _size(rng, 300)})


def complaint(message: bytes, decoded: Decoded) -> str | None:
    """What is wrong with the answer to `message`; None when nothing is."""
    if not decoded.blocks and not decoded.rejects and not _empty_batch(message):
        return "neither a block nor a reject"
    for reject in (*decoded.rejects, *decoded.partly):
        if (
            not isinstance(reject.reason, Reason)
            or not 0 < len(reject.detail) <= DETAIL_MAX
            or len(reject.payload) > 2 * len(message) + 1024
        ):
            return f"a reject without a reason, a sentence or a bound: {reject.reason!r} {len(reject.detail)} {len(reject.payload)}"
        if len(reject.device) > 128 or not reject.device.isprintable() or not reject.kind.isprintable():
            return f"a reject that cannot be shown: {reject.device!a} {reject.kind!a}"
    return next(filter(None, map(broken_rule, decoded.blocks)), None)


def _empty_batch(message: bytes) -> bool:
    try:
        return bool(msgspec.msgpack.decode(message).get("blocks") == [])
    except (msgspec.DecodeError, AttributeError, UnicodeDecodeError):
        return False


def broken_rule(block: Block) -> str | None:
    """Which rule of its kind a decoded block breaks; None when it keeps them all. Written without the codec's own checks."""
    kind = KINDS[block.kind]
    k, n, c = block.samples.shape
    if not k == len(block.devices) == len(block.t0_ns) == len(block.seq) == len(block.quality) or not 1 <= n <= kind.samples_max:
        return f"{kind.name}: counts disagree"
    if block.samples.dtype != kind.dtype or not block.samples.flags.c_contiguous or not block.samples.flags.writeable:
        return f"{kind.name}: samples are {block.samples.dtype}"
    if not all(map(good_device, block.devices)) or block.quality.max() > QUALITY_BITS or block.seq.min() < -1:
        return f"{kind.name}: device, quality or seq"
    if block.t0_ns.min() < 0 or block.t0_ns.max() > T_MAX_NS or block.shape[0] * block.shape[1] != c:
        return f"{kind.name}: time or shape"
    without = kind.timing != "regular" or (n == 1 and kind.rate_hz_min <= 1.0 and block.rate_hz == 0)  # a single reading may have no rate
    if not (block.rate_hz == 0 if without else kind.rate_hz_min <= block.rate_hz <= kind.rate_hz_max):
        return f"{kind.name}: rate {block.rate_hz}"
    limits = [(entry.low, entry.high) for entry in kind.channels] or [kind.wide] * c
    for j, (low, high) in enumerate(limits):
        values = block.samples[:, :, j].astype(np.float64)
        values = values[~np.isnan(values)]
        if kind.channels and np.isin(values, kind.channels[j].no_value).any() and not kind.channels[j].zero_beside:
            return f"{kind.name} channel {j}: a code is left"
        if values.size and not (np.float32(low) <= values.min() and values.max() <= np.float32(high)):
            return f"{kind.name} channel {j}: {values.min()} to {values.max()}"
    return None


def run(count: int, seed: int, progress: Callable[[int], None] = lambda _done: None, *, memory_every: int = 1) -> Report:
    """Feed `count` inputs; AssertionError names the first answer that breaks the promise. Memory is measured at every
    `memory_every`-th input (measuring makes it several times slower).
    """
    reasons: Counter[str] = Counter()
    refused = partly = valid = peak = 0
    decode(seeds(np.random.default_rng(seed))[1][0])  # what the first message loads once and for all is not that message's memory
    started = time.perf_counter()
    for number, message in enumerate(inputs(count, seed)):
        if number % memory_every == 0:
            tracemalloc.start()
            decoded = decode(message)
            peak = max(peak, tracemalloc.get_traced_memory()[1])
            tracemalloc.stop()
        else:
            decoded = decode(message)
        wrong = complaint(message, decoded)
        if wrong:
            raise AssertionError(f"input {number} of seed {seed}: {wrong}; it starts {message[:80]!r}")
        reasons.update({reject.reason.value for reject in decoded.rejects})
        refused += bool(decoded.rejects) and not decoded.blocks
        partly += bool(decoded.rejects) and bool(decoded.blocks)
        valid += not decoded.rejects
        progress(number + 1)
    return Report(count, refused, partly, valid, reasons, peak, time.perf_counter() - started)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--inputs", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    report = run(
        args.inputs, args.seed, lambda done: print(f"{done:,} of {args.inputs:,}", end="\r", flush=True) if done % 1000 == 0 else None
    )
    print(
        f"{report.inputs:,} inputs in {report.seconds:.0f} s (seed {args.seed}): {report.refused:,} refused, {report.partly:,} in part, {report.valid:,} valid"
    )
    for reason, times in report.reasons.most_common():
        print(f"  {reason:16} {times:>9,}")
    rss_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"most memory one message took: {report.peak_bytes / 1e6:.1f} MB; process peak {rss_mb:.0f} MB resident")


if __name__ == "__main__":
    main()
