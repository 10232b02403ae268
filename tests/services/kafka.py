"""A real Apache Kafka in KRaft mode on free loopback ports: one broker, or a cluster of three that can lose one."""

from __future__ import annotations

import argparse
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from kafka.admin import KafkaAdminClient
from kafka.errors import KafkaError

from tests.services.jars import Jars
from tests.services.tls import Security

JARS: Final = Jars("Kafka", Path(__file__).parents[2] / "deploy" / "kafka" / "pom.xml", "kafka_2.13", "vigil-kafka")
CLUSTER_ID: Final = "MkU3OEVBNTcwNTJENDM2Qg"
"""Any 16 bytes in base64; every broker of a cluster has the same."""
_START_S: Final = 60.0
_STOP_S: Final = 30.0
_SESSION_MS_MIN: Final = 500
"""Shortest session a group may ask for: tests kill workers and do not want to wait Kafka's default of 6 s to see it noticed."""

_PROPERTIES: Final = """
process.roles=broker,controller
node.id={node}
controller.quorum.voters={voters}
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}{more_listeners}
advertised.listeners=PLAINTEXT://127.0.0.1:{port}{more_listeners}
controller.listener.names=CONTROLLER
inter.broker.listener.name=PLAINTEXT
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT{more_protocols}
log.dirs={data}
default.replication.factor={replication}
min.insync.replicas={insync}
offsets.topic.replication.factor={replication}
offsets.topic.num.partitions=4
transaction.state.log.replication.factor={replication}
transaction.state.log.min.isr={insync}
transaction.state.log.num.partitions=1
group.initial.rebalance.delay.ms=0
group.min.session.timeout.ms={session_ms}
auto.create.topics.enable=false
message.max.bytes=4718592
replica.fetch.max.bytes=4718592
log.retention.check.interval.ms=5000
"""

_LOG4J: Final = """
appender.file.type=File
appender.file.name=file
appender.file.fileName={log}
appender.file.layout.type=PatternLayout
appender.file.layout.pattern=%d %p %m (%c{{1}})%n%throwable
rootLogger.level=warn
rootLogger.appenderRef.file.ref=file
"""


def missing() -> str | None:
    """Why a broker cannot run here; None when it can."""
    return JARS.missing()


def free_ports(count: int) -> list[int]:
    """Loopback ports that were free a moment ago."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [s.getsockname()[1] for s in sockets]
    for s in sockets:
        s.close()
    return ports


class Broker:
    """One node (broker and controller) of a cluster; `start` again after `kill` finds its log as it was."""

    def __init__(self, root: Path, node: int, ports: list[int], controllers: list[int], security: Security | None = None) -> None:
        self.root = root / f"broker-{node}"
        self.port = ports[node - 1]
        size = len(ports)
        self.root.mkdir(parents=True)
        self._security = security
        self._properties = self.root / "server.properties"
        self._properties.write_text(
            _PROPERTIES.format(
                node=node,
                voters=",".join(f"{i + 1}@127.0.0.1:{c}" for i, c in enumerate(controllers)),
                port=self.port,
                controller=controllers[node - 1],
                data=self.root / "data",
                replication=min(size, 3),
                insync=2 if size >= 3 else 1,
                session_ms=_SESSION_MS_MIN,
                more_listeners=security.listeners if security is not None else "",
                more_protocols=security.protocols if security is not None else "",
            )
            + (security.properties if security is not None else "")
        )
        (self.root / "log4j2.properties").write_text(_LOG4J.format(log=self.root / "broker.log"))
        self._process: subprocess.Popen[bytes] | None = None

    def _java(self, main: str, *arguments: str) -> list[str]:
        return JARS.java(main, *arguments, log4j2_configurationFile=self.root / "log4j2.properties")

    def format(self) -> subprocess.Popen[bytes]:
        """Start to lay out the storage directory."""
        more = self._security.format_arguments if self._security is not None else []
        command = self._java("kafka.tools.StorageTool", "format", "-t", CLUSTER_ID, "-c", str(self._properties), *more)
        with (self.root / "stderr.log").open("ab") as log:
            return subprocess.Popen(command, stdout=log, stderr=log)

    def start(self) -> None:
        """Start the node; returns at once."""
        with (self.root / "stderr.log").open("ab") as log:
            self._process = subprocess.Popen(self._java("kafka.Kafka", str(self._properties)), stdout=log, stderr=log)

    @property
    def running(self) -> bool:
        """Whether its process lives."""
        return self._process is not None and self._process.poll() is None

    def listening(self) -> bool:
        """Whether it takes connections."""
        with socket.socket() as client:
            return client.connect_ex(("127.0.0.1", self.port)) == 0

    def stop(self) -> None:
        """A controlled shutdown."""
        if self._process is not None:
            self._process.terminate()
            try:
                self._process.wait(_STOP_S)
            except subprocess.TimeoutExpired:
                self.kill()

    def pause(self) -> None:
        """SIGSTOP: connections stay open and nobody answers."""
        if self._process is not None:
            self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """SIGCONT."""
        if self._process is not None:
            self._process.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        """SIGKILL: no farewell."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def log(self) -> str:
        """The end of what it logged."""
        paths = [self.root / "broker.log", self.root / "stderr.log"]
        return "\n".join(path.read_text(errors="replace")[-2000:] for path in paths if path.exists())


