"""Sessions in a shell that pages show, run command by command."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

import attrs

from tests.docs.markdown import PAGES

_NEXT = "-- next command --"


@attrs.frozen
class Command:
    """A command, and what the page says it prints."""

    text: str
    output: str


def session(page: str) -> list[Command]:
    """Return the commands of the blocks marked `<!-- session -->`. Lines of a command but its first are indented."""
    found = re.findall(r"<!-- session -->\n```console\n(.*?)```", PAGES[page], re.DOTALL)
    return [
        Command(text=text, output=output)
        for text, output in re.findall(r"^\$ (.*\n(?: +.*\n)*)((?:[^$\n].*\n)*)", "".join(found), re.MULTILINE)
    ]


def printed_by(commands: Sequence[Command], environment: Mapping[str, str], folder: Path | None = None) -> list[str]:
    """Return what each command prints, all of them in one shell, which must print nothing else.

    Args:
        commands: The commands.
        environment: What the shell knows beside this process's own environment.
        folder: Where it runs.
    """
    finished = subprocess.run(
        ["/bin/sh", "-euc", "".join(f"{command.text}echo '{_NEXT}'\n" for command in commands)],
        env={**os.environ, "NO_PROXY": "*", **environment},
        cwd=folder,
        check=True,
        capture_output=True,
        text=True,
    )
    assert finished.stderr == ""
    *printed, rest = finished.stdout.split(_NEXT)
    assert rest == "\n"
    return [unwrapped(output) for output in printed]


def unwrapped(output: str) -> str:
    """Return an output in one line: the page breaks long ones."""
    return re.sub(r"\n *", "", output.strip())
