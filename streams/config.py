"""The one configuration tree. Sample file, JSON Schema and reference page are generated from it."""

from __future__ import annotations

import json
import os
import re
import tomllib
from collections.abc import Iterator, Mapping
from enum import Enum, IntEnum
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Final, Literal, NamedTuple, Union, get_args, get_origin

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, model_validator

from alerts.policy import CodePolicy
from sinks.catalogue import SINKS, AnySinkConfig
from sinks.declaration import Runs
from sinks.delivery import DeliverySettings
from streams.canary.config import CanaryConfig
from streams.ingest.config import IngestConfig
from streams.intake.mqtt import MqttConfig
from streams.kafka.config import KafkaConfig
from streams.pipeline.assembly import DEFAULT_CODES, HomePolicy, Parameters
from streams.sink_process.config import SinkProcessConfig

_FROM_ENVIRONMENT: Final = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
LOOPBACK: Final = frozenset({"127.0.0.1", "localhost", "::1"})


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class ConfigError(ValueError):
    """The configuration cannot be used; the message says which field, what is allowed, what it got."""


class Listen(_Section):
    """Console and device door."""

    host: str = Field(default="127.0.0.1", description="address to listen on; beyond loopback both secrets below must be set")
    port: int = Field(default=8600, ge=0, le=65535, description="port; 0 takes a free one")
    console_password: SecretStr | None = Field(default=None, min_length=8, description="asked for in the browser; at least 8 characters")
    device_token: SecretStr | None = Field(default=None, min_length=16, description="bearer token devices send; at least 16 characters")

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
    kafka: KafkaConfig = Field(default_factory=KafkaConfig, description="the distributed Vigil: brokers, topics, snapshots")
    ingest: IngestConfig = Field(default_factory=IngestConfig, description="the process between devices and Kafka")
    canary: CanaryConfig = Field(default_factory=CanaryConfig, description="Vigil watching itself: `vigil canary`")
    sinks: tuple[Sink, ...] = Field(default=(), description="places for results beside the database and the measurements in data_dir")
    sink_process: SinkProcessConfig = Field(
        default_factory=SinkProcessConfig, description="`vigil sink run`: sinks of the distributed Vigil"
    )
    parameters: Parameters = Field(default_factory=Parameters, description="detectors and models")
    policy: HomePolicy = Field(default_factory=HomePolicy, description="from events to alerts")

    @model_validator(mode="after")
    def _names_differ(self) -> VigilConfig:
        names = [sink.name for sink in self.sinks]
        if len(set(names)) != len(names) or set(names) & {"database", "measurements", "quarantine"}:
            raise ValueError(f"sink names must differ and not be database, measurements or quarantine, got {names}")
        return self

    @model_validator(mode="after")
    def _canary_falls_are_seen(self) -> VigilConfig:
        parameters: Any = self.parameters
        if self.canary.every_s <= parameters.falls.refractory_s:
            raise ValueError(
                f"canary.every_s must be more than parameters.falls.refractory_s ({parameters.falls.refractory_s:g}), in which a second "
                f"fall belongs to the first, got {self.canary.every_s}"
            )
        return self


def load(path: Path | None, environment: Mapping[str, str] = os.environ) -> VigilConfig:
    """Read a TOML file (None: all defaults). A text that is exactly `${NAME}` is taken from the environment, so that the file may
    be shown around while secrets are not in it. ConfigError names the field, what is allowed and, where it is a number, what it got.
    """
    if path is None:
        return VigilConfig()
    try:
        return VigilConfig.model_validate(_filled(tomllib.loads(path.read_text(encoding="utf-8")), environment))
    except FileNotFoundError as error:
        raise ConfigError(f"there is no configuration file {path}: write one with `vigil config sample`") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not TOML: {error}") from error
    except ValidationError as error:
        raise ConfigError(f"{path}: " + "; ".join(_sentence(e) for e in error.errors())) from error
    except KeyError as error:
        raise ConfigError(
            f"{path}: the environment variable {error.args[0]} is not set: set it, or write the value in its place"
        ) from error


def _filled(value: Any, environment: Mapping[str, str]) -> Any:
    """`value` with every `${NAME}` replaced; KeyError with the name of one that is not set."""
    if isinstance(value, dict):
        return {key: _filled(inner, environment) for key, inner in value.items()}
    if isinstance(value, list):
        return [_filled(inner, environment) for inner in value]
    found = _FROM_ENVIRONMENT.fullmatch(value) if isinstance(value, str) else None
    return value if found is None else environment[found[1]]


