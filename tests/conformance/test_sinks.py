"""Every check on every registered sink, each against a real target. Registering a sink gets it the checks.

To leave one out takes an entry in LEFT_OUT with the reason; the check still runs and must fail, so a stale entry fails the suite.
A check of MAY_SKIP that has nothing to say about a sink is skipped with the reason; every other is executed for every sink.
"""

from __future__ import annotations

import inspect
import json
import logging
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from random import Random
from typing import Final

import pytest
from pydantic import SecretStr, TypeAdapter, ValidationError

from sinks.catalogue import SINKS, AnySinkConfig, build
from sinks.codec import decode, encode
from sinks.examples import item
from sinks.items import Item, ItemKind
from sinks.outcome import Accepted, Rejected, Retry
from streams.pipeline.assembly import TEXTS
from tests.conftest import missing_service
from tests.services import influx
from tests.services.sink_worker import kind_of
from tests.services.sinks import CASES, Case, InfluxCase, opened

ROOT: Final = Path(__file__).resolve().parents[2]
LEFT_OUT: Final[dict[tuple[str, str], str]] = {}
"""(check, sink) -> why this sink cannot pass it."""

MAY_SKIP: Final = {"test_a_kind_it_does_not_take_is_rejected", "test_no_secret_leaves_in_text"}
"""Checks of what not every sink has: kinds it does not take, secrets."""

REQUIRED: Final = 11
"""So many checks are executed for every sink at least."""

NEEDS: Final = {"influx": pytest.mark.services}
"""Sinks whose target is a service of its own."""

CONFIG: Final = TypeAdapter[AnySinkConfig](AnySinkConfig)


@pytest.fixture(scope="session")
def database(tmp_path_factory: pytest.TempPathFactory) -> Iterator[influx.Influx]:
    reason = influx.missing()
    if reason:
        missing_service(f"InfluxDB: {reason}")
    with influx.running(tmp_path_factory.mktemp("influx")) as running:
        yield running


@pytest.fixture(params=[pytest.param(type_, marks=NEEDS.get(type_, ())) for type_ in SINKS])
def case(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Case]:
    reason = LEFT_OUT.get((request.function.__name__, request.param))
    if reason:
        request.applymarker(pytest.mark.xfail(reason=reason, strict=True))
    if request.param == "influx":
        yield InfluxCase(request.getfixturevalue("database"))
    elif request.param not in CASES:
        pytest.fail(f"the sink {request.param} has no case: give it a real target in tests/services/sinks.py")
    else:
        with opened(request.param, tmp_path) as opened_case:
            yield opened_case


def examples(takes: frozenset[ItemKind], count: int = 3) -> list[Item]:
    return [item(kind, index) for kind in ItemKind if kind in takes for index in range(count)]


def ids(items: Sequence[Item]) -> list[str]:
    return sorted(one.id for one in items)


def test_every_registered_sink_has_a_case_and_no_entry_is_stale() -> None:
    assert set(SINKS) == {*CASES, "influx"}
    checks = {
        name: value for name, value in globals().items() if name.startswith("test_") and "case" in inspect.signature(value).parameters
    }
    assert [entry for entry in LEFT_OUT if entry[0] not in checks or entry[1] not in SINKS] == []
    assert set(checks) >= MAY_SKIP
    for name in SINKS:
        executed = [check for check in checks if check not in MAY_SKIP and (check, name) not in LEFT_OUT]
        assert len(executed) >= REQUIRED, f"{name} gets {len(executed)} checks, {REQUIRED} are required"
    ends_early = {name for name, check in checks.items() if re.search(r"\breturn\b|skip\(", inspect.getsource(check))}
    assert ends_early <= MAY_SKIP, "a check that is not executed says so, and only where MAY_SKIP allows it"


def test_accepts_and_stores_every_kind_it_takes(case: Case) -> None:
    sink = case.sink()
    assert sink.takes
    items = examples(sink.takes)
    assert [type(outcome) for outcome in sink.deliver(items)] == [Accepted] * len(items)
    sink.close()
    assert case.stored(items) == ids(items)


