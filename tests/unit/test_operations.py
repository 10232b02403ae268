"""What a process answers to whoever runs it."""

from __future__ import annotations

import json
import threading
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any, Final

import pytest
from prometheus_client import CollectorRegistry, Counter

from streams.ops.http_server import Operations, OperationsConfig
from tests.services.kafka import free_ports

LISTEN: Final = "0A"
"""TCP_LISTEN in /proc/net/tcp."""


def asked(port: int, path: str) -> tuple[int, bytes]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


def test_metrics_and_health_are_answered() -> None:
    registry = CollectorRegistry()
    Counter("vigil_things", "things", registry=registry).inc(3)
    state: dict[str, Any] = {"ok": True}

    def health() -> tuple[bool, dict[str, Any]]:
        if state["ok"] is None:
            raise RuntimeError("a bug in the check")
        return state["ok"], {"lag": 7}

    (port,) = free_ports(1)
    operations = Operations(port, registry, health)
    operations.start()
    try:
        assert b"vigil_things_total 3.0" in asked(port, "/metrics?name=x")[1]
        assert asked(port, "/healthz") == (200, b'{"ok":true,"lag":7}')
        state["ok"] = False
        status, body = asked(port, "/healthz")
        assert (status, json.loads(body)) == (503, {"ok": False, "lag": 7})
        state["ok"] = None
        status, body = asked(port, "/healthz")
        assert status == 503
        assert "RuntimeError" in json.loads(body)["why"]
        assert asked(port, "/")[0] == 404
        with pytest.raises(OSError, match="in use"):
            Operations(port, registry, health)
    finally:
        operations.stop()
    with pytest.raises(urllib.error.URLError):
        asked(port, "/healthz")


def listening() -> set[str]:
    """Addresses (hexadecimal) at which this process listens."""
    own = {str(link.readlink()) for link in Path("/proc/self/fd").iterdir() if link.is_symlink()}
    rows = [row.split() for table in ("tcp", "tcp6") for row in Path(f"/proc/self/net/{table}").read_text().splitlines()[1:]]
    return {row[1] for row in rows if row[3] == LISTEN and f"socket:[{row[9]}]" in own}


def test_port_0_is_off() -> None:
    """The default: nothing listens and nothing runs, while any other port is one more address and one more thread."""
    (port,) = free_ports(1)
    for given, more in ((OperationsConfig().port, 0), (port, 1)):
        before, threads = listening(), threading.active_count()
        operations = Operations(given, CollectorRegistry(), lambda: (True, {}))
        operations.start()
        try:
            assert len(listening() - before) == more
            assert threading.active_count() - threads == more
        finally:
            operations.stop()
        assert listening() == before


def test_a_server_that_never_started_lets_go_of_its_port() -> None:
    (port,) = free_ports(1)
    Operations(port, CollectorRegistry(), lambda: (True, {})).stop()
    Operations(port, CollectorRegistry(), lambda: (True, {})).stop()
