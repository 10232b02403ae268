"""The contract as documents: `python -m schemas.generate` writes schemas/generated/, a test fails when they differ.

    chunk.schema.json   JSON Schema of the JSON form: the model's fields, and for each kind its units, rates, channels and ranges
    asyncapi.json       AsyncAPI 3 description of the device interface: channels, messages, both forms

What JSON Schema cannot say, the codec judges all the same: that rows x columns agree with the length of a pressure sample,
that all samples of a chunk have equally many channels, and that a device id is printable throughout.
"""

from __future__ import annotations

import inspect
import json
import sys
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np

from engine.kinds import KINDS, NO_VALUES, Channel, Kind
from engine.outputs import Reason
from schemas.check import QUALITY_BITS, T_MAX_NS, single
from schemas.models import NO_VALUE_TEXTS, Chunk
from schemas.wire import BLOCKS_MAX, CHUNKS_MAX, MESSAGE_BYTES_MAX, TEXT_BYTES_MAX, VERSION, Envelope

Json = dict[str, Any]

FOLDER: Final = Path(__file__).parent / "generated"
PAGES: Final = tuple(Path(__file__).parents[1] / "docs" / f"device-interface{language}.md" for language in ("", ".zh-CN"))
_KINDS_BEGIN: Final = "<!-- kinds -->\n"
_KINDS_END: Final = "<!-- /kinds -->\n"
CONTRACTS: Final = PAGES[0].with_name("contracts.md")
_CODES_BEGIN: Final = "<!-- no value: written by `make generated` from engine/kinds.py -->\n"
_CODES_END: Final = "<!-- /no value -->\n"

_NO_VALUE: Final = "NoValue"

_FIELDS: Final[Json] = {
    "v": {"const": VERSION},
    "device": {"minLength": 1, "maxLength": TEXT_BYTES_MAX, "pattern": "^[^\\u0000-\\u001f\\u007f-\\u009f]+$"},
    "kind": {"enum": list(KINDS)},
    "t0_ns": {"minimum": 0, "maximum": T_MAX_NS},
    "seq": {"minimum": -1, "maximum": 2**63 - 1},
    "quality": {"minimum": 0, "maximum": QUALITY_BITS},
    "shape": {"minItems": 2, "maxItems": 2, "items": {"type": "integer", "minimum": 1}},
    "values": {"minProperties": 1},
}
"""What holds for every kind beyond the types."""


def chunk_schema(definitions: str = "#/$defs") -> Json:
    """JSON Schema (2020-12) of one chunk in the JSON form. `definitions`: where what it refers to is found."""
    schema = Chunk.model_json_schema()
    for name, rules in _FIELDS.items():
        schema["properties"][name].update(rules)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": "urn:vigil:chunk:1",
        **schema,
        **({"$defs": {_NO_VALUE: no_value_schema()}} if definitions == "#/$defs" else {}),
        "oneOf": [{"required": ["samples"]}, {"required": ["values"]}],
        "allOf": [
            {"if": {"properties": {"kind": {"const": kind.name}}}, "then": _of_kind(kind, {"$ref": f"{definitions}/{_NO_VALUE}"})}
            for kind in KINDS.values()
        ],
    }


def no_value_schema() -> Json:
    """The numbers that stand for "no value" wherever they lie outside the range of a channel."""
    codes = sorted({code for codes in NO_VALUES.values() for code in codes})
    return {"description": 'Stands for "no value" where it lies outside the range of its channel.', "enum": codes}


def _of_kind(kind: Kind, no_value: Json) -> Json:
    canonical = next(iter(kind.units))
    rules: Json = {"properties": {"unit": {"enum": ["", *kind.units]}, **_shape(kind)}, "allOf": [_rate(kind)]}
    if kind.dtype is np.uint16:
        rules["required"] = ["shape"]
    for unit, factor in kind.units.items():
        limits = {"properties": {"samples": _samples(kind, factor, no_value), "values": _values(kind, factor, no_value)}}
        if len(kind.units) == 1:
            rules["allOf"].append(limits)
        else:
            named: Json = {"properties": {"unit": {"enum": ["", unit] if unit == canonical else [unit]}}}
            rules["allOf"].append({"if": named if unit == canonical else {**named, "required": ["unit"]}, "then": limits})
    return rules


def _shape(kind: Kind) -> Json:
    return {} if kind.dtype is np.uint16 else {"shape": False}


