"""Who sends: gateways and devices by their bearer token, each held to its wards."""

from __future__ import annotations

import hashlib
import hmac
import re
from pathlib import Path
from typing import Final, NamedTuple

TOKEN_HASH: Final = re.compile(r"[0-9a-f]{64}")


class Sender(NamedTuple):
    """Somebody who may send. `wards` are all it may speak for, its own one first; None: any."""

    name: str
    wards: tuple[str, ...] | None

    def may(self, ward: str) -> bool:
        """Whether it may send what devices of `ward` measured."""
        return self.wards is None or ward in self.wards


ANYBODY: Final = Sender("", None)
"""Who has the shared token, or sends from this machine where none is asked for."""


def token_hash(token: str) -> str:
    """What is kept of a token: it is long and drawn by lot, so a plain hash cannot be turned back."""
    return hashlib.sha256(token.encode()).hexdigest()


def parse_tokens(text: str) -> dict[str, Sender]:
    """Senders by hash of their token; ValueError names the line that is none (never its content: it may be a token)."""
    found: dict[str, Sender] = {}
    for number, line in enumerate(text.splitlines(), 1):
        words = line.partition("#")[0].split()
        if not words:
            continue
        if len(words) < 2 or TOKEN_HASH.fullmatch(words[0]) is None:
            raise ValueError(
                f"line {number} of the tokens file must be `<sha256 of the token> <name> [ward ...]`: write it with `vigil ingest token`"
            )
        if words[0] in found:
            raise ValueError(f"line {number} of the tokens file repeats a token: give every gateway its own")
        found[words[0]] = Sender(words[1], tuple(words[2:]) or None)
    return found


class Senders:
    """Answers who has a token. `shared`: a token good for any ward; `path`: the file of single tokens."""

    def __init__(self, shared: str | None = None, path: Path | None = None) -> None:
        self._shared = shared
        self._path = path
        self._text = ""
        self._by_hash: dict[str, Sender] = {}
        self._by_name: dict[str, Sender] = {}
        if path is not None:
            self.reload()

    @property
    def guarded(self) -> bool:
        """Whether a token is asked for."""
        return self._shared is not None or self._path is not None

    def reload(self) -> bool:
        """Read the file again; whether it had changed. ValueError or OSError when it cannot be used: the old one stays in force."""
        if self._path is None:
            return False
        text = self._path.read_text(encoding="utf-8")
        if text == self._text:
            return False
        self._by_hash = parse_tokens(text)
        self._by_name = {sender.name: sender for sender in self._by_hash.values()}
        self._text = text
        return True

    def by_authorization(self, header: str) -> Sender | None:
        """Whose `Authorization` header that is; None: nobody's."""
        scheme, _, token = header.partition(" ")
        if scheme.lower() != "bearer" or not token:
            return None
        if self._shared is not None and hmac.compare_digest(token_hash(token), token_hash(self._shared)):
            return ANYBODY
        return self._by_hash.get(token_hash(token))

    def by_name(self, name: str) -> Sender:
        """The gateway that a broker has let in as `name`; one that nobody has listed may speak for no ward."""
        return self._by_name.get(name, Sender(name, ()))
