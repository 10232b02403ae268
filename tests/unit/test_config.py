"""The configuration: what is refused and in which words, what the environment gives, and that the generated files are those."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from sinks.influx import InfluxConfig
from sinks.webhook import WebhookConfig
from streams import config
from streams.config import ConfigError, VigilConfig, load

ROOT = Path(__file__).parents[2]
SECRET = "a-secret-long-enough"  # gitleaks:allow


def written(folder: Path, text: str) -> Path:
    path = folder / "vigil.toml"
    path.write_text(text, encoding="utf-8")
    return path


def why(folder: Path, text: str, environment: dict[str, str] | None = None) -> str:
    with pytest.raises(ConfigError) as caught:
        load(written(folder, text), environment or {})
    return str(caught.value)


def switched_on(sample: str) -> str:
    """The sample with every setting switched on."""
    return "\n".join(line[1:] if re.match(r"#[^ #]", line) else line for line in sample.splitlines())


def environment_of(text: str) -> dict[str, str]:
    return {name: "https://example.org/x" if name.endswith("URL") else SECRET for name in re.findall(r"\$\{(\w+)\}", text)}


def test_nothing_at_all_is_a_configuration(tmp_path: Path) -> None:
    assert load(None) == load(written(tmp_path, "")) == VigilConfig()


def test_a_missing_file_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="vigil config sample"):
        load(tmp_path / "absent.toml")


def test_what_is_not_toml(tmp_path: Path) -> None:
    assert "is not TOML" in why(tmp_path, "home = ")
    path = tmp_path / "latin.toml"
    path.write_bytes(b'home = "\xe9"')
    with pytest.raises(ConfigError, match="is not TOML"):
        load(path)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("hoem = 'x'", ["hoem", "no such setting"]),
        ("[parameters.falls]\nimpact = 2", ["parameters.falls.impact", "no such setting"]),
        ("[listen]\nport = 70000", ["listen.port", "65535", "70000"]),
        ("snapshot_every_s = 0.5", ["snapshot_every_s", "1", "0.5"]),
        ("language = 'fr'", ["language", "zh-CN", "en"]),
        ("[mqtt]\nport = 1883", ["mqtt.host", "required"]),
        ("[listen]\nhost = '0.0.0.0'", ["listen", "0.0.0.0", "console_password", "device_token"]),
        ("[[sinks]]\nname = 'x'\n[sinks.to]\ntype = 'fax'", ["sinks.0.to", "webhook"]),
        ("[[sinks]]\nname = 'database'\n[sinks.to]\ntype = 'parquet'\nroot = 'x'", ["sink names", "database"]),
        ("[policy.codes.'falls.fall']\npriority = 3\nlife_safety = true\npending_s = 5", ["falls.fall", "pending_s", "must be 0"]),
    ],
)
def test_a_refusal_names_the_setting_and_what_is_allowed(tmp_path: Path, text: str, words: list[str]) -> None:
    said = why(tmp_path, text)
    assert [word for word in words if word not in said] == [], said


def test_beyond_loopback_with_both_secrets(tmp_path: Path) -> None:
    text = f"[listen]\nhost = '0.0.0.0'\nconsole_password = '{SECRET}'\ndevice_token = '${{TOKEN}}'"
    listen = load(written(tmp_path, text), {"TOKEN": SECRET + "2"}).listen
    assert listen.device_token is not None
    assert listen.device_token.get_secret_value() == SECRET + "2"


def test_environment_fills_lists_and_tables_and_numbers(tmp_path: Path) -> None:
    text = "[listen]\nport = '${PORT}'\n[[sinks]]\nname = 'call'\n[sinks.to]\ntype = 'webhook'\nurl = '${URL}'\nsecret = '${KEY}'"
    made = load(written(tmp_path, text), {"PORT": "8601", "URL": "https://example.org/hook", "KEY": SECRET})
    assert made.listen.port == 8601
    to = made.sinks[0].to
    assert isinstance(to, WebhookConfig)
    assert to.secret.get_secret_value() == SECRET


def test_only_a_whole_value_is_filled(tmp_path: Path) -> None:
    assert load(written(tmp_path, "home = 'at ${HOME}'"), {"HOME": "x"}).home == "at ${HOME}"


def test_a_missing_variable_is_named(tmp_path: Path) -> None:
    assert "VIGIL_DEVICE_TOKEN is not set" in why(tmp_path, "[listen]\ndevice_token = '${VIGIL_DEVICE_TOKEN}'")


def test_a_refusal_never_shows_a_secret(tmp_path: Path) -> None:
    text = "[[sinks]]\nname = 'call'\n[sinks.to]\ntype = 'webhook'\nurl = '${URL}'\nsecret = '${KEY}'"
    said = why(tmp_path, text, {"URL": "ftp://u:hidden@example.org", "KEY": "hidden"})
    assert "url must start with https://" in said
    assert "at least 16" in said
    assert "hidden" not in said


def test_the_sample_is_all_defaults(tmp_path: Path) -> None:
    assert load(written(tmp_path, config.sample()), {}) == VigilConfig()


def test_the_sample_with_every_setting_switched_on(tmp_path: Path) -> None:
    text = switched_on(config.sample())
    made = load(written(tmp_path, text), environment_of(text))
    assert made.parameters == VigilConfig().parameters
    assert made.policy.codes == VigilConfig().policy.codes
    assert made.mqtt is not None
    assert [sink.to.type for sink in made.sinks] == ["webhook", "influx", "jsonl", "sqlite", "parquet"]
    assert isinstance(made.sinks[1].to, InfluxConfig)


def test_every_single_setting_of_a_section_can_be_switched_on_alone(tmp_path: Path) -> None:
    section, tried = "", 0
    for line in config.sample().splitlines():
        if line.startswith("#["):
            section = line[1:]
        elif re.match(r"#[a-z\"]", line) and not section.startswith(
            ("[[sinks", "[sinks", "[mqtt", "[ingest.mqtt", "[kafka.snapshots_s3", "[policy.unknown")
        ):
            text = f"{section}\n{line[1:]}"
            load(written(tmp_path, text), environment_of(text))
            tried += 1
    assert tried > 100


def test_every_setting_is_explained() -> None:
    found = list(config.settings(VigilConfig))
    assert len(found) > 100
    assert [f"{s.section}.{s.name}" for s in found if not s.text or not s.kind] == []


@pytest.mark.parametrize(
    ("path", "made"),
    [
        ("deploy/vigil.sample.toml", config.sample),
        ("docs/configuration.md", config.reference),
        ("deploy/vigil.schema.json", lambda: json.dumps(VigilConfig.model_json_schema(), indent=1, ensure_ascii=False) + "\n"),
    ],
)
def test_generated_files_are_up_to_date(path: str, made: object) -> None:
    assert callable(made)
    assert (ROOT / path).read_text(encoding="utf-8") == made(), f"{path} differs from its source: run `make generated`"
