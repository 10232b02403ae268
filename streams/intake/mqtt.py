"""MQTT intake: a message is acknowledged to the broker only when it is on disk."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, Final, Literal, NamedTuple

import structlog
from paho.mqtt import client as paho
from paho.mqtt.enums import CallbackAPIVersion
from pydantic import BaseModel, ConfigDict, Field, SecretStr

from schemas.wire import MESSAGE_BYTES_MAX
from streams.pipeline.handovers import Handover
from streams.storage.journal import JournalBusy

log = structlog.get_logger("vigil.mqtt")

RETRY_S: Final = 0.2
"""Between two attempts to store a message on a disk that does not keep up."""


StoreMessage = Callable[[str, bytes, Handover], Future[int]]
"""Stores a message (topic, payload, how the broker handed it over); the future is done when it is on disk. JournalBusy: try the same message again shortly."""


class SourceStatus(NamedTuple):
    """How a source of messages is: "ok", "waiting" (the disk does not keep up) or "down", and why."""

    name: str
    health: Literal["ok", "waiting", "down"]
    detail: str


class MqttConfig(BaseModel):
    """The MQTT broker and the topics that are read from it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    host: str = Field(description="name or address of the MQTT broker")
    port: int = Field(default=1883, ge=1, le=65535, description="its port (8883 with TLS)")
    topic: str = Field(
        default="vigil/v1/#", min_length=1, description="topic filter; each message is one chunk (JSON) or one ward batch (binary)"
    )
    client_id: str = Field(default="vigil", min_length=1, description="stable, so that the broker keeps messages while Vigil restarts")
    username: str = Field(default="", description="user name, empty for none")
    password: SecretStr = Field(default=SecretStr(""), description="password")
    tls: bool = Field(default=False, description="encrypt, and verify the broker's certificate")
    ca_file: str = Field(default="", description="certificate authority to trust, empty for the system's")
    keepalive_s: int = Field(default=30, ge=5, le=600, description="seconds between keep-alive packets")


class MqttSource:
    """Subscribes with QoS 1 and a persistent session, and reconnects by itself."""

    def __init__(self, store: StoreMessage, config: MqttConfig) -> None:
        self._store = store
        self._config = config
        self._connected = False
        self._reason = "not connected yet"
        self._blocked = False
        self._stopping = threading.Event()
        self._client = paho.Client(
            CallbackAPIVersion.VERSION2, client_id=config.client_id, clean_session=False, protocol=paho.MQTTv311, manual_ack=True
        )
        if config.username:
            self._client.username_pw_set(config.username, config.password.get_secret_value())
        if config.tls:
            self._client.tls_set(ca_certs=config.ca_file or None)
        self._client.on_connect = self._on_connect
        self._client.on_disconnect = self._on_disconnect
        self._client.on_message = self._on_message

    def start(self) -> None:
        """Connect in the background; retries for ever while the broker is down."""
        self._client.connect_async(self._config.host, self._config.port, self._config.keepalive_s)
        self._client.loop_start()

    def stop(self) -> None:
        """Disconnect; the broker keeps messages that come meanwhile."""
        self._stopping.set()
        self._client.disconnect()
        self._client.loop_stop()

    def view(self) -> SourceStatus:
        """The connection as it is now."""
        health: Literal["ok", "waiting", "down"] = "waiting" if self._blocked else "ok" if self._connected else "down"
        why = "the disk does not keep up: the broker holds the messages" if self._blocked else "" if self._connected else self._reason
        return SourceStatus(f"mqtt {self._config.host}:{self._config.port}", health, why)

    def _on_connect(self, client: paho.Client, _data: Any, _flags: Any, reason: Any, _properties: Any) -> None:
        if reason.is_failure:
            self._reason = str(reason)
            log.warning("MQTT broker refused the connection", why=self._reason)
            return
        self._connected = True
        client.subscribe(self._config.topic, qos=1)

    def _on_disconnect(self, _client: paho.Client, _data: Any, _flags: Any, reason: Any, _properties: Any) -> None:
        self._connected, self._reason = False, str(reason)
        log.warning("MQTT broker disconnected", why=self._reason)

    def _on_message(self, client: paho.Client, _data: Any, message: paho.MQTTMessage) -> None:
        """Store the message, however long that takes: within a connection a broker does not send an unacknowledged message again.

        While the disk does not keep up this thread blocks, and with it the connection; after the broker's timeout paho reconnects.
        """
        mid, qos = message.mid, message.qos
        # One byte too many is kept of a message that is too large, so that the core quarantines it as such.
        payload = bytes(message.payload[: MESSAGE_BYTES_MAX + 1])

        def stored(written: Future[int]) -> None:
            if written.exception() is None:
                client.ack(mid, qos)

        while not self._stopping.is_set():
            written = self._store(message.topic, payload, Handover(message.retain, message.dup, mid))
            if not (written.done() and isinstance(written.exception(), JournalBusy)):
                written.add_done_callback(stored)
                break
            if not self._blocked:
                log.warning("back-pressure: the disk does not keep up, messages wait in the MQTT broker")
            self._blocked = True
            self._stopping.wait(RETRY_S)
        self._blocked = False
