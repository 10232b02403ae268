"""`vigil ingest`: HTTP and MQTT into the spool, the spool into Kafka."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
import time
from collections.abc import Iterator
from concurrent.futures import Future
from typing import Any, Final

import structlog
import uvicorn

from engine.frame import NS_PER_S
from schemas.codec import decode
from streams.ingest.config import IngestConfig
from streams.ingest.http_api import IngestApi
from streams.ingest.metrics import IngestMetrics
from streams.ingest.publisher import Publisher, Step
from streams.ingest.readings_consumer import ReadingsConsumer
from streams.ingest.registry_follower import RegistryFollower
from streams.ingest.senders import ANY_SENDER, Sender, Senders
from streams.ingest.spool import IngestSpool, SpooledMessage
from streams.ingest.wards import Wards
from streams.intake.http_server import BACKLOG, bound_socket, raise_descriptor_limit, server_config
from streams.intake.mqtt import MqttSource
from streams.kafka.config import KafkaConfig
from streams.pipeline.handovers import Handover

log = structlog.get_logger("vigil.ingest")

CHECK_EVERY_S: Final = 0.5
"""How often the spool's size, the tokens file and the brokers are checked."""
PROBE_S: Final = 1.0
SERVER_CLOSE_S: Final = 5
FLUSH_S: Final = 10.0
"""How long a clean end waits for Kafka to store the spool; the rest stays on disk."""
LISTENING: Final = "listening"
"""Log line, with the address, once messages are accepted."""


