"""A receiver that drips its answer, or refuses inside a 200: neither holds the sink nor loses an alert."""

from __future__ import annotations

import contextlib
import re
import socket
import ssl
import threading
import time
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import trustme

from alerts.texts import Texts
from sinks.examples import item
from sinks.items import ItemKind
from sinks.outcome import ACCEPTED, Outcome, Retry
from sinks.webhook import WebhookConfig, WebhookSink


def received(connection: socket.socket) -> None:
    """Read one request whole: a connection that is closed with something unread is reset, and may take its answer with it."""
    data = b""
    while b"\r\n\r\n" not in data:
        data += connection.recv(1 << 20)
    head, _, body = data.partition(b"\r\n\r\n")
    found = re.search(rb"(?i)content-length: (\d+)", head)
    assert found is not None
    while len(body) < int(found[1]):
        body += connection.recv(1 << 20)


def outcome(answer: bytes, dripping: bytes = b"", authority: trustme.CA | None = None) -> Outcome:
    """What the sink says when a real server sends `answer` and then `dripping`, ten bytes a second; over TLS with an `authority`."""
    with ExitStack() as stack:
        server = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        folder = Path(stack.enter_context(TemporaryDirectory()))

        def serve() -> None:
            connection, _ = server.accept()
            if authority is not None:
                context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
                authority.issue_cert("127.0.0.1").configure_cert(context)
                connection = context.wrap_socket(connection, server_side=True)
            with connection, contextlib.suppress(OSError):
                received(connection)
                connection.sendall(answer)
                for byte in dripping:
                    connection.sendall(bytes((byte,)))
                    time.sleep(0.1)

        threading.Thread(target=serve, daemon=True).start()
        fields = {"url": f"http://127.0.0.1:{server.getsockname()[1]}/", "secret": "sixteen characters", "timeout_s": 0.5}
        if authority is not None:
            authority.cert_pem.write_to_path(folder / "ca.pem")
            fields |= {"url": str(fields["url"]).replace("http:", "https:"), "ca_file": str(folder / "ca.pem")}
        config = WebhookConfig.model_validate(fields)
        sink = WebhookSink(config, Texts(()))
        try:
            return sink.deliver([item(ItemKind.ALERT)])[0]
        finally:
            sink.close()


@pytest.mark.parametrize("authority", [None, trustme.CA()], ids=["plain", "TLS"])
@pytest.mark.parametrize(
    ("answer", "dripping", "accepted"),
    [
        (b"HTTP/1.1 200 OK\r\nX-Slow: ", b"a" * 600 + b"\r\nContent-Length: 0\r\n\r\n", False),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 600\r\n\r\n", b"a" * 600, True),  # the status is there and counts
    ],
    ids=["header", "body"],
)
def test_an_answer_that_drips_ends_at_the_wall_clock_bound(
    answer: bytes, dripping: bytes, accepted: bool, authority: trustme.CA | None
) -> None:
    began_s = time.monotonic()
    verdict = outcome(answer, dripping, authority)
    assert time.monotonic() - began_s < 20  # it would drip for a minute
    assert verdict == ACCEPTED if accepted else isinstance(verdict, Retry)


def test_a_tls_handshake_that_drips_ends_at_the_wall_clock_bound() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            connection, _ = server.accept()
            with connection, contextlib.suppress(OSError):
                for part in b"\x16\x03\x03\x40\x00" + bytes(600):  # the head of a long record, and its first bytes
                    connection.sendall(bytes((part,)))
                    time.sleep(0.1)

        threading.Thread(target=serve, daemon=True).start()
        url = f"https://127.0.0.1:{server.getsockname()[1]}/"
        sink = WebhookSink(WebhookConfig.model_validate({"url": url, "secret": "sixteen characters", "timeout_s": 0.5}), Texts(()))
        began_s = time.monotonic()
        (verdict,) = sink.deliver([item(ItemKind.ALERT)])
        assert time.monotonic() - began_s < 20
        assert isinstance(verdict, Retry)
        sink.close()


@pytest.mark.parametrize("name", ["errcode", "errno", "code", "StatusCode"])
def test_a_refusal_inside_a_200_is_tried_again(name: str) -> None:
    for code, refused in ((0, False), (200, False), (40001, True)):
        body = b'{"%s":%d}' % (name.encode(), code)
        verdict = outcome(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
        assert isinstance(verdict, Retry) if refused else verdict == ACCEPTED
