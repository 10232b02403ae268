"""`vigil ingest` put together: doors, spool, pump, registry, readings."""

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
from streams.ingest.figures import Figures
from streams.ingest.foreign import Foreign
from streams.ingest.http_api import HttpDoor
from streams.ingest.pump import Pump, Step
from streams.ingest.registry_follower import RegistryFollower
from streams.ingest.senders import ANYBODY, Sender, Senders
from streams.ingest.spool import Message, Spool
from streams.ingest.wards import Wards
from streams.intake.mqtt import MqttSource
from streams.kafka.config import KafkaConfig

log = structlog.get_logger("vigil.ingest")

LOOK_EVERY_S: Final = 0.5
"""How often the spool's size, the tokens file and the brokers are looked at."""
PROBE_S: Final = 1.0
DOORS_CLOSE_S: Final = 5
FLUSH_S: Final = 10.0
"""How long a clean end waits for Kafka to take what is in the spool; what it does not take stays there."""
LISTENING: Final = "listening"
"""What the log says, with the address, once the doors are open."""


class Ingest:
    """One ingest process. `run` returns at SIGTERM or SIGINT, and raises when it cannot go on."""

    def __init__(self, kafka: KafkaConfig, config: IngestConfig, *, step: Step = lambda _: None) -> None:
        self._kafka = kafka
        self._config = config
        self.figures = Figures()
        self.wards = Wards()
        self.senders = Senders(config.token.get_secret_value() if config.token is not None else None, config.tokens_file)
        self.spool = Spool(config.spool, time.time_ns if kafka.live else None, config.spool_bytes_max)
        self.pump = Pump(kafka, config, self.spool, self.wards, self.figures, step=step)
        self.registry = RegistryFollower(kafka, self.wards)
        self._foreign = Foreign(kafka, config, self.wards, self.figures) if config.readings.topics else None
        self._reachable = True
        self._back_s = time.monotonic()
        self._socket = _bound(config.host, config.port)
        door = HttpDoor(self.spool, self.senders, self.wards, self.figures, self.health, sender_clock=not kafka.live)
        self._server = _Server(
            uvicorn.Config(
                door.app(),
                log_level="warning",
                access_log=False,
                lifespan="off",
                timeout_graceful_shutdown=DOORS_CLOSE_S,
                server_header=False,
                ws="none",
            )
        )
        self._mqtt = MqttSource(self._take_mqtt, config.mqtt) if config.mqtt is not None else None

    async def run(self) -> None:
        """Until a signal says stop: doors closed, the spool emptied as far as Kafka takes it."""
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        work: list[asyncio.Task[Any]] = [asyncio.create_task(self.registry.run()), asyncio.create_task(self._look())]
        pump = asyncio.create_task(self._publish())
        if self._foreign is not None:
            work.append(asyncio.create_task(self._read(self._foreign)))
        server = asyncio.create_task(self._server.serve(sockets=[self._socket]))
        if self._mqtt is not None:
            self._mqtt.start()
        log.info(LISTENING, url=f"http://{self._config.host}:{self._socket.getsockname()[1]}")
        stopping: asyncio.Task[Any] = asyncio.create_task(stop.wait())
        try:
            await asyncio.wait([stopping, pump, server, *work], return_when=asyncio.FIRST_COMPLETED)
            if self._mqtt is not None:
                await asyncio.to_thread(self._mqtt.stop)
            self._server.should_exit = True
            await server
            self.pump.stop()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(pump, FLUSH_S)
            for task in work:
                if task.done():
                    task.result()
        finally:
            for task in (stopping, pump, *work):
                task.cancel()
            await asyncio.gather(stopping, pump, *work, return_exceptions=True)
            self.spool.close()
            log.info("stopped", left_in_spool=self.spool.waiting)

    async def _publish(self) -> None:
        await self.registry.ready.wait()
        await self.pump.run()

    async def _read(self, foreign: Foreign) -> None:
        await self.registry.ready.wait()
        await foreign.run()

    def _take_mqtt(self, topic: str, payload: bytes) -> Future[int]:
        """A message from the MQTT broker, which has let its sender in."""
        kept = self.spool.put(Message(*self._mqtt_sender(topic), "", payload))
        if not kept.done():
            self.figures.received.labels("mqtt").inc()
            self.figures.received_bytes.inc(len(payload))
        return kept

    def _mqtt_sender(self, topic: str) -> Sender:
        if not self._config.mqtt_names or self._config.mqtt is None:
            return ANYBODY
        prefix = self._config.mqtt.topic.partition("#")[0].partition("+")[0]
        return self.senders.by_name(topic.removeprefix(prefix).partition("/")[0])

    # -- looking after itself -------------------------------------------------------------------------------------------

    async def _look(self) -> None:
        while True:
            await asyncio.to_thread(self.spool.measure)
            reachable = await self._probe()
            if reachable and not self._reachable:
                self._back_s = time.monotonic()
            self._reachable = reachable
            self._set_gauges()
            try:
                if self.senders.reload():
                    log.info("tokens read again")
            except (OSError, ValueError) as error:
                log.error("tokens not read; the old ones stay in force", why=str(error))  # noqa: TRY400 - the reason is the message
            if (fault := self.spool.journal.error) is not None:
                raise fault
            await asyncio.sleep(LOOK_EVERY_S)

    async def _probe(self) -> bool:
        """Whether a broker takes connections."""
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
        self.figures.spooled.set(self.spool.waiting)
        self.figures.spool_bytes.set(self.spool.size)
        if self._mqtt is not None:
            self.figures.mqtt.set(self._mqtt.view().health == "ok")
        self.figures.reachable.set(self._reachable)
        self.figures.spool_age.set(self._age_s())

    def _age_s(self) -> float:
        oldest_ns = self.pump.oldest_ns
        return max(0.0, (time.time_ns() - oldest_ns) / NS_PER_S) if oldest_ns and self._kafka.live else 0.0

    def health(self) -> tuple[bool, dict[str, Any]]:
        """Whether it does its work. Kafka away: as long as the spool takes what comes."""
        # After an outage publishing has its time from Kafka's return on.
        stalled_s = time.monotonic() - max(self.pump.moved_s, self._back_s) if self.spool.waiting else 0.0
        stuck = self._reachable and stalled_s > self._config.stalled_s
        state = "full" if self.spool.full else "stalled" if stuck else "ok" if self._reachable else "degraded"
        details = {"state": state, "kafka": self._reachable, "spooled": self.spool.waiting, "spool_bytes": self.spool.size}
        return state in {"ok", "degraded"}, details


class _Server(uvicorn.Server):
    """Signals are the ingest's own business."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leaves them alone."""
        yield


def _bound(host: str, port: int) -> socket.socket:
    """A socket that takes connections from now on, answered once the server runs; OSError when the address is taken."""
    bound = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind((host, port))
        bound.listen()
    except OSError:
        bound.close()
        raise
    return bound


def _warm_up() -> None:
    """Load the codec's kernel, which takes a second, before the first device waits for it."""
    decode(b'{"v": 1, "device": "warm-up", "kind": "button", "t0_ns": 0, "samples": [[1]]}')


def run(kafka: KafkaConfig, config: IngestConfig, *, step: Step = lambda _: None) -> None:
    """Ingest until SIGTERM."""

    _warm_up()

    async def main() -> None:
        await Ingest(kafka, config, step=step).run()

    asyncio.run(main())
