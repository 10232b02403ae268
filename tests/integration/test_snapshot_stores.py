"""Every place for snapshots keeps the same promises: a folder, and an S3 server that demands signatures."""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import random
import resource
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final, NamedTuple

import pytest
from structlog.testing import capture_logs

from streams.storage.snapshots import KEPT, DirectoryStore, Snapshot, SnapshotStore
from streams.storage.snapshots_s3 import S3Config, S3Store
from tests.conftest import missing_service
from tests.services import s3

KILLS: Final = 4
TIMEOUT_S: Final = 0.3
DEADLINE_S: Final = 1.5
HANG_DEADLINE_S: Final = 60.0
SLACK_S: Final = 20.0
"""A machine may be busy; what is proved is that nobody waits for as long as the other side likes, which is minutes."""
PATIENCE_S: Final = 60.0
"""What must come, comes by then on the slowest machine."""
PROCESSES: Final = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload([__name__])  # imported once, forked for each life


class Place(NamedTuple):
    """A place for snapshots: `where` opens it, in this process or another; `folder` is where its bytes lie."""

    where: Path | S3Config
    folder: Path

    def open(self) -> SnapshotStore:
        return opened(self.where)

    def files(self, partition: int) -> list[Path]:
        """The stored snapshots, the newest first."""
        return sorted((self.folder / f"{partition:05d}").glob("*.snap"), reverse=True)


def opened(where: Path | S3Config) -> SnapshotStore:
    return S3Store(where) if isinstance(where, S3Config) else DirectoryStore(where)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[s3.S3Server]:
    if (why := s3.missing()) is not None:
        missing_service(why)
    with s3.running(tmp_path_factory.mktemp("s3")) as running:
        yield running


@pytest.fixture(params=["directory", pytest.param("s3", marks=pytest.mark.services)])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    if request.param == "directory":
        return Place(tmp_path / "snapshots", tmp_path / "snapshots")
    running: s3.S3Server = request.getfixturevalue("server")
    prefix = f"homes/{tmp_path.name}"
    return Place(running.config(prefix=prefix), running.data / s3.BUCKET / prefix)


def offsets(store: SnapshotStore, partition: int = 7) -> list[tuple[int, int]]:
    return [(found.epoch, found.next_offset) for found in store.newest_first(partition)]


def test_the_newest_comes_first_and_partitions_are_apart(place: Place) -> None:
    store = place.open()
    assert (offsets(store), store.newest_epoch(7)) == ([], 0)
    for epoch, offset in ((1, 5), (2, 3), (1, 900)):
        store.put(7, Snapshot(epoch, offset, b"%d-%d" % (epoch, offset)))
    assert list(place.open().newest_first(7)) == [Snapshot(2, 3, b"2-3"), Snapshot(1, 900, b"1-900"), Snapshot(1, 5, b"1-5")]
    assert (store.newest_epoch(7), store.newest_epoch(8), offsets(store, 8), offsets(store, 70)) == (2, 0, [], [])


def test_only_the_newest_are_kept(place: Place) -> None:
    store = place.open()
    for offset in range(10, 10 + 2 * KEPT):
        store.put(7, Snapshot(1, offset, bytes(offset)))
    assert offsets(store) == [(1, 10 + 2 * KEPT - 1 - age) for age in range(KEPT)]
    assert len(place.files(7)) == KEPT


def test_a_late_writer_of_an_older_epoch_does_not_win(place: Place) -> None:
    owner, late = place.open(), place.open()
    late.put(7, Snapshot(4, 100, b"late"))
    for offset in range(50, 50 + KEPT):
        owner.put(7, Snapshot(5, offset, b"owner"))
    late.put(7, Snapshot(4, 10**9, b"late, much later"))
    assert offsets(owner) == [(5, 50 + KEPT - 1 - age) for age in range(KEPT)]
    assert owner.newest_epoch(7) == 5


@pytest.mark.parametrize("damage", ["flipped", "cut", "empty"])
def test_a_damaged_snapshot_is_passed_over_and_said(place: Place, damage: str) -> None:
    store = place.open()
    for offset in (1, 2):
        store.put(7, Snapshot(1, offset, b"state" * offset))
    newest = place.files(7)[0]
    raw = newest.read_bytes()
    newest.write_bytes({"flipped": raw[:-1] + b"!", "cut": raw[:-1], "empty": b""}[damage])
    with capture_logs() as said:
        assert list(store.newest_first(7)) == [Snapshot(1, 1, b"state")]
    assert [(line["event"], line["name"]) for line in said] == [("damaged snapshot ignored", newest.name)]
    assert store.newest_epoch(7) == 1
    store.put(7, Snapshot(2, 2, b"new"))
    assert offsets(store) == [(2, 2), (1, 1)]


def test_the_same_snapshot_stored_twice_is_one(place: Place) -> None:
    for _ in range(2):
        place.open().put(7, Snapshot(3, 3, b"same"))
    assert list(place.open().newest_first(7)) == [Snapshot(3, 3, b"same")]


