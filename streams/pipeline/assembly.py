"""Detectors and models, built from one configuration; and every event that can be reported, with what is made from its declaration."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import chain
from typing import Any, ClassVar, Final

from pydantic import BaseModel, ConfigDict, Field, create_model

from alerts.events import EVENTS as OF_VIGIL
from alerts.policy import CodePolicy, Policy, declared_policies
from alerts.texts import Texts
from detectors.catalogue import DETECTORS
from engine.detector import Detector, Params
from engine.events import EventType
from engine.kinds import KINDS
from engine.technical import EVENTS as OF_ENGINE
from models.catalogue import MODELS

CLASSES: Final[tuple[type[Detector[Any, Any]], ...]] = (*DETECTORS, *MODELS)

_FIELDS: Final[dict[str, Any]] = {
    cls.spec.name: (cls.params_type, Field(default_factory=cls.params_type, description=(cls.__doc__ or "").splitlines()[0]))
    for cls in CLASSES
}

Parameters: type[BaseModel] = create_model("Parameters", __config__=ConfigDict(frozen=True, extra="forbid"), **_FIELDS)
"""Parameters of every detector and model, one section each, all optional."""


def declared_events(classes: Iterable[type[Detector[Any, Any]]]) -> tuple[EventType, ...]:
    """What `classes`, the engine and Vigil itself can report; ValueError when a code is declared twice."""
    of_classes = chain.from_iterable(cls.spec.events for cls in classes)
    events = (*of_classes, *OF_ENGINE, *OF_VIGIL)
    codes = [event.code for event in events]
    if len(set(codes)) != len(codes):
        raise ValueError(f"event codes declared twice: {sorted({code for code in codes if codes.count(code) > 1})}")
    return events


EVENTS: Final = declared_events(CLASSES)
EVENT_BY_CODE: Final[Mapping[str, EventType]] = {event.code: event for event in EVENTS}
DEFAULT_CODES: Final[Mapping[str, CodePolicy]] = declared_policies(EVENTS)
TEXTS: Final = Texts(EVENTS)
HEARD_BY_EVENT: Final = frozenset(
    event.code
    for cls in CLASSES
    if all(kind in KINDS and KINDS[kind].timing == "irregular" for kind in cls.spec.kinds)
    for event in cls.spec.events
)
"""Codes whose device measures nothing: the event itself is how it is heard from."""


class HomePolicy(Policy):
    """Policies by event code, and the bounds of the book."""

    declared: ClassVar[Mapping[str, CodePolicy]] = DEFAULT_CODES


def detectors(parameters: BaseModel | None = None, *, only: tuple[str, ...] = ()) -> list[Detector[Any, Any]]:
    """Fresh instances of everything registered (or of the names in `only`), with `parameters`."""
    known = {cls.spec.name for cls in CLASSES}
    if not set(only) <= known:
        raise ValueError(f"unknown detector {sorted(set(only) - known)}; there are {sorted(known)}")
    chosen = parameters if parameters is not None else Parameters()
    return [cls(_section(chosen, cls.spec.name)) for cls in CLASSES if not only or cls.spec.name in only]


def _section(parameters: BaseModel, name: str) -> Params:
    section = getattr(parameters, name)
    if not isinstance(section, Params):
        raise TypeError(f"parameters of {name} must be its Params, got {type(section).__name__}")
    return section
