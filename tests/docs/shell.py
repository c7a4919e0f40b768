"""Runs the shell sessions that the documentation shows."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

import attrs

from tests.docs.markdown import PAGES

_NEXT = "-- next command --"
# What the pages show as an ellipsis.
_VARIES = re.compile(r'(?<="device_id":")[^"]*')


@attrs.frozen
class Command:
    """A command, and what the page says it prints, in one line."""

    text: str
    output: str


def session(page: str, mark: str = "session") -> list[Command]:
    """Return the commands of the blocks that follow a mark, `<!-- session -->`.

    Lines of a command but its first are indented, and so are those of an output.
    """
    found = re.findall(rf"<!-- {mark} -->\n```console\n(.*?)```", PAGES[page], re.DOTALL)
    return [
        Command(text=text, output=_unwrapped(output))
        for text, output in re.findall(r"^\$ (.*\n(?: +.*\n)*)((?:[^$\n].*\n)*)", "".join(found), re.MULTILINE)
    ]


def printed_by(commands: Sequence[str], environment: Mapping[str, str], folder: Path | None = None) -> list[str]:
    """Return what each command prints, all of them in one shell; none may fail."""
    finished = subprocess.run(
        ["/bin/sh", "-euc", "".join(f"{command}\necho '{_NEXT}'\n" for command in commands)],
        env={**os.environ, **environment, "NO_PROXY": "*"},
        cwd=folder,
        check=False,
        capture_output=True,
        text=True,
    )
    assert finished.returncode == 0, finished.stdout + finished.stderr
    *printed, rest = finished.stdout.split(_NEXT)
    assert rest == "\n"
    return [_VARIES.sub("…", _unwrapped(output)) for output in printed]


def _unwrapped(output: str) -> str:
    """Return an output in one line: the pages break long ones."""
    return re.sub(r"\n *", "", output.strip())
