"""`vigil registry`: who is who, for the distributed Vigil. `vigil run` reads registry.json itself."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import msgspec
import typer

from streams.cli.common import ConfigOption, example, fail, loaded, refusals

if TYPE_CHECKING:
    from engine.registry import RegistryData
    from streams.config import VigilConfig
    from streams.kafka.config import KafkaConfig

registry_app = typer.Typer(
    help="Who is who in the distributed Vigil: a ward's registry.json on the topic `registry`.", no_args_is_help=True
)

_STDIN: Final = Path("-")
_NAMED_MAX: Final = 5


@registry_app.command("publish", epilog=example("vigil registry publish examples/fall.vigil/registry.json --config vigil.toml"))
def registry_publish(
    file: Annotated[Path, typer.Argument(help="A registry.json; - reads standard input. Each ward in it replaces what was said of it.")],
    config: ConfigOption = None,
    ward: Annotated[list[str] | None, typer.Option(help="Only this ward of the file; may be given more than once.")] = None,
) -> None:
    """Say who is who: checked as the ward's worker will, then sent. Wards that the file does not name stay as they are."""
    from streams.kafka.registry_topic import refusal_reason, registries_in_force, select_wards, shared_subjects, split_by_ward
    from streams.pipeline.registry_change import sent_registry

    settings = loaded(config)
    try:
        raw = typer.get_binary_stream("stdin").read() if file == _STDIN else file.read_bytes()
        parts = select_wards(split_by_ward(sent_registry(raw)), ward or ())
    except OSError as error:
        raise fail(f"{file} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise fail(f"{file}: {error}") from error
    with refusals():
        now = registries_in_force(settings.kafka, settings.parameters, settings.policy)
        if why := refusal_reason(parts, now, settings.parameters, settings.policy):
            raise fail(f"{file}: {why}; nothing was sent")
        for where in shared_subjects(parts, now):
            typer.echo(
                f"warning: {where}: two wards call theirs the same; if they are two, rename one, or sinks take them for one", err=True
            )
    for name, part in parts.items():
        if unknown := sorted({binding.device for binding in part.bindings if not binding.kinds}):
            named = ", ".join(unknown[:_NAMED_MAX]) + (f" and {len(unknown) - _NAMED_MAX} more" if len(unknown) > _NAMED_MAX else "")
            typer.echo(
                f"note: {name}: nothing says what {len(unknown)} devices send ({named}). One that has sent nothing ten minutes after its binding is "
                'announced; a call button that reports presses only has a day with "kinds": ["button"], or is pressed once',
                err=True,
            )
    _publish(settings.kafka, {name: msgspec.json.encode(part) for name, part in parts.items()})


@registry_app.command("show", epilog=example("vigil registry show demo/ward-1 --config vigil.toml"))
def registry_show(
    ward: Annotated[str, typer.Argument(help="Its registry as JSON, to be edited and published again; none: the list of wards.")] = "",
    config: ConfigOption = None,
) -> None:
    """Who is who now."""
    from alerts.policy import CANARY_WARD_PREFIX

    wards = _wards(loaded(config))
    if not ward:
        for name in sorted(wards):
            if not name.startswith(CANARY_WARD_PREFIX):
                typer.echo(f"{name}: {_counted(wards[name])}")
    elif ward in wards:
        typer.echo(msgspec.json.format(msgspec.json.encode(wards[ward])).decode())
    else:
        raise _unknown(ward, wards)


@registry_app.command("withdraw", epilog=example("vigil registry withdraw demo/ward-1 --config vigil.toml"))
def registry_withdraw(ward: Annotated[str, typer.Argument(help="The ward.")], config: ConfigOption = None) -> None:
    """Take a ward out: what its devices send is refused from then on, and kept in quarantine."""
    settings = loaded(config)
    if ward not in (wards := _wards(settings)):
        raise _unknown(ward, wards)
    # Empty, not null: compaction drops a null after a day, and a worker that was away longer would never hear of it.
    _publish(settings.kafka, {ward: b""})


def _wards(settings: VigilConfig) -> dict[str, RegistryData]:
    """What is in force, by ward."""
    from streams.kafka.registry_topic import registries_in_force

    with refusals():
        return {
            name: data
            for registries in registries_in_force(settings.kafka, settings.parameters, settings.policy)
            for name, data in registries.wards.items()
        }


def _publish(kafka: KafkaConfig, values: Mapping[str, bytes]) -> None:
    from streams.kafka.registry_topic import publish

    with refusals():
        waiting = publish(kafka, values)
    for ward in values:
        late = f"stored; in force as soon as a worker of partition {waiting[ward]} runs" if ward in waiting else "in force"
        typer.echo(f"{ward}: {late}")


def _unknown(ward: str, wards: Iterable[str]) -> typer.Exit:
    from alerts.policy import CANARY_WARD_PREFIX

    known = ", ".join(sorted(name for name in wards if not name.startswith(CANARY_WARD_PREFIX)))
    return fail(f"there is no registry of ward {ward}; there are: {known or 'none'}")


def _counted(data: RegistryData) -> str:
    devices, subjects = len({b.device for b in data.bindings}), len({b.subject for b in data.bindings})
    return f"{devices} devices, {subjects} residents, beds and rooms"
