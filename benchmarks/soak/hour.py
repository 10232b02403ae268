"""A whole Vigil for an hour: gateways post, ingest, worker, sinks and canary work, a receiver is called; what happens to memory."""

from __future__ import annotations

import re
import time
from collections import Counter, deque
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

import httpx
import msgspec
import numpy as np
from kafka import KafkaConsumer, TopicPartition
from scipy import stats

from alerts.model import Action, Command, Outcome
from benchmarks.soak.load import registries, ward_names
from benchmarks.soak.presses import Presses
from benchmarks.soak.processes import cpu_s, resident_mb
from engine.block import NO_SEQ, Block
from engine.frame import NS_PER_S
from engine.outputs import Account
from schemas.encode import encode_batch, encode_chunk_json
from simulator.standard import WARD_RESIDENTS, standard_blocks, standard_scenario
from streams.config import load
from streams.kafka import topics
from streams.kafka.config import KafkaConfig
from streams.kafka.records import items_in
from tests.integration.kafka_wards import PARTITIONS, Bench
from tests.services.receiver import Receiver, receiving
from tests.services.worker import OWNING, Child

CANARY: Final = "vigil-canary-"
"""What the names of the canary's devices begin with."""
TOKEN: Final = "a-token-for-all-gateways"
PRESS_EVERY_S: Final = 5.0
BUTTONS: Final = 90
"""They are pressed in turn, so that nobody new comes into the house: every resident costs memory, and that is not what is looked for."""
RESOLVED_AFTER_S: Final = 120.0
"""When staff close an alert."""
LOOK_EVERY_S: Final = 5.0
SETTLED_S: Final = 1_400.0
"""Memory before that is not judged. What is remembered up to a bound is full by then: a partition's last 4,096 batches (1,365 s at three
wards in four partitions a second), closed alerts (CLOSED), ids in the JSON-lines sink."""
CLOSED: Final = 50
"""Closed alerts that a partition remembers here. With the default of 1,000 it would take half a day to know whether they are the end of it."""
START_S: Final = 180.0
REST_S: Final = 15.0
ENDED_S: Final = 10.0

_CONFIG: Final = """
[kafka]
prefix = "hour-"
group = "hour"
partitions = {partitions}
replication = 1
snapshots = "{root}/snapshots"
[kafka.connection]
brokers = "{brokers}"
[ingest]
port = 0
token = "{token}"
spool = "{root}/spool"
[sink_process]
folder = "{root}/sinks"
[canary]
folder = "{root}/canary"
every_s = 120
[policy]
closed_max = {closed}
[[sinks]]
name = "oncall"
[sinks.to]
type = "webhook"
url = "{webhook}"
secret = "0123456789abcdef0123"
[[sinks]]
name = "copy"
[sinks.to]
type = "jsonl"
path = "{root}/copy.jsonl"
file_max_bytes = 16000000
files_max = 2
"""


class Part(Child):
    """`vigil <command>` with the hour's configuration."""

    def __init__(self, name: str, command: list[str], config: Path, root: Path) -> None:
        super().__init__(["streams.cli", *command, "--config", str(config)], root / f"{name}.log")
        self.name = name
        self.memory: list[tuple[float, float]] = []
        self._used_s = 0.0

    def look(self, at_s: float) -> None:
        """Remember its memory; RuntimeError when it has ended."""
        if self.process.poll() is not None:
            raise RuntimeError(f"{self.name} ended after {at_s:.0f} s:\n{self.tail()}")
        if not self.memory:
            self._used_s = cpu_s(self.process.pid)  # what starting cost is another matter
        self.memory.append((at_s, resident_mb(self.process.pid)))

    def figures(self, seconds: float) -> dict[str, Any]:
        """Its memory and what it used."""
        settled = [(at_s, mb) for at_s, mb in self.memory if at_s >= min(SETTLED_S, seconds / 2)]
        slope, _, low, high = stats.theilslopes([mb for _, mb in settled], [at_s / 3_600 for at_s, _ in settled])
        return {
            "rss_mb": {"settled": round(settled[0][1]), "at_end": round(settled[-1][1]), "max": round(max(mb for _, mb in self.memory))},
            "growth_mb_an_hour": {"median": round(slope, 2), "ci95": [round(low, 2), round(high, 2)]},
            "share_of_a_core": round((cpu_s(self.process.pid) - self._used_s) / seconds, 3),
        }


