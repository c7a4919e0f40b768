"""The sessions of docs/command-line.md, and the commands that it names."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

from synapse_scim.commands import main
from tests.docs.markdown import PAGES
from tests.docs.shell import printed_by, session
from tests.support.child import free_port
from tests.support.configuration import http_listener
from tests.support.process import SpawnHomeserver

PAGE = "docs/command-line.md"
PEOPLE = """\
userName,name.givenName,name.familyName,emails.value
ann@corp.example,Ann,Lee,ann@corp.example
bob@corp.example,Bob,Ray,bob@corp.example
"""


async def test_sessions_print_what_the_page_shows(spawn_homeserver: SpawnHomeserver, tmp_path: Path) -> None:
    """In a shell that knows URL and token file, the commands do what the page says; URLs and versions vary."""
    port = free_port()
    homeserver = await spawn_homeserver(
        config={"public_baseurl": f"http://127.0.0.1:{port}/"}, listeners=[{**http_listener("client"), "port": port}]
    )
    homeserver.start()
    homeserver.wait_until_logged("SCIM is ready")
    (tmp_path / "homeserver.yaml").symlink_to(homeserver._folder / "homeserver.yaml")
    (tmp_path / "people.csv").write_text(PEOPLE)
    token = tmp_path / "token"
    token.touch(0o600)
    token.write_text(homeserver.register_admin())
    environment = {
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
        "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
        "PYTHONUTF8": "1",
        "SYNAPSE_SCIM_URL": f"{homeserver.url}/_scim",
        "SYNAPSE_SCIM_TOKEN_FILE": str(token),
    }
    commands = session(PAGE)

    printed = printed_by([command.text for command in commands], environment, tmp_path)

    varying = re.compile(rf"{homeserver.url}|(?<=tables have version )\d+|(?<=until )[-\d]+ [:\d]+(?= UTC)")
    assert [varying.sub("…", output) for output in printed] == [command.output for command in commands]


def test_page_names_every_command() -> None:
    """Each command has a row in the table at the top."""
    rows = re.findall(r"^\| `(\w+)[^`]*` \|", PAGES[PAGE], re.MULTILINE)

    assert sorted(rows) == sorted(main.commands)
