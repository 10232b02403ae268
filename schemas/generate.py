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

from engine.kinds import KINDS, Kind
from engine.outputs import Reason
from schemas.check import QUALITY_BITS, T_MAX_NS, single
from schemas.models import Chunk
from schemas.wire import BLOCKS_MAX, CHUNKS_MAX, MESSAGE_BYTES_MAX, TEXT_BYTES_MAX, VERSION, Envelope

Json = dict[str, Any]

FOLDER: Final = Path(__file__).parent / "generated"
PAGES: Final = tuple(Path(__file__).parents[1] / "docs" / f"device-interface{language}.md" for language in ("", ".zh-CN"))
_KINDS_BEGIN: Final = "<!-- kinds -->\n"
_KINDS_END: Final = "<!-- /kinds -->\n"

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


def chunk_schema() -> Json:
    """JSON Schema (2020-12) of one chunk in the JSON form."""
    schema = Chunk.model_json_schema()
    for name, rules in _FIELDS.items():
        schema["properties"][name].update(rules)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": "urn:vigil:chunk:1",
        **schema,
        "oneOf": [{"required": ["samples"]}, {"required": ["values"]}],
        "allOf": [{"if": {"properties": {"kind": {"const": kind.name}}}, "then": _of_kind(kind)} for kind in KINDS.values()],
    }


def _of_kind(kind: Kind) -> Json:
    canonical = next(iter(kind.units))
    rules: Json = {"properties": {"unit": {"enum": ["", *kind.units]}, **_shape(kind)}, "allOf": [_rate(kind)]}
    if kind.dtype is np.uint16:
        rules["required"] = ["shape"]
    for unit, factor in kind.units.items():
        limits = {"properties": {"samples": _samples(kind, factor), "values": _values(kind, factor)}}
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


def _samples(kind: Kind, factor: float) -> Json:
    length: Json = {"minItems": 1, "maxItems": kind.samples_max}
    if kind.channels:
        values = [_value(entry.low, entry.high, factor) for entry in kind.channels]
        row: Json = {"type": "array", "prefixItems": values, "minItems": len(values), "maxItems": len(values)}
    else:
        values = [_value(*kind.wide, factor)]
        row = {"type": "array", "items": values[0], "minItems": 1, "maxItems": kind.channels_max}
    if len(values) > 1 or kind.dtype is np.uint16:
        return {**length, "items": row}
    return {**length, "anyOf": [{"items": values[0]}, {"items": row}]}


def _values(kind: Kind, factor: float) -> Json | bool:
    if not kind.channels:
        return False
    return {
        "properties": {entry.name: _value(entry.low, entry.high, factor) for entry in kind.channels},
        "additionalProperties": False,
    }


def _value(low: float, high: float, factor: float) -> Json:
    return {"type": ["number", "null"], "minimum": low / factor, "maximum": high / factor}


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
            "schemas": {"Chunk": chunk_schema(), **definitions},
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


def documents() -> dict[str, str]:
    """File name to content."""
    return {
        name: json.dumps(content, indent=2, ensure_ascii=False) + "\n"
        for name, content in (("chunk.schema.json", chunk_schema()), ("asyncapi.json", asyncapi()))
    }


def page(text: str) -> str:
    """A page with the table of kinds as it is now; ValueError when it lacks the two marks between which the rows stand."""
    before, begin, rest = text.partition(_KINDS_BEGIN)
    _, end, after = rest.partition(_KINDS_END)
    if not begin or not end:
        raise ValueError(f"the page must hold the lines {_KINDS_BEGIN.strip()} and {_KINDS_END.strip()}, between which the rows stand")
    return f"{before}{begin}{kinds_rows()}\n{end}{after}"


def main() -> None:
    """Write the documents, and the table of kinds into the pages for device makers."""
    FOLDER.mkdir(exist_ok=True)
    for name, content in documents().items():
        (FOLDER / name).write_text(content, encoding="utf-8")
        sys.stdout.write(f"{FOLDER.name}/{name}\n")
    for path in PAGES:
        path.write_text(page(path.read_text(encoding="utf-8")), encoding="utf-8")
        sys.stdout.write(f"{path.parent.name}/{path.name}\n")


if __name__ == "__main__":
    main()