class Staff:
    """Whoever hears the receiver: closes each alert some time after its call, so that the next press is a new one."""

    def __init__(self, bench: Bench, receiver: Receiver, names: list[str]) -> None:
        self._bench, self._receiver, self._names = bench, receiver, names
        self._heard: deque[tuple[float, str, str]] = deque()
        self._seen = 0

    def resolve(self) -> None:
        """Close what was called about long enough ago."""
        now_s = time.monotonic()
        for got in self._receiver.got[self._seen :]:
            self._seen += 1
            alert = msgspec.json.decode(got.body)["alert"]
            number = int(alert["subject"].rpartition("-")[2]) if alert["code"] == "sos.pressed" else 0
            self._heard.append((now_s, alert["id"], self._names[number % len(self._names)]))
        while self._heard and now_s - self._heard[0][0] >= RESOLVED_AFTER_S:
            _, alert_id, ward = self._heard.popleft()
            command = Command(f"done-{alert_id}", Action.RESOLVE, alert_id, "staff", 0, Outcome.TRUE)
            self._bench.producer.send(self._bench.topic(topics.COMMANDS), key=ward.encode(), value=msgspec.json.encode(command))


def _seconds(wards: int, seconds: int, began_ns: int) -> Iterator[list[list[Block]]]:
    """Every second: the blocks of each ward, in the time that is now."""
    shift_ns = began_ns - standard_scenario(2).start_ns
    for blocks in standard_blocks(wards * WARD_RESIDENTS, seconds):
        now = [block._replace(t0_ns=block.t0_ns + shift_ns) for block in blocks]
        share = len(now) // wards
        yield [now[ward * share : (ward + 1) * share] for ward in range(wards)]


def _press(number: int, at_ns: int) -> bytes:
    one = np.array([at_ns], np.int64)
    device = (f"call-{number}",)
    button = Block("button", device, one, np.array([NO_SEQ]), 0.0, np.ones((1, 1, 1), np.float32), np.zeros(1, np.uint8), (0, 0))
    return encode_chunk_json(button, 0)


