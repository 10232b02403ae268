"""Alerts by HTTP POST to on-call staff systems: signed, idempotent, in both languages.

Every request carries `Idempotency-Key` (the transition's id: the same fact always has the same key), `Vigil-Timestamp` (Unix seconds)
and `Vigil-Signature`: `v1=` and the hex HMAC-SHA256 (RFC 2104) of `<timestamp>.<body>` under the shared secret. `verify` is the
receiver's half.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import logging
import socket
import threading
import time
from collections.abc import Callable, Sequence
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import Any, Final, Literal

import httpx
import msgspec
from pydantic import Field, SecretStr, field_validator

from alerts.texts import LANGUAGES, STATE_NAMES, Texts
from sinks.contract import Identity, SinkConfig, redacted, refusal
from sinks.declaration import Audience, Runs, SinkSpec
from sinks.items import AlertChange, Item, ItemKind
from sinks.outcome import ACCEPTED, UNNEEDED, UNTRIED, Outcome, Rejected, Retry, Scope

_FINAL: Final = frozenset({413, 422})
"""Statuses about this one message: content too large, content that cannot be processed (RFC 9110, 15.5.14 and 15.5.21)."""

_REMEDIES: Final = {
    400: ": check that the sink's url expects Vigil's messages",
    401: ": check the sink's url and its token",
    403: ": check the sink's url, its token and the receiver's list of allowed addresses",
    404: ": check the path in the sink's url",
    405: ": check that the sink's url takes POST",
    410: ": the receiver's address was withdrawn, set the sink's url to the new one",
}
"""What to repair for statuses of a wrong configuration: the alert is good and waits for it."""

_SCOPES: Final[dict[int, Scope]] = {400: "doubtful", 409: "item", 500: "item"}
"""Statuses that may be about this one message. 409 and 500 pass by themselves; 400 does not, unless the configuration is repaired."""

_CODES: Final = ("errcode", "errno", "code", "StatusCode")
"""Fields by which receivers refuse inside a 2xx answer, 0 being accepted: robots of group chats answer so."""

_BODY_MAX_BYTES: Final = 65_536

_LIMITS: Final = httpx.Limits(max_keepalive_connections=0)  # a connection for each request: its wall-clock bound ends that one


class WebhookConfig(SinkConfig):
    """One receiver."""

    type: Literal["webhook"] = "webhook"
    name: str = Field(default="webhook", pattern=r"^[a-z0-9][a-z0-9_-]{0,40}$", description="name for folders, metrics and logs")
    url: SecretStr = Field(description="where to POST; secret, because such addresses often carry a token")
    secret: SecretStr = Field(description="shared secret of the signature, at least 16 characters")
    timeout_s: float = Field(
        default=5.0,
        gt=0.0,
        le=60.0,
        description="seconds for connecting, sending, and the answer, each; an attempt ends after twice as long",
    )
    ca_file: str | None = Field(default=None, description="certificate authority of a private receiver; verification is always on")
    every_step: bool = Field(default=False, description="also send steps that notify nobody (for a system that mirrors the alert log)")

    @field_validator("url")
    @classmethod
    def _is_http(cls, value: SecretStr) -> SecretStr:
        if not value.get_secret_value().startswith(("https://", "http://")):
            raise ValueError("url must start with https:// (or http:// inside the home's own network)")
        return value

    @field_validator("secret")
    @classmethod
    def _is_long(cls, value: SecretStr) -> SecretStr:
        if len(value.get_secret_value()) < 16:
            raise ValueError("secret must have at least 16 characters")
        return value


class WebhookSink:
    """Posts one request a transition. 2xx is accepted; 413 and 422 are rejected; anything else, and no answer, is tried again.

    A redirect or a 4xx mostly means a wrong configuration: the alert waits for the repair, with the remedy in `why`. 400 may also be about
    the one message, so the others go on (`Retry`, "doubtful").

    `texts` are the words for each event code, `identity` gives names for pseudonyms, `clock` seconds since 1970 UTC. `body` says what a message holds.

    >>> from sinks.examples import item
    >>> address, secret = SecretStr("http://127.0.0.1:9/token"), SecretStr("sixteen characters")
    >>> sink = WebhookSink(WebhookConfig(url=address, secret=secret), Texts(()))  # nobody listens on port 9
    >>> sink.deliver([item(ItemKind.ALERT)])
    [Retry(why='ConnectError at http://127.0.0.1:9/…', after_s=None, scope='target')]
    >>> sink.close()
    """

    takes = frozenset({ItemKind.ALERT})

    def __init__(
        self, config: WebhookConfig, texts: Texts, identity: Identity | None = None, clock: Callable[[], float] = time.time
    ) -> None:
        self.name = config.name
        self._config, self._texts, self._identity, self._clock = config, texts, identity, clock
        # httpx logs every address in full at INFO; this one is a secret.
        logging.getLogger("httpx").setLevel(logging.WARNING)
        verify: Any = httpx.create_ssl_context(verify=config.ca_file) if config.ca_file else True
        self._client = httpx.Client(timeout=config.timeout_s, verify=verify, follow_redirects=False, trust_env=False, limits=_LIMITS)

    def __repr__(self) -> str:
        return f"WebhookSink({self.name!r}, {redacted(self._config.url.get_secret_value())!r})"

    def deliver(self, items: Sequence[Item]) -> list[Outcome]:
        """Post in order: one outcome an item. Once the receiver fails as a whole the rest is not tried."""
        outcomes: list[Outcome] = []
        for item in items:
            if outcomes and isinstance(outcomes[-1], Retry) and outcomes[-1].scope in ("target", "untried"):
                outcomes.append(UNTRIED)
            else:
                outcomes.append(self._post(item))
        return outcomes

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def _post(self, item: Item) -> Outcome:
        refused = refusal(item, self.takes)
        if refused is not None:
            return refused
        change = item.body
        if not isinstance(change, AlertChange) or not (change.transition.notify or self._config.every_step):
            return UNNEEDED  # nobody is to be told
        now_s = self._clock()
        try:
            content = msgspec.json.encode(body(change, self._texts, self._identity))
        except (TypeError, ValueError) as error:
            return Rejected(f"the alert cannot be written as JSON: {error}")
        stamp = str(int(now_s))
        headers = {
            "Content-Type": "application/json",
            "Idempotency-Key": item.id,
            "Vigil-Timestamp": stamp,
            "Vigil-Signature": signature(self._config.secret.get_secret_value(), stamp, content),
        }
        bound = _WallClock(self._config.timeout_s * 2)
        try:
            with (
                bound,
                self._client.stream(
                    "POST", self._config.url.get_secret_value(), content=content, headers=headers, extensions={"trace": bound.trace}
                ) as answer,
            ):
                verdict = _judge(answer.status_code, answer.headers.get("Retry-After"), now_s)
                return (_refused_in_body(answer) if verdict is ACCEPTED else None) or verdict
        except (httpx.TransportError, httpx.InvalidURL) as error:
            return Retry(f"{type(error).__name__} at {redacted(self._config.url.get_secret_value())}")


class _WallClock:
    """Ends one request after `limit_s` seconds, whatever the receiver sends: httpx bounds each read, and one that drips never ends."""

    def __init__(self, limit_s: float) -> None:
        self._timer = threading.Timer(limit_s, self._cut)
        self._timer.daemon = True
        self._stream: Any = None
        self._over = False

    def __enter__(self) -> None:
        self._timer.start()

    def __exit__(self, *_: object) -> None:
        self._timer.cancel()

    def trace(self, event: str, info: dict[str, Any]) -> None:
        """Called by httpx at each step: remembers the connection of this request."""
        if event in ("connection.connect_tcp.complete", "connection.start_tls.complete"):
            self._stream = info["return_value"]
            if self._over:
                self._cut()

    def _cut(self) -> None:
        self._over = True
        if self._stream is not None:
            # Not SSLSocket's own shutdown, which drops the TLS state under the thread that reads. Gone already: nothing to end.
            with contextlib.suppress(OSError):
                socket.socket.shutdown(self._stream.get_extra_info("socket"), socket.SHUT_RDWR)


def _refused_in_body(answer: httpx.Response) -> Retry | None:
    """The refusal that a 2xx answer carries as JSON, None where it carries none or cannot be read: then the status counts."""
    content = b""
    try:
        for part in answer.iter_bytes():
            content += part
            if len(content) > _BODY_MAX_BYTES:
                return None
        fields = msgspec.json.decode(content)
    except (httpx.HTTPError, msgspec.DecodeError):
        return None
    if not isinstance(fields, dict):
        return None
    for name in _CODES:
        code = fields.get(name)
        # Some receivers repeat the HTTP status as code.
        if isinstance(code, int) and not isinstance(code, bool) and code != 0 and not 200 <= code < 300:
            return Retry(
                f"receiver answered {answer.status_code} with {name} {code}: check the sink's url, its token and the receiver's rules"
            )
    return None


def _judge(status: int, retry_after: str | None, now_s: float) -> Outcome:
    if 200 <= status < 300:
        return ACCEPTED
    if status in _FINAL:
        return Rejected(f"receiver answered {status}: it will not take this message")
    if 300 <= status < 400:
        return Retry(f"receiver answered {status}, a redirect, which is not followed: set the sink's url to the final address")
    remedy = _REMEDIES.get(status, "")
    # Everything else that stops an alert is the receiver's or the configuration's as a whole.
    scope: Scope = _SCOPES.get(status, "target") if retry_after is None else "target"
    return Retry(f"receiver answered {status}{remedy}", retry_after_s(retry_after, now_s), scope)


def retry_after_s(value: str | None, now_s: float) -> float | None:
    """Seconds to wait by a Retry-After header (RFC 9110, 10.2.3: seconds or a date); None when absent or unreadable.

    `now_s` is seconds since 1970 UTC.

    >>> retry_after_s("30", 0.0), retry_after_s("Thu, 01 Jan 1970 00:01:00 GMT", 15.0), retry_after_s("soon", 0.0)
    (30.0, 45.0, None)
    """
    if value is None:
        return None
    if value.strip().isdecimal():
        return float(value)
    try:
        date = parsedate_to_datetime(value)
    except ValueError:
        return None
    return max(0.0, (date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp() - now_s)


def body(change: AlertChange, texts: Texts, identity: Identity | None) -> dict[str, Any]:
    """The message: the transition, the alert (its history left out), words in both languages, and who it is where a resolver says so.

    JSON-ready builtins; times in nanoseconds since 1970 UTC (`onset_ns`). A resolver that fails costs the name, not the message.

    >>> from sinks.examples import item
    >>> message = body(item(ItemKind.ALERT).body, Texts(()), lambda subject: {"room": "201"})
    >>> sorted(message)
    ['alert', 'id', 'identity', 'text', 'transition', 'version']
    >>> message["alert"]["code"], message["transition"]["to_state"], message["identity"]
    ('falls.fall', 'firing', {'room': '201'})
    """
    alert, step = change.alert, change.transition
    states = dict(zip(LANGUAGES, STATE_NAMES[step.to_state.value], strict=True))
    words = {}
    for language in LANGUAGES:
        written = texts.of(alert.code, language)
        words[language] = {"title": written.title, "what_to_do": written.what_to_do, "state": states[language]}
    fields: dict[str, Any] = msgspec.to_builtins(alert)
    del fields["history"], fields["active"]
    fields["devices"] = list(alert.devices)
    message: dict[str, Any] = {"version": 1, "id": step.id, "transition": msgspec.to_builtins(step), "alert": fields, "text": words}
    if identity is not None:
        try:
            message["identity"] = dict(identity(alert.subject))
        except Exception as error:  # noqa: BLE001 - an alert without a name is better than none; the message says what is missing
            message["identity_missing"] = type(error).__name__
    return message


def signature(secret: str, timestamp: str, content: bytes) -> str:
    """The value of `Vigil-Signature`: `v1=` and 64 hex digits. `timestamp` is whole seconds since 1970 UTC, as text."""
    return "v1=" + hmac.new(secret.encode(), timestamp.encode() + b"." + content, hashlib.sha256).hexdigest()


def verify(secret: str, timestamp: str, content: bytes, given: str, now_s: float, tolerance_s: float = 300.0) -> bool:
    """Whether a received message is genuine and not older (or newer) than `tolerance_s`; compares in constant time.

    >>> given = signature("the shared secret", "1760000000", b"{}")
    >>> verify("the shared secret", "1760000000", b"{}", given, now_s=1760000007.0)
    True
    >>> verify("the shared secret", "1760000000", b"{}", given, now_s=1760009999.0)  # somebody replays it
    False
    """
    if not timestamp.isdecimal() or abs(now_s - int(timestamp)) > tolerance_s:
        return False
    return hmac.compare_digest(signature(secret, timestamp, content).encode(), given.encode())


SINK: Final = SinkSpec(settings=WebhookConfig, sink=WebhookSink, audience=Audience.ON_CALL, runs=frozenset(Runs))
