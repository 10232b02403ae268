"""Every fault, in the order of the table."""

from __future__ import annotations

from typing import Final

from benchmarks.faults.clocks import CLOCKS, NUMBERS
from benchmarks.faults.fault import Fault
from benchmarks.faults.rates import RATES
from benchmarks.faults.transport import LIFE, NETWORK, PEOPLE
from benchmarks.faults.values import VALUES

_ALL: Final = (*CLOCKS, *NUMBERS, *RATES, *VALUES, *NETWORK, *LIFE, *PEOPLE)
GROUPS: Final = ("clock", "numbers", "rate", "values", "network", "life", "people")
FAULTS: Final[tuple[Fault, ...]] = tuple(sorted(_ALL, key=lambda fault: GROUPS.index(fault.group)))
FAULT_BY_NAME: Final = {fault.name: fault for fault in FAULTS}