def test_a_note_is_kept_replaced_and_forgotten(place: Place) -> None:
    store = place.open()
    store.set_note(7, None)
    assert store.note(7) is None
    store.set_note(7, "first")
    store.set_note(7, "offset 17, 老人院")
    assert (place.open().note(7), store.note(8), offsets(store), store.newest_epoch(7)) == ("offset 17, 老人院", None, [], 0)
    store.set_note(7, None)
    assert store.note(7) is None


def test_a_ward_of_forty_megabytes(place: Place) -> None:
    state = random.Random(1).randbytes(40_000_000)
    store = place.open()
    store.put(7, Snapshot(1, 1, state))
    (found,) = store.newest_first(7)
    assert found.state == state


def write_for_ever(where: Path | S3Config, first: int, stored: Any) -> None:
    """Snapshots of 4 MB, each full of its own number; `stored` is the last that was put."""
    store = opened(where)
    for offset in count(first):
        store.put(7, Snapshot(1, offset, offset.to_bytes(4, "big") * 1_000_000))
        stored.value = offset


def test_killed_at_any_moment_it_has_the_old_ones_or_the_new_one(place: Place) -> None:
    chance, store = random.Random(3), place.open()
    stored = PROCESSES.Value("q", 0)
    for _ in range(KILLS):
        before = stored.value
        writer = PROCESSES.Process(target=write_for_ever, args=(place.where, before + 1, stored))
        writer.start()
        eventually(lambda: stored.value > before + KEPT, PATIENCE_S)  # noqa: B023 - asked at once
        time.sleep(chance.uniform(0.0, 0.3))
        writer.kill()
        writer.join()
        eventually(lambda: len(list(store.newest_first(7))) == len(place.files(7)), PATIENCE_S)  # a server may still be at the last request
        found = list(store.newest_first(7))
        assert found[0].next_offset - stored.value in {0, 1}
        assert len(found) in {KEPT, KEPT + 1}
        for snapshot in found:
            assert snapshot.state == snapshot.next_offset.to_bytes(4, "big") * 1_000_000


