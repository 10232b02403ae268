"""docs/device-interface.md says what the codec does, in both languages: its examples run, its tables are complete."""

from __future__ import annotations

import re
import sys
import types
from pathlib import Path

import msgspec
import numpy as np
import pytest

from engine.outputs import Reason
from schemas.binary import CHUNKS_MESSAGE_MAX
from schemas.codec import decode
from schemas.generate import kinds_rows
from schemas.models import Chunk
from schemas.wire import BLOCKS_MAX, CHUNKS_MAX, MESSAGE_BYTES_MAX, TEXT_BYTES_MAX, WireBlock

DOCS = Path(__file__).resolve().parents[2] / "docs"
PAGES = ["device-interface.md", "device-interface.zh-CN.md"]
_EXAMPLE = re.compile(r"<!-- (taken|refused: (\w+)) -->\n```json\n(.*?)```", re.DOTALL)

pytestmark = pytest.mark.parametrize("page", PAGES)


def text(page: str) -> str:
    return (DOCS / page).read_text(encoding="utf-8")


def test_every_json_example_does_what_the_page_says(page: str) -> None:
    found = _EXAMPLE.findall(text(page))
    assert len(found) == text(page).count("```json") == 5
    for _, reason, message in found:
        decoded = decode(message.encode())
        assert [reject.reason.value for reject in decoded.rejects] == ([reason] if reason else [])
        assert bool(decoded.blocks) != bool(reason)


def test_the_gateway_example_runs(page: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its MessagePack library is replaced by the one Vigil has; the bytes of MessagePack are the same."""
    (code,) = re.findall(r"```python\n(.*?)```", text(page), re.DOTALL)
    library = types.ModuleType("msgpack")
    library.packb = msgspec.msgpack.encode  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "msgpack", library)
    names: dict[str, bytes] = {}
    exec(code, names)
    decoded = decode(names["batch"])
    assert decoded.rejects == []
    assert (decoded.ward, decoded.blocks[0].devices) == ("sunrise/ward-2", ("chest-004", "chest-009"))
    assert np.allclose(decoded.blocks[0].samples[1, :, 0], [0.01, 0.02, 0.11, 0.91, 1.22, 0.40], atol=1e-6)


def test_the_table_of_kinds_is_the_one_in_force(page: str) -> None:
    (rows,) = re.findall(r"<!-- kinds -->\n(.*?)\n<!-- /kinds -->", text(page), re.DOTALL)
    assert rows == kinds_rows()


def test_every_reason_field_and_limit_is_there(page: str) -> None:
    body = text(page)
    for reason in Reason:
        assert f"| `{reason.value}` |" in body
    for name in (*Chunk.model_fields, *WireBlock.__struct_fields__):
        assert f"`{name}`" in body
    for limit in (MESSAGE_BYTES_MAX, CHUNKS_MAX, BLOCKS_MAX, CHUNKS_MESSAGE_MAX, TEXT_BYTES_MAX):
        assert re.search(rf"(?<![\d,]){limit:,}(?![\d,])", body)


def test_links_lead_somewhere(page: str) -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", text(page)):
        assert (DOCS / target).exists()
