"""Measurements, events and alerts as points in InfluxDB 2 (or 1.8 and later through its v2 write API).

Point identity (measurement, tags, time) is the fact's own: a repeat overwrites itself. An alert is one point at its onset, whose
fields follow its state. InfluxDB drops the offending points of a write and stores the rest; a write that it answers so is cut in
halves until each item has its own answer, so that no loss is silent. Some versions answer 500 for a bad point and store nothing of
the write: that is cut in halves as well, and tells a bad point from a server that is down by what the server takes meanwhile.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any, Final, Literal

import urllib3
from pydantic import Field, SecretStr

from alerts.model import Alert
from engine.events import Event
from engine.outputs import Measurements
from sinks.contract import SinkConfig, redacted, refusal
from sinks.declaration import Audience, Runs, SinkSpec
from sinks.items import AlertChange, Item, ItemKind
from sinks.outcome import ACCEPTED, UNNEEDED, UNTRIED, Outcome, Rejected, Retry, Scope

_BAD_DATA: Final = frozenset({400, 413, 422})
"""Answers about the data: malformed or conflicting points, too many of them, points outside the retention period."""
_DATA_WORDS: Final = ("field type conflict", "partial write", "unable to parse")
"""What is about the data whatever the status says."""
_DOUBTFUL: Final = 500
_REFUSALS_MIN: Final = 4
"""Writes with an item that were answered 500, in one delivery and while others were taken, before the item is at fault: one or two may be chance."""
_DOWN_AFTER: Final = 3
"""Single items answered 500 while nothing at all was taken, after which it is the server."""
_WHY_MAX: Final = 300

_NAME_ESCAPES: Final = str.maketrans({",": r"\,", " ": r"\ "})
_TAG_ESCAPES: Final = str.maketrans({",": r"\,", " ": r"\ ", "=": r"\="})
_TEXT_ESCAPES: Final = str.maketrans({'"': r"\"", "\\": r"\\"})


class InfluxConfig(SinkConfig):
    """One bucket."""

    type: Literal["influx"] = "influx"
    url: SecretStr = Field(description="address of the server; secret, because it may carry a password")
    token: SecretStr = Field(description="API token that may write the bucket")
    org: str = Field(description="organisation", examples=["home"])
    bucket: str = Field(description="bucket (for InfluxDB 1.8: database/retention policy)", examples=["vigil"])
    timeout_s: float = Field(default=10.0, gt=0.0, le=120.0, description="seconds for one write")
    gzip: bool = Field(default=True, description="compress what is sent")
    ca_file: str | None = Field(default=None, description="certificate authority of a private server; verification is always on")


class InfluxSink:
    """Writes a batch in one request, and item by item where the server refuses a part of it. `line_protocol` says what a point looks like.

    >>> config = InfluxConfig(url=SecretStr("http://user:password@influx:8086"), token=SecretStr("t"), org="home", bucket="vigil")
    >>> sink = InfluxSink(config)  # connects with the first delivery
    >>> sink
    InfluxSink('http://influx:8086/…', bucket='vigil')
    >>> sink.close()
    """

    name = "influx"
    takes = frozenset({ItemKind.ALERT, ItemKind.EVENT, ItemKind.MEASUREMENTS})

    def __init__(self, config: InfluxConfig) -> None:
        # Imported here: the client takes about a second to import, which a home without InfluxDB need not spend.
        from influxdb_client import InfluxDBClient
        from influxdb_client.client.write_api import SYNCHRONOUS

        self._config = config
        extra = {"ssl_ca_cert": config.ca_file} if config.ca_file else {}
        self._client = InfluxDBClient(
            url=config.url.get_secret_value(),
            token=config.token.get_secret_value(),
            org=config.org,
            timeout=round(config.timeout_s * 1000),
            enable_gzip=config.gzip,
            retries=False,
            **extra,
        )
        self._api = self._client.write_api(write_options=SYNCHRONOUS)

    def __repr__(self) -> str:
        return f"InfluxSink({redacted(self._config.url.get_secret_value())!r}, bucket={self._config.bucket!r})"

    def deliver(self, items: Sequence[Item]) -> list[Outcome]:
        """Write all: one outcome an item. What cannot be a point is rejected before, what the server refuses is rejected with its words; a
        server that cannot be reached, is overloaded, fails on everything or does not know token or bucket is a retry.
        """
        outcomes: list[Outcome] = [refusal(item, self.takes) or ACCEPTED for item in items]
        wanted: list[tuple[int, list[str]]] = []
        for index, item in enumerate(items):
            if outcomes[index] is ACCEPTED:
                try:
                    wanted.append((index, list(line_protocol(item))))
                except ValueError as error:
                    outcomes[index] = Rejected(str(error))
        for index in (index for index, lines in wanted if not lines):
            outcomes[index] = UNNEEDED
        self._write([entry for entry in wanted if entry[1]], outcomes)
        return outcomes

    def close(self) -> None:
        """Close the connections."""
        self._api.close()
        self._client.close()

    def _write(self, wanted: list[tuple[int, list[str]]], outcomes: list[Outcome]) -> None:
        """Send `wanted`; halve it where the server objects. Once the server fails as a whole, the rest is not tried."""
        queue = [wanted] if wanted else []
        refusals = dict.fromkeys((index for index, _ in wanted), 0)
        doubtful: list[tuple[int, list[str]]] = []
        taken = False
        while queue:
            part = queue.pop(0)
            answer = self._send([line for _, lines in part for line in lines])
            objects = isinstance(answer, Rejected) or (isinstance(answer, Retry) and answer.scope == "doubtful")
            for index, _ in part:
                refusals[index] += objects
            if objects and len(part) > 1:
                middle = len(part) // 2
                queue[:0] = [part[:middle], part[middle:]]
                continue
            for index, _ in part:
                outcomes[index] = answer
            taken |= answer is ACCEPTED
            if isinstance(answer, Retry):
                doubtful += part
                if answer.scope == "doubtful" and (taken or len(doubtful) < _DOWN_AFTER):
                    continue
                outcomes[part[0][0]] = answer._replace(scope="target")
                for index in [index for index, _ in part[1:]] + [index for later in queue for index, _ in later]:
                    outcomes[index] = UNTRIED
                return
        if taken:
            for index, lines in doubtful:
                outcomes[index] = self._confirmed(outcomes[index], lines, refusals[index])

    def _confirmed(self, refused: Outcome, lines: list[str], refusals: int) -> Outcome:
        """What becomes of an item that was answered 500 `refusals` times while others were taken: it is asked for again, in case of chance."""
        while isinstance(refused, Retry) and refused.scope == "doubtful" and refusals < _REFUSALS_MIN:
            refused = self._send(lines)
            refusals += 1
        if isinstance(refused, Retry) and refused.scope == "doubtful":
            return Rejected(f"{refused.why} ({refusals} times, while others were accepted)")
        return refused

    def _send(self, lines: list[str]) -> Outcome:
        from influxdb_client.rest import ApiException

        try:
            self._api.write(self._config.bucket, self._config.org, "\n".join(lines), write_precision="ns")
        except ApiException as error:
            return self._judge(error)
        except (urllib3.exceptions.HTTPError, OSError) as error:
            return Retry(f"{type(error).__name__} at {redacted(self._config.url.get_secret_value())}")
        return ACCEPTED

    def _judge(self, error: Any) -> Outcome:
        words = " ".join(str(error.message or error.body or error.reason or "").split())[:_WHY_MAX]
        if error.status in _BAD_DATA or any(said in words for said in _DATA_WORDS):
            return Rejected(f"InfluxDB answered {error.status}: {words}")
        # 401, 403, 404: a wrong token or bucket is repaired in the configuration, the data is good: it waits.
        after = error.headers.get("Retry-After") if error.headers else None
        scope: Scope = "doubtful" if error.status == _DOUBTFUL and not after else "target"
        return Retry(f"InfluxDB answered {error.status}: {words}", float(after) if after and after.isdecimal() else None, scope)


def line_protocol(item: Item) -> Iterator[str]:
    """Line protocol of one item, times in nanoseconds since 1970 UTC; ValueError for text that it cannot carry.

    Measurements give a line for each subject with a value, an alert or event one line, other kinds none.

    >>> from sinks.examples import item
    >>> for line in line_protocol(item(ItemKind.MEASUREMENTS)):
    ...     print(line)
    vitals,subject=resident/r-1 heart_rate_bpm=71.5 1760000000000000000
    vitals,subject=resident/r-2 temperature_c=36.6 1760000000000000000
    """
    body = item.body
    if isinstance(body, Measurements):
        yield from _measurement_lines(body)
    elif isinstance(body, AlertChange):
        yield _alert_line(body.alert)
    elif isinstance(body, Event):
        yield _event_line(body)


def _measurement_lines(rows: Measurements) -> Iterator[str]:
    name = _plain(rows.name).translate(_NAME_ESCAPES)
    keys = [_plain(column).translate(_TAG_ESCAPES) for column in rows.columns]
    for subject, t_ns, values in zip(rows.subjects, rows.t_ns.tolist(), rows.values, strict=True):
        # str of a float32 is its shortest exact form: 36.6, not 36.599998474121094. Missing values leave no field, a missing row no point.
        fields = ",".join(f"{key}={value!s}" for key, value in zip(keys, values, strict=True) if not math.isnan(value))
        if fields:
            yield f"{name},subject={_tag(subject)} {fields} {t_ns}"


def _alert_line(alert: Alert) -> str:
    fields = {
        "id": alert.id,
        "state": alert.state.value,
        "priority": alert.priority,
        "repeats": alert.repeats,
        "sequence": alert.sequence,
        "arrival_ns": alert.arrival_ns,
        "decided_ns": alert.decided_ns,
        "changed_ns": alert.history[-1].at_ns if alert.history else alert.arrival_ns,
        "outcome": alert.outcome.value if alert.outcome else "",
    }
    return f"alerts,code={_tag(alert.code)},subject={_tag(alert.subject)} {_fields(fields)} {alert.onset_ns}"


def _event_line(event: Event) -> str:
    fields: dict[str, Any] = {
        "id": event.id,
        "priority": event.priority,
        "arrival_ns": event.arrival_ns,
        "decided_ns": event.decided_ns,
        "score": float(event.score),
        **{f"value_{key}": float(value) for key, value in event.values.items()},
    }
    device = f",device={_tag(event.device)}" if event.device else ""  # two devices of a subject may fall silent at the same instant
    tags = f"code={_tag(event.code)},detector={_tag(event.detector)}{device},phase={event.phase},subject={_tag(event.subject)}"
    return f"events,{tags} {_fields(fields)} {event.onset_ns}"


def _fields(fields: dict[str, Any]) -> str:
    parts = []
    for key, value in fields.items():
        name = _plain(key).translate(_TAG_ESCAPES)
        if isinstance(value, str):
            parts.append(f'{name}="{_plain(value, empty=True).translate(_TEXT_ESCAPES)}"')
        elif isinstance(value, int):
            parts.append(f"{name}={int(value)}i")
        elif math.isinf(value):
            raise ValueError(f"field {key} is infinite: only NaN may say missing")
        elif not math.isnan(value):
            parts.append(f"{name}={value!r}")
    return ",".join(parts)


def _tag(value: str) -> str:
    return _plain(value).translate(_TAG_ESCAPES)


def _plain(value: str, *, empty: bool = False) -> str:
    """`value` when line protocol can carry it (docs.influxdata.com, line protocol: no line breaks; a key or tag is not empty)."""
    if (not value and not empty) or not value.isprintable() or value.endswith("\\"):
        raise ValueError(f"text for InfluxDB must be printable, not empty and not end in a backslash, got {value!r}")
    return value


SINK: Final = SinkSpec(settings=InfluxConfig, sink=InfluxSink, audience=Audience.DASHBOARD, runs=frozenset(Runs))