class Ingest:
    """One ingest process. `run` returns at SIGTERM or SIGINT, and raises when it cannot go on."""

    def __init__(self, kafka: KafkaConfig, config: IngestConfig, *, step: Step = lambda _: None) -> None:
        self._kafka = kafka
        self._config = config
        self.metrics = IngestMetrics()
        self.wards = Wards()
        self.senders = Senders(config.token.get_secret_value() if config.token is not None else None, config.tokens_file)
        self.spool = IngestSpool(config.spool, time.time_ns if kafka.live else None, config.spool_bytes_max)
        self.publisher = Publisher(kafka, config, self.spool, self.wards, self.metrics, step=step)
        self.registry = RegistryFollower(kafka, self.wards)
        self._readings = ReadingsConsumer(kafka, config, self.wards, self.metrics) if config.readings.topics else None
        self._reachable = True
        self._reachable_since_s = time.monotonic()
        self._socket = _listening(config.host, config.port)
        feed = IngestApi(self.spool, self.senders, self.wards, self.metrics, self.health, sender_clock=not kafka.live)
        self._server = _Server(server_config(feed.app(), close_s=SERVER_CLOSE_S))
        self._mqtt = MqttSource(self._spool_mqtt, config.mqtt) if config.mqtt is not None else None

    async def run(self) -> None:
        """Until SIGTERM or SIGINT; then stops accepting, and publishes the spool for up to FLUSH_S."""
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        work: list[asyncio.Task[Any]] = [asyncio.create_task(self.registry.run()), asyncio.create_task(self._check_periodically())]
        publisher = asyncio.create_task(self._publish())
        if self._readings is not None:
            work.append(asyncio.create_task(self._read_readings(self._readings)))
        server = asyncio.create_task(self._server.serve(sockets=[self._socket]))
        if self._mqtt is not None:
            self._mqtt.start()
        log.info(LISTENING, url=f"http://{self._config.host}:{self._socket.getsockname()[1]}")
        stopping: asyncio.Task[Any] = asyncio.create_task(stop.wait())
        try:
            await asyncio.wait([stopping, publisher, server, *work], return_when=asyncio.FIRST_COMPLETED)
            if self._mqtt is not None:
                await asyncio.to_thread(self._mqtt.stop)
            self._server.should_exit = True
            await server
            self.publisher.stop()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(publisher, FLUSH_S)
            for task in work:
                if task.done():
                    task.result()
        finally:
            for task in (stopping, publisher, *work):
                task.cancel()
            await asyncio.gather(stopping, publisher, *work, return_exceptions=True)
            self.spool.close()
            log.info("stopped", left_in_spool=self.spool.waiting)

    async def _publish(self) -> None:
        await self.registry.ready.wait()
        await self.publisher.run()

    async def _read_readings(self, readings: ReadingsConsumer) -> None:
        await self.registry.ready.wait()
        await readings.run()

    def _spool_mqtt(self, topic: str, payload: bytes, handover: Handover) -> Future[int]:
        """Spool a message from the MQTT broker, which has authenticated its sender."""
        kept = self.spool.put(SpooledMessage(*self._mqtt_sender(topic), "", payload, handover.retained, handover.again, handover.packet))
        if not kept.done():
            self.metrics.received.labels("mqtt").inc()
            self.metrics.received_bytes.inc(len(payload))
        return kept

    def _mqtt_sender(self, topic: str) -> Sender:
        if not self._config.mqtt_names or self._config.mqtt is None:
            return ANY_SENDER
        prefix = self._config.mqtt.topic.partition("#")[0].partition("+")[0]
        return self.senders.by_name(topic.removeprefix(prefix).partition("/")[0])

    # -- own state -----------------------------------------------------------------------------------------------------

    async def _check_periodically(self) -> None:
        while True:
            await asyncio.to_thread(self.spool.measure)
            reachable = await self._probe()
            if reachable and not self._reachable:
                self._reachable_since_s = time.monotonic()
            self._reachable = reachable
            self._set_gauges()
            try:
                if self.senders.reload():
                    log.info("tokens file read again")
            except (OSError, ValueError) as error:
                log.error("tokens file cannot be used; the previous tokens stay valid", why=str(error))  # noqa: TRY400 - the reason is the message
            if (fault := self.spool.journal.error) is not None:
                raise fault
            await asyncio.sleep(CHECK_EVERY_S)

    async def _probe(self) -> bool:
        """Whether a Kafka broker accepts connections."""
        for broker in self._kafka.connection.brokers.split(","):
            host, _, port = broker.rpartition(":")
            try:
                _, writer = await asyncio.wait_for(asyncio.open_connection(host, int(port)), PROBE_S)
            except (OSError, TimeoutError):
                continue
            writer.close()
            return True
        return False

    def _set_gauges(self) -> None:
        self.metrics.spooled.set(self.spool.waiting)
        self.metrics.spool_bytes.set(self.spool.size)
        if self._mqtt is not None:
            self.metrics.mqtt.set(self._mqtt.view().health == "ok")
        self.metrics.reachable.set(self._reachable)
        self.metrics.wards.set(len(self.wards))
        self.metrics.spool_age.set(self._oldest_age_s())

    def _oldest_age_s(self) -> float:
        oldest_ns = self.publisher.oldest_ns
        return max(0.0, (time.time_ns() - oldest_ns) / NS_PER_S) if oldest_ns and self._kafka.live else 0.0

    def health(self) -> tuple[bool, dict[str, Any]]:
        """Whether data is accepted and published. During an outage of Kafka: as long as the spool has room."""
        # After an outage the publisher gets `stalled_s` from Kafka's return on.
        stalled_s = time.monotonic() - max(self.publisher.progress_s, self._reachable_since_s) if self.spool.waiting else 0.0
        stuck = self._reachable and stalled_s > self._config.stalled_s
        state = "full" if self.spool.full else "stalled" if stuck else "ok" if self._reachable else "degraded"
        details = {"state": state, "kafka": self._reachable, "spooled": self.spool.waiting, "spool_bytes": self.spool.size}
        return state in {"ok", "degraded"}, details


class _Server(uvicorn.Server):
    """uvicorn without its signal handlers: Ingest handles signals."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Do nothing."""
        yield


def _listening(host: str, port: int) -> socket.socket:
    """A listening socket; its connections are answered once the server runs. OSError when the address is in use."""
    listening = bound_socket(host, port)
    try:
        listening.listen(BACKLOG)
    except OSError:
        listening.close()
        raise
    return listening


def _warm_up() -> None:
    """Load the codec's compiled kernel, which takes a second, before the first message."""
    decode(b'{"v": 1, "device": "warm-up", "kind": "button", "t0_ns": 0, "samples": [[1]]}')


def run(kafka: KafkaConfig, config: IngestConfig, *, step: Step = lambda _: None) -> None:
    """Ingest until SIGTERM."""

    raise_descriptor_limit()
    _warm_up()

    async def main() -> None:
        await Ingest(kafka, config, step=step).run()

    asyncio.run(main())
