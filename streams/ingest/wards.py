"""Which ward a device belongs to, from the registries of all wards."""

from __future__ import annotations

from bisect import bisect_right
from typing import NamedTuple

from engine.registry import Binding, RegistryData


class _Stay(NamedTuple):
    from_ns: int
    to_ns: int
    ward: str


class Wards:
    """Answers "whose core knows this device at that time". A ward is the key of the registry record that binds the device:
    that key chooses the partition, and with it the only core that can use the data.
    """

    def __init__(self) -> None:
        self._bindings: dict[str, tuple[Binding, ...]] = {}
        self._stays: dict[str, list[_Stay]] = {}

    def set(self, ward: str, data: RegistryData | None) -> None:
        """Put the registry of a ward in force; None: the ward has been withdrawn."""
        bindings = data.bindings if data is not None else ()
        touched = {binding.device for binding in (*self._bindings.get(ward, ()), *bindings)}
        self._bindings[ward] = bindings
        if not bindings:
            del self._bindings[ward]
        fresh: dict[str, list[_Stay]] = {}
        for b in bindings:
            fresh.setdefault(b.device, []).append(_Stay(b.from_ns, b.to_ns, ward))
        for device in touched:
            stays = [stay for stay in self._stays.get(device, ()) if stay.ward != ward]
            stays += fresh.get(device, ())
            if stays:
                self._stays[device] = sorted(stays)
            else:
                self._stays.pop(device, None)

    def of(self, device: str, t_ns: int, among: tuple[str, ...] = ()) -> str | None:
        """The ward of `device` at `t_ns`; where it is bound nowhere then, the one that had it last, or will have it; None: no ward knows it.

        Two homes may call a device the same: the wards in `among` go before others.
        """
        stays = self._stays.get(device)
        if stays is None:
            return None
        if len(stays) == 1:
            return stays[0].ward
        stays = [stay for stay in stays if stay.ward in among] or stays
        index = bisect_right([stay.from_ns for stay in stays], t_ns) - 1
        if index < 0:
            return stays[0].ward
        # One that is in force goes before one that began later and is over.
        return next((stays[i].ward for i in range(index, -1, -1) if t_ns < stays[i].to_ns), stays[index].ward)

    def bound(self, device: str, t_ns: int) -> bool:
        """Whether `device` is bound to somebody at `t_ns`."""
        return any(stay.from_ns <= t_ns < stay.to_ns for stay in self._stays.get(device, ()))

    def known(self, ward: str) -> bool:
        """Whether there is a registry of `ward`."""
        return ward in self._bindings

    def __len__(self) -> int:
        return len(self._bindings)