class Cluster:
    """`brokers` nodes under `root`; `bootstrap` for clients. With `secure`, the first also wants passwords and certificates."""

    def __init__(self, root: Path, brokers: int = 1, *, secure: bool = False) -> None:
        JARS.resolved()
        *ports, sasl, mutual = free_ports(2 * brokers + 2)
        self.security = Security(root / "security", sasl, mutual) if secure else None
        self.brokers = [
            Broker(root, node + 1, ports[:brokers], ports[brokers:], self.security if node == 0 else None) for node in range(brokers)
        ]

    @property
    def bootstrap(self) -> str:
        """host:port,host:port"""
        return ",".join(f"127.0.0.1:{broker.port}" for broker in self.brokers)

    def start(self) -> None:
        """Format, start, wait until every node is a member. RuntimeError with the log when it does not come up."""
        for broker, formatting in [(broker, broker.format()) for broker in self.brokers]:
            if formatting.wait() != 0:
                raise RuntimeError(f"Kafka's storage could not be formatted:\n{broker.log()}")
        for broker in self.brokers:
            broker.start()
        self.wait()

    def wait(self) -> None:
        """Until all started nodes answer and know each other."""
        wanted = sum(broker.running for broker in self.brokers)
        give_up = time.monotonic() + _START_S
        while (have := self._members()) < wanted:
            dead = [broker for broker in self.brokers if not broker.running]
            if time.monotonic() > give_up or (len(self.brokers) == 1 and dead):
                raise RuntimeError(f"Kafka has {have} of {wanted} nodes:\n{self.brokers[0].log()}")
            time.sleep(0.2)

    def _members(self) -> int:
        listening = [broker for broker in self.brokers if broker.listening()]
        if not listening:
            return 0
        try:
            admin = KafkaAdminClient(bootstrap_servers=[f"127.0.0.1:{broker.port}" for broker in listening])
        except (KafkaError, OSError):
            return 0
        try:
            return len(admin.describe_cluster()["brokers"])
        except (KafkaError, OSError):
            return 0
        finally:
            admin.close()

    def stop(self) -> None:
        """End every node at once: the folder is thrown away anyway."""
        for broker in self.brokers:
            broker.kill()


@contextmanager
def running(root: Path, brokers: int = 1, *, secure: bool = False) -> Iterator[Cluster]:
    """A cluster that is up, and down afterwards."""
    cluster = Cluster(root, brokers, secure=secure)
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.stop()


def main() -> None:
    """For developers: see deploy/kafka/local.sh."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--brokers", type=int, choices=(1, 3), default=1)
    wanted = parser.parse_args()
    if (why := missing()) is not None:
        raise SystemExit(why)
    with tempfile.TemporaryDirectory(prefix="vigil-kafka-") as root, running(Path(root), wanted.brokers) as cluster:
        print(f"Kafka is up: {cluster.bootstrap}  (Ctrl-C stops it and removes everything)", flush=True)
        try:
            while all(broker.running for broker in cluster.brokers):
                time.sleep(1)
        except KeyboardInterrupt:
            print("stopping")


if __name__ == "__main__":
    main()
