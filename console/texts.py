"""The console's languages: which one a browser gets, and the texts."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Final

import msgspec

FOLDER: Final = Path(__file__).parent / "locale"
LANGUAGES: Final = ("zh-CN", "en")
FALLBACK: Final = "en"
COOKIE: Final = "vigil_lang"


@cache
def raw(language: str) -> bytes:
    """The texts of a language as JSON bytes; KeyError when we do not speak it."""
    if language not in LANGUAGES:
        raise KeyError(f"language {language!r} is not one of {LANGUAGES}")
    return (FOLDER / f"{language}.json").read_bytes()


@cache
def texts(language: str) -> Mapping[str, str]:
    """Key -> text."""
    return msgspec.json.decode(raw(language), type=dict[str, str])


def accepted(header: str) -> str:
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


def choose(cookies: Mapping[str, str], query: Mapping[str, str], header: str) -> str:
    """The language for a request: asked for in the address, chosen before, else what the browser prefers."""
    for wish in (query.get("lang", ""), cookies.get(COOKIE, "")):
        if wish in LANGUAGES:
            return wish
    return accepted(header)
