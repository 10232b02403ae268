"""MQTT in: a message is acknowledged to the broker only when it is in the journal."""

from __future__ import annotations

from concurrent.futures import Future
from typing import Any, Final

import structlog
from paho.mqtt import client as paho
from paho.mqtt.enums import CallbackAPIVersion
from pydantic import BaseModel, ConfigDict, Field, SecretStr

from console.backend import Delivery, Health
from streams.embedded.vigil import Vigil

log = structlog.get_logger("vigil.mqtt")

INFLIGHT_MAX: Final = 1_000
"""QoS 1 messages the broker may send ahead of our acknowledgements."""


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

    def __init__(self, vigil: Vigil, config: MqttConfig) -> None:
        self._vigil = vigil
        self._config = config
        self._connected = False
        self._why = "not connected yet"
        self._received = 0
        self._refused = 0
        self._client = paho.Client(
            CallbackAPIVersion.VERSION2, client_id=config.client_id, clean_session=False, protocol=paho.MQTTv311, manual_ack=True
        )
        self._client.max_inflight_messages_set(INFLIGHT_MAX)
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
        self._client.disconnect()
        self._client.loop_stop()

    def view(self) -> Delivery:
        """For the system page."""
        health: Health = "ok" if self._connected else "down"
        return Delivery(
            f"mqtt {self._config.host}:{self._config.port}",
            "source",
            health,
            given_up=self._refused,
            detail="" if self._connected else self._why,
        )

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
        self._received += 1
        mid, qos = message.mid, message.qos

        def stored(written: Future[int]) -> None:
            if written.exception() is None:
                client.ack(mid, qos)
            else:  # not acknowledged: the broker sends it again when the session resumes
                self._refused += 1

        self._vigil.telemetry(bytes(message.payload)).add_done_callback(stored)
