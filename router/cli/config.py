"""`--config FILE`: the options of a command in a file, under the names they have on the command line.

TOML: `listen = "0.0.0.0:8443"`; an option that may be repeated is a list. What the command line or the environment
says goes before it.
"""

import tomllib
from pathlib import Path
from typing import Any

import click


def read(context: click.Context, parameter: click.Parameter, path: Path | None) -> Path | None:
    """Make the file's content the defaults of this command's options. BadParameter says what is wrong with it."""
    if path is not None:
        context.default_map = _defaults(context, parameter, path)
    return path


def _defaults(context: click.Context, parameter: click.Parameter, path: Path) -> dict[str, Any]:
    try:
        content = tomllib.loads(path.read_text())
    except OSError as error:
        raise click.BadParameter(f"{path}: {error.strerror or error}", context, parameter) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise click.BadParameter(f"{path}: {error}", context, parameter) from error
    known = {_name(one): one for one in context.command.params if isinstance(one, click.Option)}
    del known[_name(parameter)]
    for name, value in content.items():
        if name not in known:
            raise click.BadParameter(
                f"{path}: there is no {name}; it may have {', '.join(sorted(known))}", context, parameter
            )
        _check(known[name], name, value, f"{path}: {name}")
    return {str(known[name].name): value for name, value in content.items()}


def _check(option: click.Option, name: str, value: Any, where: str) -> None:
    """Its kind: whatever more there is to say of a value, the option itself says."""
    values = value if option.multiple and isinstance(value, list) else [value]
    if option.multiple and not isinstance(value, list):
        raise click.UsageError(f'{where} may be there several times: write it as a list, ["…"]')
    if option.is_flag and not isinstance(value, bool):
        raise click.UsageError(f"{where} is true or false")
    if not option.is_flag and not all(isinstance(one, str | int | float) for one in values):
        raise click.UsageError(f"{where} is a text or a number")


def _name(parameter: click.Parameter) -> str:
    return max(parameter.opts, key=len).removeprefix("--")
