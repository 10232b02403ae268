"""The console's languages: which one a browser gets, and the texts."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Final

import msgspec

from alerts.texts import LANGUAGES, Language, Texts
from engine.watch import BLIND_NAMES, HAZARD_NAMES
from streams.pipeline.assembly import TEXTS

FOLDER: Final = Path(__file__).parent / "locale"
FALLBACK: Final[Language] = "en"
COOKIE: Final = "vigil_lang"


@cache
def texts(language: Language, events: Texts = TEXTS) -> Mapping[str, str]:
    """Key -> text: the console's own, and what each event declares ("code.…" title, "do.…" first step)."""
    words = msgspec.json.decode((FOLDER / f"{language}.json").read_bytes(), type=dict[str, str])
    general = events.of("{code}", language)
    words |= {"code.unknown": general.title, "do.unknown": general.what_to_do}
    for code in events:
        title, what_to_do = events.of(code, language)
        words |= {f"code.{code}": title, f"do.{code}": what_to_do}
    at = 0 if language == "zh-CN" else 1
    words |= {f"hazard.{hazard}": name[at] for hazard, name in HAZARD_NAMES.items()}
    words |= {f"blind.{reason}": name[at] for reason, name in BLIND_NAMES.items()}
    return words


@cache
def encoded(language: Language) -> bytes:
    """`texts` as JSON."""
    return msgspec.json.encode(texts(language))


def accepted(header: str) -> Language:
    """The best of our languages for an Accept-Language header (RFC 9110, 12.5.4)."""
    wishes: list[tuple[float, int, str]] = []
    for position, part in enumerate(header.split(",")):
        tag, *options = (piece.strip() for piece in part.split(";"))
        quality = 1.0
        for option in options:
            if option.startswith("q="):
                try:
                    quality = float(option[2:])
                except ValueError:
                    quality = 0.0
        if tag and quality > 0:
            wishes.append((-quality, position, tag.lower()))
    for _, _, tag in sorted(wishes):
        for language in LANGUAGES:
            if tag.partition("-")[0] == language.partition("-")[0].lower():
                return language
    return FALLBACK


def choose(cookies: Mapping[str, str], query: Mapping[str, str], header: str) -> Language:
    """The language for a request: asked for in the address, chosen before, else what the browser prefers."""
    for wish in (query.get("lang", ""), cookies.get(COOKIE, "")):
        for language in LANGUAGES:
            if wish == language:
                return language
    return accepted(header)
