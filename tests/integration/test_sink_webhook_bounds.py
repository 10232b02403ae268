"""A receiver that drips its answer, or refuses inside a 200: neither holds the sink nor loses an alert."""

from __future__ import annotations

import contextlib
import socket
import threading
import time

import pytest

from alerts.texts import Texts
from sinks.examples import item
from sinks.items import ItemKind
from sinks.outcome import ACCEPTED, Outcome, Retry
from sinks.webhook import WebhookConfig, WebhookSink


def outcome(answer: bytes, drip_s: float = 0.0) -> Outcome:
    """What the sink says when a real server sends `answer`, one byte every `drip_s` seconds if that is not 0."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            connection, _ = server.accept()
            with connection, contextlib.suppress(OSError):
                connection.recv(1 << 20)
                for part in [answer[k : k + 1] for k in range(len(answer))] if drip_s else [answer]:
                    connection.sendall(part)
                    time.sleep(drip_s)

        threading.Thread(target=serve, daemon=True).start()
        config = WebhookConfig.model_validate(
            {"url": f"http://127.0.0.1:{server.getsockname()[1]}/", "secret": "sixteen characters", "timeout_s": 0.5}
        )
        sink = WebhookSink(config, Texts(()))
        try:
            return sink.deliver([item(ItemKind.ALERT)])[0]
        finally:
            sink.close()


def test_a_header_that_drips_ends_at_the_wall_clock_bound() -> None:
    began_s = time.monotonic()
    verdict = outcome(b"HTTP/1.1 200 OK\r\nX-Slow: " + b"a" * 60 + b"\r\nContent-Length: 0\r\n\r\n", drip_s=0.1)
    assert time.monotonic() - began_s < 3
    assert isinstance(verdict, Retry)


@pytest.mark.parametrize("name", ["errcode", "errno", "code", "StatusCode"])
def test_a_refusal_inside_a_200_is_tried_again(name: str) -> None:
    for code, refused in ((0, False), (200, False), (40001, True)):
        body = b'{"%s":%d}' % (name.encode(), code)
        verdict = outcome(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
        assert isinstance(verdict, Retry) if refused else verdict == ACCEPTED
