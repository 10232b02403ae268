"""What the console asks of the embedded Vigil."""

from __future__ import annotations

import asyncio
import importlib.metadata
from collections.abc import Container
from concurrent.futures import Future
from typing import Final

import msgspec

from alerts.model import Alert, Command, Refusal
from console.backend import (
    NS_PER_MS,
    BindCommand,
    Board,
    CommandResult,
    DeviceAccount,
    Health,
    QuarantineCount,
    SystemView,
    Totals,
    UnboundDevice,
    alert_view,
)
from console.backend import Delivery as DeliveryView
from console.live import Broadcaster
from engine.registry import Binding
from streams.embedded.vigil import ANSWER_S, Vigil
from streams.intake.mqtt import SourceStatus
from streams.pipeline.registry_change import RegistryChange
from streams.storage.journal import JournalError

SYSTEM_EVERY_S: Final = 1.0
"""The system page is at most this old; it is put together once for all who look."""
DEVICES_SHOWN_MAX: Final = 2_000
CALLED_WITHIN_S: Final = 120.0
"""An alert that has waited longer for a sink that calls people makes /healthz fail: a receiver may be restarted, but not be away unnoticed."""


class Backend:
    """Implements console.backend.ConsoleBackend. `on_call`: names of the sinks that call people."""

    def __init__(self, vigil: Vigil, on_call: Container[str] = ()) -> None:
        self._vigil, self._on_call = vigil, on_call
        self._version = importlib.metadata.version("vigil-care")
        self._system: tuple[float, SystemView] | None = None
        self.sources: list[SourceStatus] = []

    @property
    def live(self) -> Broadcaster:
        """See ConsoleBackend."""
        return self._vigil.board.live

    def board(self) -> Board:
        """See ConsoleBackend."""
        return self._vigil.board.board(self._vigil.clock() // NS_PER_MS)

    def alert(self, alert_id: str) -> Alert | None:
        """See ConsoleBackend."""
        return self._vigil.core.book.alert(alert_id)

    async def command(self, command: Command) -> CommandResult:
        """See ConsoleBackend."""
        result = await _answered(self._vigil.command(command))
        alert = self.alert(command.alert_id)
        return msgspec.structs.replace(result, alert=alert_view(alert) if alert is not None else None)

    async def bind(self, command: BindCommand) -> CommandResult:
        """See ConsoleBackend."""
        change = RegistryChange(
            id=f"bind-{command.device}-{command.at_ns}",
            action="bind",
            by=command.by,
            binding=Binding(command.device, command.subject, "", command.site),
        )
        return await _answered(self._vigil.change_registry(change))

    def system(self) -> SystemView:
        """See ConsoleBackend."""
        now_s = asyncio.get_running_loop().time()
        if self._system is None or now_s - self._system[0] > SYSTEM_EVERY_S:
            self._system = (now_s, self._view())
        return self._system[1]

    def _view(self) -> SystemView:
        vigil = self._vigil
        now_ms = vigil.clock() // NS_PER_MS
        totals, sources, unbound = vigil.statistics
        processed, duplicate, late, quarantined = totals
        devices = [
            DeviceAccount(
                account.device,
                account.kind,
                subject,
                Totals(account.received, account.processed, account.duplicate, account.late, account.quarantined),
                None if heard_ns is None else heard_ns // NS_PER_MS,
                no_value,
            )
            for account, subject, heard_ns, no_value in sources[:DEVICES_SHOWN_MAX]
        ]
        quarantine = [
            QuarantineCount(reason, int(entry[0]), int(entry[1]) // NS_PER_MS, str(entry[2]), str(entry[3]))
            for reason, entry in list(vigil.rejected.items())
        ]
        registry = vigil.core.engine.registry
        strangers = [
            UnboundDevice(u.device, u.kinds, u.readings, u.first_ns // NS_PER_MS, u.last_ns // NS_PER_MS)
            for u in unbound
            if not registry.knows(u.device)
        ]
        return SystemView(
            now_ms=now_ms,
            started_ms=vigil.started_ns // NS_PER_MS,
            engine_ms=vigil.board.board(now_ms).engine_ms,
            version=self._version,
            totals=Totals(processed + duplicate + late + quarantined, processed, duplicate, late, quarantined),
            devices=devices,
            quarantine=quarantine,
            unbound=strangers,
            deliveries=[*self._deliveries(now_ms), *(DeliveryView(s.name, "source", s.health, detail=s.detail) for s in self.sources)],
        )

    def _deliveries(self, now_ms: int) -> list[DeliveryView]:
        views = []
        journal = self._vigil.journal
        lag = self._vigil.lag
        state: Health = "down" if journal.error is not None or not self._vigil.running else "waiting" if lag > 1_000 else "ok"
        detail = "; ".join(filter(None, [str(journal.error or self._vigil.error or ""), journal.clock_fault, journal.damage]))
        views.append(DeliveryView("journal", "source", state, waiting=lag, detail=detail))
        for delivery in self._vigil.deliveries:
            statistics = delivery.statistics()
            lost = statistics.given_up
            health: Health = "down" if statistics.failures > 2 or lost.open else "waiting" if statistics.failures else "ok"
            ago_s = statistics.since_accepted_s
            failing = statistics.last_error if statistics.failures else ""
            views.append(
                DeliveryView(
                    delivery.name,
                    "sink",
                    health,
                    waiting=statistics.queued,
                    given_up=max(statistics.dead, lost.open),
                    last_ok_ms=None if ago_s is None else now_ms - round(ago_s * 1000),
                    detail="; ".join(filter(None, [lost.sentence(), failing])),
                    undelivered=lost.open,
                    overdue=delivery.name in self._on_call and statistics.oldest_alert_s > CALLED_WITHIN_S,
                )
            )
        return views


async def _answered(future: Future[Refusal | None]) -> CommandResult:
    try:
        refusal = await asyncio.wait_for(asyncio.wrap_future(future), ANSWER_S)
    except TimeoutError:
        return CommandResult(False, "Vigil is busy catching up; the command is stored and will be carried out")
    except (ValueError, JournalError) as error:
        return CommandResult(False, str(error))
    return CommandResult(True) if refusal is None else CommandResult(False, refusal.reason)
