"""Gateways and devices, identified by their bearer token and restricted to their wards."""

from __future__ import annotations

import hashlib
import hmac
import re
from pathlib import Path
from typing import Final, NamedTuple

TOKEN_HASH: Final = re.compile(r"[0-9a-f]{64}")


class Sender(NamedTuple):
    """A gateway or device that may send. `wards`: those it may send for, its own first; None: any ward."""

    name: str
    wards: tuple[str, ...] | None

    def may_send_for(self, ward: str) -> bool:
        """Whether it may send data of devices of `ward`."""
        return self.wards is None or ward in self.wards


ANY_SENDER: Final = Sender("", None)
"""A sender with the shared token, or on this machine where no token is configured."""


def token_hash(token: str) -> str:
    """The stored form of a token. Tokens are long and random, so a plain hash cannot be reversed."""
    return hashlib.sha256(token.encode()).hexdigest()


def parse_tokens(text: str) -> dict[str, Sender]:
    """Senders by the hash of their token. ValueError names the malformed line, never its content: it may be a token."""
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
    """Looks senders up. `shared`: a token valid for any ward; `path`: the file of the gateways' own tokens."""

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
        """Whether a token is required."""
        return self._shared is not None or self._path is not None

    def reload(self) -> bool:
        """Read the file again; whether it had changed. ValueError or OSError when it cannot be used: the previous tokens stay valid."""
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
        """The sender with this `Authorization` header; None when the token is unknown."""
        scheme, _, token = header.partition(" ")
        if scheme.lower() != "bearer" or not token:
            return None
        if self._shared is not None and hmac.compare_digest(token_hash(token), token_hash(self._shared)):
            return ANY_SENDER
        return self._by_hash.get(token_hash(token))

    def by_name(self, name: str) -> Sender:
        """The gateway that the MQTT broker knows as `name`; one that is not in the tokens file may send for no ward."""
        return self._by_name.get(name, Sender(name, ()))