def _rate(kind: Kind) -> Json:
    """A rate in range; none for kinds without one; none needed for a single reading of a slow kind."""
    if kind.timing != "regular":
        return {"properties": {"rate_hz": {"const": 0}}}
    ranged: Json = {"minimum": kind.rate_hz_min, "maximum": kind.rate_hz_max}
    needed: Json = {"required": ["rate_hz"], "properties": {"rate_hz": ranged}}
    if not single(kind):
        return needed
    several: Json = {"required": ["samples"], "properties": {"samples": {"minItems": 2}}}
    return {"if": several, "then": needed, "else": {"properties": {"rate_hz": {"anyOf": [{"const": 0}, ranged]}}}}


def _samples(kind: Kind, factor: float, no_value: Json) -> Json:
    length: Json = {"minItems": 1, "maxItems": kind.samples_max}
    coded = [no_value] if kind.coded else []
    if kind.channels:
        values = [_value(entry, factor, coded) for entry in kind.channels]
        row: Json = {"type": "array", "prefixItems": values, "minItems": len(values), "maxItems": len(values)}
    else:
        values = [_value(Channel("", *kind.wide), factor, coded)]
        row = {"type": "array", "items": values[0], "minItems": 1, "maxItems": kind.channels_max}
    if len(values) > 1 or kind.dtype is np.uint16:
        return {**length, "items": row}
    return {**length, "anyOf": [{"items": values[0]}, {"items": row}]}


def _values(kind: Kind, factor: float, no_value: Json) -> Json | bool:
    if not kind.channels:
        return False
    coded = [no_value] if kind.coded else []
    return {
        "properties": {entry.name: _value(entry, factor, [*coded, {"type": "string"}]) for entry in kind.channels},
        "additionalProperties": False,
    }


def _value(entry: Channel, factor: float, otherwise: list[Json]) -> Json:
    """A number in range that looks like no other unit, or null, or one of `otherwise`."""
    number: Json = {"type": ["number", "null"], "minimum": entry.low / factor, "maximum": entry.high / factor}
    odd = [
        {"type": "number", "exclusiveMinimum": scale.low / factor, "maximum": scale.high / factor}
        for scale in entry.scales
        if scale.low < entry.high
    ]
    if odd:
        number["not"] = {"anyOf": odd}
    outside = [code / factor for code in entry.no_value if not entry.low <= code <= entry.high]
    others = [*otherwise, {"enum": outside}] if outside else otherwise
    return {"anyOf": [number, *others]} if others else number


def asyncapi() -> Json:
    """AsyncAPI 3.0 description of what devices and gateways send."""
    batch = msgspec.json.schema(Envelope, ref_template="#/components/schemas/{name}")
    for part in (batch, *batch["$defs"].values()):  # a docstring keeps its indentation up to Python 3.12
        if "description" in part:
            part["description"] = inspect.cleandoc(part["description"])
    definitions = batch["$defs"]
    reasons = ", ".join(reason.value for reason in Reason)
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Vigil device interface",
            "version": f"{VERSION}.0.0",
            "description": (
                f"How devices and gateways send measurements. A message is at most {MESSAGE_BYTES_MAX} bytes, an array or a block at most "
                f"{CHUNKS_MAX} chunks, a batch at most {BLOCKS_MAX} blocks. What is refused goes to quarantine with one of: {reasons}. "
                "See docs/device-interface.md."
            ),
        },
        "defaultContentType": "application/json",
        "channels": {
            "telemetry": {
                "address": "telemetry",
                "description": (
                    "Kafka: topic `telemetry`, keyed by ward (`facility/ward`). MQTT: any topic below `vigil/v1/`. "
                    "HTTP: POST /v1/chunks. The same bytes everywhere."
                ),
                "messages": {name: {"$ref": f"#/components/messages/{name}"} for name in ("chunk", "chunks", "wardBatch")},
            }
        },
        "operations": {"receiveTelemetry": {"action": "receive", "channel": {"$ref": "#/channels/telemetry"}}},
        "components": {
            "messages": {
                "chunk": {"title": "One chunk, JSON", "contentType": "application/json", "payload": {"$ref": "#/components/schemas/Chunk"}},
                "chunks": {
                    "title": "Several chunks, JSON",
                    "contentType": "application/json",
                    "payload": {"type": "array", "minItems": 1, "maxItems": CHUNKS_MAX, "items": {"$ref": "#/components/schemas/Chunk"}},
                },
                "wardBatch": {
                    "title": "Ward batch, MessagePack",
                    "description": "A MessagePack map; what the schema calls a base64 string is raw bytes (MessagePack bin).",
                    "contentType": "application/vnd.msgpack",
                    "payload": {"$ref": "#/components/schemas/Envelope"},
                },
            },
            "schemas": {"Chunk": chunk_schema("#/components/schemas"), _NO_VALUE: no_value_schema(), **definitions},
        },
    }