def measure(bootstrap: str, root: Path, *, wards: int, seconds: int) -> dict[str, Any]:
    """`wards` of fifty residents in real time for `seconds`."""
    with ExitStack() as life:
        receiver = life.enter_context(receiving())
        config = root / "vigil.toml"
        config.write_text(
            _CONFIG.format(partitions=PARTITIONS, root=root, brokers=bootstrap, token=TOKEN, webhook=receiver.url, closed=CLOSED),
            encoding="utf-8",
        )
        settings = load(config)
        bench = Bench(settings.kafka)
        life.callback(bench.close)
        names = ward_names(wards, PARTITIONS)
        _register(bench, names)
        commands = {
            "worker": ["worker", "run"],
            "ingest": ["ingest", "run"],
            "sink webhook": ["sink", "run", "oncall"],
            "sink jsonl": ["sink", "run", "copy"],
            "canary": ["canary", "run"],
        }
        parts = []
        for name, command in commands.items():
            part = Part(name, command, config, root)
            life.callback(part.kill)
            parts.append(part)
        parts[0].wait_logged(OWNING, START_S)
        url = _address(parts[1])
        presses, sent, refused = _live(url, parts, names, seconds, Staff(bench, receiver, names))
        figures = {part.name: part.figures(seconds) for part in parts}
        time.sleep(REST_S)
        heard = Counter(receiver.keys)
        alerts = [msgspec.json.decode(got.body)["alert"] for got in receiver.got]
        called = {alert["id"] for alert in alerts if alert["code"] == "sos.pressed"}
        for part in reversed(parts):
            if part.stop() != 0:
                raise RuntimeError(f"{part.name} did not end well:\n{part.tail()}")
        taken = _received(settings.kafka)
    return {
        "residents": wards * WARD_RESIDENTS,
        "seconds": seconds,
        "readings": {"sent": sent, "answered_with_a_refusal": refused, "accounted_for": taken},
        "presses": presses,
        "presses_missed_at_the_receiver": presses - len(called),
        "webhook_requests": sum(heard.values()),
        "webhook_repeats_of_a_key": sum(heard.values()) - len(heard),
        "parts": figures,
        "memory": {
            part.name: [[round(at_s), round(mb, 1)] for at_s, mb in part.memory[:: max(1, len(part.memory) // 200)]] for part in parts
        },
    }


def _register(bench: Bench, names: list[str]) -> None:
    for name, data in zip(names, Presses.with_buttons(registries(len(names)), BUTTONS), strict=True):
        bench.producer.send(bench.topic(topics.REGISTRY), key=name.encode(), value=msgspec.json.encode(data))
    bench.producer.flush()


def _address(ingest: Part) -> str:
    give_up = time.monotonic() + START_S
    while (found := re.search(r"http://127.0.0.1:\d+", ingest.log.read_text())) is None:
        if time.monotonic() > give_up or ingest.process.poll() is not None:
            raise TimeoutError(f"ingest does not listen:\n{ingest.tail()}")
        time.sleep(0.1)
    return found.group()


def _live(url: str, parts: list[Part], names: list[str], seconds: int, staff: Staff) -> tuple[int, int, int]:
    """Post in real time; (presses, readings sent, messages answered with a refusal)."""
    presses = sent = refused = 0
    began_ns, began_s = time.time_ns(), time.monotonic()
    with httpx.Client(timeout=30, headers={"authorization": f"Bearer {TOKEN}"}) as client:
        for second, ward_blocks in enumerate(_seconds(len(names), seconds, began_ns)):
            time.sleep(max(0.0, began_s + second + 1 - time.monotonic()))
            now_ns = began_ns + (second + 1) * NS_PER_S
            payloads = [
                encode_batch(name, blocks, gateway=f"gw-{name}", seq=second, sent_ns=now_ns)
                for name, blocks in zip(names, ward_blocks, strict=True)
            ]
            sent += sum(block.samples.shape[0] * block.samples.shape[1] for blocks in ward_blocks for block in blocks)
            if second % PRESS_EVERY_S == 0:
                payloads.append(_press(presses % BUTTONS, now_ns))
                presses += 1
                sent += 1
                staff.resolve()
            for payload in payloads:
                try:
                    refused += client.post(f"{url}/v1/chunks", content=payload).status_code != httpx.codes.ACCEPTED
                except httpx.TransportError:
                    parts[1].wait(ENDED_S)
                    raise RuntimeError(f"ingest does not answer after {second} s:\n{parts[1].tail()}") from None
            if second % LOOK_EVERY_S == 0:
                for part in parts:
                    part.look(time.monotonic() - began_s)
    return presses, sent, refused


def _received(kafka: KafkaConfig) -> int:
    """Readings in the last word of every account, the canary's left out."""
    consumer = KafkaConsumer(**kafka.connection.client(), enable_auto_commit=False, consumer_timeout_ms=5_000)
    tps = [TopicPartition(kafka.prefix + topics.ACCOUNTS, number) for number in range(kafka.partitions)]
    found: dict[tuple[str, str, int], int] = {}
    try:
        consumer.assign(tps)
        consumer.seek_to_beginning(*tps)
        for record in consumer:
            for item in items_in(topics.ACCOUNTS, record.value):
                account = item.body
                if isinstance(account, Account) and not account.device.startswith(CANARY):
                    found[account.device, account.kind, account.hour_ns] = account.received
    finally:
        consumer.close()
    return sum(found.values())
