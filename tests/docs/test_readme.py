"""The session of README.md, command by command."""

from __future__ import annotations

from tests.docs.shell import printed_by, session
from tests.support.configuration import scim_module
from tests.support.process import SpawnHomeserver
from tests.web.tokens import client, token_of


async def test_session_prints_what_the_page_shows(spawn_homeserver: SpawnHomeserver) -> None:
    """Pasted into a shell that knows URL and TOKEN, a client's, it does what the page says; identifiers vary."""
    homeserver = await spawn_homeserver(module=scim_module({"clients": [client("entra")], "admin_tokens": False}))
    homeserver.start()
    homeserver.wait_until_logged("SCIM is ready")
    commands = session("README.md")

    printed = printed_by([command.text for command in commands], {"URL": homeserver.url, "TOKEN": token_of("entra")})

    assert printed == [command.output for command in commands]
