"""One form for everything a process logs: a line of JSON on stderr; in a terminal, text."""

from __future__ import annotations

import io
import logging
import sys
from typing import Any, Final, TextIO, cast

import structlog

_SHARED: Final[list[Any]] = [structlog.processors.add_log_level, structlog.processors.TimeStamper(fmt="iso")]


class _Stderr(io.TextIOBase):
    """stderr as it is when something is written: whoever replaces it later, and closes what it was, still hears."""

    def write(self, text: str) -> int:
        return sys.stderr.write(text)

    def flush(self) -> None:
        sys.stderr.flush()


def configure(level: int = logging.INFO, libraries: int = logging.WARNING) -> None:
    """Vigil's own log from `level` on, and the standard library's, in which Faust, aiokafka and httpx speak, from `libraries` on.

    Tracebacks are plain: the pretty ones print local variables, and those are people's data.
    """
    terminal, stderr = sys.stderr.isatty(), cast("TextIO", _Stderr())
    last: Any = (
        structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)
        if terminal
        else structlog.processors.JSONRenderer(ensure_ascii=False)
    )
    before = [] if terminal else [structlog.processors.format_exc_info]
    structlog.configure(
        processors=[*_SHARED, *before, last],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(stderr),
    )
    handler = logging.StreamHandler(stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*_SHARED, structlog.stdlib.ExtraAdder(allow=()), structlog.stdlib.add_logger_name],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *before, last],
        )
    )
    logging.root.handlers[:] = [handler]
    logging.root.setLevel(libraries)
