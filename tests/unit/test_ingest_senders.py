"""Who may send for whom, and whose a device is."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import SecretStr
from typer.testing import CliRunner

from engine.registry import Binding, RegistryData
from streams.cli.main import app
from streams.ingest.config import IngestConfig
from streams.ingest.senders import ANY_SENDER, Sender, Senders, parse_tokens, token_hash
from streams.ingest.wards import Wards


def bearer(token: str) -> str:
    return f"Bearer {token}"


def test_tokens_name_their_sender(tmp_path: Path) -> None:
    path = tmp_path / "tokens"
    path.write_text(f"# gateways\n{token_hash('one')} gateway-1 h/1 h/2 # both floors\n\n{token_hash('any')} roaming\n")
    senders = Senders("a shared token!!", path)
    assert senders.guarded
    assert senders.by_authorization(bearer("one")) == Sender("gateway-1", ("h/1", "h/2"))
    assert senders.by_authorization(bearer("any")) == Sender("roaming", None)
    assert senders.by_authorization(bearer("a shared token!!")) == ANY_SENDER
    for header in ("", "Bearer", "Bearer ", bearer("other"), f"Basic {'one'}", "one"):
        assert senders.by_authorization(header) is None
    assert senders.by_name("gateway-1").may_send_for("h/2")
    assert not senders.by_name("gateway-1").may_send_for("h/3")
    assert not senders.by_name("stranger").may_send_for("h/1")


def test_a_token_is_taken_back_without_a_restart(tmp_path: Path) -> None:
    path = tmp_path / "tokens"
    path.write_text(f"{token_hash('one')} gateway-1\n")
    senders = Senders(path=path)
    assert not senders.reload()
    path.write_text("nonsense")
    with pytest.raises(ValueError, match="line 1"):
        senders.reload()
    assert senders.by_authorization(bearer("one")) is not None
    path.write_text("")
    assert senders.reload()
    assert senders.by_authorization(bearer("one")) is None


@pytest.mark.parametrize(
    ("text", "word"), [("one gateway", "line 1"), (f"{token_hash('a')}\n", "line 1"), (f"{token_hash('a')} a\n" * 2, "repeats")]
)
def test_a_broken_tokens_file_says_where(text: str, word: str) -> None:
    with pytest.raises(ValueError, match=word):
        parse_tokens(text)


def test_the_command_draws_a_token_that_fits() -> None:
    done = CliRunner().invoke(app, ["ingest", "token", "gateway-1", "h/1"])
    token, line = done.stdout.splitlines()
    assert parse_tokens(line) == {token_hash(token): Sender("gateway-1", ("h/1",))}
    assert CliRunner().invoke(app, ["ingest", "token", "two words"]).exit_code == 2


def test_nobody_listens_to_the_network_without_a_token() -> None:
    with pytest.raises(ValueError, match="token"):
        IngestConfig(host="0.0.0.0")
    IngestConfig(host="0.0.0.0", token=SecretStr("sixteen letters!"))
    IngestConfig(host="0.0.0.0", tokens_file=Path("tokens"))


def registry(*bindings: Binding) -> RegistryData:
    return RegistryData(bindings=bindings)


def test_a_device_that_moves_is_of_the_ward_that_has_it() -> None:
    wards = Wards()
    wards.set("h/1", registry(Binding("a", "resident/x", "", to_ns=100), Binding("b", "resident/y", "h/1")))
    assert [wards.of("a", t) for t in (5, 99, 100)] == ["h/1"] * 3
    assert [wards.bound("a", t) for t in (5, 99, 100)] == [True, True, False]
    wards.set("h/2", registry(Binding("a", "resident/z", "", from_ns=150)))
    assert [wards.of("a", t) for t in (5, 120, 150)] == ["h/1", "h/1", "h/2"]
    assert (wards.of("b", 0), wards.of("c", 0)) == ("h/1", None)
    wards.set("h/1", None)
    assert (wards.of("a", 5), wards.of("b", 0)) == ("h/2", None)
    assert (wards.known("h/1"), wards.known("h/2"), len(wards)) == (False, True, 1)


def test_a_binding_in_force_goes_before_one_that_is_over() -> None:
    wards = Wards()
    wards.set("h/1", registry(Binding("a", "resident/x", "h/1")))
    wards.set("h/2", registry(Binding("a", "resident/z", "h/2", from_ns=50, to_ns=60)))
    assert [wards.of("a", t) for t in (40, 55, 70)] == ["h/1", "h/2", "h/1"]
    assert wards.of("a", 55, among=("h/1",)) == "h/1"
    assert wards.of("a", 55, among=("h/3",)) == "h/2"
