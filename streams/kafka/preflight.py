"""Checks that a Kafka broker accepts a connection as configured, and says why not: Kafka's clients retry for ever without a reason."""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
import time
from typing import Final

from aiokafka import errors
from aiokafka.conn import create_conn

from streams.kafka.config import Connection

WAIT_S: Final = 30.0
"""How long brokers that do not answer are waited for: they may be starting at the same time as this process."""
ATTEMPT_S: Final = 5.0
"""A broker that takes longer to accept a connection counts as not answering."""
_PAUSE_S: Final = 0.5

_AUTHENTICATION: Final = (
    errors.SaslAuthenticationFailed,
    errors.AuthenticationFailedError,
    errors.UnsupportedSaslMechanismError,
    errors.IllegalSaslStateError,
)


class KafkaUnreachable(ConnectionError):
    """No broker accepts a connection as configured. The message is one sentence with what to do, and contains no secret."""


class _Refused(Exception):
    """A broker refuses the configuration: another attempt changes nothing."""


def ensure_reachable(connection: Connection, wait_s: float = WAIT_S) -> None:
    """Return once a broker has accepted a connection: host name, certificate, password. KafkaUnreachable at once when a broker refuses
    the configuration, and after `wait_s` (and at most one more attempt) when none answers. Blocks; not for use inside an event loop.
    """
    try:
        connection.tls()
    except OSError as error:
        raise KafkaUnreachable(f"kafka.connection.ca_file or cert_file cannot be used: {_reason(error)}") from error
    asyncio.run(_ensure_reachable(connection, time.monotonic() + wait_s))


async def _ensure_reachable(connection: Connection, give_up_s: float) -> None:
    quiet = logging.getLogger("aiokafka.conn")
    quiet.addFilter(_no_traceback)
    try:
        while True:
            unanswered, refused = [], []
            for address in connection.brokers.split(","):
                try:
                    await _try_broker(connection, address)
                except _Refused as error:
                    refused.append(f"Kafka at {address}: {error}")
                except (OSError, TimeoutError, errors.KafkaError) as error:
                    unanswered.append(f"{address} ({_reason(error)})")
                else:
                    return
            if refused:
                raise KafkaUnreachable("; ".join(refused))
            if time.monotonic() > give_up_s:
                raise KafkaUnreachable(
                    f"no broker of kafka.connection.brokers answers: {', '.join(unanswered)}: are they up, and do they speak "
                    f"{connection.security} there?"
                )
            await asyncio.sleep(_PAUSE_S)
    finally:
        quiet.removeFilter(_no_traceback)


async def _try_broker(connection: Connection, address: str) -> None:
    """Connect to a broker, authenticate, disconnect."""
    host, _, port = address.rpartition(":")
    arguments = connection.client()
    del arguments["bootstrap_servers"]
    try:
        greeted = await asyncio.wait_for(create_conn(host, int(port), request_timeout_ms=round(ATTEMPT_S * 1_000), **arguments), ATTEMPT_S)
    except ssl.SSLCertVerificationError as error:
        raise _Refused(
            f"its certificate is not accepted: {error.verify_message.rstrip('.')}: correct kafka.connection.ca_file, or the name in brokers"
        ) from None
    except errors.UnsupportedSaslMechanismError:
        raise _Refused(f"it does not offer {connection.mechanism}: correct kafka.connection.mechanism") from None
    except _AUTHENTICATION:
        raise _Refused(f"it refuses user {connection.username} with this password ({connection.mechanism})") from None
    except errors.KafkaConnectionError as error:
        if isinstance(error.__cause__, ssl.SSLError):  # TLS 1.3: the broker checks the client's certificate after the handshake
            raise _Refused(f"it refuses the client's certificate: {_reason(error.__cause__)}: correct kafka.connection.cert_file") from None
        raise
    greeted.close()


def _reason(error: BaseException) -> str:
    """Why, in a few words."""
    if isinstance(error, ssl.SSLError):
        return (error.reason or "no TLS").lower().replace("_", " ")
    if isinstance(error, socket.gaierror):
        return "there is no such host"
    if isinstance(error, ConnectionRefusedError):
        return "connection refused"
    if isinstance(error, TimeoutError):
        return f"no answer within {ATTEMPT_S:g} s"
    if isinstance(error, errors.KafkaError):
        return "it closed the connection"
    return error.strerror if isinstance(error, OSError) and error.strerror else type(error).__name__


def _no_traceback(record: logging.LogRecord) -> bool:
    return record.levelno < logging.ERROR