def _sentence(error: Any) -> str:
    where = ".".join(str(part) for part in error["loc"]) or "file"
    if error["type"] == "extra_forbidden":
        return f"{where}: there is no such setting; `vigil config reference` lists them"
    # Only numbers are shown: a text may be a secret.
    got = f", got {error['input']}" if isinstance(error["input"], int | float) else ""
    return f"{where}: {error['msg'].removeprefix('Value error, ')}{got}"


# -- sample file and reference page -----------------------------------------------------------------------------------------

_WORDS: Final = {str: "text", Path: "path", int: "whole number", float: "number", bool: "true or false", SecretStr: "secret text"}
_BOUNDS: Final = (("ge", "≥"), ("gt", ">"), ("le", "≤"), ("lt", "<"))
_EXAMPLES: Final[dict[str, Any]] = {
    "host": "localhost",
    "ca_file": "/etc/vigil/ca.pem",
    "cert_file": "/etc/vigil/client.pem",
    "endpoint_url": "https://s3.oss-cn-hangzhou.aliyuncs.com",
    "tokens_file": "/etc/vigil/tokens",
    "bucket": "vigil",
    "data_kinds": ["vitals"],
}
"""What the sample shows where there is no default and the field names no example of its own."""


class Setting(NamedTuple):
    """One line of the configuration. `default` is None where a setting is required or left out."""

    section: str
    name: str
    kind: str
    default: Any
    required: bool
    text: str
    secret: bool
    example: Any = None


def settings(model: type[BaseModel], section: str = "", given: BaseModel | None = None) -> Iterator[Setting]:
    """Every plain setting of `model`, a section's own before those of the sections in it; lists and tables of models are left out.

    `given` is the instance that stands where the section is left out: its values are the defaults.
    """
    inner: list[tuple[str, type[BaseModel], BaseModel | None]] = []
    for name, field in model.model_fields.items():
        required = field.is_required() and given is None
        default = getattr(given, name) if given is not None else None if required else field.get_default(call_default_factory=True)
        if (nested := _nested(field.annotation)) is not None:
            inner.append((f"{section}.{name}".lstrip("."), nested, default))
        elif name == "to" or get_origin(field.annotation) is dict or field.annotation == tuple[Sink, ...]:
            continue
        else:
            bounds = [f"{sign} {getattr(m, key)}" for m in field.metadata for key, sign in _BOUNDS if getattr(m, key, None) is not None]
            kind = " ".join(filter(None, [_word(field.annotation), ", ".join(bounds)]))
            text = " ".join((field.description or "").split())
            example = field.examples[0] if field.examples else _EXAMPLES.get(name)
            yield Setting(section, name, kind, default, required, text, _is_secret(field.annotation), example)
    for where, nested, default in inner:
        yield from settings(nested, where, default)


def _nested(annotation: Any) -> type[BaseModel] | None:
    """The model an annotation stands for, also as `Model | None`."""
    kinds = [a for a in (get_args(annotation) if get_origin(annotation) in {Union, UnionType} else (annotation,)) if a is not NoneType]
    return kinds[0] if len(kinds) == 1 and isinstance(kinds[0], type) and issubclass(kinds[0], BaseModel) else None


def _is_secret(annotation: Any) -> bool:
    return annotation is SecretStr or SecretStr in get_args(annotation)


def _word(annotation: Any) -> str:
    """A type in words."""
    origin, inner = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _word(inner[0])
    if origin is Literal:
        return " or ".join(_toml(value) for value in inner)
    if origin in {Union, UnionType}:
        return " or ".join(_word(a) for a in inner if a is not NoneType)
    if origin in {frozenset, tuple, list}:
        return f"list of {_word(inner[0])}"
    if isinstance(annotation, type) and issubclass(annotation, IntEnum):
        return ", ".join(f"{member.value} {member.name.lower()}" for member in annotation)
    if isinstance(annotation, type) and issubclass(annotation, Enum):
        return " or ".join(f'"{member.value}"' for member in annotation)
    return _WORDS[annotation]


