"""The contract of a sink: one attempt, item by item. Queue, spool, retry and dead letters are in `sinks/delivery/`, once for all sinks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol, Self
from urllib.parse import urlsplit

import numpy as np
from pydantic import BaseModel, ConfigDict

from engine.outputs import Measurements
from sinks.items import BODIES, Item, ItemKind
from sinks.outcome import Outcome, Rejected

Identity = Callable[[str], Mapping[str, str]]
"""From a subject's pseudonym to what staff may read about it (name, room, bed). The only way a name gets into a message."""


class Sink(Protocol):
    """One attempt, item by item. Not thread-safe: one delivery owns it. It never retries, sleeps between attempts, or logs secrets."""

    @property
    def name(self) -> str:
        """Name for folders, metrics and logs: the same for the same target across restarts."""

    @property
    def takes(self) -> frozenset[ItemKind]:
        """The kinds of item it stores or sends."""

    def deliver(self, items: Sequence[Item]) -> list[Outcome]:
        """Try to deliver `items` in order; one Outcome each, same order. Repeating an accepted item must not double it.

        Whatever the target does is an outcome, not an exception; one that escapes all the same is taken as a retry of the whole batch.
        """

    def close(self) -> None:
        """Release files and connections; afterwards `deliver` is not called."""


class SinkConfig(BaseModel):
    """What the settings of every sink share. `type` is a Literal with a default in each: it is how a configuration chooses the sink."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    type: str

    def for_instance(self, instance: str) -> Self:  # noqa: ARG002 - for those that write files
        """The same settings with files of their own for the process called `instance`: two processes that write one file corrupt it."""
        return self


def refusal(item: Item, takes: frozenset[ItemKind]) -> Rejected | None:
    """Why `item` cannot be for a sink that takes `takes`; None when it can.

    >>> from sinks.examples import item
    >>> refusal(item(ItemKind.EVENT), frozenset({ItemKind.ALERT})).why
    "an item of kind event came to a sink that takes ['alert']: route it elsewhere"
    """
    if item.kind not in takes:
        return Rejected(f"an item of kind {item.kind.value} came to a sink that takes {sorted(map(str, takes))}: route it elsewhere")
    wanted = BODIES[item.kind]
    if not isinstance(item.body, wanted):
        return Rejected(f"the body of a {item.kind.value} item must be {wanted.__name__}, got {type(item.body).__name__}")
    if isinstance(item.body, Measurements):
        shape = (len(item.body.subjects), len(item.body.columns))
        if item.body.values.shape != shape or item.body.t_ns.shape != shape[:1]:
            return Rejected(
                f"measurements {item.body.name} need values {shape} and t_ns {shape[:1]}, got {item.body.values.shape} and {item.body.t_ns.shape}"
            )
        if np.isinf(item.body.values).any():
            return Rejected(f"measurements {item.body.name} hold infinity: only NaN may say missing")
    return None


def redacted(url: str) -> str:
    """`url` without what may be secret: user, password, path, query.

    >>> redacted("https://user:password@hook.example:8443/token?key=1")
    'https://hook.example:8443/…'
    """
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.hostname or '?'}{f':{parts.port}' if parts.port else ''}/…"
