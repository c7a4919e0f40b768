"""What people whose accounts belong to MAS do, and what administrators do to them."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import count
from typing import Any

from tests.support.client import ScimClient
from tests.support.homeserver import LocalHomeserver
from tests.support.mas import AuthenticationService
from tests.support.mas_state import Email, Link, User


async def changed_at_mas(mas: AuthenticationService, user_id: str, changes: Mapping[str, Any]) -> dict[str, Any]:
    """Change a user there, or make one, and return what is left to change in Synapse.

    Args:
        mas: The service, whose jobs are all done afterwards.
        user_id: The Matrix user ID.
        changes: As Synapse's admin API takes them.
    """
    localpart = user_id[1:].partition(":")[0]
    user = mas.state.named(localpart) or await mas.register(localpart)
    left = dict(changes)
    if "password" in left:
        user.password = left.pop("password")
    if "admin" in left:
        user.admin = left["admin"]
    for flag, actions in (("locked", ("unlock", "lock")), ("deactivated", ("reactivate", "deactivate"))):
        if flag in left:
            action = actions[bool(left.pop(flag))]
            body = {"skip_erase": True} if action == "deactivate" else {}
            await mas.api.perform("post", f"users/{{id}}/{action}", {"id": user.id}, {}, body)
    if "threepids" in left:
        for email in [email for email in mas.state.emails.values() if email.user_id == user.id]:
            del mas.state.emails[email.id]
        for threepid in left["threepids"]:
            if threepid["medium"] == "email":
                email = Email(user_id=user.id, email=threepid["address"])
                mas.state.emails[email.id] = email
        mas.api.provision(user)
    await mas.do_jobs()
    return left


class UpstreamBrowser:
    """Logs people in at MAS through an upstream provider, as their browsers do."""

    def __init__(
        self, homeserver: LocalHomeserver, mas: AuthenticationService, provider_id: str, *, registers: bool
    ) -> None:
        """Log in with a subject of a provider.

        Args:
            homeserver: The homeserver that the session is for.
            mas: The service.
            provider_id: What it calls the provider.
            registers: Make a user of whoever logs in and has none.
        """
        self._homeserver = homeserver
        self._mas = mas
        self._provider_id = provider_id
        self._registers = registers

    async def opens(self, subject: str) -> str | None:
        """Log in, use the session, and return the user ID of the account that it opened, or `None`."""
        user = self._linked(subject)
        if user is None and self._registers:
            names = (subject.lower() + ("" if number == 1 else str(number)) for number in count(1))
            free = next(name for name in names if self._mas.state.named(name) is None)
            user = await self._mas.register(free)
            link = Link(provider_id=self._provider_id, subject=subject, user_id=user.id)
            self._mas.state.links[link.id] = link
        if user is None or not user.is_valid:
            return None
        token = (await self._mas.session(user)).token
        client = ScimClient(self._homeserver.url, token, "/_matrix/client/v3")
        whoami = await client.request("GET", "/account/whoami")
        assert whoami.status == 200, whoami.body
        return str(whoami.json["user_id"])

    def _linked(self, subject: str) -> User | None:
        wanted = (self._provider_id, subject)
        links = self._mas.state.links.values()
        linked = next((link.user_id for link in links if (link.provider_id, link.subject) == wanted), None)
        return None if linked is None else self._mas.state.users[linked]
