"""What a sink answers for each item of an attempt: accepted, rejected, or to be retried."""

from __future__ import annotations

from typing import Final, Literal, NamedTuple

Scope = Literal["target", "item", "doubtful", "untried"]


class Accepted(NamedTuple):
    """The target has it, durably."""


class Unneeded(Accepted):
    """Accepted without asking the target: it is told nothing of this item. Says nothing about the target."""


class Rejected(NamedTuple):
    """The target will never take this item; `why` is one sentence. The item becomes a dead letter."""

    why: str


class Retry(NamedTuple):
    """Not now: `why` is one sentence; `after_s` the seconds that the target asked to wait, None if it did not say.

    `scope` "target": nothing would have got through (unreachable, overloaded, misconfigured); "item": only this one failed;
    "doubtful": this item may be at fault, or the target as a whole; whether the target takes others decides (sinks.delivery.delivery);
    "untried": the target failed on an earlier item of the batch, and `why` says nothing about the target.
    """

    why: str
    after_s: float | None = None
    scope: Scope = "target"


Outcome = Accepted | Rejected | Retry

ACCEPTED: Final = Accepted()
UNNEEDED: Final = Unneeded()
UNTRIED: Final = Retry("not tried: the target failed on an earlier item", scope="untried")


def all_retry(first: Retry, count: int) -> list[Outcome]:
    """The outcomes of `count` items when the target failed as a whole: `first`, and the rest untried.

    >>> [outcome.scope for outcome in all_retry(Retry("connection refused"), 3)]
    ['target', 'untried', 'untried']
    """
    return [first, *[UNTRIED] * (count - 1)]
