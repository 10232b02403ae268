"""What a carer reads: title and first step of every event, in both languages."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final, Literal

from engine.events import EventType, Text

Language = Literal["zh-CN", "en"]

LANGUAGES: Final[tuple[Language, ...]] = ("zh-CN", "en")

_UNKNOWN: Final[dict[Language, Text]] = {
    "zh-CN": Text("报警：{code}", "请立即查看，并告知技术人员此报警尚无说明。"),
    "en": Text("Alarm: {code}", "Go and look now, and tell the technician that this alarm has no description yet."),
}


class Texts:
    """The texts that `events` declare; iterating gives their codes."""

    def __init__(self, events: Iterable[EventType]) -> None:
        self._written: dict[str, dict[Language, Text]] = {event.code: {"zh-CN": event.zh, "en": event.en} for event in events}

    def __iter__(self) -> Iterator[str]:
        return iter(self._written)

    def of(self, code: str, language: Language) -> Text:
        """The text of `code`; a code nobody declared gets a general one that names it."""
        if code in self._written:
            return self._written[code][language]
        general = _UNKNOWN[language]
        return Text(general.title.format(code=code), general.what_to_do)


STATE_NAMES: Final[dict[str, tuple[str, str]]] = {
    "pending": ("确认中", "checking"),
    "firing": ("报警中", "firing"),
    "acknowledged": ("已确认", "acknowledged"),
    "stale": ("数据中断", "data missing"),
    "resolved": ("已结束", "resolved"),
}
"""State to (zh-CN, en)."""