def _toml(value: Any) -> str:
    """A value as TOML; strings as JSON are TOML basic strings."""
    if isinstance(value, BaseModel):
        given = {name: getattr(value, name) for name in type(value).model_fields}
        return "{ " + ", ".join(f"{name} = {_toml(inner)}" for name, inner in given.items() if inner is not None) + " }"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, Enum):
        return _toml(value.value)
    if isinstance(value, int | float):
        return str(value)
    if isinstance(value, frozenset | tuple | list):
        return "[" + ", ".join(sorted(_toml(inner) for inner in value)) + "]"
    return json.dumps(str(value), ensure_ascii=False)


def _table(found: Iterator[Setting]) -> list[str]:
    rows = ["| setting | type and bounds | default | meaning |", "|---|---|---|---|"]
    for s in found:
        default = "**required**" if s.required else "–" if s.default in (None, "") or s.secret else f"`{_toml(s.default)}`"
        rows.append(f"| `{f'{s.section}.{s.name}'.lstrip('.')}` | {s.kind} | {default} | {s.text.replace('|', chr(92) + '|')} |")
    return rows


def reference(codes: Mapping[str, CodePolicy] = DEFAULT_CODES) -> str:
    """The reference page, Markdown."""
    rows = ["# Configuration reference", "", "Generated from `streams/config.py` by `vigil config reference`; edit there.", ""]
    rows += ["A text that is exactly `${NAME}` is taken from the environment variable `NAME`. `vigil config sample` writes a file to start"]
    rows += ["from, `vigil config check FILE` says whether a file can be used.", "", *_table(settings(VigilConfig))]
    rows += [
        "",
        "## policy.codes",
        "",
        "One table for each event code, with the settings of `policy.unknown`. Settings that are given for a code lie over that code's default, the others stay:",
    ]
    rows += ["copy the line from the sample file and change it there.", "", "| code | default |", "|---|---|"]
    rows += [f"| `{code}` | `{_toml(policy)}` |" for code, policy in codes.items()]
    rows += ["", "## sinks", "", "A list: one `[[sinks]]` for each further place results go to.", "", *_table(settings(Sink))]
    for spec in SINKS.values():
        text = " ".join((spec.settings.__doc__ or "").split("\n\n")[0].split())
        runs = ", ".join(run.value.replace("_", " ") for run in Runs if run in spec.runs)
        rows += ["", f'### to.type = "{spec.type}"', "", text, ""]
        rows += [f"Audience: {spec.audience.value.replace('_', ' ')}. Runs: {runs}.", "", *_table(settings(spec.settings, "to"))]
    return "\n".join(rows) + "\n"


def sample(codes: Mapping[str, CodePolicy] = DEFAULT_CODES) -> str:
    """A sample file: every setting with its default, switched off. It is valid however many of its settings are switched on."""
    rows = [
        "# Vigil configuration. An empty file is fine: every setting below shows its default, or an example where there is none.",
        "# Take away the # that stands directly before a setting, and before the [section] above it, to change it.",
        '# "${NAME}" takes the value from the environment.',
        "",
        *_lines(settings(VigilConfig), "VIGIL"),
        "",
        "# How alerts of each event code are treated. Settings that are left out keep the default of their code.",
        "#[policy.codes]",
        *(f'#"{code}" = {_toml(policy)}' for code, policy in codes.items()),
    ]
    rows += ["", "# Further places for results, as many as wanted; [sinks.delivery] as under the first one may follow each."]
    for number, (kind, spec) in enumerate(SINKS.items()):
        choice = spec.settings
        rows += ["", f"# Sink: {' '.join((choice.__doc__ or '').split())}", "#[[sinks]]", f'#name = "my-{kind}"']
        rows += ["#[sinks.to]", f'#type = "{kind}"']
        rows += _lines((s for s in settings(choice) if s.name != "type"), f"VIGIL_{kind.upper()}")
        rows += _lines(settings(DeliverySettings, "sinks.delivery"), "VIGIL") if number == 0 else []
    return "\n".join(rows) + "\n"


def _lines(found: Iterator[Setting], prefix: str) -> list[str]:
    rows, section = [], ""
    for s in found:
        if s.section != section:
            section = s.section
            rows += ["", f"#[{section}]"]
        where = "" if s.section in {"", "listen"} else f"{s.section.split('.')[0].upper()}_"
        variable = f"{prefix}_{where}{s.name.upper()}"
        value = f"${{{variable}}}" if s.secret else s.default if s.default is not None else s.example
        if value is None:
            raise ValueError(f"{s.section}.{s.name} has neither a default nor an example: give its Field `examples=[…]`")
        rows += [f"# {s.text} ({s.kind})", f"#{s.name} = {_toml(value)}"]
    return rows
