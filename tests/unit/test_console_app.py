"""The console on a real port: API, live stream, who may do what. The home behind it is made up, its alert book is real."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator
from typing import Any

import httpx
import msgspec
import pytest

from alerts.model import Outcome, State
from console.app import create_app
from console.server import ConsoleServer
from streams.intake.access import COOKIE, LOGIN_ATTEMPTS, Access
from tests.browser.preview import PreviewHome

TRIES = 3
PROXY_S = 20.0
"""No proxy between a browser and Vigil takes a stream for dead that was silent for less (nginx, AWS: 60 s)."""
PASSWORD = "a wall of water lilies"
HOSTILE = "<img src=x onerror=alert(1)>\u202e\n\x00"


@pytest.fixture
def home() -> PreviewHome:
    return PreviewHome(4)


@pytest.fixture
def server(home: PreviewHome) -> Iterator[ConsoleServer]:
    console = ConsoleServer(create_app(home), home.live)
    console.start()
    yield console
    console.stop()


@pytest.fixture
def client(server: ConsoleServer) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.url, timeout=5) as http:
        yield http


@pytest.fixture
def guarded(home: PreviewHome) -> Iterator[httpx.Client]:
    console = ConsoleServer(create_app(home, Access(PASSWORD)), home.live)
    console.start()
    with httpx.Client(base_url=console.url, timeout=5) as http:
        yield http
    console.stop()


def messages(response: httpx.Response) -> Iterator[tuple[str, dict[str, Any]]]:
    name = ""
    for line in response.iter_lines():
        if line.startswith("event: "):
            name = line[7:]
        elif line.startswith("data: "):
            yield name, json.loads(line[6:])


# -- reading --------------------------------------------------------------------------------------------------------------


def test_the_board_shows_people_rooms_and_alerts(home: PreviewHome, client: httpx.Client) -> None:
    alert_id = home.happen("falls.fall", home.residents[0], {"peak_g": 3.0})
    board = client.get("/api/board").json()
    assert {tile["subject"] for tile in board["tiles"]} == {*home.residents, *home.rooms}
    assert board["people"][home.residents[0]]["bed"] == "A"
    assert [alert["id"] for alert in board["alerts"]] == [alert_id]
    assert client.get("/api/alerts").json() == board["alerts"]
    one = client.get(f"/api/alerts/{alert_id}").json()
    assert one["alert"] == board["alerts"][0]
    assert one["history"][0]["reason"] == "onset"
    assert client.get("/api/alerts/a-unknown").status_code == 404


@pytest.mark.parametrize(("path", "title"), [("/", "病区看板"), ("/wall", "大屏"), ("/system", "系统"), ("/login", "登录")])
def test_pages_speak_the_browsers_language(client: httpx.Client, path: str, title: str) -> None:
    page = client.get(path, headers={"accept-language": "zh-CN,zh;q=0.9"})
    assert '<html lang="zh-CN"' in page.text
    assert f"<title>{title} · Vigil</title>" in page.text
    assert '<html lang="en"' in client.get(path, headers={"accept-language": "en"}).text


def test_pages_need_nothing_from_elsewhere_and_forbid_it(client: httpx.Client) -> None:
    page = client.get("/")
    assert "http" not in page.text
    policy = page.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'")
    assert "unsafe" not in policy
    for path in ("/static/js/board.js", "/static/css/base.css", "/locale/zh-CN.json", "/api/board"):
        answer = client.get(path)
        assert answer.status_code == 200, path
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert "http://" not in answer.text.replace("http://www.w3.org/2000/svg", "")
        assert "https://" not in answer.text


@pytest.mark.parametrize("path", ["/healthz", "/livez"])
def test_health_says_when_the_engine_has_stopped(
    home: PreviewHome, client: httpx.Client, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    home.beat()
    assert client.get(path).status_code == 200
    monkeypatch.setattr("console.app.ENGINE_STALL_MS", 300)
    give_up = time.monotonic() + 20
    while (stalled := client.get(path)).status_code == 200 and time.monotonic() < give_up:
        time.sleep(0.05)
    assert stalled.status_code == 503
    assert stalled.json()["ok"] is False
    assert "the engine has not moved" in stalled.json()["why"][0]


@pytest.mark.parametrize("step_s", [-3600, 3600])
def test_setting_the_clock_neither_hides_nor_invents_a_stopped_engine(
    home: PreviewHome, client: httpx.Client, monkeypatch: pytest.MonkeyPatch, step_s: int
) -> None:
    wall_ns = time.time_ns
    monkeypatch.setattr("time.time_ns", lambda: wall_ns() + step_s * 1_000_000_000)
    home.beat()
    assert client.get("/healthz").status_code == 200
    monkeypatch.setattr("console.app.ENGINE_STALL_MS", 100)
    time.sleep(0.2)
    assert client.get("/healthz").status_code == 503


def test_an_age_that_cannot_be_is_a_fault(home: PreviewHome, client: httpx.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    board = home.board
    monkeypatch.setattr(home, "board", lambda: msgspec.structs.replace(board(), engine_age_ms=-1))
    assert client.get("/healthz").status_code == 503


# -- the live stream --------------------------------------------------------------------------------------------------------


def test_the_stream_begins_with_everything_then_sends_an_alert_at_once(home: PreviewHome, client: httpx.Client) -> None:
    with client.stream("GET", "/events") as response:
        stream = messages(response)
        name, snapshot = next(stream)
        assert name == "snapshot"
        assert len(snapshot["tiles"]) == len(home.residents) + len(home.rooms)
        took_s = []
        for resident in home.residents[1 : 1 + TRIES]:
            began = time.monotonic()
            alert_id = home.happen("sos.pressed", resident)
            patch = next(patch for name, patch in stream if name == "patch" and patch["alerts"])
            took_s.append(time.monotonic() - began)
            assert patch["alerts"][0]["id"] == alert_id
            assert patch["seq"] > snapshot["seq"]
        assert min(took_s) < 0.5, "the quickest of several tries: the machine may be busy, but not the stream"


def test_a_quiet_stream_keeps_pinging(home: PreviewHome, client: httpx.Client) -> None:
    with client.stream("GET", "/events") as response:
        stream = messages(response)
        next(stream)
        before_ms, began = time.time() * 1000, time.monotonic()
        name, ping = next(stream)
        assert name == "ping"
        assert time.monotonic() - began < PROXY_S
        assert before_ms - 1 <= ping["now_ms"] <= time.time() * 1000 + 1


def test_a_browser_that_leaves_gives_its_place_back(home: PreviewHome, client: httpx.Client) -> None:
    with client.stream("GET", "/events") as response:
        stream = messages(response)
        next(stream)
        assert len(home.live) == 1
    deadline = time.monotonic() + 60
    while len(home.live) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert len(home.live) == 0


def test_stopping_ends_open_streams_quickly(home: PreviewHome) -> None:
    console = ConsoleServer(create_app(home), home.live)
    console.start()
    with httpx.Client(base_url=console.url, timeout=10) as http, http.stream("GET", "/events") as response:
        stream = messages(response)
        next(stream)
        console.stop()
        # A stream that the server had to cut off after STOP_S ends here with RemoteProtocolError: its last chunk never came.
        assert {name for name, _ in stream} <= {"ping", "patch"}
    with pytest.raises(httpx.ConnectError):
        httpx.get(console.url + "/healthz")


def test_a_taken_port_is_said_at_once(home: PreviewHome) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(OSError, match="in use"):
            ConsoleServer(create_app(home), home.live, port=taken.getsockname()[1])


# -- answering --------------------------------------------------------------------------------------------------------------


def test_from_acknowledged_to_resolved_with_outcome_and_author(home: PreviewHome, client: httpx.Client) -> None:
    alert_id = home.happen("falls.fall", home.residents[0])
    taken = client.post(f"/api/alerts/{alert_id}/acknowledge", json={"by": "  Wang\n Li "}).json()
    assert (taken["ok"], taken["alert"]["acknowledged_by"]) == (True, "Wang Li")
    assert client.post(f"/api/alerts/{alert_id}/attend", json={"by": "Wang Li"}).json()["alert"]["attended_by"] == "Wang Li"
    home.happen("falls.fall", home.residents[0])
    closed = client.post(f"/api/alerts/{alert_id}/resolve", json={"by": "Zhao", "outcome": "false", "note": "sat down hard"})
    assert closed.status_code == 200
    alert = home.alert(alert_id)
    assert alert is not None
    assert (alert.state, alert.outcome) == (State.RESOLVED, Outcome.FALSE)
    last = client.get(f"/api/alerts/{alert_id}").json()["history"][-1]
    assert (last["by"], last["outcome"], last["note"]) == ("Zhao", "false", "sat down hard")
    assert client.get("/api/alerts").json() == []


def test_the_same_request_twice_counts_once(home: PreviewHome, client: httpx.Client) -> None:
    alert_id = home.happen("falls.fall", home.residents[0])
    for _ in range(2):
        assert client.post(f"/api/alerts/{alert_id}/acknowledge", json={"by": "WL", "id": "c-77"}).status_code == 200
    reasons = [entry["reason"] for entry in client.get(f"/api/alerts/{alert_id}").json()["history"]]
    assert reasons.count("acknowledged_by_staff") == 1


@pytest.mark.parametrize(
    ("path", "body", "status", "reason"),
    [
        ("acknowledge", {"by": ""}, 422, "no_author"),
        ("acknowledge", {"by": " \u200b\n"}, 422, "no_author"),
        ("resolve", {"by": "WL"}, 422, "no_outcome"),
        ("resolve", {"by": "WL", "outcome": "perhaps"}, 400, "malformed"),
        ("acknowledge", {"by": "WL", "extra": 1}, 400, "malformed"),
        ("acknowledge", {"by": 7}, 400, "malformed"),
        ("acknowledge", [], 400, "malformed"),
        ("explode", {"by": "WL"}, 400, "malformed"),
    ],
)
def test_bad_answers_are_refused_with_a_reason(
    home: PreviewHome, client: httpx.Client, path: str, body: object, status: int, reason: str
) -> None:
    alert_id = home.happen("falls.fall", home.residents[0])
    answer = client.post(f"/api/alerts/{alert_id}/{path}", json=body)
    assert (answer.status_code, answer.json()["reason"]) == (status, reason)
    assert client.get("/api/alerts").json()[0]["acknowledged"] is False


def test_an_unknown_and_a_closed_alert_are_refused(home: PreviewHome, client: httpx.Client) -> None:
    assert client.post("/api/alerts/a-none/acknowledge", json={"by": "WL"}).status_code == 404
    alert_id = home.happen("falls.fall", home.residents[0])
    body = {"by": "WL", "outcome": "test"}
    assert client.post(f"/api/alerts/{alert_id}/resolve", json=body).status_code == 200
    again = client.post(f"/api/alerts/{alert_id}/resolve", json=body)
    assert (again.status_code, again.json()["reason"]) == (409, "closed")


def test_a_device_is_bound_through_the_backend(home: PreviewHome, client: httpx.Client) -> None:
    path = "/api/devices/mat-0A%3A31%3A7C/bind"
    assert client.post(path, json={"subject": "nobody", "by": "IT"}).status_code == 409
    assert client.post(path, json={"subject": home.residents[0], "by": "IT", "site": "mattress"}).json()["ok"]
    assert (home.bound[0].device, home.bound[0].subject, home.bound[0].by) == ("mat-0A:31:7C", home.residents[0], "IT")
    assert client.get("/api/system").json()["unbound"] == []


def test_the_system_view_closes_its_account(home: PreviewHome, client: httpx.Client) -> None:
    assert home.system().totals.closes
    totals = client.get("/api/system").json()["totals"]
    assert totals["received"] == totals["processed"] + totals["duplicate"] + totals["late"] + totals["quarantined"]


# -- other people's pages, other people's names -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"content-type": "text/plain"}, 415),
        ({"content-type": "application/x-www-form-urlencoded"}, 415),
        ({"content-type": "application/json", "origin": "http://evil.example"}, 403),
        ({"content-type": "application/json", "origin": "null"}, 403),
        ({"content-type": "application/json", "sec-fetch-site": "cross-site"}, 403),
        ({"content-type": "application/json", "sec-fetch-site": "same-site"}, 403),
        ({"content-type": "application/json", "host": "evil.example"}, 421),
    ],
)
def test_another_site_cannot_acknowledge(home: PreviewHome, client: httpx.Client, headers: dict[str, str], status: int) -> None:
    alert_id = home.happen("falls.fall", home.residents[0])
    answer = client.post(f"/api/alerts/{alert_id}/acknowledge", content=b'{"by": "WL"}', headers=headers)
    assert answer.status_code == status
    alert = home.alert(alert_id)
    assert alert is not None
    assert not alert.acknowledged


def test_our_own_page_may(home: PreviewHome, client: httpx.Client, server: ConsoleServer) -> None:
    alert_id = home.happen("falls.fall", home.residents[0])
    headers = {"origin": server.url, "sec-fetch-site": "same-origin"}
    assert client.post(f"/api/alerts/{alert_id}/acknowledge", json={"by": "WL"}, headers=headers).status_code == 200


@pytest.mark.parametrize("header", ["host", "origin"])
@pytest.mark.parametrize("path", ["/", "/api/board", "/api/alerts/x/acknowledge", "/static/js/board.js"])
def test_an_address_that_is_none_is_a_bad_request(client: httpx.Client, guarded: httpx.Client, header: str, path: str) -> None:
    for http in (client, guarded):
        headers = {header: "http://[half" if header == "origin" else "[half", "content-type": "application/json"}
        answer = http.post(path, content=b"{}", headers=headers) if path.endswith("acknowledge") else http.get(path, headers=headers)
        assert answer.status_code == 400


def test_a_name_that_resolves_to_us_cannot_read_the_board(client: httpx.Client) -> None:
    assert client.get("/api/board", headers={"host": "rebind.example:80"}).status_code == 421
    assert client.get("/api/board", headers={"host": "localhost"}).status_code == 200


def test_a_large_or_endless_body_is_refused_unread(client: httpx.Client) -> None:
    large = client.post("/api/alerts/x/acknowledge", content=b" " * 20_000, headers={"content-type": "application/json"})
    assert large.status_code == 413
    endless = client.post("/api/alerts/x/acknowledge", content=iter([b"{}"]), headers={"content-type": "application/json"})
    assert endless.status_code == 413


def test_hostile_text_is_kept_as_text(home: PreviewHome, client: httpx.Client) -> None:
    alert_id = home.happen("falls.fall", home.residents[0])
    client.post(f"/api/alerts/{alert_id}/acknowledge", json={"by": HOSTILE})
    answer = client.get(f"/api/alerts/{alert_id}")
    assert answer.headers["content-type"] == "application/json"
    assert answer.json()["alert"]["acknowledged_by"] == "<img src=x onerror=alert(1)>"


# -- the password -------------------------------------------------------------------------------------------------------------


def test_with_a_password_nothing_is_shown_without_it(guarded: httpx.Client) -> None:
    for path in ("/api/board", "/api/alerts", "/api/system", "/events"):
        assert guarded.get(path).status_code == 401, path
    assert guarded.get("/").headers["location"] == "/login"
    assert guarded.post("/api/alerts/x/acknowledge", json={"by": "WL"}).status_code == 401
    assert guarded.get("/login").status_code == 200
    assert guarded.get("/healthz").status_code == 200


def test_signing_in_gives_a_cookie_that_scripts_cannot_read(guarded: httpx.Client) -> None:
    assert guarded.post("/api/login", json={"password": "wrong password"}).status_code == 401
    answer = guarded.post("/api/login", json={"password": PASSWORD})
    cookie = answer.headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=strict" in cookie
    assert guarded.get("/api/board").status_code == 200


def test_a_program_sends_the_password_as_bearer(guarded: httpx.Client) -> None:
    assert guarded.get("/api/board", headers={"authorization": f"Bearer {PASSWORD}"}).status_code == 200
    assert guarded.get("/api/board", headers={"authorization": "Bearer nope"}).status_code == 401


def test_guessing_is_slowed_down(guarded: httpx.Client) -> None:
    for _ in range(LOGIN_ATTEMPTS):
        assert guarded.post("/api/login", json={"password": "guess"}).status_code == 401
    assert guarded.post("/api/login", json={"password": PASSWORD}).status_code == 429


def test_a_session_survives_a_restart_ends_in_time_and_cannot_be_made_up() -> None:
    cookie = Access(PASSWORD).sign_in(PASSWORD, 1000.0)
    assert cookie is not None
    no_headers = httpx.Request("GET", "http://x").headers

    def admits(access: Access, value: str, now_s: float) -> bool:
        from starlette.datastructures import Headers

        return access.admits(Headers(dict(no_headers)), {COOKIE: value}, now_s)

    assert admits(Access(PASSWORD), cookie, 2000.0)
    assert not admits(Access(PASSWORD), cookie, 1000.0 + 31 * 86_400)
    assert not admits(Access("another password"), cookie, 2000.0)
    until, _, signature = cookie.partition(".")
    for forged in (f"{int(until) + 1}.{signature}", until, f"{until}.", "", ".", "²." + signature, f"{until}.é"):
        assert not admits(Access(PASSWORD), forged, 2000.0), forged


def test_a_short_password_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 8"):
        Access("short")