def test_an_item_read_back_from_the_spool_is_as_good(case: Case) -> None:
    sink = case.sink()
    items = examples(sink.takes)
    assert all(isinstance(outcome, Accepted) for outcome in sink.deliver([decode(encode(one)) for one in items]))
    sink.close()
    assert case.stored(items) == ids(items)


def test_a_repeat_does_not_double(case: Case) -> None:
    sink = case.sink()
    items = examples(sink.takes)
    for batch in (items, items[1:], [*items, *items]):
        assert all(isinstance(outcome, Accepted) for outcome in sink.deliver(batch))
    sink.close()
    assert case.stored(items) == ids(items)


def test_a_repeat_after_a_restart_does_not_double(case: Case) -> None:
    items: list[Item] = []
    for count in (2, 3, 4):
        sink = case.sink()  # the one before is abandoned, as a killed process leaves it
        items = examples(sink.takes, count)
        assert all(isinstance(outcome, Accepted) for outcome in sink.deliver(items))
    assert case.stored(items) == ids(items)


def test_answers_item_by_item(case: Case) -> None:
    sink = case.sink()
    good = examples(sink.takes)
    items = [one for pair in zip(good, bad(sink.takes, len(good)), strict=True) for one in pair]
    outcomes = sink.deliver(items)
    assert [type(outcome) for outcome in outcomes] == [Accepted, Rejected] * len(good)
    sink.close()
    assert case.stored(good) == ids(good)


def bad(takes: frozenset[ItemKind], count: int) -> list[Item]:
    """Items whose body is of another kind."""
    kinds = [kind for kind in ItemKind if kind in takes]
    wrong = item(ItemKind.AUDIT).body, item(ItemKind.ACCOUNT).body
    return [Item(kind, f"bad-{i}", wrong[kind is ItemKind.AUDIT]) for i, kind in enumerate([*kinds] * count) if i < count]


def test_a_bad_item_is_rejected_with_a_reason(case: Case) -> None:
    sink = case.sink()
    for one in bad(sink.takes, 3):
        (outcome,) = sink.deliver([one])
        assert isinstance(outcome, Rejected)
        assert len(outcome.why) > 10
    sink.close()


def test_a_kind_it_does_not_take_is_rejected(case: Case) -> None:
    sink = case.sink()
    foreign = [item(kind) for kind in ItemKind if kind not in sink.takes]
    outcomes = sink.deliver(foreign) if foreign else []
    sink.close()
    if not foreign:
        pytest.skip("it takes every kind")
    assert [type(outcome) for outcome in outcomes] == [Rejected] * len(foreign)
    assert case.stored([]) == []


def test_an_unreachable_target_means_retry_for_all(case: Case) -> None:
    sink = build(case.unreachable(), TEXTS)
    items = examples(sink.takes)
    for _ in range(2):
        outcomes = sink.deliver(items)
        assert [type(outcome) for outcome in outcomes] == [Retry] * len(items)
        assert isinstance(outcomes[0], Retry)
        assert outcomes[0].scope == "target"
        assert outcomes[0].why
    sink.close()


def test_closes_cleanly_and_more_than_once(case: Case) -> None:
    counts = []
    for _ in range(4):
        sink = case.sink()
        sink.deliver(examples(sink.takes))
        sink.close()
        sink.close()
        counts.append(open_files())
    assert max(counts[1:]) <= counts[0]


def open_files() -> int:
    """Files of this process, without the sockets of the test's own server."""
    links = [str(path.readlink()) for path in Path("/proc/self/fd").iterdir() if path.is_symlink()]
    return sum(not link.startswith(("socket:", "pipe:", "anon_inode:")) for link in links)


