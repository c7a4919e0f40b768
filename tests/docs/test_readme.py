"""The session of README.md, command by command."""

from __future__ import annotations

import re

from tests.docs.sessions import printed_by, session, unwrapped
from tests.support.process import SpawnHomeserver

# What the page shows as an ellipsis.
VARIES = re.compile(r'(?<="device_id":")[^"]*')


async def test_session_prints_what_the_page_shows(spawn_homeserver: SpawnHomeserver) -> None:
    """Pasted into a shell that knows URL and TOKEN, the session does what the page says; identifiers vary."""
    homeserver = await spawn_homeserver()
    homeserver.start()
    homeserver.wait_until_logged("SCIM is ready")
    commands = session("README.md")

    printed = printed_by(commands, {"URL": homeserver.url, "TOKEN": homeserver.register_admin()})

    assert [VARIES.sub("…", output) for output in printed] == [unwrapped(command.output) for command in commands]
