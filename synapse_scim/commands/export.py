"""The command that writes the server's people into a file."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import click
from rich.console import Console

from synapse_scim.client.attributes import ensure_attributes
from synapse_scim.client.files import FORMATS, Format
from synapse_scim.client.server import LIST_RESPONSE
from synapse_scim.client.tables import DEFAULT_COLUMNS, cells_of, columns_of, write_row
from synapse_scim.client.trouble import Trouble
from synapse_scim.commands.options import connect, server_options


@click.command()
@server_options
@click.option("--format", "file_format", type=click.Choice(FORMATS), default="jsonl", show_default=True)
@click.option("--output", "path", type=click.Path(path_type=Path), help="A new file, instead of standard output.")
@click.option("--attributes", help="The attributes to export, separated by commas; the columns of a table.")
@click.option("--filter", "scim_filter", help="Whom to export, as a SCIM filter: 'active eq true'.")
def export(
    url: str, token_path: Path, file_format: Format, path: Path | None, attributes: str | None, scim_filter: str | None
) -> None:
    """Write the people whom the token sees, as JSON lines, a SCIM list response or a table."""
    errors = Console(stderr=True, soft_wrap=True, highlight=False)
    names = [name.strip() for name in attributes.split(",")] if attributes else []
    ensure_attributes(names)
    columns = columns_of(names or DEFAULT_COLUMNS) if file_format == "csv" else []
    asked = ",".join(column.path for column in columns) or ",".join(names)
    params = {name: value for name, value in (("attributes", asked), ("filter", scim_filter)) if value}
    with connect(url, token_path, errors) as server, _output(path) as write:
        users = server.users(**params)
        if file_format == "csv":
            write(write_row(column.path for column in columns))
            for user in users:
                write(write_row(cells_of(columns, user)))
        elif file_format == "jsonl":
            for user in users:
                write(_json(user) + "\n")
        else:
            _write_list(users, write)


def _write_list(users: Iterator[Mapping[str, Any]], write: Callable[[str], object]) -> None:
    """Write a list response, whose number of people is known at its end alone."""
    count = 0
    write('{"schemas":["' + LIST_RESPONSE + '"],"Resources":[')
    for user in users:
        write(("," if count else "") + "\n" + _json(user))
        count += 1
    write(f'\n],"totalResults":{count},"startIndex":1,"itemsPerPage":{count}}}\n')


def _json(user: Mapping[str, Any]) -> str:
    return json.dumps(user, ensure_ascii=False, separators=(",", ":"))


@contextmanager
def _output(path: Path | None) -> Iterator[Callable[[str], object]]:
    """Open what to write to. A file is the user's alone, since it holds what is said of people."""
    if path is None:
        yield sys.stdout.write
        return
    try:
        file: IO[str] = os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8")
    except OSError as error:
        raise Trouble(f"{path} cannot be written: {error.strerror}") from None
    try:
        with file:
            yield file.write
    except BaseException:
        # Half a file would look like a whole one, and be in the way of the next try.
        path.unlink(missing_ok=True)
        raise
