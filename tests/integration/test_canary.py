"""The canary on a real Kafka with a real worker and a real webhook receiver: it hears its falls, and calls people when it does not."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeVar

import httpx
import msgspec
import pytest
from kafka import KafkaProducer

from alerts.events import CANARY_MISSING
from alerts.model import Action, Command, State
from alerts.policy import is_canary
from sinks.items import AlertChange, AuditEntry
from sinks.webhook import verify
from streams.config import VigilConfig, load
from streams.kafka import topic_admin, topics
from streams.kafka.records import CANARY
from streams.ops.warm_up import warm_up
from tests.conftest import missing_service
from tests.integration.kafka_wards import said_on
from tests.services import kafka
from tests.services.receiver import Receiver
from tests.services.worker import OWNING, Child

EVERY_S: Final = 25
BOUND_S: Final = 8
PARTITIONS: Final = 2
SLACK_S: Final = 10
"""For a busy machine."""
SECRET: Final = "a-shared-secret-of-the-test"  # gitleaks:allow
T = TypeVar("T")

pytestmark = [pytest.mark.services, pytest.mark.slow]

_CONFIG: Final = """
[kafka]
prefix = "canary-"
group = "canary-vigil"
partitions = {partitions}
replication = 1
snapshots = "{folder}/snapshots"
checkpoint_every_s = 0.5
session_timeout_s = 2.0
[kafka.connection]
brokers = "{brokers}"
[parameters.falls]
refractory_s = 5.0
[canary]
every_s = {every_s}
bound_s = {bound_s}
folder = "{folder}/canary"
[canary.operations]
port = {port}
[[sinks]]
name = "on-call"
[sinks.to]
type = "webhook"
url = "{url}"
secret = "{secret}"
[sinks.delivery]
backoff_first_s = 0.2
"""


class Home(NamedTuple):
    """A broker, a receiver, and the configuration that names both."""

    cluster: kafka.Cluster
    receiver: Receiver
    config: Path
    folder: Path

    @property
    def settings(self) -> VigilConfig:
        return load(self.config)

    def start(self, what: str) -> Child:
        """`vigil <what> run`."""
        return Child(["streams.cli", what, "run", "-c", str(self.config)], self.folder / f"{what}.log")

    def health(self) -> tuple[int, dict[str, Any]]:
        try:
            answer = httpx.get(f"http://127.0.0.1:{self.settings.canary.operations.port}/healthz", timeout=5)
        except httpx.TransportError:
            return 0, {"state": "", "missing": [], "alarms": []}
        return answer.status_code, answer.json()

    def metric(self, name: str) -> float:
        """A sample of /metrics with its labels as written there; 0 while there is none."""
        try:
            text = httpx.get(f"http://127.0.0.1:{self.settings.canary.operations.port}/metrics", timeout=5).text
        except httpx.TransportError:
            return 0.0
        return next((float(line.rsplit(" ", 1)[1]) for line in text.splitlines() if line.startswith(f"{name} ")), 0.0)

    def posted(self) -> list[dict[str, Any]]:
        return [json.loads(got.body) for got in self.receiver.got]

    def changes(self) -> list[AlertChange]:
        """Everything on the alerts topic."""
        return [body for body in self.bodies(topics.ALERTS) if isinstance(body, AlertChange)]

    def bodies(self, topic: str) -> list[Any]:
        """Everything on an output topic."""
        return [item.body for items in said_on(self.settings.kafka, [topic]) for item in items]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    if (why := kafka.missing()) is not None:
        missing_service(why)
    warm_up()
    folder = tmp_path_factory.mktemp("canary")
    receiver = Receiver()
    with kafka.running(folder / "kafka") as cluster:
        (port,) = kafka.free_ports(1)
        config = folder / "vigil.toml"
        values = {"every_s": EVERY_S, "bound_s": BOUND_S, "partitions": PARTITIONS, "port": port, "secret": SECRET}
        config.write_text(_CONFIG.format(**values, folder=folder, brokers=cluster.bootstrap, url=receiver.url))
        home = Home(cluster, receiver, config, folder)
        topic_admin.create(home.settings.kafka)
        yield home
    receiver.close()


def eventually(ask: Callable[[], T], timeout_s: float, child: Child) -> T:
    give_up = time.monotonic() + timeout_s
    while not (answer := ask()):
        assert time.monotonic() < give_up, child.tail()
        time.sleep(0.2)
    return answer


def test_falls_are_heard_a_dead_worker_calls_people_and_the_alarm_stays_until_one_has_seen_it(home: Home) -> None:
    worker = home.start("worker")
    worker.wait_logged(OWNING, 120)
    canary = home.start("canary")
    try:
        in_time = 'vigil_canary_falls_total{result="in_time"}'
        eventually(lambda: home.health()[0] == 200, 30, canary)
        eventually(lambda: home.metric(in_time) >= PARTITIONS, 2 * EVERY_S + SLACK_S, canary)
        assert home.health()[1]["state"] == "watching"
        mean_s = home.metric("vigil_canary_latency_seconds_sum") / home.metric("vigil_canary_latency_seconds_count")
        assert 2.0 < mean_s < BOUND_S, "the detector needs 2 s of data after balance is lost"
        eventually(lambda: [c for c in home.changes() if c.transition.by == "canary" and c.alert.state is State.RESOLVED], 10, canary)
        assert {is_canary(c.alert.subject) for c in home.changes()} == {True}
        assert not any(c.transition.notify for c in home.changes())
        assert home.posted() == []

        worker.kill()
        eventually(lambda: len(home.posted()) == 1, EVERY_S / PARTITIONS + BOUND_S + SLACK_S, canary)
        eventually(lambda: len(home.health()[1]["missing"]) == PARTITIONS, EVERY_S + SLACK_S, canary)
        (call,) = home.posted()
        assert (call["alert"]["code"], call["alert"]["subject"], call["transition"]["to_state"]) == (CANARY_MISSING, CANARY, "firing")
        assert "Vigil" in call["text"]["en"]["title"]
        assert "Vigil" in call["text"]["zh-CN"]["title"]
        assert "查看老人" in call["text"]["zh-CN"]["what_to_do"]
        headers = home.receiver.got[0].headers
        assert verify(SECRET, headers["vigil-timestamp"], home.receiver.got[0].body, headers["vigil-signature"], time.time())
        assert home.health()[0] == 503

        worker = home.start("worker")
        eventually(lambda: home.health()[1]["missing"] == [], 60 + EVERY_S, canary)
        status, details = home.health()
        assert (status, [alarm["state"] for alarm in details["alarms"]]) == (200, ["firing"]), "it sings again, and nobody has seen it"
        canary.kill()
        canary = home.start("canary")
        eventually(lambda: home.health()[0] == 200, 30, canary)
        assert home.health()[1]["alarms"] == details["alarms"]
        assert len(home.posted()) == 1

        producer = KafkaProducer(**home.settings.kafka.connection.client())
        seen = Command("seen-1", Action.ACKNOWLEDGE, details["alarms"][0]["id"], "li", 0)
        topic = home.settings.kafka.prefix + topics.COMMANDS
        producer.send(topic, key=CANARY.encode(), value=msgspec.json.encode(seen)).get(10)
        producer.close()
        eventually(lambda: home.health()[1]["alarms"] == [], 10, canary)
        eventually(lambda: len(home.posted()) == 3, 10, canary)
        assert [call["transition"]["to_state"] for call in home.posted()] == ["firing", "acknowledged", "resolved"]
        assert len(set(home.receiver.keys)) == 3
        alarm = {change.transition.id for change in home.changes() if change.alert.code == CANARY_MISSING}
        assert set(home.receiver.keys) <= alarm, "sinks that read the topic call under the same keys"
        assert canary.stop() == 0, canary.tail()
        assert worker.stop() == 0, worker.tail()
        audit = [body for body in home.bodies(topics.AUDIT) if isinstance(body, AuditEntry)]
        commands = [(entry.id, entry.by, entry.detail) for entry in audit if entry.action != "registry"]
        assert commands == [("seen-1", "li", "")], "what people did, once; what the canary does to itself is not audited"
    finally:
        canary.kill()
        worker.kill()


def test_the_alarm_reaches_people_when_kafka_is_gone(home: Home) -> None:
    before = len(home.posted())
    worker = home.start("worker")
    worker.wait_logged(OWNING, 120)
    canary = home.start("canary")
    try:
        eventually(lambda: home.metric("vigil_canary_latency_seconds_count"), 2 * EVERY_S + SLACK_S, canary)
        assert home.health()[0] == 200
        home.cluster.brokers[0].kill()
        eventually(lambda: len(home.posted()) > before, EVERY_S / PARTITIONS + BOUND_S + SLACK_S, canary)
        call = home.posted()[before]
        assert (call["alert"]["code"], call["transition"]["to_state"]) == (CANARY_MISSING, "firing")
        acknowledge = Child(["streams.cli", "canary", "acknowledge", "--by", "wang", "-c", str(home.config)], home.folder / "said.log")
        assert acknowledge.wait(30) == 0, acknowledge.tail()
        eventually(lambda: [alarm["state"] for alarm in home.health()[1]["alarms"]] == ["acknowledged"], 10, canary)
        eventually(lambda: len(home.posted()) == before + 2, 10, canary)
        assert home.posted()[-1]["transition"]["by"] == "wang"
        again = Child(["streams.cli", "canary", "acknowledge", "--by", "wang", "-c", str(home.config)], home.folder / "again.log")
        assert again.wait(30) == 2
        assert "no alarm that nobody has seen" in again.tail()
        assert home.health()[0] == 503, "seen, and still blind"
        assert canary.stop() == 0, canary.tail()
    finally:
        canary.kill()
        worker.kill()