def test_no_secret_leaves_in_text(case: Case, caplog: pytest.LogCaptureFixture) -> None:
    fields = [name for name, value in case.config() if isinstance(value, SecretStr)]
    assert bool(fields) == bool(case.secrets), f"the case of {case.config().type} names the secrets of {fields}"
    if not fields:
        pytest.skip("it has no secret")
    caplog.set_level(logging.DEBUG)
    logging.getLogger("httpcore").setLevel(logging.INFO)
    said: list[str] = []
    for config in (case.config(), case.unreachable()):
        sink = build(config, TEXTS)
        said += [repr(sink), repr(config), str(config), config.model_dump_json()]
        said += [repr(outcome) for outcome in sink.deliver([*examples(sink.takes, 1), *bad(sink.takes, 1)])]
        sink.close()
    broken = {**case.config_json(), "no_such_field": 1}
    with pytest.raises(ValidationError) as refused:
        CONFIG.validate_python(broken)
    said += [str(refused.value), *(record.getMessage() for record in caplog.records if record.name != "urllib3")]
    for secret in case.secrets:
        assert not [text for text in said if secret in text]


def test_its_configuration_is_complete(case: Case) -> None:
    config = case.config()
    assert CONFIG.validate_python(case.config_json()) == config
    for name, field in type(config).model_fields.items():
        assert name == "type" or field.description, f"{config.type}.{name} has no description"
    assert type(build(config, TEXTS)) is SINKS[config.type].sink


def test_two_instances_share_no_file(case: Case) -> None:
    config = case.config()
    one, two = config.for_instance("one"), config.for_instance("two")
    assert config.for_instance("") == config
    paths = [name for name in type(config).model_fields if isinstance(getattr(config, name), Path)]
    for name in paths:
        assert getattr(one, name) != getattr(two, name), f"{config.type}.{name} is the same for two processes: override for_instance"
        assert getattr(config, name) not in {getattr(one, name), getattr(two, name)}
    assert paths or one == two == config, "nothing else than files may depend on the instance"


class Lives:
    """Processes that deliver, one after the other, each forked off one that has everything imported."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def one(self, config: Path, folder: Path, first: int, count: int, *, kill_at: int | None) -> int:
        """Run a life, killed once it has put item `kill_at` (None: to its end); the last item it says it put."""
        pipe = folder.with_name(f"{folder.name}-from-{first}")
        os.mkfifo(pipe)
        assert self._process.stdin is not None
        print(config, folder, first, count, "no" if kill_at else "yes", pipe, sep="\t", file=self._process.stdin, flush=True)
        put, last, killed = first - 1, "", False
        with pipe.open(encoding="utf-8") as said:
            pid = int(said.readline().split()[1])
            for line in said:
                # What it managed to put between our kill and its end was said as well: read it, so that nothing is put twice by us.
                last = line.strip()
                if line.startswith("put ") and line.endswith("\n"):
                    put = int(line.split()[1])
                if kill_at is not None and put >= kill_at and not killed:
                    os.kill(pid, signal.SIGKILL)
                    killed = True
        assert killed or last == "done", last
        return put


@pytest.fixture(scope="session")
def lives() -> Iterator[Lives]:
    command = [sys.executable, "-m", "tests.services.sink_worker"]
    process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    yield Lives(process)
    process.stdin.close()
    assert process.wait(30) == 0
    process.stdout.close()


@pytest.mark.slow
def test_kill_9_loses_nothing_and_doubles_nothing(case: Case, tmp_path: Path, lives: Lives) -> None:
    count, rng = 90, Random(7)
    config = tmp_path / "sink.json"
    config.write_text(json.dumps(case.config_json()))
    put = -1
    for stop in (rng.randint(5, 25), rng.randint(30, 55), rng.randint(60, 85)):
        put = lives.one(config, tmp_path / "spool", put + 1, count, kill_at=stop)
    lives.one(config, tmp_path / "spool", put + 1, count, kill_at=None)
    takes = build(case.config(), TEXTS).takes
    expected = [item(kind_of(takes, index), index) for index in range(count)]
    assert case.stored(expected) == ids(expected)
