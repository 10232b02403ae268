"""MQTT in: a message is acknowledged to the broker only when it is on disk."""

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
from streams.storage.journal import JournalBusy

log = structlog.get_logger("vigil.mqtt")

RETRY_S: Final = 0.2
"""Between two tries to put a message on a disk that does not keep up."""


Take = Callable[[str, bytes], Future[int]]
"""Puts a message (topic, payload) on disk; the future says when. JournalBusy: the same will do in a moment."""


class SourceStatus(NamedTuple):
    """How a source of messages is: "ok", "waiting" (the disk does not keep up) or "down", and why."""

    name: str
    health: Literal["ok", "waiting", "down"]
    detail: str


class MqttConfig(BaseModel):
    """Where the broker is, and what to listen to."""

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
    keepalive_s: int = Field(default=30, ge=5, le=600, description="seconds between signs of life")


class MqttSource:
    """Subscribes with QoS 1 and a persistent session; reconnects by itself."""

    def __init__(self, take: Take, config: MqttConfig) -> None:
        self._take = take
        self._config = config
        self._connected = False
        self._why = "not connected yet"
        self._waiting = False
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
        """Connect in the background; a broker that is away is tried again for ever."""
        self._client.connect_async(self._config.host, self._config.port, self._config.keepalive_s)
        self._client.loop_start()

    def stop(self) -> None:
        """Disconnect; the broker keeps what comes meanwhile."""
        self._stopping.set()
        self._client.disconnect()
        self._client.loop_stop()

    def view(self) -> SourceStatus:
        """How the connection to the broker is now."""
        health: Literal["ok", "waiting", "down"] = "waiting" if self._waiting else "ok" if self._connected else "down"
        why = "the disk does not keep up: the broker holds the messages" if self._waiting else "" if self._connected else self._why
        return SourceStatus(f"mqtt {self._config.host}:{self._config.port}", health, why)

    def _on_connect(self, client: paho.Client, _data: Any, _flags: Any, reason: Any, _properties: Any) -> None:
        if reason.is_failure:
            self._why = str(reason)
            log.warning("broker refused", why=self._why)
            return
        self._connected = True
        client.subscribe(self._config.topic, qos=1)

    def _on_disconnect(self, _client: paho.Client, _data: Any, _flags: Any, reason: Any, _properties: Any) -> None:
        self._connected, self._why = False, str(reason)
        log.warning("broker away", why=self._why)

    def _on_message(self, client: paho.Client, _data: Any, message: paho.MQTTMessage) -> None:
        """Put the message on disk, however long that takes: the broker never sends an unacknowledged one again by itself.

        While the disk does not keep up this thread waits, and with it the broker (when it loses patience, paho connects anew).
        """
        mid, qos = message.mid, message.qos
        # What is too large stays too large by its first bytes, and is quarantined as such.
        payload = bytes(message.payload[: MESSAGE_BYTES_MAX + 1])

        def stored(written: Future[int]) -> None:
            if written.exception() is None:
                client.ack(mid, qos)

        while not self._stopping.is_set():
            written = self._take(message.topic, payload)
            if not (written.done() and isinstance(written.exception(), JournalBusy)):
                written.add_done_callback(stored)
                break
            if not self._waiting:
                log.warning("the disk does not keep up: the broker waits")
            self._waiting = True
            self._stopping.wait(RETRY_S)
        self._waiting = False
