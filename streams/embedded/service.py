"""`vigil run` put together from its configuration: core, sinks, APIs, console, one folder."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any, Final

import msgspec
import structlog

from alerts.model import Refusal
from console.app import create_app
from console.board import LiveBoard
from console.server import ConsoleServer
from engine.registry import RegistryData
from schemas.recording import Record
from sinks.catalogue import SINKS, build
from sinks.contract import Sink as AnySink
from sinks.declaration import Audience, Runs
from sinks.delivery import Delivery, DeliverySettings
from sinks.items import ItemKind
from sinks.jsonl import JsonlConfig, JsonlSink
from sinks.parquet import ParquetConfig, ParquetSink
from sinks.sqlite import SqliteConfig, SqliteSink
from streams.config import VigilConfig
from streams.embedded.backend import Backend
from streams.embedded.http_api import DeviceApi, with_console
from streams.embedded.vigil import ANSWER_S, Listener, Vigil
from streams.intake.access import Access
from streams.intake.mqtt import MqttSource
from streams.pipeline.assembly import TEXTS
from streams.pipeline.handovers import Handover
from streams.pipeline.registry_change import RegistryChange
from streams.storage.identity import Person, load_people
from streams.storage.journal import JournalError

log = structlog.get_logger("vigil")

MEASUREMENTS_LINGER_S: Final = 60.0
"""Measurements are gathered this long into one Parquet file."""
WATCH_EVERY_S: Final = 1.0
"""How often registry.json and identity.json are looked at."""
FROM_FILE: Final = "registry.json"
"""Who a change came from when somebody edited the file."""
FEED_AHEAD: Final = 256
"""Records of a recording that may wait for the disk."""


class Service:
    """An embedded Vigil with everything around it. `stop` leaves the folder ready for the next start. `on_progress`: see Vigil."""

    def __init__(
        self,
        config: VigilConfig,
        *,
        live: bool = True,
        listeners: Sequence[Listener] = (),
        on_progress: Callable[[], None] = lambda: None,
    ) -> None:
        self.config = config
        folder = config.data_dir
        folder.mkdir(parents=True, exist_ok=True)
        self._registry_path, self._people_path = folder / "registry.json", folder / "identity.json"
        self._people: Mapping[str, Person] = self._people_at_start()
        self._seen: dict[Path, bytes] = {}
        board = LiveBoard(config.home, turn_interval_s=_turn_interval_s(config))
        board.set_people(self._people)
        self.vigil = Vigil(
            folder,
            parameters=config.parameters,
            policy=config.policy,
            deliveries=self._deliveries(folder),
            board=board,
            live=live,
            snapshot_every_s=config.snapshot_every_s,
            listeners=listeners,
            on_registry=self._save_registry,
            on_progress=on_progress,
        )
        on_call = {sink.name for sink in config.sinks if SINKS[sink.to.type].audience is Audience.ON_CALL}
        self.backend = Backend(self.vigil, on_call)
        listen = config.listen
        token = listen.device_token.get_secret_value() if listen.device_token is not None else None
        access = Access(listen.console_password.get_secret_value() if listen.console_password is not None else None)
        intake = DeviceApi(self.vigil, access=access, token=token, sender_clock=not live)
        self.server = ConsoleServer(with_console(intake, create_app(self.backend, access)), board.live, listen.host, listen.port)
        self.mqtt = MqttSource(self._store_mqtt, config.mqtt) if config.mqtt is not None else None
        self._stopping = threading.Event()
        self._watcher = threading.Thread(target=self._watch, name="watch", daemon=True)

    def _store_mqtt(self, _topic: str, payload: bytes, handover: Handover) -> Future[int]:
        return self.vigil.telemetry(payload, handover=handover)

    def _deliveries(self, folder: Path) -> list[Delivery]:
        spool = folder / "spool"
        measured = DeliverySettings(linger_s=MEASUREMENTS_LINGER_S, batch_max=20_000)
        quarantine = JsonlConfig(path=folder / "quarantine.jsonl", kinds=frozenset({ItemKind.QUARANTINE}))
        own: list[tuple[str, AnySink, DeliverySettings]] = [
            ("database", SqliteSink(SqliteConfig(path=folder / "vigil.db")), DeliverySettings()),
            ("measurements", ParquetSink(ParquetConfig(root=folder / "measurements")), measured),
            ("quarantine", JsonlSink(quarantine), DeliverySettings()),
        ]
        more = [
            (sink.name, build(sink.to, TEXTS, self._identity, where=Runs.EMBEDDED), SINKS[sink.to.type].delivery(sink.delivery))
            for sink in self.config.sinks
        ]
        return [Delivery(sink, spool / name, settings, name=name) for name, sink, settings in (*own, *more)]

    def _people_at_start(self) -> Mapping[str, Person]:
        """The names, or none: a slip in the identity file must not leave a house unwatched after a power cut."""
        try:
            return load_people(self._people_path)
        except ValueError as error:
            log.error("the board shows pseudonyms", file=self._people_path.name, why=str(error))  # noqa: TRY400 - the reason is the message
            return {}

    def _identity(self, subject: str) -> Mapping[str, str]:
        person = self._people.get(subject)
        return {} if person is None else {"name": person.name, "room": person.room, "bed": person.bed}

    @property
    def url(self) -> str:
        """The console's address."""
        return self.server.url

    def start(self) -> None:
        """Everything on. Returns when the console answers."""
        self.vigil.start()
        self.server.start()
        if self.mqtt is not None:
            self.mqtt.start()
        self._reload_files()
        self._watcher.start()

    def stop(self) -> None:
        """Everything off, in the order in which data flows."""
        self._stopping.set()
        if self.mqtt is not None:
            self.mqtt.stop()
        self._watcher.join()
        self.server.stop()
        self.vigil.stop()

    def feed(self, records: Iterator[Record], *, pace: Callable[[int], None] | None = None) -> int:
        """Put records into the journal, each stamped with its own arrival; `pace` waits until a record is due.

        Returns how many. Stops early when the service stops. Raises JournalError when the disk refuses one.
        """
        waiting: list[Future[int]] = []
        count = 0
        for record in records:
            if pace is not None:
                pace(record.arrival_ns)
            if self._stopping.is_set() or not self.vigil.running:
                break
            arrival_ns = None if pace is not None else record.arrival_ns
            waiting.append(self.vigil.telemetry(record.payload, arrival_ns, handover=Handover(record.retained)))
            count += 1
            if len(waiting) >= FEED_AHEAD:
                waiting.pop(0).result()
        for future in waiting:
            future.result()
        return count

    def adopt(self, registry: RegistryData, people: Mapping[str, Person]) -> None:
        """Write registry and identity files (demo, recordings); they are in force when this returns."""
        self._registry_path.write_bytes(msgspec.json.format(msgspec.json.encode(registry)))
        self._people_path.write_bytes(msgspec.json.format(msgspec.json.encode(dict(people))))
        self._reload_files()

    # -- hot reload -------------------------------------------------------------------------------------------------

    def _watch(self) -> None:
        while not self._stopping.wait(WATCH_EVERY_S):
            self._reload_files()
            if self.mqtt is not None:
                self.backend.sources = [self.mqtt.view()]

    def _reload_files(self) -> None:
        """Apply registry.json and identity.json if they changed; log the reason if they cannot be used."""
        for path, take in ((self._registry_path, self._apply_registry), (self._people_path, self._apply_people)):
            try:
                raw = path.read_bytes()
            except FileNotFoundError:
                continue
            except OSError as error:
                log.error("file cannot be read", file=path.name, why=str(error))  # noqa: TRY400 - the reason is the message
                continue
            if raw == self._seen.get(path):
                continue
            self._seen[path] = raw
            try:
                take(raw)
            except TimeoutError:
                log.warning("file stored, in force once Vigil has caught up", file=path.name)
            except JournalError as error:
                del self._seen[path]  # not stored: tried again at the next look
                log.error("file not applied yet", file=path.name, why=str(error))  # noqa: TRY400 - the reason is the message
            except ValueError as error:
                log.error("file refused; the old one stays in force", file=path.name, why=str(error))  # noqa: TRY400 - the reason is the message

    def _apply_registry(self, raw: bytes) -> None:
        try:
            data = msgspec.json.decode(raw, type=RegistryData)
        except msgspec.DecodeError as error:
            raise ValueError(f"this is no registry: {error}") from error
        if data != self.vigil.core.engine.registry.data:
            key = f"file-{hashlib.blake2b(raw, digest_size=16).hexdigest()}-{self.vigil.journal.synced}"
            taken = self.vigil.change_registry(RegistryChange(key, "replace", FROM_FILE, data))
            try:
                taken.result(ANSWER_S)
            except TimeoutError:
                taken.add_done_callback(_log_refusal)
                raise

    def _save_registry(self, data: RegistryData, by: str) -> None:
        """A change that came over the API is written to the file, or the next start would undo it."""
        if by == FROM_FILE:
            return
        raw = msgspec.json.format(msgspec.json.encode(data))
        draft = self._registry_path.with_suffix(".tmp")
        draft.write_bytes(raw)
        self._seen[self._registry_path] = raw
        draft.replace(self._registry_path)

    def _apply_people(self, _: bytes) -> None:
        self._people = load_people(self._people_path)
        self.vigil.board.set_people(self._people)


def _log_refusal(taken: Future[Refusal | None]) -> None:
    if (error := taken.exception()) is not None:
        log.error("registry.json refused; the old one stays in force", why=str(error))


def _turn_interval_s(config: VigilConfig) -> float:
    parameters: Any = config.parameters
    return float(parameters.pressure_injury.turn_interval_s)
