"""The session of README.md, command by command."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Sequence

import attrs

from tests.docs.markdown import PAGES
from tests.support.configuration import scim_module
from tests.support.process import SpawnHomeserver
from tests.web.tokens import client, token_of

NEXT = "-- next command --"
# What the page shows as an ellipsis.
VARIES = re.compile(r'(?<="device_id":")[^"]*')


@attrs.frozen
class Command:
    """A command, and what the page says it prints."""

    text: str
    output: str


def session() -> list[Command]:
    """Return the commands of the blocks marked `<!-- session -->`. Lines of a command but its first are indented."""
    found = re.findall(r"<!-- session -->\n```console\n(.*?)```", PAGES["README.md"], re.DOTALL)
    return [
        Command(text=text, output=output)
        for text, output in re.findall(r"^\$ (.*\n(?: +.*\n)*)((?:[^$\n].*\n)*)", "".join(found), re.MULTILINE)
    ]


async def test_session_prints_what_the_page_shows(spawn_homeserver: SpawnHomeserver) -> None:
    """Pasted into a shell that knows URL and TOKEN, a client's, it does what the page says; identifiers vary."""
    homeserver = await spawn_homeserver(module=scim_module({"clients": [client("entra")], "admin_tokens": False}))
    homeserver.start()
    homeserver.wait_until_logged("SCIM is ready")

    shown = [unwrapped(command.output) for command in session()]

    assert printed_by(session(), homeserver.url, token_of("entra")) == shown


def printed_by(commands: Sequence[Command], url: str, token: str) -> list[str]:
    """Return what each command prints, all of them in one shell."""
    finished = subprocess.run(
        ["/bin/sh", "-euc", "".join(f"{command.text}echo '{NEXT}'\n" for command in commands)],
        env={**os.environ, "URL": url, "TOKEN": token, "NO_PROXY": "*"},
        check=True,
        capture_output=True,
        text=True,
    )
    assert finished.stderr == ""
    *printed, rest = finished.stdout.split(NEXT)
    assert rest == "\n"
    return [VARIES.sub("…", unwrapped(output)) for output in printed]


def unwrapped(output: str) -> str:
    """Return an output in one line: the page breaks long ones."""
    return re.sub(r"\n *", "", output.strip())
