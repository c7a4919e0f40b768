"""The options that several commands have."""

from __future__ import annotations

import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click
from rich.console import Console

from synapse_scim.client.files import FORMATS, is_usable_encoding
from synapse_scim.client.server import Server, read_token

Command = TypeVar("Command", bound=Callable[..., Any])

config_option = click.option(
    "--config",
    "-c",
    "config_paths",
    multiple=True,
    required=True,
    type=click.Path(exists=True),
    help="Synapse's configuration file; can be given several times.",
)

url_option = click.option(
    "--url",
    envvar="SYNAPSE_SCIM_URL",
    show_envvar=True,
    required=True,
    metavar="URL",
    help="Where SCIM answers: https://matrix.example.org/_scim.",
)

token_option = click.option(
    "--token-file",
    "token_path",
    envvar="SYNAPSE_SCIM_TOKEN_FILE",
    show_envvar=True,
    required=True,
    type=click.Path(path_type=Path),
    help="The file with the token: of a client, or an access token of a server administrator.",
)


def server_options(command: Command) -> Command:
    """Let a command know which server it is about, and with which token it calls."""
    return url_option(token_option(command))


def file_options(command: Command) -> Command:
    """Let a command read people from a file."""
    command = click.option(
        "--format",
        "file_format",
        type=click.Choice(FORMATS),
        help="JSON lines, a SCIM list response, or a table. Without it, the beginning of the file tells.",
    )(command)
    command = click.option(
        "--encoding", default="utf-8", show_default=True, callback=_usable, help="The encoding of the file: latin-1, …"
    )(command)
    return click.argument("file", type=click.Path(path_type=Path))(command)


def _usable(_context: click.Context, _parameter: click.Parameter, name: str) -> str:
    if not is_usable_encoding(name):
        raise click.BadParameter("is not known, or not one that has lines as ASCII has; save the file in UTF-8")
    return name


def connect(url: str, token_path: Path, errors: Console) -> Server:
    """Return the server that the options name, and warn of a token that others can read."""
    token = read_token(token_path)
    if exposed(token_path):
        errors.print(f"Other users can read the token file {token_path}: chmod 600 {token_path}", style="yellow")
    return Server(
        url, token, waiting=lambda seconds: errors.print(f"The server asks to wait {seconds:.0f} s", style="yellow")
    )


def exposed(path: Path) -> bool:
    """Tell whether others than the owner of a file and its group can read it."""
    return bool(path.stat().st_mode & stat.S_IROTH)
