"""A real target for every registered sink, and how to see what it really stores."""

from __future__ import annotations

import contextlib
import sqlite3
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final

import pyarrow.parquet as pq

from engine.outputs import Account, Measurements
from sinks import jsonl
from sinks.catalogue import build
from sinks.contract import Sink, SinkConfig
from sinks.influx import InfluxConfig
from sinks.items import AlertChange, Item, account_item
from sinks.jsonl import JsonlConfig
from sinks.parquet import ParquetConfig
from sinks.sqlite import SqliteConfig
from sinks.webhook import WebhookConfig
from streams.pipeline.assembly import TEXTS
from tests.services import influx
from tests.services.receiver import Receiver, receiving

SECRET: Final = "a-secret-nobody-may-read"


class Case(ABC):
    """One registered sink with a real target. `secrets` are texts that may appear nowhere."""

    secrets: tuple[str, ...] = ()

    @abstractmethod
    def config(self) -> Any:
        """Configuration for the target."""

    @abstractmethod
    def unreachable(self) -> Any:
        """Configuration for a target that is not there."""

    @abstractmethod
    def stored(self, items: Sequence[Item]) -> list[str]:
        """Ids of `items` the target holds, sorted, as often as it holds them."""

    def sink(self) -> Sink:
        """A fresh sink on the target."""
        return build(self.config(), TEXTS)

    def config_json(self) -> dict[str, Any]:
        """The configuration with its secrets in clear, as an operator writes it."""
        return revealed(self.config())


def revealed(config: SinkConfig) -> dict[str, Any]:
    """A configuration as JSON-ready builtins, secrets in clear."""
    fields = config.model_dump(mode="json")
    for name in type(config).model_fields:
        value = getattr(config, name)
        if hasattr(value, "get_secret_value"):
            fields[name] = value.get_secret_value()
    return fields


class SqliteCase(Case):
    def __init__(self, root: Path) -> None:
        self._root = root

    def config(self) -> SqliteConfig:
        return SqliteConfig(path=self._root / "record" / "vigil.db")

    def unreachable(self) -> SqliteConfig:
        return SqliteConfig(path=a_file(self._root) / "vigil.db")

    def stored(self, items: Sequence[Item]) -> list[str]:
        if not self.config().path.exists():
            return []
        with contextlib.closing(sqlite3.connect(self.config().path)) as db:
            ids = [row[0] for table in ("transitions", "events", "audit") for row in db.execute(f"SELECT id FROM {table}")]
            ids += [account_item(Account(*row)).id for row in db.execute("SELECT * FROM accounts")]
            alerts = {row[0] for row in db.execute("SELECT id FROM alerts")}
        assert alerts == {item.body.alert.id for item in items if isinstance(item.body, AlertChange) and item.id in ids}
        return sorted(ids)


class ParquetCase(Case):
    def __init__(self, root: Path) -> None:
        self._root = root

    def config(self) -> ParquetConfig:
        return ParquetConfig(root=self._root / "measurements")

    def unreachable(self) -> ParquetConfig:
        return ParquetConfig(root=a_file(self._root) / "measurements")

    def stored(self, items: Sequence[Item]) -> list[str]:
        ids: list[str] = []
        for path in self.config().root.glob("date=*/name=*/*.parquet"):
            rows = pq.read_table(path, partitioning=None).to_pylist()
            ids += [row["item"] for row in rows if row["subject"] == "resident/r-1"]  # one row in every example
        return sorted(ids)


class JsonlCase(Case):
    def __init__(self, root: Path) -> None:
        self._root = root

    def config(self) -> JsonlConfig:
        return JsonlConfig(path=self._root / "log" / "vigil.jsonl", file_max_bytes=32 << 10, files_max=100)

    def unreachable(self) -> JsonlConfig:
        return JsonlConfig(path=a_file(self._root) / "vigil.jsonl")

    def stored(self, items: Sequence[Item]) -> list[str]:
        return sorted(line["id"] for path in self.config().path.parent.glob("vigil.jsonl*") for line in jsonl.read(path))


class WebhookCase(Case):
    secrets = (SECRET, "token-in-path")

    def __init__(self, receiver: Receiver) -> None:
        self.receiver = receiver

    def config(self) -> WebhookConfig:
        return WebhookConfig.model_validate({"url": self.receiver.url, "secret": SECRET, "timeout_s": 2})

    def unreachable(self) -> WebhookConfig:
        return WebhookConfig.model_validate({"url": f"http://127.0.0.1:{influx.free_ports(1)[0]}/token-in-path", "secret": SECRET})

    def stored(self, items: Sequence[Item]) -> list[str]:
        return sorted(set(self.receiver.keys))  # what the idempotency key is for


class InfluxCase(Case):
    secrets = (SECRET,)

    def __init__(self, database: influx.Influx) -> None:
        self._database = database
        database.query(f"DROP DATABASE {database.bucket}")
        database.query(f"CREATE DATABASE {database.bucket}")

    def config(self) -> InfluxConfig:
        return InfluxConfig.model_validate(
            {"url": self._database.url, "token": SECRET, "org": "home", "bucket": f"{self._database.bucket}/autogen"}
        )

    def unreachable(self) -> InfluxConfig:
        url = f"http://127.0.0.1:{influx.free_ports(1)[0]}"
        return InfluxConfig.model_validate({"url": url, "token": SECRET, "org": "home", "bucket": "vigil"})

    def stored(self, items: Sequence[Item]) -> list[str]:
        ids = [row["id"] for row in self._database.query("SELECT id FROM events")]
        ids += [f"{row['id']}-{row['sequence'] - 1}" for row in self._database.query("SELECT id, sequence FROM alerts")]
        by_time = {int(item.body.t_ns[0]): item.id for item in items if isinstance(item.body, Measurements)}
        rows = self._database.query("SELECT heart_rate_bpm FROM vitals WHERE subject = 'resident/r-1'")
        return sorted([*ids, *(by_time[row["time"]] for row in rows)])


def a_file(root: Path) -> Path:
    """A plain file: nothing can be created below it, whoever asks."""
    path = root / "no-folder"
    path.touch()
    return path


Open = Callable[[Path], Case]


def _webhook(stack: ExitStack, _: Path) -> Case:
    return WebhookCase(stack.enter_context(receiving()))


CASES: Final[dict[str, Callable[[ExitStack, Path], Case]]] = {
    "sqlite": lambda _, root: SqliteCase(root),
    "parquet": lambda _, root: ParquetCase(root),
    "jsonl": lambda _, root: JsonlCase(root),
    "webhook": _webhook,
}
"""How to open the case of each sink that needs no service; "influx" needs a running server, see InfluxCase."""


@contextmanager
def opened(name: str, root: Path) -> Iterator[Case]:
    """The case `name` for the length of a block."""
    with ExitStack() as stack:
        yield CASES[name](stack, root)
