"""The one configuration tree. Sample file, JSON Schema and reference page are generated from it."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, model_validator

from alerts.policy import Policy
from sinks.catalogue import AnySinkConfig
from sinks.delivery import DeliverySettings
from sinks.influx import InfluxConfig
from sinks.jsonl import JsonlConfig
from sinks.parquet import ParquetConfig
from sinks.sqlite import SqliteConfig
from sinks.webhook import WebhookConfig
from streams.assembly import Parameters
from streams.embedded.mqtt import MqttConfig

LOOPBACK: Final = frozenset({"127.0.0.1", "localhost", "::1"})


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class ConfigError(ValueError):
    """The configuration cannot be used; the message says which field, what is allowed, what it got."""


class Listen(_Section):
    """Console and device door."""

    host: str = Field(default="127.0.0.1", description="address to listen on; beyond loopback both secrets below must be set")
    port: int = Field(default=8600, ge=0, le=65535, description="port; 0 takes a free one")
    console_password: SecretStr | None = Field(default=None, description="asked for in the browser; at least 8 characters")
    device_token: SecretStr | None = Field(default=None, description="bearer token devices send; at least 16 characters")

    @model_validator(mode="after")
    def _guarded(self) -> Listen:
        if self.host not in LOOPBACK and (self.console_password is None or self.device_token is None):
            raise ValueError(
                f"listening on {self.host} needs console_password and device_token: residents' data must not be open to the network"
            )
        return self


class Sink(_Section):
    """One more place for results: what it is, and how hard it is tried."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,40}$", description="name of the sink; its spool folder is called so")
    to: AnySinkConfig = Field(description="where results go; `type` chooses the kind")
    delivery: DeliverySettings = Field(default_factory=DeliverySettings, description="retries, spool, bounds")


class VigilConfig(_Section):
    """Everything that can be set. An empty file is a valid configuration."""

    home: str = Field(default="", max_length=80, description="name of the home, shown on every page")
    language: Literal["zh-CN", "en"] = Field(default="zh-CN", description="language of alerts in the terminal; pages follow the browser")
    data_dir: Path = Field(
        default=Path("vigil-data"), description="everything Vigil keeps: journal, snapshots, database, measurements, spools"
    )
    snapshot_every_s: float = Field(
        default=10.0, ge=1.0, le=300.0, description="seconds between snapshots: the longest re-reading after a crash"
    )
    listen: Listen = Field(default_factory=Listen, description="console and device door")
    mqtt: MqttConfig | None = Field(default=None, description="an MQTT broker to read from")
    sinks: tuple[Sink, ...] = Field(default=(), description="places for results beside the database and the measurements in data_dir")
    parameters: Parameters = Field(default_factory=Parameters, description="detectors and models")
    policy: Policy = Field(default_factory=Policy, description="from events to alerts")

    @model_validator(mode="after")
    def _names_differ(self) -> VigilConfig:
        names = [sink.name for sink in self.sinks]
        if len(set(names)) != len(names) or set(names) & {"database", "measurements", "quarantine"}:
            raise ValueError(f"sink names must differ and not be database, measurements or quarantine, got {names}")
        return self


def load(path: Path | None) -> VigilConfig:
    """Read a TOML file (None: all defaults). ConfigError names the field, what is allowed and what it got."""
    if path is None:
        return VigilConfig()
    try:
        return VigilConfig.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError as error:
        raise ConfigError(f"there is no configuration file {path}: write one with `vigil config sample`") from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path} is not TOML: {error}") from error
    except ValidationError as error:
        lines = [f"{'.'.join(str(part) for part in e['loc']) or 'file'}: {e['msg']}" for e in error.errors()]
        raise ConfigError(f"{path}: " + "; ".join(lines)) from error


def fields(model: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, str, str, str]]:
    """(name, type and bounds, default, description) of every setting, depth first."""
    for name, field in model.model_fields.items():
        key = f"{prefix}{name}"
        inner = field.annotation
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            yield from fields(inner, f"{key}.")
            continue
        bounds = ", ".join(
            f"{sign} {getattr(m, attribute)}"
            for m in field.metadata
            for attribute, sign in (("ge", "≥"), ("gt", ">"), ("le", "≤"), ("lt", "<"))
            if getattr(m, attribute, None) is not None
        )
        kind = getattr(inner, "__name__", None) or str(inner).replace("typing.", "")
        default = "required" if field.is_required() else _shown(field.get_default(call_default_factory=True))
        yield key, f"{kind}{' ' + bounds if bounds else ''}", default, field.description or ""


def _shown(value: Any) -> str:
    if isinstance(value, BaseModel | dict) or (isinstance(value, tuple | frozenset) and len(value) > 4):
        return "see below" if value else "none"
    return "none" if value is None or value in ((), "") else str(value)


def reference() -> str:
    """The reference page, Markdown."""
    rows = ["# Configuration reference", "", "Generated from `streams/config.py` by `vigil config reference`; edit there.", ""]
    rows += ["| setting | type and bounds | default | meaning |", "|---|---|---|---|"]
    rows += [f"| `{name}` | {kind.replace('|', 'or')} | {default} | {text} |" for name, kind, default, text in fields(VigilConfig)]
    for choice in (SqliteConfig, ParquetConfig, JsonlConfig, WebhookConfig, InfluxConfig):
        rows += ["", f'## sinks, to.type = "{choice.model_fields["type"].default}"', "", (choice.__doc__ or "").strip().splitlines()[0], ""]
        rows += ["| setting | type and bounds | default | meaning |", "|---|---|---|---|"]
        rows += [f"| `to.{name}` | {kind.replace('|', 'or')} | {default} | {text} |" for name, kind, default, text in fields(choice)]
    return "\n".join(rows) + "\n"


def sample() -> str:
    """A commented sample file: every plain setting with its default, switched off."""
    rows = ["# Vigil configuration. Every line is a default; take away the # to change it.", ""]
    section = ""
    for name, kind, default, text in fields(VigilConfig):
        where, _, leaf = name.rpartition(".")
        if where != section:
            section = where
            rows += ["", f"# [{section}]"]
        rows += [f"# {text} ({kind})", f"# {leaf} = {default}"]
    return "\n".join(rows) + "\n"
