"""Prometheus metrics of an ingest process."""

from __future__ import annotations

from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

LATENCY_S: Final = (0.025, 0.05, 0.1, 0.15, 0.2, 0.3, 0.5, 1.0, 2.0, 5.0, 15.0, 60.0, 300.0)


class IngestMetrics:
    """Counters of one process."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.received = Counter(
            "vigil_ingest_messages", "messages accepted, by transport (http, mqtt)", ["transport"], registry=self.registry
        )
        self.received_bytes = Counter("vigil_ingest_received_bytes", "bytes of the messages accepted", registry=self.registry)
        self.rejected = Counter(
            "vigil_ingest_rejected_messages", "messages not accepted, by HTTP status", ["status"], registry=self.registry
        )
        self.refused = Counter(
            "vigil_ingest_quarantined_chunks", "chunks that go to quarantine, by reason", ["reason"], registry=self.registry
        )
        self.repeated = Counter(
            "vigil_ingest_duplicate_messages", "messages that had been accepted before, dropped", registry=self.registry
        )
        self.batches = Counter("vigil_ingest_batches", "records stored in Kafka", registry=self.registry)
        self.batch_bytes = Counter("vigil_ingest_batch_bytes", "bytes of the records stored in Kafka, uncompressed", registry=self.registry)
        self.latency = Histogram(
            "vigil_ingest_publish_seconds",
            "from the first arrival in a batch to its being stored in Kafka",
            buckets=LATENCY_S,
            registry=self.registry,
        )
        self.readings = Counter("vigil_ingest_readings", "small readings read from the topics of other programs", registry=self.registry)
        self.spooled = Gauge("vigil_ingest_spool_messages", "messages in the spool that Kafka has not stored yet", registry=self.registry)
        self.spool_bytes = Gauge("vigil_ingest_spool_bytes", "bytes of the spool on disk", registry=self.registry)
        self.spool_age = Gauge("vigil_ingest_spool_age_seconds", "age of the oldest message in the spool", registry=self.registry)
        self.mqtt = Gauge("vigil_ingest_mqtt_connected", "1 while the MQTT broker is connected", registry=self.registry)
        self.wards = Gauge(
            "vigil_ingest_wards", "wards whose registry is known here; 0 until the registry topic has been read", registry=self.registry
        )
        self.reachable = Gauge("vigil_ingest_kafka_reachable", "1 while a Kafka broker accepts connections", registry=self.registry)
