"""The settings of `vigil ingest`."""

from __future__ import annotations

from pathlib import Path
from typing import Final, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr, model_validator

from streams.intake.mqtt import MqttConfig

LOOPBACK: Final = frozenset({"127.0.0.1", "localhost", "::1"})


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class ReadingsConfig(_Section):
    """Topics of other programs whose records are small JSON readings."""

    topics: tuple[str, ...] = Field(
        default=(), description="topics to read; each record is one chunk (JSON) or one reading as mapped below"
    )
    group: str = Field(default="vigil-readings", pattern=r"^[A-Za-z0-9._-]{1,80}$", description="consumer group of this reader")
    device: str = Field(default="device", min_length=1, description="field that names the device")
    kind: str = Field(default="kind", min_length=1, description="field that says what is measured")
    time: str = Field(default="t0_ns", min_length=1, description="field with the time of the reading")
    time_unit: Literal["ns", "us", "ms", "s", "iso"] = Field(
        default="ns", description="what the time counts in since 1970 UTC; iso: text with an offset from UTC"
    )
    value: str = Field(default="value", min_length=1, description="field with the value: a number, or an object of numbers by channel name")
    kinds: dict[str, str] = Field(
        default_factory=dict, description="what their kinds are called here: 'vitals', or 'vitals.heart_rate_bpm' for one channel"
    )
    interval_s: dict[str, float] = Field(
        default_factory=dict,
        description="seconds between two readings of a device, by kind, theirs or Vigil's ('room_air' = 180); without it the interval is measured, and not known at the first reading",
    )
    no_value: dict[str, tuple[float, ...]] = Field(
        default_factory=dict,
        description="numbers that stand for 'no value', by their kind, beside those every device is known to send (docs/contracts.md)",
    )
    batch_records: int = Field(default=4_000, ge=1, le=16_000, description="records of a partition that are joined at most")


class IngestConfig(_Section):
    """`vigil ingest`: the process between devices and Kafka. Topics and brokers are those of [kafka]."""

    host: str = Field(
        default="127.0.0.1", description="address on which measurements are accepted; beyond loopback a token or a file of tokens is needed"
    )
    port: int = Field(default=8610, ge=0, le=65535, description="port; 0 takes a free one")
    token: SecretStr | None = Field(
        default=None, min_length=16, description="one bearer token for all devices, good for any ward; at least 16 characters"
    )
    tokens_file: Path | None = Field(
        default=None,
        description="tokens of single gateways: lines of `<sha256 of the token> <name> [ward ...]`, written by `vigil ingest token`; read again when it changes",
    )
    mqtt: MqttConfig | None = Field(default=None, description="an MQTT broker to read from")
    mqtt_names: bool = Field(
        default=False,
        description="the first level below the MQTT topic filter names the gateway, which is restricted to its wards in tokens_file; the broker must let each publish below its own name only",
    )
    unbound_ward: str = Field(
        default="vigil/unbound",
        min_length=1,
        max_length=128,
        description="ward under which data of unbound devices is stored when nothing else names one",
    )
    spool: Path = Field(default=Path("vigil-ingest"), description="folder of messages that Kafka has not stored yet; one for each process")
    spool_bytes_max: int = Field(
        default=8 * 2**30, ge=2**20, description="bytes the spool may grow to while Kafka is away; beyond it senders are told to wait"
    )
    linger_ms: Literal[50, 100, 125, 200, 250] = Field(
        default=100, description="ms that a chunk waits at most to be batched with others; divides a second"
    )
    batch_bytes: int = Field(default=100_000, ge=1_000, le=400_000, description="bytes at which a batch is closed before its time")
    # aiokafka compresses lz4 at level 9: 8 MB/s of telemetry here, where zstd at level 3 does 190 MB/s and makes it smaller.
    compression: Literal["none", "lz4", "zstd"] = Field(default="zstd", description="of the records in Kafka; lz4 costs far more")
    stalled_s: float = Field(
        default=30.0,
        ge=1.0,
        le=3600.0,
        description="seconds without progress, while data waits and Kafka answers, after which /healthz answers 503",
    )
    readings: ReadingsConfig = Field(default_factory=ReadingsConfig, description="small JSON readings of other programs, from Kafka")

    @model_validator(mode="after")
    def _guarded(self) -> IngestConfig:
        if self.host not in LOOPBACK and self.token is None and self.tokens_file is None:
            raise ValueError(
                f"listening on {self.host} needs token or tokens_file: without one, any machine could send data as a resident's"
            )
        return self
