"""Clients that hold connections and do nothing with them: the ward is watched on, and who has something to say gets in."""

from __future__ import annotations

import os
import resource
import select
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from console.live import Broadcaster
from console.server import ConsoleServer
from engine.registry import Binding, RegistryData
from sinks.delivery import Delivery
from sinks.sqlite import SqliteConfig, SqliteReader, SqliteSink
from streams.embedded.vigil import Vigil
from streams.intake import http_server
from streams.pipeline.registry_change import RegistryChange
from streams.storage.journal import Journal
from streams.storage.journal_records import Topic
from tests.integration.wards import running

IDLE = 700
DESCRIPTORS = 512
REGISTRY = RegistryData(bindings=(Binding("pendant-1", "resident/a", "h/1"),))


def press(seq: int) -> dict[str, Any]:
    return {"v": 1, "device": "pendant-1", "kind": "button", "t0_ns": time.time_ns(), "seq": seq, "samples": [1]}


def wait_for(condition: Callable[[], object], give_up_s: float = 60) -> None:
    give_up = time.monotonic() + give_up_s
    while not condition():
        assert time.monotonic() < give_up
        time.sleep(0.05)


def address(url: str) -> tuple[str, int]:
    host, _, port = url.removeprefix("http://").partition(":")
    return host, int(port)


def ended(connection: socket.socket, timeout_s: float) -> bool:
    """Whether the other side has ended it, within `timeout_s`."""
    give_up = time.monotonic() + timeout_s
    while time.monotonic() < give_up:
        if select.select([connection], [], [], 0.05)[0]:
            try:
                if not connection.recv(1 << 16):
                    return True
            except ConnectionError:
                return True
    return False


# -- the whole process ----------------------------------------------------------------------------------------------------------


def test_more_idle_connections_than_descriptors_stop_nothing_and_the_call_gets_through(tmp_path: Path) -> None:
    """The soft limit is raised to the hard one, and that is less than what is held against it."""
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "registry.json").write_bytes(msgspec.json.encode(REGISTRY))
    with ExitStack() as stack:
        vigil = stack.enter_context(running(folder, descriptors=(200, DESCRIPTORS)))
        limits = Path(f"/proc/{vigil.process.pid}/limits").read_text()
        assert f"Max open files            {DESCRIPTORS}" in limits
        held: list[socket.socket] = []
        for number in range(IDLE):
            held.append(stack.enter_context(socket.create_connection(address(vigil.url), timeout=30)))
            if number % 100 == 99:
                assert httpx.post(f"{vigil.url}/v1/chunks", json=press(number), timeout=30).status_code == 202
                assert len(list(Path(f"/proc/{vigil.process.pid}/fd").iterdir())) < DESCRIPTORS
        alerts = httpx.get(f"{vigil.url}/api/alerts", timeout=30).json()
        assert "sos.pressed" in {alert["code"] for alert in alerts}
        assert httpx.get(f"{vigil.url}/healthz", timeout=30).status_code == 200
        assert ended(held[0], 60)
        assert vigil.stop() == 0
    said = (folder / "stderr.log").read_text()
    assert "connections are open" in said
    assert "the engine stopped" not in said
    presses = {event.onset_ns for event in SqliteReader(folder / "vigil.db").events_since(0, 100)[0] if event.code == "sos.pressed"}
    assert presses


# -- the server -----------------------------------------------------------------------------------------------------------------


async def _echo(request: Request) -> Response:
    return PlainTextResponse(str(len(await request.body())))


async def _large(_: Request) -> Response:
    return PlainTextResponse(b"x" * (32 << 20))


@contextmanager
def serving() -> Iterator[ConsoleServer]:
    app = Starlette(routes=[Route("/", _echo, methods=["GET", "POST"]), Route("/large", _large)])
    server = ConsoleServer(app, Broadcaster())
    server.start()
    try:
        yield server
    finally:
        server.stop()


def connected(server: ConsoleServer) -> socket.socket:
    return socket.create_connection((server.host, server.port), timeout=30)


def drip(connection: socket.socket, stop: threading.Event) -> threading.Thread:
    """One byte every tenth of a second until the other side ends it."""

    def send() -> None:
        try:
            while not stop.wait(0.1):
                connection.sendall(b"a")
        except OSError:
            return

    thread = threading.Thread(target=send, daemon=True)
    thread.start()
    return thread


@pytest.mark.parametrize(
    ("limit", "begun"),
    [
        ("HEADER_S", b""),
        ("HEADER_S", b"GET / HTTP/1.1\r\nHost: localhost\r\nX: "),
        ("BODY_S", b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100000\r\n\r\n"),
    ],
    ids=["nothing", "header", "body"],
)
def test_a_request_that_does_not_get_on_is_ended(monkeypatch: pytest.MonkeyPatch, limit: str, begun: bytes) -> None:
    monkeypatch.setattr(http_server, limit, 1.0)
    stop = threading.Event()
    with serving() as server, connected(server) as connection:
        connection.sendall(begun)
        thread = drip(connection, stop) if begun else None
        assert ended(connection, 30)
        stop.set()
        if thread is not None:
            thread.join()


def test_between_two_requests_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_server, "HEADER_S", 1.0)
    stop = threading.Event()
    with serving() as server, connected(server) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert connection.recv(1 << 16).startswith(b"HTTP/1.1 200")
        connection.sendall(b"GET / HTTP/1.1\r\nX: ")
        thread = drip(connection, stop)
        assert ended(connection, 30)
        stop.set()
        thread.join()


