"""Engine and alert book together: wire bytes, commands, registry and time in; events, transitions, measurements and refusals out.

A `Partition` (partition.py) feeds it record by record. Pure like the engine: no clock, no I/O.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Final, NamedTuple

import msgspec
from pydantic import BaseModel

from alerts.book import AlertBook
from alerts.model import Alert, Command, Refusal, Transition
from alerts.policy import CANARY_WARD_PREFIX, Policy, is_canary
from engine.clocks import AdmissionLimits
from engine.engine import Engine
from engine.outputs import Outputs
from engine.registry import Registry, RegistryData
from engine.technical import DEVICE_UNBOUND
from schemas.codec import Decoded, decode
from streams.pipeline.assembly import HomePolicy, detectors
from streams.pipeline.handovers import DIRECT, Handover, Mark, SecondTries

BATCHES_REMEMBERED: Final = 4096
"""Gateway batches whose repetition is recognised (a gateway repeats what was not acknowledged, at once)."""
STATE_VERSION: Final = 1
_LIMITS: Final = AdmissionLimits()


class CoreOutput(NamedTuple):
    """What came of one input: engine outputs, alert transitions each with its alert, and a refused command if any."""

    outputs: Outputs
    transitions: list[tuple[Transition, Alert]]
    refusals: list[Refusal]

    @classmethod
    def nothing(cls) -> CoreOutput:
        """A fresh, empty output to collect into."""
        return cls(Outputs.empty(), [], [])

    def add(self, other: CoreOutput) -> None:
        """Append `other`, in order."""
        self.outputs.add(other.outputs)
        self.transitions.extend(other.transitions)
        self.refusals.extend(other.refusals)


class _Saved(msgspec.Struct, array_like=True):
    version: int
    engine: bytes
    book: bytes
    batches: list[tuple[str, str, int, int]]
    messages: int
    repeated: int
    handovers: list[Mark] = []  # a snapshot of before has none


class Core:
    """Engine and alert book of one partition, fed with messages in the order in which they were received."""

    def __init__(self, parameters: BaseModel | None = None, registry: RegistryData | None = None, policy: Policy | None = None) -> None:
        self.engine = Engine(detectors(parameters), Registry(registry))
        self.book = AlertBook(policy if policy is not None else HomePolicy())
        self.messages = 0
        self.repeated = 0
        self._batches: dict[tuple[str, str, int, int], None] = {}
        self._second_tries = SecondTries()

    def telemetry(self, payload: bytes, arrival_ns: int, key: str = "", handover: Handover = DIRECT) -> CoreOutput:
        """Apply one wire message (JSON chunks or a ward batch). arrival_ns never goes back.

        A message with a `key`, a batch with a number, or a broker's second try at what was applied before is counted as repeated and
        nothing else.
        """
        output = self.advance(arrival_ns)
        self.messages += 1
        if key and self._is_repeat((key, hashlib.blake2b(payload, digest_size=16).hexdigest(), 0, 0)):
            return output
        if self._second_tries.is_one(handover, payload):
            self.repeated += 1
            return output
        decoded = decode(payload)
        # JSON chunks carry no batch number: their repeats are dropped per device.
        if is_numbered(decoded, arrival_ns) and self._is_repeat((decoded.ward, decoded.gateway, decoded.seq, decoded.sent_ns)):
            return output
        if decoded.rejects:
            output.outputs.add(self.engine.refuse(decoded.rejects, arrival_ns))
        if decoded.partly:
            self.engine.watching.take_out(decoded.partly, self.engine.registry, arrival_ns)
            output.outputs.rejects.extend(decoded.partly)  # their readings go on: nothing to account for
        for block in decoded.blocks:
            if handover.retained:
                block = block._replace(retained=True)  # noqa: PLW2901 - the same block, marked
            self._apply_events(self.engine.step(block, arrival_ns), output)
        return output

    def command(self, command: Command) -> CoreOutput:
        """Apply a command of staff."""
        output = self.advance(command.at_ns)
        done = self.book.command(command)
        if isinstance(done, Refusal):
            output.refusals.append(done)
        else:
            self._add_transitions(done, output)
        return output

    def set_registry(self, data: RegistryData, arrival_ns: int) -> CoreOutput:
        """Replace the registry; ValueError (and no change) when it contradicts itself.

        The output of `advance` is lost with that error: a caller who goes on after it calls `advance` first.
        """
        _refuse_canaries_elsewhere(data)
        output = self.advance(arrival_ns)
        self._apply_events(self.engine.set_registry(data, arrival_ns), output)
        return output

    def advance(self, now_ns: int) -> CoreOutput:
        """Let time pass up to `now_ns`: engine and book tick at the same whole seconds, whoever calls, however often."""
        output = CoreOutput.nothing()
        while (tick_ns := self.engine.next_tick_ns(now_ns)) is not None:
            self._apply_events(self.engine.advance(tick_ns), output)
            self._add_transitions(self.book.tick(tick_ns), output)
        return output

    def snapshot(self) -> bytes:
        """Everything, as bytes."""
        return msgspec.msgpack.encode(
            _Saved(
                STATE_VERSION,
                self.engine.snapshot(),
                self.book.snapshot(),
                list(self._batches),
                self.messages,
                self.repeated,
                self._second_tries.marks(),
            )
        )

    def restore(self, data: bytes) -> None:
        """Go on from a snapshot; ValueError when it does not fit this version."""
        try:
            saved = msgspec.msgpack.decode(data, type=_Saved)
        except msgspec.DecodeError as error:
            raise ValueError(f"this is no snapshot of this version ({error}): start cold and replay") from error
        if saved.version != STATE_VERSION:
            raise ValueError(f"snapshot v{saved.version} does not fit this version v{STATE_VERSION}: start cold and replay")
        self.engine.restore(saved.engine)
        self.book.restore(saved.book)
        self._batches = dict.fromkeys(saved.batches)
        self._second_tries = SecondTries(saved.handovers)
        self.messages, self.repeated = saved.messages, saved.repeated

    def _is_repeat(self, batch: tuple[str, str, int, int]) -> bool:
        if batch in self._batches:
            self.repeated += 1
            return True
        if len(self._batches) >= BATCHES_REMEMBERED:
            del self._batches[next(iter(self._batches))]
        self._batches[batch] = None
        return False

    def _apply_events(self, outputs: Outputs, output: CoreOutput) -> None:
        for event in outputs.events:
            self._add_transitions(self.book.apply(event), output)
        for change in outputs.data:
            self._add_transitions(self.book.data(change.subject, change.source, change.at_ns, missing=change.missing), output)
        # What only moves alerts is told by their transitions, and is no event for whoever counts events.
        outputs.events[:] = [event for event in outputs.events if event.code != DEVICE_UNBOUND]
        output.outputs.add(outputs)

    def _add_transitions(self, transitions: Iterable[Transition], output: CoreOutput) -> None:
        for transition in transitions:
            alert = self.book.alert(transition.alert_id)
            if alert is None:
                raise RuntimeError(f"transition {transition.id} has no alert: the book shed one, which it must never do")
            output.transitions.append((transition, alert))


def is_numbered(decoded: Decoded, arrival_ns: int) -> bool:
    """Whether a batch is known by its number and the gateway's clock. Without a possible clock the numbers of a gateway that starts again
    would be taken for those of before, and with the batch a press: then its chunks are told apart one by one."""
    return decoded.seq >= 0 and -_LIMITS.past_ns <= decoded.sent_ns - arrival_ns <= _LIMITS.future_ns


def _refuse_canaries_elsewhere(data: RegistryData) -> None:
    """A canary's alerts call nobody, so no device of a person may ever report about one."""
    for binding in data.bindings:
        if is_canary(binding.subject) and not binding.ward.startswith(CANARY_WARD_PREFIX):
            raise ValueError(f"device {binding.device} is bound to {binding.subject}, whose alerts call nobody: bind it to a resident")
    for assignment in data.assignments:
        if is_canary(assignment.resident):
            raise ValueError(f"{assignment.bed} is assigned to {assignment.resident}, whose alerts call nobody: assign it to a resident")
