"""The event that Vigil raises about itself. It is declared here, and not where it is raised, so that every process knows it."""

from __future__ import annotations

from typing import Final

from engine.events import Ends, EventType, Priority, Scoring, Subject, Text

CANARY_MISSING: Final = "technical.canary_missing"
"""A simulated fall was not reported in time."""

EVENTS: Final = (
    EventType(
        CANARY_MISSING,
        description="A simulated fall was not reported in time: real ones may not be either.",
        priority=Priority.HIGH,
        life_safety=False,
        # Latched: that Vigil was blind must be seen by a person even when it sees again. Partitions that go blind one after the other
        # are one call; one that follows after two minutes calls again.
        ends=Ends.LATCHED,
        regroup_s=120.0,
        hold_s=0.0,
        data_kinds=frozenset(),
        subject=Subject.VIGIL,
        zh=Text(
            "Vigil没有报告试验性跌倒",
            "跌倒、心率、压疮、火灾报警可能都不再发出。请立即增加巡视，亲自查看老人，并呼叫技术人员；恢复后由一人确认。",
        ),
        en=Text(
            "Vigil missed its test fall",
            "Falls, hearts, bedsores and fire may be unwatched now. Start rounds, see the residents yourself, call the technician; once it works again, one person acknowledges.",
        ),
        scoring=Scoring(technical=True),
    ),
)
