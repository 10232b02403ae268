"""How a sink is declared: once, beside its class. What the rest of Vigil needs to know about a type of sink it asks here.

A module `sinks/<type>.py` holds the settings, the class and one `SINK = SinkSpec(…)`; `sinks/catalogue.py` names it in one line.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal, get_args, get_origin

from alerts.policy import is_canary
from alerts.texts import Texts
from engine.events import Event
from engine.outputs import Measurements
from sinks.contract import Identity, Sink, SinkConfig
from sinks.delivery.settings import DeliverySettings
from sinks.items import AlertChange, Item

Filter = Callable[[Item], bool]
"""Says which items a sink is not given."""


class Audience(StrEnum):
    """Who is behind a sink. It decides what the sink is given, so there is no default."""

    ON_CALL = "on_call"
    """People whom an item calls: a phone, a pager, a message."""
    DASHBOARD = "dashboard"
    """People who look: charts, lists, a screen on a wall."""
    MACHINES = "machines"
    """Archives and programs: everything stands in them, simulated wearers included."""

    @property
    def people(self) -> bool:
        """Whether people are behind it."""
        return self is not Audience.MACHINES


class Runs(StrEnum):
    """Where a sink may run."""

    EMBEDDED = "embedded"
    """In the process of `vigil run`."""
    BESIDE_WORKERS = "beside_workers"
    """As a process of its own that reads from Kafka (`vigil sink run`), several of them at once if wanted."""


@dataclass(frozen=True, kw_only=True)
class SinkSpec:
    """One type of sink. `audience` and `runs` have to be said: a forgotten one is a TypeError at import.

    `sink` is the class. It is called with its settings, and for an audience on call with the words for event codes (`Texts`)
    and the resolver of names (`Identity`) as well: a name leaves Vigil only where somebody is called.

    >>> class PagerConfig(SinkConfig):
    ...     type: Literal["pager"] = "pager"
    >>> pager = SinkSpec(settings=PagerConfig, sink=object, audience=Audience.ON_CALL, runs=frozenset(Runs))
    >>> pager.type, pager.audience.people, pager.delivery(DeliverySettings()).batch_max
    ('pager', True, 1)
    >>> SinkSpec(settings=PagerConfig, sink=object, runs=frozenset(Runs))
    Traceback (most recent call last):
      ...
    TypeError: SinkSpec.__init__() missing 1 required keyword-only argument: 'audience'
    """

    settings: type[SinkConfig]
    sink: Callable[..., Sink]
    audience: Audience
    runs: frozenset[Runs]

    def __post_init__(self) -> None:
        field = self.settings.model_fields["type"]
        if get_origin(field.annotation) is not Literal or get_args(field.annotation) != (field.default,):
            raise TypeError(f'{self.settings.__name__} must say `type: Literal["<type>"] = "<type>"`')
        if not self.runs:
            raise TypeError(f"{self.settings.__name__} may run nowhere: say where in `runs`")

    @property
    def type(self) -> str:
        """What a configuration calls it."""
        name: str = self.settings.model_fields["type"].default
        return name

    def build(self, config: SinkConfig, texts: Texts, identity: Identity | None = None) -> Sink:
        """A sink of this type. `texts` and `identity` go no further unless the sink calls people."""
        return self.sink(config, texts, identity) if self.audience is Audience.ON_CALL else self.sink(config)

    @property
    def leave_out(self) -> Filter:
        """The items that this sink is not given unless somebody asks for them: those about simulated wearers, where people are behind it.

        Nobody's phone is to ring for a simulated wearer, and no chart is to count one.
        """
        return is_about_canary if self.audience.people else nothing

    def delivery(self, settings: DeliverySettings) -> DeliverySettings:
        """`settings` with what follows from the audience where they say nothing: calls are made one at a time.

        So that a call is known to have been made before the next one is, whenever the process is killed.
        """
        if self.audience is Audience.ON_CALL and "batch_max" not in settings.model_fields_set:
            return settings.model_copy(update={"batch_max": 1})
        return settings


def is_about_canary(item: Item) -> bool:
    """Whether an alert, event or measurement is about simulated wearers (canaries) alone."""
    body = item.body
    if isinstance(body, AlertChange):
        return is_canary(body.alert.subject)
    if isinstance(body, Measurements):
        return bool(body.subjects) and all(is_canary(subject) for subject in body.subjects)
    return isinstance(body, Event) and is_canary(body.subject)


def nothing(_: Item) -> bool:
    """Leave nothing out."""
    return False
