"""Every Kafka client of Vigil is built here, so that settings that must agree between processes stand once.

What must agree: no client sends or fetches less than the largest record (`RECORD_BYTES_MAX`), every write is acknowledged by all
in-sync replicas, and every member of a consumer group counts as dead after the same silence.
"""

from __future__ import annotations

from typing import Any, Final, Literal

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from kafka.admin import KafkaAdminClient

from streams.kafka.config import HEARTBEATS_A_SESSION, KafkaConfig
from streams.kafka.topics import RECORD_BYTES_MAX

ACKS: Final = "all"
FETCH_WAIT_MS: Final = 100
"""A fetch that waits for news of quiet partitions holds up busy ones on the same broker for no longer than this."""
FETCH_RECORDS_AHEAD: Final = 2
"""Largest records that a group's member fetches from one broker at once; the broker sends at least one, however large."""
_MS_PER_S: Final = 1_000

Compression = Literal["none", "lz4", "zstd"]


def session_ms(kafka: KafkaConfig) -> dict[str, int]:
    """`session_timeout_ms` and `heartbeat_interval_ms` of every member of a consumer group."""
    session = round(kafka.session_timeout_s * _MS_PER_S)
    return {"session_timeout_ms": session, "heartbeat_interval_ms": session // HEARTBEATS_A_SESSION}


def reader(kafka: KafkaConfig, *, group: str | None = None) -> AIOKafkaConsumer:
    """A consumer whose partitions are assigned by hand. It joins no group; with `group` it can ask what that group has committed."""
    return AIOKafkaConsumer(
        **kafka.connection.client(),
        group_id=group,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        max_partition_fetch_bytes=RECORD_BYTES_MAX,
    )


def group_member(kafka: KafkaConfig, group: str, *topics: str, begin: Literal["earliest", "latest"] = "earliest") -> AIOKafkaConsumer:
    """A member of the consumer group `group`, which commits by hand. `begin`: where a group without a committed offset begins."""
    return AIOKafkaConsumer(
        *topics,
        **kafka.connection.client(),
        **session_ms(kafka),
        group_id=group,
        enable_auto_commit=False,
        auto_offset_reset=begin,
        fetch_max_bytes=FETCH_RECORDS_AHEAD * RECORD_BYTES_MAX,
        max_partition_fetch_bytes=RECORD_BYTES_MAX,
        fetch_max_wait_ms=FETCH_WAIT_MS,
    )


def producer(kafka: KafkaConfig, *, compression: Compression | None = None, batch_bytes: int | None = None) -> AIOKafkaProducer:
    """A producer that repeats and reorders nothing. `compression`: kafka.compression where None; `batch_bytes`: aiokafka's where None."""
    more = {} if batch_bytes is None else {"max_batch_size": batch_bytes}
    return AIOKafkaProducer(**_sending(kafka, compression), enable_idempotence=True, **more)


def impatient_producer(kafka: KafkaConfig, *, request_timeout_ms: int) -> AIOKafkaProducer:
    """A producer that gives a record up after `request_timeout_ms`: an idempotent one of aiokafka never does, for it must keep the order."""
    return AIOKafkaProducer(**_sending(kafka, None), request_timeout_ms=request_timeout_ms)


def _sending(kafka: KafkaConfig, compression: Compression | None) -> dict[str, Any]:
    chosen = compression if compression is not None else kafka.compression
    return {
        **kafka.connection.client(),
        "acks": ACKS,
        "max_request_size": RECORD_BYTES_MAX,
        "compression_type": None if chosen == "none" else chosen,
    }


def admin(kafka: KafkaConfig) -> KafkaAdminClient:
    """A client that creates and describes topics. kafka-python's: aiokafka's cannot say all that a topic is configured as."""
    return KafkaAdminClient(**kafka.connection.client())
