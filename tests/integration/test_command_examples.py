"""The examples in the help of the commands that need Kafka, in the order in which an operator calls them, on a real broker."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import pytest

from streams.ingest.service import LISTENING
from tests.command_examples import ROOT, WITH_KAFKA, Started, examples, run_example
from tests.services import kafka
from tests.services.worker import OWNING

pytestmark = [pytest.mark.services, pytest.mark.slow]

CONFIG: Final = """
[kafka]
partitions = 2
replication = 1
checkpoint_every_s = 0.5
session_timeout_s = 2.0
[kafka.connection]
brokers = "{brokers}"
[ingest]
port = 0
[canary]
folder = "canary"
[[sinks]]
name = "copy"
[sinks.to]
type = "jsonl"
path = "copy.jsonl"
"""
UP: Final = {"worker run": OWNING, "ingest run": LISTENING, "sink run": "sink started", "canary run": "canary started"}
"""What each process says once it works."""
SHOWS: Final = {
    "topics create": "created telemetry",
    "topics check": "the topics are as they should be",
    "sink list": "copy: jsonl, reads ",
    "registry publish": "demo/ward-1: in force",
    "registry show": '"ward": "demo/ward-1"',
    "registry withdraw": "demo/ward-1: in force",
}
ORDER: Final = (
    "topics create",
    "topics check",
    "sink list",
    "worker run",
    "registry publish",
    "registry show",
    "ingest run",
    "sink run",
    "canary run",
)
START_S: Final = 240.0
"""The first time kernels are compiled."""


def test_the_examples_work(broker: kafka.Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert set(UP) | set(SHOWS) == WITH_KAFKA
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    (tmp_path / "vigil.toml").write_text(CONFIG.format(brokers=broker.bootstrap), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    lines = examples()
    running: dict[str, Started] = {}
    try:
        for name in (*ORDER, "registry withdraw"):
            if name in UP:
                running[name] = Started(lines[name], tmp_path, tmp_path / f"{name}.log")
                running[name].wait_said(UP[name], START_S)
            else:
                assert SHOWS[name] in run_example(lines[name]), name
    finally:
        statuses = {name: process.stop() for name, process in reversed(running.items())}
    assert statuses == dict.fromkeys(UP, 0), {name: running[name].said()[-2000:] for name, status in statuses.items() if status}
