"""`vigil worker`: the core on Faust and Kafka. An app factory; nothing happens at import."""

from __future__ import annotations

import asyncio
import logging
import tempfile
from collections.abc import Iterable
from typing import Any, Final

import faust
import structlog
from faust.types import TP
from pydantic import BaseModel

from alerts.policy import Policy
from streams.kafka import topics
from streams.kafka.config import HEARTBEATS_A_SESSION, Connection, KafkaConfig
from streams.ops.http_server import Operations
from streams.ops.metrics import versions
from streams.pipeline.records import Kind
from streams.storage.snapshots import DirectoryStore, SnapshotStore
from streams.storage.snapshots_s3 import S3Store
from streams.worker.checkpointer import Step
from streams.worker.consumer import SnapshotConsumer, SnapshotTransport, Unopened
from streams.worker.health import Health
from streams.worker.owner import Owner
from streams.worker.watchdog import LOOKS, Watchdog

POLL_RECORDS: Final = 64
"""Records of up to 100 kB taken at once."""
BUFFER_MESSAGES: Final = 8
"""Messages, of TOGETHER_MAX records at most, that wait for the agent: some hundred milliseconds of work."""
FETCH_BYTES: Final = topics.RECORD_BYTES_MAX
REQUEST_S: Final = 90.0
LOOK_S: Final = 1.0
"""How often progress is looked at, for the watchdog, /healthz and /metrics."""

log = structlog.get_logger("vigil.worker")


class WorkerApp(faust.App):  # type: ignore[misc]
    """A Faust app around an Owner."""

    owner: Owner
    watchdog: Watchdog
    operations: Operations

    async def on_start(self) -> None:
        """The producer first: an assigned partition has outputs at once."""
        self.operations.start()
        await self.owner.start()
        self.watchdog.start()
        self.add_future(self._watch())  # Faust's own timers begin when all is loaded, and that may take long
        await super().on_start()

    async def _watch(self) -> None:
        while not self.should_stop:  # from then on it has as long as a stall may last
            self.watchdog.seen(self.owner.progress(), self.owner.rebalance)
            await asyncio.sleep(min(LOOK_S, self.owner.config.stalled_s / LOOKS))

    async def on_stop(self) -> None:
        """Save and commit while the consumer still belongs to the group.

        The watchdog goes on to the last: neither a Kafka that is away nor a store that hangs may keep the process for ever.
        """
        await self.owner.stop()
        await super().on_stop()
        self.operations.stop()


def create_app(
    config: KafkaConfig,
    store: SnapshotStore,
    *,
    parameters: BaseModel | None = None,
    policy: Policy | None = None,
    step: Step = lambda _: None,
) -> WorkerApp:
    """The worker, not started. `step` is told every step of a checkpoint."""
    app = WorkerApp(
        config.group,
        version=1,
        broker=";".join(f"kafka://{address}" for address in config.connection.brokers.split(",")),
        broker_credentials=_credentials(config.connection),
        key_serializer="raw",
        value_serializer="raw",
        store="memory://",
        datadir=tempfile.gettempdir(),
        topic_allow_declare=False,
        topic_disable_leader=True,
        web_enabled=False,
        worker_redirect_stdouts=False,
        agent_supervisor="mode.CrashingSupervisor",
        stream_wait_empty=False,
        stream_buffer_maxsize=BUFFER_MESSAGES,
        processing_guarantee="at_least_once",
        consumer_auto_offset_reset="earliest",
        consumer_max_fetch_size=FETCH_BYTES,
        broker_max_poll_records=POLL_RECORDS,
        broker_check_crcs=True,
        table_standby_replicas=1,
        broker_session_timeout=config.session_timeout_s,
        broker_heartbeat_interval=config.session_timeout_s / HEARTBEATS_A_SESSION,
        broker_rebalance_timeout=max(2 * config.session_timeout_s, 10.0),
        broker_request_timeout=REQUEST_S,
        producer_acks=-1,
        producer_threaded=False,
    )
    app.transport = SnapshotTransport(app.conf.broker_consumer, app)
    owner = app.owner = Owner(config, store, parameters=parameters, policy=policy, step=step)
    owner.app = app
    app.watchdog = Watchdog(config.stalled_s)
    health = Health(config.operations, app.watchdog, owner.metrics, live=config.live)
    app.operations = Operations(config.operations.port, owner.metrics.registry, health, host=config.operations.host)

    def topic(name: str) -> Any:
        return app.topic(config.prefix + name, schema=Unopened(), allow_empty=True)

    async def engine(stream: Any) -> None:
        async for event in stream.noack().events():
            await owner.consume(event.message)

    async def commands(stream: Any) -> None:
        async for event in stream.noack().events():
            await owner.forward(event.message, Kind.COMMAND)

    async def registry(stream: Any) -> None:
        async for event in stream.noack().events():
            await owner.forward(event.message, Kind.REGISTRY)

    for agent, name in ((engine, topics.TELEMETRY), (commands, topics.COMMANDS), (registry, topics.REGISTRY)):
        app.agent(topic(name), name=name)(agent)
    app.task(owner.maintain)

    async def revoked(_: Any, tps: Iterable[TP], **__: Any) -> None:
        await owner.revoked(tps)

    async def complete(_: Any, **__: Any) -> None:
        await owner.assign()
        consumer: SnapshotConsumer = app.consumer
        consumer.positions = owner.positions

    app.on_partitions_revoked.connect(revoked)
    app.on_rebalance_complete.connect(complete)
    return app


def run(
    config: KafkaConfig,
    *,
    parameters: BaseModel | None = None,
    policy: Policy | None = None,
    step: Step = lambda _: None,
) -> None:
    """Work until SIGTERM (exit status 0) or an error (not 0). Kernels should be warm before this is called.

    OSError when the snapshot store refuses, or the port of the operations server is taken.
    """
    store = snapshot_store(config)
    store.newest_epoch(0)  # better refused here, in a sentence, than in the middle of a rebalance
    app = create_app(config, store, parameters=parameters, policy=policy, step=step)
    log.info("worker starts", **versions(), group=config.group, prefix=config.prefix, partitions=config.partitions)
    worker = faust.Worker(app, loglevel=logging.WARNING, quiet=True, redirect_stdouts=False, override_logging=False)
    worker.spinner = None  # it would write control sequences between the lines of the log
    worker.execute_from_commandline()


def snapshot_store(config: KafkaConfig) -> SnapshotStore:
    """The place the configuration names. OSError when a folder cannot be made or a file of certificates is not there."""
    return S3Store(config.snapshots_s3) if config.snapshots_s3 is not None else DirectoryStore(config.snapshots)


def _credentials(connection: Connection) -> Any:
    context = connection.tls()
    if connection.sasl and connection.password is not None:
        return faust.SASLCredentials(
            username=connection.username,
            password=connection.password.get_secret_value(),
            mechanism=connection.mechanism,
            ssl_context=context,
        )
    return faust.SSLCredentials(context) if context is not None else None
