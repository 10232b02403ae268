"""From the runner's thread to every browser, without one slow browser holding up anybody."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from typing import Final

MAILBOX_DEPTH: Final = 32
"""Patches kept for one browser. At about one a second this is half a minute of a stalled connection; then it gets a
fresh snapshot instead of the backlog."""
BROWSERS_MAX: Final = 256


class TooManyBrowsers(Exception):
    """Every place is taken; the browser tries again by itself."""


class Mailbox:
    """What waits for one browser. Filled from any thread, emptied on its event loop."""

    def __init__(self, owner: Broadcaster, depth: int) -> None:
        self._owner = owner
        self._depth = depth
        self._messages: deque[bytes] = deque()
        self._overflowed = False
        self._lock = threading.Lock()
        self._loop = asyncio.get_running_loop()
        self._wake = asyncio.Event()

    def put(self, message: bytes) -> None:
        """Add a message; at the bound the backlog is dropped and `take` will say so."""
        with self._lock:
            if len(self._messages) >= self._depth:
                self._messages.clear()
                self._overflowed = True
            if not self._overflowed:
                self._messages.append(message)
        self.wake()

    def reset(self) -> None:
        """Drop what waits and have `take` ask for a fresh snapshot."""
        with self._lock:
            self._messages.clear()
            self._overflowed = True
        self.wake()

    def wake(self) -> None:
        """Let `take` look again."""
        try:
            self._loop.call_soon_threadsafe(self._wake.set)
        except RuntimeError:  # its event loop ended between our look and the call; nobody reads this mailbox any more
            self._owner.leave(self)

    async def take(self, timeout_s: float) -> list[bytes] | None:
        """All that waits, [] after `timeout_s` of silence, None when messages were dropped: send a fresh snapshot."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._wake.wait()
        except TimeoutError:
            return []
        with self._lock:
            self._wake.clear()
            messages = list(self._messages)
            self._messages.clear()
            overflowed, self._overflowed = self._overflowed, False
        return None if overflowed else messages


class Broadcaster:
    """Copies each message to every mailbox. Thread-safe."""

    def __init__(self, depth: int = MAILBOX_DEPTH, browsers_max: int = BROWSERS_MAX) -> None:
        self._depth = depth
        self._browsers_max = browsers_max
        self._mailboxes: set[Mailbox] = set()
        self._lock = threading.Lock()
        self._closed = False

    @property
    def closed(self) -> bool:
        """Whether the process is going down: streams should end."""
        return self._closed

    def publish(self, message: bytes) -> None:
        """Hand `message` to every browser; never blocks."""
        with self._lock:
            mailboxes = list(self._mailboxes)
        for mailbox in mailboxes:
            mailbox.put(message)

    def reset(self) -> None:
        """Have every browser get a fresh snapshot."""
        with self._lock:
            mailboxes = list(self._mailboxes)
        for mailbox in mailboxes:
            mailbox.reset()

    def join(self) -> Mailbox:
        """A mailbox for a browser that has just connected; call on its event loop. Raises TooManyBrowsers."""
        with self._lock:
            if len(self._mailboxes) >= self._browsers_max:
                raise TooManyBrowsers(f"{self._browsers_max} browsers are connected already, which is the limit: close some")
            mailbox = Mailbox(self, self._depth)
            self._mailboxes.add(mailbox)
        return mailbox

    def leave(self, mailbox: Mailbox) -> None:
        """The browser has gone."""
        with self._lock:
            self._mailboxes.discard(mailbox)

    def open(self) -> None:
        """Let browsers join again after `close`."""
        self._closed = False

    def close(self) -> None:
        """End every stream, so that the server can stop."""
        self._closed = True
        with self._lock:
            mailboxes = list(self._mailboxes)
        for mailbox in mailboxes:
            mailbox.wake()

    def __len__(self) -> int:
        with self._lock:
            return len(self._mailboxes)
