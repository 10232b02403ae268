"""Checks a class is excused from: (class name, check) -> why. An entry whose check passes fails the suite."""

from __future__ import annotations

EXEMPT: dict[tuple[str, str], str] = {}
