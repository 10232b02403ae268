"""How streams/ is divided: processes know nothing of each other, and one place builds Kafka clients."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
STREAMS = ROOT / "streams"
PROCESSES = ("embedded", "worker", "ingest", "sink_process", "canary")
CLIENTS = {"KafkaConsumer", "KafkaProducer", "KafkaAdminClient", "AIOKafkaConsumer", "AIOKafkaProducer", "AIOKafkaAdminClient"}


def modules(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize("process", PROCESSES)
def test_no_process_imports_another(process: str) -> None:
    others = tuple(f"streams.{other}." for other in PROCESSES if other != process)
    files = list((STREAMS / process).rglob("*.py"))
    assert files
    for path in files:
        taken = [name for name in modules(path) if name.startswith(others)]
        assert not taken, f"{path.relative_to(ROOT)} imports {taken}"


def test_one_place_builds_kafka_clients() -> None:
    builders = set()
    for path in STREAMS.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call):
                name = node.func.attr if isinstance(node.func, ast.Attribute) else node.func.id if isinstance(node.func, ast.Name) else ""
                if name in CLIENTS:
                    builders.add(str(path.relative_to(STREAMS)))
    assert builders == {"kafka/clients.py"}
