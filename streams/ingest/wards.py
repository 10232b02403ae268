"""Finds the ward of a device, from the registries of all wards."""

from __future__ import annotations

from bisect import bisect_right
from typing import NamedTuple

from engine.registry import Binding, RegistryData


class _BindingPeriod(NamedTuple):
    from_ns: int
    to_ns: int
    ward: str


class Wards:
    """The ward of a device at a time. A ward is the key of the registry record that binds the device: that key determines the
    partition, and with it the only core that knows the device.
    """

    def __init__(self) -> None:
        self._bindings: dict[str, tuple[Binding, ...]] = {}
        self._periods: dict[str, list[_BindingPeriod]] = {}

    def set(self, ward: str, data: RegistryData | None) -> None:
        """Put the registry of a ward in force; None: the ward has been withdrawn."""
        bindings = data.bindings if data is not None else ()
        touched = {binding.device for binding in (*self._bindings.get(ward, ()), *bindings)}
        self._bindings[ward] = bindings
        if not bindings:
            del self._bindings[ward]
        fresh: dict[str, list[_BindingPeriod]] = {}
        for b in bindings:
            fresh.setdefault(b.device, []).append(_BindingPeriod(b.from_ns, b.to_ns, ward))
        for device in touched:
            periods = [period for period in self._periods.get(device, ()) if period.ward != ward]
            periods += fresh.get(device, ())
            if periods:
                self._periods[device] = sorted(periods)
            else:
                self._periods.pop(device, None)

    def of(self, device: str, t_ns: int, among: tuple[str, ...] = ()) -> str | None:
        """The ward of `device` at `t_ns`; when it is unbound then, the ward that had it last, or will have it first; None: no ward binds it.

        Two homes may use the same device id: the wards in `among` are preferred.
        """
        periods = self._periods.get(device)
        if periods is None:
            return None
        if len(periods) == 1:
            return periods[0].ward
        periods = [period for period in periods if period.ward in among] or periods
        index = bisect_right([period.from_ns for period in periods], t_ns) - 1
        if index < 0:
            return periods[0].ward
        # A binding in force is preferred to one that began later and has ended.
        return next((periods[i].ward for i in range(index, -1, -1) if t_ns < periods[i].to_ns), periods[index].ward)

    def bound(self, device: str, t_ns: int) -> bool:
        """Whether `device` is bound at `t_ns`."""
        return any(period.from_ns <= t_ns < period.to_ns for period in self._periods.get(device, ()))

    def known(self, ward: str) -> bool:
        """Whether there is a registry of `ward`."""
        return ward in self._bindings

    def __len__(self) -> int:
        return len(self._bindings)
