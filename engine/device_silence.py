"""device.silent: a bound stream has stopped, or is heard again. device.unbound: it is about somebody else."""

from __future__ import annotations

from engine.clocks import NEVER_NS
from engine.devices import Devices
from engine.events import Event, Phase, Priority, event_id
from engine.frame import NS_PER_S
from engine.technical import DEVICE_SILENT, DEVICE_UNBOUND


def device_silent(devices: Devices, s: int, now_ns: int, phase: Phase) -> Event | None:
    """The event for stream `s` of `devices` at `now_ns`; None when the stream is bound to nobody."""
    subject = devices.subject[s]
    if subject is None:
        return None
    device, kind = devices.names[s]
    onset, last_ns = int(devices.silent_since_ns[s]), int(devices.streams.next_ns[s])
    identity = event_id("device", DEVICE_SILENT.code, subject, onset, phase, f"{device}\x1f{kind}")
    values = {"last_sample_s": round((now_ns - (last_ns if last_ns != NEVER_NS else onset)) / NS_PER_S, 3)}
    priority = int(DEVICE_SILENT.priority)
    return Event(identity, "device", DEVICE_SILENT.code, subject, phase, priority, onset, now_ns, now_ns, 1.0, values, f"{device}:{kind}")


def device_unbound(subject: str, device: str, kind: str, now_ns: int) -> Event:
    """The fact that `device` is no longer about `subject` from `now_ns` on."""
    about = f"{device}:{kind}"
    identity = event_id("device", DEVICE_UNBOUND, subject, now_ns, "onset", about)
    return Event(identity, "device", DEVICE_UNBOUND, subject, "onset", int(Priority.INFORMATION), now_ns, now_ns, now_ns, 1.0, {}, about)
