"""Settings of the connection to Kafka, the topics, and a worker's checkpoints."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr, model_validator

from streams.ops.http_server import OperationsConfig
from streams.storage.snapshots_s3 import S3Config

_SASL: Final = frozenset({"SASL_PLAINTEXT", "SASL_SSL"})
HEARTBEATS_A_SESSION: Final = 5
"""Heartbeats of a consumer group's member within `session_timeout_s`."""
_TLS: Final = frozenset({"SSL", "SASL_SSL"})


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class Connection(_Section):
    """Addresses of the brokers, encryption and authentication."""

    brokers: str = Field(default="127.0.0.1:9092", pattern=r"^[^\s,]+:\d+(,[^\s,]+:\d+)*$", description="host:port,host:port,...")
    security: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = Field(default="PLAINTEXT", description="security.protocol")
    mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = Field(default="SCRAM-SHA-512", description="SASL mechanism")
    username: str = Field(default="", description="SASL user")
    password: SecretStr | None = Field(default=None, description="SASL password")
    ca_file: Path | None = Field(default=None, description="certificates to trust; none: the system's")
    cert_file: Path | None = Field(default=None, description="client certificate with its key, for brokers that ask for one")

    @model_validator(mode="after")
    def _has_credentials(self) -> Connection:
        if self.security in _SASL and (not self.username or self.password is None):
            raise ValueError(f"security {self.security} needs username and password")
        return self

    @property
    def sasl(self) -> bool:
        """Whether a user and a password are sent."""
        return self.security in _SASL

    def tls(self) -> ssl.SSLContext | None:
        """The TLS context, None without TLS. OSError when a file cannot be read."""
        if self.security not in _TLS:
            return None
        context = ssl.create_default_context(cafile=self.ca_file)
        if self.cert_file is not None:
            context.load_cert_chain(self.cert_file)
        return context

    def client(self) -> dict[str, Any]:
        """Arguments that aiokafka and kafka-python share."""
        arguments: dict[str, Any] = {"bootstrap_servers": self.brokers.split(","), "security_protocol": self.security}
        if (context := self.tls()) is not None:
            arguments["ssl_context"] = context
        if self.sasl and self.password is not None:
            secret = self.password.get_secret_value()
            arguments |= {"sasl_mechanism": self.mechanism, "sasl_plain_username": self.username, "sasl_plain_password": secret}
        return arguments


class WorkerOperations(OperationsConfig):
    """`/metrics` and `/healthz` of a worker."""

    unhealthy_s: float = Field(
        default=20.0, ge=1.0, le=3600.0, description="seconds without progress after which /healthz of a worker answers 503"
    )
    degraded_s: float = Field(
        default=60.0, ge=1.0, le=3600.0, description="seconds of refused snapshots after which /healthz of a worker says degraded"
    )


class KafkaConfig(_Section):
    """Settings of every process that uses Kafka."""

    connection: Connection = Field(default_factory=Connection, description="where the brokers are")
    prefix: str = Field(
        default="", pattern=r"^[A-Za-z0-9._-]{0,80}$", description="put before every topic's name: several homes on one Kafka"
    )
    group: str = Field(default="vigil", pattern=r"^[A-Za-z0-9._-]{1,80}$", description="consumer group of the workers")
    partitions: int = Field(
        default=16, ge=1, le=1024, description="partitions of the ward topics: at least 2 to 4 for each worker there will ever be"
    )
    replication: int = Field(default=3, ge=1, le=7, description="copies of every record; 1 only on a single broker")
    snapshots: Path = Field(default=Path("vigil-snapshots"), description="folder of the snapshots; all workers must see the same one")
    snapshots_s3: S3Config | None = Field(default=None, description="an object store for the snapshots; when given, the folder is not used")
    # aiokafka compresses lz4 at level 9: 135 ms a MB of telemetry, where zstd at level 3 takes 5 ms and makes it smaller.
    compression: Literal["none", "lz4", "zstd"] = Field(
        default="zstd", description="of what workers and the canary write to Kafka; lz4 costs far more CPU"
    )
    checkpoint_every_s: float = Field(
        default=10.0, ge=0.2, le=300.0, description="seconds between checkpoints: after a crash at most this much is read again"
    )
    session_timeout_s: float = Field(
        default=15.0,
        ge=0.5,
        le=60.0,
        description="seconds without a heartbeat after which a member of a consumer group (worker, sink, reader) counts as dead",
    )
    stalled_s: float = Field(
        default=60.0, ge=2.0, le=3600.0, description="seconds in which no offset advances, while records wait, after which a worker exits"
    )
    live: bool = Field(
        default=True,
        description="time passes by the clock, also while nothing is sent; false for recordings played through Kafka",
    )
    operations: WorkerOperations = Field(default_factory=WorkerOperations, description="/metrics and /healthz of a worker")