def write_too_much(root: Path, said: Any) -> None:
    """As on a full disk: no file may grow beyond 1 MB."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, 1_000_000))
    try:
        DirectoryStore(root).put(7, Snapshot(1, 2, bytes(2_000_000)))
    except OSError as error:
        said.put(error.strerror)


def test_a_folder_that_is_full_refuses_and_keeps_what_it_has(tmp_path: Path) -> None:
    store = DirectoryStore(tmp_path)
    store.put(7, Snapshot(1, 1, b"whole"))
    said = PROCESSES.Queue()
    writer = PROCESSES.Process(target=write_too_much, args=(tmp_path, said))
    writer.start()
    assert said.get(timeout=30) == os.strerror(27)
    writer.join()
    assert list(store.newest_first(7)) == [Snapshot(1, 1, b"whole")]
    assert [path.name for path in (tmp_path / "00007").iterdir()] == ["0000000001-0000000000000001.snap"], "a draft fills the disk"


def stored(store: S3Store, snapshot: Snapshot) -> bool:
    """Whether partition 7 has it now: a server that is only just up may take longer than the timeout, and then the store rests."""
    try:
        store.put(7, snapshot)
    except OSError:
        return False
    return True


def refusal(ask: Callable[[], object], within_s: float) -> str:
    """The sentence of the OSError that must come in time."""
    began_s = time.monotonic()
    with pytest.raises(OSError, match=r"\w") as caught:
        ask()
    took_s = time.monotonic() - began_s
    assert took_s < within_s + SLACK_S, f"blocked for {took_s:.1f} s"
    assert s3.SECRET_KEY not in str(caught.value)
    assert "wrong-secret" not in str(caught.value)
    return str(caught.value)


def asks(config: S3Config) -> list[Callable[[], object]]:
    """What a worker asks of a store; not to delete, for what is not there is gone, whatever else is wrong."""
    store = S3Store(config)
    return [
        lambda: store.newest_epoch(7),
        lambda: store.note(7),
        lambda: list(store.newest_first(7)),
        lambda: store.set_note(7, "note"),
        lambda: store.put(7, Snapshot(1, 1, bytes(1_000_000))),
    ]


@pytest.mark.services
@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"bucket": "no-such-bucket"}, "bucket does not exist"),
        ({"access_key_id": "nobody"}, "does not know this access key"),
        ({"secret_access_key": "wrong-secret"}, "refuses the signature"),
        ({"endpoint_url": "http://127.0.0.1:1"}, "cannot be reached"),
    ],
)
def test_what_is_set_wrongly_is_said_in_a_sentence(server: s3.S3Server, change: dict[str, str], words: str) -> None:
    config = server.config(timeout_s=TIMEOUT_S, deadline_s=DEADLINE_S, **change)
    for ask in asks(config):
        said = refusal(ask, DEADLINE_S)
        assert words in said or "not asked again" in said


@pytest.mark.services
def test_without_credentials(server: s3.S3Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    config = server.config(access_key_id=None, secret_access_key=None)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    for name in ("AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE"):
        monkeypatch.setenv(name, str(tmp_path / "none"))
    assert "no credentials" in refusal(lambda: S3Store(config).newest_epoch(7), 5.0)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", s3.ACCESS_KEY)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", s3.SECRET_KEY)
    assert S3Store(config).newest_epoch(7) == 0


@pytest.mark.services
def test_a_server_that_hangs_blocks_nobody_for_long(server: s3.S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    config = server.config(prefix="hanging", timeout_s=1.0, deadline_s=HANG_DEADLINE_S)
    store = S3Store(config)
    store.put(7, Snapshot(1, 1, b"before"))
    server.hang(True)
    try:
        # It is the timeout that ends each try, long before the deadline; then nothing is tried.
        assert "no answer within 1 s" in refusal(lambda: store.note(7), HANG_DEADLINE_S)
        assert "no answer within 1 s" in refusal(lambda: store.put(7, Snapshot(1, 2, b"hanging")), HANG_DEADLINE_S)
        assert "not asked again" in refusal(lambda: store.put(8, Snapshot(1, 2, b"hanging")), 0.0)
    finally:
        server.hang(False)
    assert "not asked again" in refusal(lambda: store.put(8, Snapshot(1, 2, b"hanging")), 0.0)
    # reading is tried all the same, and a loaded server takes a moment to get going again
    eventually(lambda: next((snapshot.epoch for snapshot in store.newest_first(7)), 0) == 1, PATIENCE_S)
    later = SimpleNamespace(monotonic=lambda: time.monotonic() + HANG_DEADLINE_S)
    monkeypatch.setattr("streams.storage.snapshots_s3.time", later)
    store.put(7, Snapshot(2, 3, b"after"))
    assert next(store.newest_first(7)) == Snapshot(2, 3, b"after")


@pytest.mark.services
def test_a_server_that_was_stopped_and_started_again(tmp_path: Path) -> None:
    if (why := s3.missing()) is not None:
        missing_service(why)
    with s3.running(tmp_path) as own:
        store = S3Store(own.config(timeout_s=TIMEOUT_S, deadline_s=DEADLINE_S))
        eventually(lambda: stored(store, Snapshot(1, 1, b"before")), PATIENCE_S)
        own.stop()
        assert "cannot be reached" in refusal(lambda: store.put(7, Snapshot(1, 2, b"down")), DEADLINE_S)
        own.start()
        # However quickly it is back: nothing is written until deadline_s after the refusal.
        eventually(lambda: stored(store, Snapshot(1, 3, b"after")), PATIENCE_S)
        assert offsets(store) == [(1, 3), (1, 1)]


def strange(port: int) -> S3Config:
    """Settings for a server of this page's own."""
    settings = {"bucket": "vigil", "endpoint_url": f"http://127.0.0.1:{port}", "addressing": "path"}
    credentials = {"access_key_id": s3.ACCESS_KEY, "secret_access_key": s3.SECRET_KEY}
    return S3Config.model_validate(settings | credentials | {"timeout_s": TIMEOUT_S, "deadline_s": DEADLINE_S})


def test_a_server_that_drips_is_given_up_at_the_deadline() -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as listening:

        def drip() -> None:
            client, _ = listening.accept()
            with client:
                client.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
                for _ in range(1_000):
                    time.sleep(TIMEOUT_S / 3)  # never silent for long enough
                    try:
                        client.sendall(b"x")
                    except OSError:
                        return

        threading.Thread(target=drip, daemon=True).start()
        assert "no end within 1.5 s" in refusal(lambda: S3Store(strange(listening.getsockname()[1])).note(7), DEADLINE_S)


def test_what_is_sent_is_what_other_stores_take_too() -> None:
    """No chunks, no trailers, no checksums of the newer kind: Alibaba OSS and others refuse them."""
    sent: list[Message] = []

    class Any200(BaseHTTPRequestHandler):
        def do_PUT(self) -> None:
            sent.append(self.headers)
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Any200) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        S3Store(strange(server.server_port)).set_note(7, "note")
        server.shutdown()
    (headers,) = sent
    assert headers["Content-Length"] == "4"
    assert headers["x-amz-content-sha256"] == hashlib.sha256(b"note").hexdigest()
    odd = [
        name for name in headers if name.lower() in {"content-encoding", "transfer-encoding", "x-amz-trailer"} or "checksum" in name.lower()
    ]
    assert odd == []


def eventually(ask: Callable[[], bool], timeout_s: float) -> None:
    give_up_s = time.monotonic() + timeout_s
    while not ask():
        assert time.monotonic() < give_up_s, "it never came true"
        time.sleep(0.02)
