"""Runs commands beside the homeserver in the test's process."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from click.testing import CliRunner, Result
from twisted.internet.threads import deferToThread

from synapse_scim.commands import main


class CommandLine:
    """What an administrator types.

    Attributes:
        url: The value of `--url`.
        token_path: The value of `--token-file`.
        folder: Where files are.
    """

    def __init__(self, url: str, token: str, folder: Path) -> None:
        """Write the token into a file that nobody else can read."""
        self.url = url
        self.folder = folder
        self.token_path = folder / "token"
        self.token_path.touch(0o600)
        self.token_path.write_text(token + "\n")

    async def run(self, command: str, *arguments: str | Path) -> Result:
        """Run a command about the server, and return what it printed; a bug of the command fails the test."""
        environment = {"SYNAPSE_SCIM_URL": self.url, "SYNAPSE_SCIM_TOKEN_FILE": str(self.token_path)}
        return await invoke([command, *map(str, arguments)], environment)

    def write(self, name: str, content: str | bytes) -> Path:
        """Write a file, and return its path."""
        path = self.folder / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    def write_lines(self, people: Iterable[Any], name: str = "people.jsonl") -> Path:
        """Write a file of JSON lines, and return its path."""
        return self.write(name, "".join(json.dumps(person) + "\n" for person in people))


async def invoke(arguments: Iterable[str], environment: Mapping[str, str] | None = None) -> Result:
    """Run `synapse-scim` with some arguments, in a thread, while the reactor serves."""
    result: Result = await deferToThread(CliRunner().invoke, main, list(arguments), env=environment)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def counts(result: Result) -> dict[str, int]:
    """Return the numbers of the first column of the table that a command printed, by row, without zeros."""
    rows = [row.strip("│").split("│") for row in result.output.splitlines() if row.startswith("│")]
    return {name.strip(): int(number) for name, number, *_ in rows if int(number)}