def test_a_client_that_takes_nothing_of_its_answer_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_server, "WRITE_S", 1.0)
    with serving() as server, connected(server) as connection:
        connection.sendall(b"GET /large HTTP/1.1\r\nHost: localhost\r\n\r\n")
        wait_for(lambda: len(server._server.server_state.connections) == 1)
        wait_for(lambda: not server._server.server_state.connections)


def test_a_full_table_gives_way_to_the_new_and_never_grows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_server, "CONNECTIONS_MAX", 8)
    with ExitStack() as stack:
        server = stack.enter_context(serving())
        known = server._server.server_state.connections
        idle = [stack.enter_context(connected(server)) for _ in range(8)]
        wait_for(lambda: len(known) == 8)
        for _ in range(20):
            assert httpx.get(server.url, timeout=30).text == "0"
        assert ended(idle[0], 30)
        # Those at work are not ended for a new one.
        busy = [stack.enter_context(connected(server)) for _ in range(8)]
        for connection in busy:
            connection.sendall(b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\n")
        wait_for(lambda: len([one for one in known if one.conn.their_state.__name__ == "SEND_BODY"]) == 8)  # type: ignore[union-attr]
        assert ended(stack.enter_context(connected(server)), 30)
        for connection in busy:
            connection.sendall(b"ab")
            assert connection.recv(1 << 16).startswith(b"HTTP/1.1 200")


def test_a_small_answer_is_sent_at_once() -> None:
    """Without it every answer on a kept-open connection waits for the client's delayed acknowledgement, 40 ms."""
    with serving() as server, connected(server) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert connection.recv(1 << 16).startswith(b"HTTP/1.1 200")
        (protocol,) = server._server.server_state.connections
        its_socket = protocol.transport.get_extra_info("socket")  # type: ignore[union-attr]
        assert its_socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 1


def test_connections_leave_the_low_descriptors_to_those_who_need_them() -> None:
    """paho-mqtt waits with select(2), which knows the first 1,024: a broker must be reached again however many devices are connected."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < 2 * http_server.SELECTABLE:
        pytest.skip(f"this machine allows {hard} descriptors at most")
    resource.setrlimit(resource.RLIMIT_NOFILE, (2 * http_server.SELECTABLE, hard))
    try:
        with ExitStack() as stack:
            server = stack.enter_context(serving())
            held = [stack.enter_context(connected(server)) for _ in range(5)]
            known = server._server.server_state.connections
            wait_for(lambda: len(known) == len(held))
            numbers = [one.transport.get_extra_info("socket").fileno() for one in known]  # type: ignore[union-attr]
            assert min(numbers) >= http_server.SELECTABLE
            assert httpx.get(server.url, timeout=30).text == "0"
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


# -- no descriptor left all the same ----------------------------------------------------------------------------------------------


@contextmanager
def no_descriptor_free() -> Iterator[None]:
    """Every descriptor that this process may have is taken."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    taken: list[int] = []
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(int(path.name) for path in Path("/proc/self/fd").iterdir()) + 1, hard))
    try:
        while True:
            try:
                taken.append(os.open("/dev/null", os.O_RDONLY))
            except OSError:
                break
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        for file in taken:
            os.close(file)


def test_the_journal_goes_on_in_the_file_it_has(tmp_path: Path) -> None:
    journal = Journal(tmp_path, None, segment_bytes=100)
    sent = [bytes([number]) * 60 for number in range(12)]
    for number, payload in enumerate(sent[:4]):
        journal.append(Topic.TELEMETRY, payload, number).result(30)
    files = sorted(tmp_path.glob("*.log"))
    with no_descriptor_free():
        for number, payload in enumerate(sent[4:8], 4):
            journal.append(Topic.TELEMETRY, payload, number).result(30)
    assert sorted(tmp_path.glob("*.log")) == files
    for number, payload in enumerate(sent[8:], 8):
        journal.append(Topic.TELEMETRY, payload, number).result(30)
    assert len(sorted(tmp_path.glob("*.log"))) > len(files)
    assert [entry.payload for entry in journal.read(0)] == sent
    journal.close()
    again = Journal(tmp_path, None, segment_bytes=100)
    assert [entry.payload for entry in again.read(0)] == sent
    again.close()


def test_the_engine_watches_on_and_saves_later(tmp_path: Path) -> None:
    delivery = Delivery(SqliteSink(SqliteConfig(path=tmp_path / "vigil.db")), tmp_path / "spool")
    vigil = Vigil(tmp_path, deliveries=[delivery], snapshot_every_s=0.2)
    vigil.start()
    vigil.change_registry(RegistryChange("r", "replace", "test", REGISTRY)).result(60)
    vigil.telemetry(msgspec.json.encode(press(0))).result(60)  # kernels are loaded before, as `vigil run` does it
    wait_for(lambda: vigil.core.book.open() and list((tmp_path / "snapshots").rglob("*.snap")))
    processed = vigil.core.engine.totals()[0]
    with no_descriptor_free():
        time.sleep(1.0)  # several snapshots are due
        offset = vigil.telemetry(msgspec.json.encode(press(1))).result(60)
        wait_for(lambda: vigil.next_offset > offset or not vigil.running)
        assert vigil.running
        assert vigil.core.engine.totals()[0] == processed + 1
    wait_for(lambda: any(int(path.stem.split("-")[1]) > offset for path in (tmp_path / "snapshots").rglob("*.snap")))
    assert vigil.running
    vigil.stop()
    assert vigil.error is None
    assert {alert.code for alert in SqliteReader(tmp_path / "vigil.db").open_alerts()} == {"sos.pressed"}
