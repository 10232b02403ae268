"""`vigil worker` and `vigil topics` where Kafka wants passwords and certificates, and what they say when these are wrong."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import pytest
from kafka import KafkaProducer

from streams.kafka import topic_admin, topics
from streams.kafka.config import Connection, KafkaConfig
from streams.kafka.preflight import ATTEMPT_S, KafkaUnreachable, ensure_reachable
from streams.ops.warm_up import warm_up
from streams.recordings.replay import Replayed
from tests.conftest import missing_service
from tests.integration.kafka_wards import Bench, Ward, compare, config_for, expected, wards
from tests.services import kafka
from tests.services.tls import PASSWORD, Security
from tests.services.worker import OWNING, Child

SECONDS: Final = 90.0
VARIABLE: Final = "VIGIL_TEST_PASSWORD"
WRONG: Final = "not-the-password"
START_S: Final = 45.0
"""Of a command, on a loaded machine."""

pytestmark = [pytest.mark.services, pytest.mark.slow]

Way = Callable[[Security], Connection]
WAYS: Final[dict[str, Way]] = {
    "scram": lambda security: security.sasl(),
    "plain": lambda security: security.sasl(mechanism="PLAIN"),
    "mutual": lambda security: security.mutual(),
}
COMPRESSIONS: Final = {"scram": "zstd", "plain": "none", "mutual": "lz4"}
"""Both ways: of the telemetry that a worker reads, and of what it writes."""
REFUSALS: Final[dict[str, tuple[Way, str]]] = {
    "password": (lambda s: s.sasl(password=WRONG), "it refuses user vigil with this password (SCRAM-SHA-512)"),
    "plain password": (lambda s: s.sasl(password=WRONG, mechanism="PLAIN"), "it refuses user vigil with this password (PLAIN)"),
    "mechanism": (lambda s: s.sasl(mechanism="SCRAM-SHA-256"), "it does not offer SCRAM-SHA-256"),
    "authority": (lambda s: s.sasl(ca_file=s.stranger_file), "unable to get local issuer certificate: correct kafka.connection.ca_file"),
    "name": (lambda s: s.sasl(brokers=f"localhost:{s.sasl_port}"), "certificate is not valid for 'localhost'"),
    "no certificate": (lambda s: s.mutual(cert_file=None), "it refuses the client's certificate"),
    "no file": (lambda s: s.mutual(ca_file=s.root / "none.pem"), "ca_file or cert_file cannot be used: No such file"),
}


@pytest.fixture(scope="module")
def security(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Security]:
    if (why := kafka.missing()) is not None:
        missing_service(why)
    with kafka.running(tmp_path_factory.mktemp("kafka"), secure=True) as cluster:
        assert cluster.security is not None
        yield cluster.security


@pytest.fixture(scope="module")
def streams() -> list[tuple[Ward, Replayed]]:
    warm_up()
    return [(ward, expected(ward)) for ward in wards(SECONDS)]


def written(config: KafkaConfig, path: Path) -> Path:
    """The configuration as a file; the password is in the environment."""
    connection = config.connection
    lines = ["[kafka]", f'prefix = "{config.prefix}"', f'group = "{config.group}"', f"partitions = {config.partitions}"]
    lines += ["replication = 1", f'snapshots = "{config.snapshots}"', f'compression = "{config.compression}"', "live = false"]
    lines += [f"checkpoint_every_s = {config.checkpoint_every_s}", f"session_timeout_s = {config.session_timeout_s}"]
    lines += ["[kafka.operations]", "port = 0"]
    lines += ["[kafka.connection]", f'brokers = "{connection.brokers}"', f'security = "{connection.security}"']
    lines += [f'{name} = "{value}"' for name in ("ca_file", "cert_file") if (value := getattr(connection, name)) is not None]
    if connection.sasl:
        lines += [f'mechanism = "{connection.mechanism}"', f'username = "{connection.username}"', f'password = "${{{VARIABLE}}}"']
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


@pytest.mark.parametrize("way", WAYS)
def test_topics_worker_and_readers_speak_it(
    security: Security, streams: list[tuple[Ward, Replayed]], tmp_path: Path, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, PASSWORD)
    compression = COMPRESSIONS[way]
    config = config_for("127.0.0.1:1", tmp_path / "snapshots", f"{way}-", connection=WAYS[way](security), compression=compression)
    bench = Bench(config)
    assert topic_admin.check(config) == []
    bench.producer.close()
    packed = None if compression == "none" else compression
    bench.producer = KafkaProducer(**config.connection.client(), compression_type=packed, max_request_size=topics.RECORD_BYTES_MAX)
    for ward, _ in streams:
        bench.send_registry(ward)
        bench.send(ward, ward.records)
    worker = Child(["streams.cli", "worker", "run", "-c", str(written(config, tmp_path / "vigil.toml"))], tmp_path / "worker.log")
    try:
        worker.wait_logged(OWNING, START_S)
        bench.wait_committed(60)
        assert worker.stop() == 0, worker.tail()
    finally:
        worker.kill()
    for (ward, wanted), said in zip(streams, bench.said(), strict=True):
        compare(ward, wanted, said)
    bench.close()
    assert PASSWORD not in worker.log.read_text()


@pytest.mark.parametrize("what", REFUSALS)
def test_what_is_wrong_is_said_at_once_and_without_the_password(security: Security, what: str) -> None:
    connect, words = REFUSALS[what]
    began_s = time.monotonic()
    with pytest.raises(KafkaUnreachable) as caught:
        ensure_reachable(connect(security))
    assert time.monotonic() - began_s < ATTEMPT_S
    said = str(caught.value)
    assert words in said
    assert [secret for secret in (WRONG, PASSWORD) if secret in said] == []


@pytest.mark.parametrize(
    ("command", "what"),
    [("worker run", "password"), ("worker run", "authority"), ("topics create", "name"), ("topics check", "password")],
)
def test_a_command_ends_with_one_sentence(
    security: Security, tmp_path: Path, what: str, command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, WRONG)
    connect, words = REFUSALS[what]
    config = config_for("127.0.0.1:1", tmp_path / "snapshots", "refused-", connection=connect(security))
    process = Child(["streams.cli", *command.split(), "-c", str(written(config, tmp_path / "vigil.toml"))], tmp_path / "log")
    assert process.wait(START_S) == 1
    (said,) = process.log.read_text().splitlines()
    assert said.startswith("vigil: Kafka at ")
    assert words in said
    assert WRONG not in said


def test_a_broker_that_is_not_there_is_waited_for(security: Security) -> None:
    (port,) = kafka.free_ports(1)
    with pytest.raises(KafkaUnreachable, match=r"no broker of kafka.connection.brokers answers: .*connection refused.*SASL_SSL"):
        ensure_reachable(security.sasl(brokers=f"127.0.0.1:{port}"), wait_s=1.0)
    ensure_reachable(security.sasl(brokers=f"127.0.0.1:{port},127.0.0.1:{security.sasl_port}"), wait_s=1.0)
