"""The tokens of clients, from the command line: made, followed by others, and told apart."""

from __future__ import annotations

import os
import sys
from datetime import UTC, datetime
from pathlib import Path
from shlex import quote

import click

from synapse_scim.client.configuration import configured
from synapse_scim.commands.options import config_option
from synapse_scim.config import Client, ConfigurationError
from synapse_scim.config.clients import is_client_name
from synapse_scim.credentials.clients import ClientTokens, can_rotate
from synapse_scim.credentials.token_files import (
    UnusableToken,
    digest_of,
    new_token,
    next_path,
    read_token,
    write_token,
)
from synapse_scim.homeserver.offline import read_module_config

_NEW = """\
The token of the client {name}, which is shown this once:

    {token}

The client in the module's configuration, its token as a digest:

    clients:
      - name: "{name}"
        token_sha256: ["{digest}"]

Or in a file that Synapse alone can read, as '--file PATH' makes it; another token can then follow without a restart:

    clients:
      - name: "{name}"
        token_paths: [/etc/matrix-synapse/scim-{name}.token]
"""

_NEW_IN_FILE = """\
The token of the client {name}, which stands in {path} and is shown this once:

    {token}

The client in the module's configuration; Synapse must be able to read the file:

    clients:
      - name: "{name}"
        token_paths: ["{path}"]
"""

_NEXT = """\
The next token of the client {name}, which stands in {path} and is shown this once:

    {token}

It is valid now, and so is the one before, without a restart. When the client has the new one, end the old one:

    synapse-scim token rotate {name} --end{options}
"""


@click.group()
def token() -> None:
    """Make tokens for clients, and look after them."""


@token.command()
@click.argument("name")
@click.option("--file", "path", type=click.Path(path_type=Path), help="Write it into this file, which must not exist.")
def new(name: str, path: Path | None) -> None:
    """Make a token for the client NAME, and say what to configure."""
    if not is_client_name(name):
        raise click.BadParameter("a name is of at most 64 letters, digits, dots, dashes and underscores")
    made = new_token()
    if path is None:
        click.echo(_NEW.format(name=name, token=made, digest=digest_of(made).hex()), nl=False)
        return
    _write(path.absolute(), made)
    click.echo(_NEW_IN_FILE.format(name=name, token=made, path=path.absolute()), nl=False)


@token.command()
@config_option
@click.argument("name")
@click.option("--end", is_flag=True, help="End the old token: the next one takes its place.")
def rotate(config_paths: tuple[str, ...], name: str, end: bool) -> None:  # noqa: FBT001 - click gives it by keyword
    """Make a token that is to follow the one which the client NAME has in a file; both are valid until '--end'."""
    client = next((client for client in _clients(config_paths) if client.name == name), None)
    if client is None:
        raise click.ClickException(f"There is no client {name} in the configuration")
    if not can_rotate(client):
        raise click.ClickException(
            "This works for a client with one token, in a file. Otherwise make one with 'synapse-scim token new', write"
            " it beside the present one in the configuration, and restart; take the old one out in the same way"
        )
    path = Path(client.token_paths[0])
    following = next_path(path)
    try:
        if end:
            read_token(following)
            following.replace(path)
            click.echo(f"The old token of the client {name} is valid no longer.")
            return
        made = new_token()
        _write(following, made, like=_found(path))
    except UnusableToken as error:
        raise click.ClickException(f"There is no next token in {following}: {error}") from None
    options = "".join(f" --config {quote(config)}" for config in config_paths)
    click.echo(_NEXT.format(name=name, token=made, path=following, options=options), nl=False)


@token.command()
@config_option
def check(config_paths: tuple[str, ...]) -> None:
    """Say whose a token is. It is asked for, or read from standard input: other users can see a command's arguments."""
    try:
        tokens = ClientTokens(_clients(config_paths), lambda: datetime.now(UTC))
    except ConfigurationError as error:
        raise click.ClickException(f"'{'.'.join(error.path)}' {error}") from None
    shown = click.prompt("Token", hide_input=True) if sys.stdin.isatty() else sys.stdin.readline()
    client = tokens.owner(shown.strip())
    if client is None:
        raise click.ClickException("This is no client's token")
    if tokens.has_expired(client):
        raise click.ClickException(f"This is a token of the client {client.name}, and expired on {client.expires}")
    click.echo(
        f"This is a token of the client {client.name}, good for {', '.join(sorted(client.scopes))},"
        f" from {', '.join(map(str, client.networks)) or 'everywhere'}, until {client.expires or 'it is taken away'}."
    )


def _clients(config_paths: tuple[str, ...]) -> tuple[Client, ...]:
    with configured(config_paths):
        return read_module_config(config_paths).clients


def _found(path: Path) -> os.stat_result:
    try:
        return path.stat()
    except OSError as error:
        raise click.ClickException(f"The token file {path} cannot be read: {error.strerror}") from None


def _write(path: Path, made: str, *, like: os.stat_result | None = None) -> None:
    try:
        write_token(path, made, like=like)
    except FileExistsError:
        raise click.ClickException(f"{path} exists already; it is kept as it is") from None
    except OSError as error:
        raise click.ClickException(f"{path} cannot be written: {error.strerror}") from None
