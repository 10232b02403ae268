"""Events are facts, alerts are states: the pure machine that turns one into the other.

Time is arrival time: an event acts at its `arrival_ns`, a command at its `at_ns`, a tick at `now_ns`; the book's clock never goes
back. Missing data never resolves an alert (the one Prometheus rule turned round on purpose); an alert is never shed.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import msgspec

from alerts.commands import refusal
from alerts.missing import Missing, rests_on
from alerts.model import (
    NEVER_NS,
    Action,
    Alert,
    Command,
    Reason,
    Refusal,
    State,
    Transition,
    alert_id,
    onset_key,
)
from alerts.policy import CodePolicy, Policy, is_canary
from alerts.saved import BookSaved, Counters
from engine.events import Ends, Event
from engine.frame import NS_PER_S
from engine.technical import DEVICE_CODES, DEVICE_UNBOUND

SNAPSHOT_VERSION: Final = 1
_UNTRACKED: Final = "untracked"
"""Stands in `Alert.active` for onsets beyond the bound: no clear event ever matches it, so only staff end the alert."""


class AlertBook:
    """All alerts of a partition. Pure: the result depends on the policy and the sequence of calls alone."""

    def __init__(self, policy: Policy) -> None:
        self.policy = policy
        self.counters = Counters()
        self.now_ns = 0
        self._open: dict[str, Alert] = {}
        self._closed: dict[str, Alert] = {}
        self._seen: dict[str, None] = {}
        self._by_subject: dict[str, dict[str, None]] = {}
        self._missing = Missing()

    # -- input ------------------------------------------------------------------------------------------------------

    def apply(self, event: Event) -> list[Transition]:
        """Apply one event; the same event again changes nothing (within `seen_max` ids)."""
        if not self._first_time(event.id):
            self.counters.duplicates += 1
            return []
        self.counters.events += 1
        at_ns = self._advance(event.arrival_ns)
        if event.code == DEVICE_UNBOUND:
            return self._unbound(event, at_ns)
        done = self._clear(event, at_ns) if event.phase == "clear" else self._onset(event, at_ns)
        if event.code in DEVICE_CODES:
            done += self._silence(event, at_ns)
        return done

    def data(self, subject: str, source: str, at_ns: int, *, missing: bool) -> list[Transition]:
        """The data of a signal went missing although its device sends, or is back (`engine.outputs.DataChange`)."""
        at_ns = self._advance(at_ns)
        self._missing.note(subject, source, missing=missing)
        return self._lost(subject, source, at_ns) if missing else self._found(subject, source, at_ns)

    def command(self, command: Command) -> list[Transition] | Refusal:
        """Carry out a command of staff; a Refusal says why not. The same command id again changes nothing."""
        if f"c:{command.id}" in self._seen:
            self.counters.duplicates += 1
            return []
        refused = refusal(command, self._open.get(command.alert_id), self.policy, resolved=command.alert_id in self._closed)
        if refused is not None:
            self.counters.refusals += 1
            return refused
        self._first_time(f"c:{command.id}")
        at_ns = self._advance(command.at_ns)
        alert = self._open[command.alert_id]
        if command.action is Action.RESOLVE:
            alert = msgspec.structs.replace(alert, outcome=command.outcome)
            return [self._move(alert, State.RESOLVED, Reason.RESOLVED_BY_STAFF, at_ns, by=command)]
        acknowledgement = {} if alert.acknowledged else {"acknowledged_by": command.by}
        if command.action is Action.ATTEND:
            alert, reason = msgspec.structs.replace(alert, attended_by=command.by, **acknowledgement), Reason.ATTENDED_BY_STAFF
        else:
            alert, reason = msgspec.structs.replace(alert, **acknowledgement), Reason.ACKNOWLEDGED_BY_STAFF
        if alert.state is State.STALE:
            alert = msgspec.structs.replace(alert, resume=State.ACKNOWLEDGED)
            return [self._move(alert, State.STALE, reason, at_ns, by=command)]
        # A latched condition that is already gone was only waiting to be seen; its hold time starts now.
        if self.policy.of(alert.code).ends is Ends.LATCHED and not alert.present and alert.due_ns == NEVER_NS:
            alert = msgspec.structs.replace(alert, due_ns=self._hold_end(alert, at_ns))
        return [self._move(alert, State.ACKNOWLEDGED, reason, at_ns, by=command)]

    def tick(self, now_ns: int) -> list[Transition]:
        """Let time pass: pending conditions that held start to fire, cleared ones that stayed away are over."""
        self._advance(now_ns)
        due = sorted((alert.due_ns, alert.id) for alert in self._open.values() if alert.due_ns <= self.now_ns)
        done = []
        for _, key in due:
            alert = msgspec.structs.replace(self._open[key], due_ns=NEVER_NS)
            if alert.state is State.PENDING:
                done.append(self._move(alert, State.FIRING, Reason.HELD, self.now_ns))
            else:
                done.append(self._move(alert, State.RESOLVED, Reason.CLEARED, self.now_ns))
        return done

    # -- output -----------------------------------------------------------------------------------------------------

    def open(self) -> list[Alert]:
        """Every alert that is not resolved, most urgent first, then oldest."""
        return sorted(self._open.values(), key=lambda alert: (-alert.priority, alert.onset_ns, alert.id))

    def alert(self, key: str) -> Alert | None:
        """The alert with id `key`, open or recently resolved."""
        return self._open.get(key) or self._closed.get(key)

    def closed(self) -> list[Alert]:
        """The newest resolved alerts, oldest first, at most `closed_max`."""
        return list(self._closed.values())

    def snapshot(self) -> bytes:
        """The whole book as bytes; `restore` continues exactly as if nothing had happened."""
        missing = self._missing.saved()
        saved = BookSaved(SNAPSHOT_VERSION, self.now_ns, list(self._open.values()), self.closed(), list(self._seen), self.counters, missing)
        return msgspec.msgpack.encode(saved)

    def restore(self, data: bytes) -> None:
        """Continue from a snapshot; ValueError when it is damaged or of another version."""
        try:
            saved = msgspec.msgpack.decode(data, type=BookSaved)
        except msgspec.DecodeError as error:
            raise ValueError(f"this is no alert book snapshot ({error}): replay the events instead") from error
        if saved.version != SNAPSHOT_VERSION:
            raise ValueError(f"alert book snapshot has version {saved.version}, this reads {SNAPSHOT_VERSION}: replay the events instead")
        self.now_ns = saved.now_ns
        self.counters = saved.counters
        self._open = {alert.id: alert for alert in saved.open}
        self._closed = {alert.id: alert for alert in saved.closed}
        self._seen = dict.fromkeys(saved.seen)
        self._by_subject, self._missing = {}, Missing(saved.missing)
        for alert in saved.open:
            self._by_subject.setdefault(alert.subject, {})[alert.id] = None

    # -- events -----------------------------------------------------------------------------------------------------

    def _onset(self, event: Event, at_ns: int) -> list[Transition]:
        rules = self.policy.at(event.code, event.subject)
        if event.code not in self.policy.codes:
            self.counters.unknown_codes += 1
        alert = self._joined(event, rules, at_ns)
        if alert is not None:
            return self._repeat(alert, event, rules, at_ns)
        alert = Alert(
            id=alert_id(event),
            code=event.code,
            subject=event.subject,
            priority=max(int(rules.priority), event.priority) if rules.life_safety else int(rules.priority),
            life_safety=rules.life_safety,
            state=State.PENDING,
            onset_ns=event.onset_ns,
            arrival_ns=event.arrival_ns,
            decided_ns=event.decided_ns,
            last_onset_ns=event.onset_ns,
            last_at_ns=at_ns,
            score=event.score,
            values=event.values,
            repeats=0,
            sequence=0,
            event_ids=(event.id,),
            active=(onset_key(event),),
            history=(),
        )
        if rules.pending_s > 0:
            alert = msgspec.structs.replace(alert, due_ns=at_ns + _ns(rules.pending_s))
            return [self._move(alert, State.PENDING, Reason.ONSET, at_ns, event=event.id)]
        return [self._move(alert, State.FIRING, Reason.ONSET, at_ns, event=event.id)]

    def _joined(self, event: Event, rules: CodePolicy, at_ns: int) -> Alert | None:
        """The open alert that this onset belongs to, or None for a new one."""
        own = [alert for alert in self._of_subject(event.subject) if alert.code == event.code]
        if not own:
            return None
        newest = own[-1]
        waiting_to_clear = newest.state is not State.PENDING and newest.due_ns != NEVER_NS
        still_there = newest.present and rules.ends is not Ends.STAFF
        if still_there or waiting_to_clear or at_ns - newest.last_at_ns <= _ns(rules.regroup_s):
            return newest
        if len(own) >= self.policy.open_per_condition_max:
            self.counters.joined_at_bound += 1
            return newest
        return None

    def _repeat(self, alert: Alert, event: Event, rules: CodePolicy, at_ns: int) -> list[Transition]:
        # Deadly, or so long after the last that it is no echo of it: the alert rings again, also for those who acknowledged. An end that
        # was never reported (a device taken away) must not swallow the next case.
        news = rules.life_safety or at_ns - alert.last_at_ns > _ns(rules.regroup_s)
        back = self._back(alert, at_ns) if alert.state is State.STALE else []
        gone, alert = alert.device_gone, self._open[alert.id]
        if gone:
            active: tuple[str, ...] = (onset_key(event),)  # nobody is left to report the end of what the device taken away began
        elif len(alert.active) < self.policy.active_max:
            active = (*alert.active, onset_key(event))
        else:
            self.counters.onsets_untracked += 1
            active = (*(key for key in alert.active if key != _UNTRACKED), _UNTRACKED)
        alert = msgspec.structs.replace(
            alert,
            repeats=alert.repeats + 1,
            last_onset_ns=max(alert.last_onset_ns, event.onset_ns),
            last_at_ns=at_ns,
            score=event.score,
            values=event.values,
            priority=max(alert.priority, event.priority) if rules.life_safety else alert.priority,
            event_ids=(*alert.event_ids, event.id)[-self.policy.event_ids_max :],
            active=active,
            due_ns=alert.due_ns if alert.state is State.PENDING else NEVER_NS,
        )
        rings = news and alert.state is not State.PENDING
        state = State.FIRING if rings else alert.state
        return [*back, self._move(alert, state, Reason.REPEATED, at_ns, event=event.id, notify=rings)]

    def _clear(self, event: Event, at_ns: int) -> list[Transition]:
        ended = onset_key(event)
        alert = next((a for a in self._of_subject(event.subject) if a.code == event.code and ended in a.active), None)
        if alert is None:
            self.counters.clears_unmatched += 1
            return []
        gone = alert.device_gone  # another device's word for it does not end what this one began
        back = self._back(alert, at_ns) if alert.state is State.STALE and not gone else []
        alert = self._open[alert.id]
        active = tuple(key for key in alert.active if key != ended)
        alert = msgspec.structs.replace(alert, active=active, last_at_ns=at_ns)
        if active or gone:
            return [*back, self._move(alert, alert.state, Reason.CONDITION_CLEARED, at_ns, event=event.id, notify=False)]
        if alert.state is State.PENDING:
            return [*back, self._move(alert, State.RESOLVED, Reason.CLEARED_WHILE_PENDING, at_ns, event=event.id, notify=False)]
        rules = self.policy.of(alert.code)
        if rules.ends is Ends.CLEAR or (rules.ends is Ends.LATCHED and alert.acknowledged):
            if rules.hold_s == 0:
                return [*back, self._move(alert, State.RESOLVED, Reason.CLEARED, at_ns, event=event.id)]
            alert = msgspec.structs.replace(alert, due_ns=self._hold_end(alert, at_ns))
        return [*back, self._move(alert, alert.state, Reason.CONDITION_CLEARED, at_ns, event=event.id, notify=False)]

    def _silence(self, event: Event, at_ns: int) -> list[Transition]:
        """A device of the subject fell silent or is heard again: alerts that rest on its data become stale, or leave that state."""
        if event.phase == "onset":
            return self._lost(event.subject, event.device, at_ns, event.id)
        return self._found(event.subject, event.device, at_ns, event.id)

    def _lost(self, subject: str, source: str, at_ns: int, event: str = "") -> list[Transition]:
        own = self._of_subject(subject)
        return [self._stale(alert, event, at_ns) for alert in own if alert.state is not State.STALE and self._concerns(source, alert)]

    def _found(self, subject: str, source: str, at_ns: int, event: str = "") -> list[Transition]:
        own = list(self._of_subject(subject))
        silent = [alert for alert in own if alert.code in DEVICE_CODES]
        missing = [device for alert in silent for device in (("",) if _UNTRACKED in alert.active else alert.devices)]
        missing += self._missing.of(subject)
        return [
            step
            for alert in own
            if alert.state is State.STALE and not alert.device_gone and self._concerns(source, alert)
            if not any(self._concerns(device, alert) for device in missing)
            for step in self._back(alert, at_ns, event)
        ]

    def _unbound(self, event: Event, at_ns: int) -> list[Transition]:
        """A device of the subject was taken away: what it said can no longer be followed up, and that is told. Only a new onset or staff end this."""
        related = [alert for alert in self._of_subject(event.subject) if self._concerns(event.device, alert) and not alert.device_gone]
        return [self._stale(alert, event.id, at_ns, Reason.DEVICE_UNBOUND, note=event.device) for alert in related]

    def _concerns(self, source: str, alert: Alert) -> bool:
        return rests_on(self.policy.of(alert.code).data_kinds, source)

    def _stale(self, alert: Alert, event: str, at_ns: int, reason: Reason = Reason.DATA_MISSING, *, note: str = "") -> Transition:
        # The hold time of a cleared condition stops too: without data nobody knows that it stayed away.
        resume = alert.resume if alert.state is State.STALE else alert.state
        alert = msgspec.structs.replace(alert, resume=resume, due_ns=NEVER_NS)
        return self._move(alert, State.STALE, reason, at_ns, event=event, note=note)

    def _back(self, alert: Alert, at_ns: int, event: str = "") -> list[Transition]:
        """Leave `stale`: a pending condition or a hold time starts anew, because nobody saw what happened meanwhile."""
        state = alert.resume if alert.resume is not None else State.FIRING
        rules = self.policy.of(alert.code)
        due_ns = NEVER_NS
        if state is State.PENDING:
            due_ns = at_ns + _ns(rules.pending_s)
        elif not alert.present and (rules.ends is Ends.CLEAR or (rules.ends is Ends.LATCHED and state is State.ACKNOWLEDGED)):
            due_ns = self._hold_end(alert, at_ns)
        alert = msgspec.structs.replace(alert, resume=None, due_ns=due_ns)
        return [self._move(alert, state, Reason.DATA_RETURNED, at_ns, event=event, notify=state is not State.PENDING)]

    # -- bookkeeping ------------------------------------------------------------------------------------------------

    def _move(
        self,
        alert: Alert,
        state: State,
        reason: Reason,
        at_ns: int,
        *,
        event: str = "",
        by: Command | None = None,
        note: str = "",
        notify: bool | None = None,
    ) -> Transition:
        """Record one transition and store the alert where it now belongs. Pending alerts ring nowhere unless told otherwise; canaries' never."""
        rings = state is not State.PENDING if notify is None else notify
        step = Transition(
            id=f"{alert.id}-{alert.sequence}",
            alert_id=alert.id,
            sequence=alert.sequence,
            from_state=alert.state if alert.history else None,
            to_state=state,
            reason=reason,
            at_ns=at_ns,
            event_id=event,
            by=by.by if by else "",
            notify=rings and not is_canary(alert.subject),
            outcome=by.outcome if by else None,
            note=by.note if by else note,
        )
        history, dropped = self._bounded((*alert.history, step))
        self.counters.history_dropped += dropped
        resolved = state is State.RESOLVED
        alert = msgspec.structs.replace(
            alert,
            state=state,
            sequence=alert.sequence + 1,
            history=history,
            history_dropped=alert.history_dropped + dropped,
            resume=None if resolved else alert.resume,
            due_ns=NEVER_NS if resolved else alert.due_ns,
        )
        if resolved:
            self._close(alert)
        else:
            self._open[alert.id] = alert
            self._by_subject.setdefault(alert.subject, {})[alert.id] = None
        return step

    def _bounded(self, history: tuple[Transition, ...]) -> tuple[tuple[Transition, ...], int]:
        """At the bound leave out the oldest bookkeeping entry; who did what, and the newest, always stay."""
        if len(history) <= self.policy.history_max:
            return history, 0
        spare = {Reason.REPEATED, Reason.CONDITION_CLEARED, Reason.DATA_MISSING, Reason.DEVICE_UNBOUND, Reason.DATA_RETURNED}
        index = next((i for i, step in enumerate(history[:-1]) if step.reason in spare), 1)
        return history[:index] + history[index + 1 :], 1

    def _close(self, alert: Alert) -> None:
        self._open.pop(alert.id, None)
        own = self._by_subject.get(alert.subject, {})
        own.pop(alert.id, None)
        if not own:
            self._by_subject.pop(alert.subject, None)
        self._closed[alert.id] = alert
        while len(self._closed) > self.policy.closed_max:
            self._closed.pop(next(iter(self._closed)))
            self.counters.closed_dropped += 1

    def _of_subject(self, subject: str) -> Iterable[Alert]:
        """Open alerts of `subject`, oldest first."""
        return [self._open[key] for key in self._by_subject.get(subject, {})]

    def _hold_end(self, alert: Alert, at_ns: int) -> int:
        return at_ns + _ns(self.policy.of(alert.code).hold_s)

    def _advance(self, at_ns: int) -> int:
        self.now_ns = max(self.now_ns, at_ns)
        return self.now_ns

    def _first_time(self, key: str) -> bool:
        if key in self._seen:
            return False
        self._seen[key] = None
        if len(self._seen) > self.policy.seen_max:
            self._seen.pop(next(iter(self._seen)))
        return True


def _ns(seconds: float) -> int:
    return round(seconds * NS_PER_S)