def kinds_rows() -> str:
    """The rows of the table of kinds in docs/device-interface.md, the same in every language."""
    rows = []
    for kind in KINDS.values():
        channels = "<br>".join(f"`{entry.name}` {entry.low:g} … {entry.high:g}" for entry in kind.channels)
        channels = channels or f"1 … {kind.channels_max}: {kind.wide[0]:g} … {kind.wide[1]:g}"
        units = ", ".join(f"`{unit}`" for unit in kind.units)
        rate = f"{kind.rate_hz_min:.3g} … {kind.rate_hz_max:g}" if kind.timing == "regular" else "–"
        rows.append(f"| `{kind.name}` | {channels} | {units} | {rate} | {kind.samples_max} |")
    return "\n".join(rows)


def no_value_tables() -> str:
    """What stands for "no value" and what looks like another unit, for docs/contracts.md."""
    codes = [f"| {', '.join(f'{code:.10g}' for code in codes)} | {source} |" for source, codes in NO_VALUES.items()]
    codes.append(
        f"| {', '.join(f'`{text}`' for text in sorted(NO_VALUE_TEXTS) if text)}, the empty text | in `values` and in readings of other programs |"
    )
    own = []
    for kind in KINDS.values():
        for entry in kind.channels:
            inside = [
                f"{code:.10g}{f' (without {entry.zero_beside} beside it)' if code == 0 and entry.zero_beside else ''}"
                for code in entry.no_value
            ]
            units = [f"{scale.low:g} … {scale.high:g}: {scale.looks_like}" for scale in entry.scales]
            if inside or units:
                own.append(f"| `{kind.name}` | `{entry.name}` | {', '.join(inside)} | {'<br>'.join(units)} |")
    return "\n".join(
        (
            "\n| outside the range of its channel | comes from |\n|---|---|", *codes,
            "\n| kind | channel | on this channel alone | above … up to: looks like |\n|---|---|---|---|", *own, "\n",
        )
    )  # fmt: skip


def documents() -> dict[str, str]:
    """File name to content."""
    return {
        name: json.dumps(content, indent=2, ensure_ascii=False) + "\n"
        for name, content in (("chunk.schema.json", chunk_schema()), ("asyncapi.json", asyncapi()))
    }


def page(text: str) -> str:
    """A page with the table of kinds as it is now; ValueError when it lacks the two marks between which the rows stand."""
    return between(text, _KINDS_BEGIN, f"{kinds_rows()}\n", _KINDS_END)


def contracts(text: str) -> str:
    """docs/contracts.md with the tables of what is no measurement; ValueError as for `page`."""
    return between(text, _CODES_BEGIN, no_value_tables(), _CODES_END)


def between(text: str, first: str, rows: str, last: str) -> str:
    """`text` with `rows` between its lines `first` and `last`; ValueError when it lacks one of them."""
    before, begin, rest = text.partition(first)
    _, end, after = rest.partition(last)
    if not begin or not end:
        raise ValueError(f"the page must hold the lines {first.strip()} and {last.strip()}, between which the rows stand")
    return f"{before}{begin}{rows}{end}{after}"


def main() -> None:
    """Write the documents, the table of kinds into the pages for device makers, and what is no measurement into docs/contracts.md."""
    FOLDER.mkdir(exist_ok=True)
    for name, content in documents().items():
        (FOLDER / name).write_text(content, encoding="utf-8")
        sys.stdout.write(f"{FOLDER.name}/{name}\n")
    for path in (*PAGES, CONTRACTS):
        text = path.read_text(encoding="utf-8")
        path.write_text(contracts(text) if path == CONTRACTS else page(text), encoding="utf-8")
        sys.stdout.write(f"{path.parent.name}/{path.name}\n")


if __name__ == "__main__":
    main()
