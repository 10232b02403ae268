"""Which data is missing, and which alerts rest on it."""

from __future__ import annotations

from collections.abc import Iterable


def rests_on(kinds: frozenset[str] | None, source: str) -> bool:
    """Whether an alert whose policy names `kinds` rests on the data of `source`.

    `source`: "<device>:<kind>", "<device>:<kind>.<channel>", or "" when nobody knows. `kinds` holds kinds and channels ("vitals", "vitals.spo2_percent");
    None: on any; empty: on none.
    """
    if not kinds or not source:
        return kinds is None or bool(kinds)
    named = source.rpartition(":")[2]
    kind, _, channel = named.partition(".")
    return named in kinds or kind in kinds or (not channel and any(entry.startswith(f"{kind}.") for entry in kinds))


class Missing:
    """Signals without data although their device sends, by subject."""

    def __init__(self, saved: Iterable[tuple[str, str]] = ()) -> None:
        self._sources: dict[str, dict[str, None]] = {}
        for subject, source in saved:
            self.note(subject, source, missing=True)

    def note(self, subject: str, source: str, *, missing: bool) -> None:
        """The data of `source` went missing, or is back."""
        own = self._sources.setdefault(subject, {})
        if missing:
            own[source] = None
        else:
            own.pop(source, None)
        if not own:
            del self._sources[subject]

    def of(self, subject: str) -> list[str]:
        """What is missing of `subject`."""
        return list(self._sources.get(subject, ()))

    def saved(self) -> list[tuple[str, str]]:
        """For the snapshot."""
        return [(subject, source) for subject, sources in self._sources.items() for source in sources]
