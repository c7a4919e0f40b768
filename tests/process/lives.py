"""A homeserver that is killed and started again, and people at whom requests are cut off."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

import attrs

from tests.support.client import Response
from tests.support.mas import AuthenticationService
from tests.support.process import SpawnedHomeserver
from tests.web.clients import STABLE, Scim, Synapse, new_user, until, url_of, without_meta

HEIR = "@heir:example.org"
"""Who takes over the rooms of those who are deactivated."""

PUSH_GATEWAY = "https://push.example/_matrix/push/v1/notify"
PASSWORDS = ("correct horse", "battery staple")
"""What everybody's password is at first, and after a change."""

BEFORE: dict[str, tuple[str, ...]] = {
    "create": (),
    "depict": (),
    "change": ("join", "settle_in"),
    "disable": ("join", "settle_in", "open_room"),
    "enable": ("join", "settle_in", "open_room", "disable"),
    "delete": ("join", "settle_in"),
    "revive": ("join", "settle_in", "delete"),
}
"""The requests that are cut off, and what has to happen before."""


@attrs.frozen(kw_only=True)
class Policy:
    """What becomes of those who leave.

    Attributes:
        settings: The settings that say so.
        kinds: The kinds of steps that are taken then, among others.
        operations: What is cut off.
        at_mas: Whether the accounts belong to MAS.
    """

    settings: Mapping[str, Any]
    kinds: tuple[type, ...]
    operations: tuple[str, ...] = tuple(BEFORE)
    at_mas: bool = False


class World:
    """A homeserver that is killed and started again, and its administrator."""

    scim: Scim
    synapse: Synapse

    def __init__(self, homeserver: SpawnedHomeserver, policy: Policy, mas: AuthenticationService | None) -> None:
        """Start it."""
        self.homeserver = homeserver
        self.policy = policy
        self.mas = mas
        self.folder: Path = homeserver._folder
        homeserver.start()
        self.heir_token = ""

    async def begin(self) -> None:
        """Make the administrator, wait until SCIM answers, and make the heir."""
        if self.mas is None:
            token = self.homeserver.register_admin()
        else:
            self.mas.homeserver_url = lambda: self.homeserver.url
            token = (await self.mas.session(await self.mas.register("admin"), is_admin=True)).token
        self.scim = Scim(self.homeserver.url, token, STABLE, settle=self.mas.do_jobs if self.mas else None)
        self.synapse = Synapse(self.homeserver.url, token, mas=self.mas)
        await self._until_clean()
        await self.synapse.change(HEIR, password=PASSWORDS[0])
        self.heir_token = await self.synapse.token(HEIR, PASSWORDS[0])

    async def rise(self) -> None:
        """Start it again, and wait until no write is left that has begun and not ended."""
        self.homeserver.kill()
        self.homeserver.start()
        await self._until_clean()

    async def _until_clean(self) -> None:
        async def is_clean() -> bool:
            return (await self.scim.get("/Me")).status == 200 and not self.unfinished()

        await until(is_clean)

    def unfinished(self) -> list[tuple[Any, ...]]:
        """Return the accounts of which the journal has an entry, but for what is only made once more, later."""
        left = f"SELECT user_id FROM synapse_scim_writes WHERE started_ts <= {time.time() * 1000:.0f}"  # noqa: S608
        return self.homeserver._database.execute(left)

    async def as_person(self, token: str, path: str, body: Mapping[str, Any]) -> Any:
        """Send a request to the client API."""
        headers = {"Authorization": f"Bearer {token}"}
        answer = await self.synapse.request("POST", f"/_matrix/client/v3{path}", body, headers=headers)
        assert answer.status == 200, answer.body
        return answer.json

    async def administered(self, path: str) -> Any:
        """Return what the admin API says; `None` if that is not there."""
        answer = await self.synapse.request("GET", f"/_synapse/admin{path}")
        return answer.json if answer.status == 200 else None


@attrs.frozen
class Person:
    """Somebody at whom one request is cut off."""

    world: World
    name: str
    number: int

    @property
    def user_id(self) -> str:
        """The Matrix user ID."""
        return f"@{self.name}:example.org"

    @property
    def phone_number(self) -> str:
        """A phone number of nobody else's, as digits."""
        return f"4930{123456 + self.number}"

    def user(self, **attributes: Any) -> dict[str, Any]:
        """Return the User to send."""
        return new_user(
            self.name,
            **{
                "externalId": f"{self.name}-external",
                "displayName": "Ann",
                "title": "Boss",
                "password": PASSWORDS[0],
                "emails": [{"value": f"{self.name}@mail.example.org", "type": "work"}],
                "phoneNumbers": [{"value": f"+{self.phone_number}"}],
                **attributes,
            },
        )

    # -- What is cut off ------------------------------------------------------

    async def create(self, headers: Mapping[str, str]) -> Response:
        """Create the person with everything, disabled."""
        return await self.world.scim.post("/Users", self.user(active=False), headers=headers)

    async def depict(self, headers: Mapping[str, str]) -> Response:
        """Create the person with a photo, and with a field for the profile."""
        user = self.user(photos=[{"value": "mxc://example.org/face", "type": "photo"}], timezone="Europe/Vienna")
        return await self.world.scim.post("/Users", user, headers=headers)

    async def change(self, headers: Mapping[str, str]) -> Response:
        """Change everything at once."""
        changed = self.user(
            userName=f"{self.name}-renamed",
            externalId=f"{self.name}-other",
            displayName="Anna",
            title="Clerk",
            password=PASSWORDS[1],
            emails=[{"value": f"{self.name}-other@mail.example.org"}],
            phoneNumbers=[],
            photos=[{"value": "mxc://example.org/other"}],
            timezone="Europe/Berlin",
            active=False,
        )
        return await self.world.scim.put(self.user_id, changed, headers=headers)

    async def disable(self, headers: Mapping[str, str]) -> Response:
        """Disable the account."""
        return await self._set_active(active=False, headers=headers)

    async def enable(self, headers: Mapping[str, str]) -> Response:
        """Enable the account again."""
        return await self._set_active(active=True, headers=headers)

    async def delete(self, headers: Mapping[str, str]) -> Response:
        """Delete the account."""
        return await self.world.scim.delete(self.user_id, headers=headers)

    async def revive(self, headers: Mapping[str, str]) -> Response:
        """Create the person again who was deleted."""
        user = self.user(displayName="Annie", photos=[{"value": "mxc://example.org/face"}])
        return await self.world.scim.post("/Users", user, headers=headers)

    async def _set_active(self, *, active: bool, headers: Mapping[str, str]) -> Response:
        operation = {"op": "replace", "path": "active", "value": active}
        return await self.world.scim.patch(self.user_id, operation, headers=headers)

    # -- What happens before --------------------------------------------------

    async def join(self, _headers: Mapping[str, str]) -> Response:
        """Create the person."""
        return await self.world.scim.post("/Users", self.user())

    async def settle_in(self, _headers: Mapping[str, str]) -> None:
        """Log in, and be notified through a push gateway and by e-mail."""
        token = await self.world.synapse.token(self.name, PASSWORDS[0])
        names = {"app_display_name": "App", "device_display_name": "Phone", "lang": "en"}
        for pusher in (
            {"kind": "http", "app_id": "app", "pushkey": self.name, "data": {"url": PUSH_GATEWAY}},
            {"kind": "email", "app_id": "m.email", "pushkey": f"{self.name}@mail.example.org", "data": {}},
        ):
            await self.world.as_person(token, "/pushers/set", {**pusher, **names})

    async def open_room(self, _headers: Mapping[str, str]) -> None:
        """Open a room, be its only administrator, and have the heir in it."""
        token = await self.world.synapse.token(self.name, PASSWORDS[0])
        room = await self.world.as_person(token, "/createRoom", {"preset": "public_chat", "room_version": "11"})
        await self.world.as_person(self.world.heir_token, f"/join/{quote(room['room_id'])}", {})

    async def prepare(self, operation: str) -> None:
        """Let everything happen that has to come before an operation."""
        for before in BEFORE[operation]:
            answer = await getattr(self, before)({})
            assert answer is None or answer.status < 300, (before, answer.body)

    # -- What is seen ---------------------------------------------------------

    async def state(self) -> str:
        """Return everything that anybody sees of the account, without what tells one person from another.

        Synapse takes those who are deactivated out of their rooms in its own time, and is waited for.
        """
        if self.world.mas is not None:
            await self.world.mas.do_jobs()
        await until(self._has_parted)
        published = await self.world.scim.get(url_of(self.user_id))
        account = await self.world.administered(f"/v2/users/{quote(self.user_id)}") or {}
        if str(account.get("displayname")).startswith("synapse-scim "):
            # MAS cannot remove a user: a creation that was given up leaves one whom nobody sees, and nobody gets in.
            assert (published.status, account["locked"], account["threepids"]) == (404, True, [])
            return "nobody"
        rooms = await self.world.administered(f"/v1/users/{quote(self.user_id)}/joined_rooms")
        pushers = await self.world.administered(f"/v1/users/{quote(self.user_id)}/pushers")
        seen = {
            "published": without_meta(published.json) if published.status == 200 else published.status,
            "account": {
                name: account.get(name)
                for name in ("displayname", "avatar_url", "deactivated", "erased", "locked", "external_ids")
            },
            "threepids": sorted((t["medium"], t["address"]) for t in account.get("threepids", ())),
            "logins": [(await self.world.synapse.login(self.name, password)).status for password in PASSWORDS],
            "pushers": sorted(pusher["app_id"] for pusher in pushers["pushers"]) if pushers else None,
            "rooms": len(rooms["joined_rooms"]) if rooms else None,
            "departures": self.world.homeserver._database.execute(
                "SELECT deactivate_ts IS NULL, external_id_hash IS NULL FROM synapse_scim_departures"  # noqa: S608
                f" WHERE user_id = '{self.user_id}'"
            ),
        }
        text = json.dumps(seen, sort_keys=True, indent=1)
        return text.replace(self.name, "NAME").replace(self.phone_number, "NUMBER")

    async def _has_parted(self) -> bool:
        return not self.world.homeserver._database.execute(
            f"SELECT user_id FROM users_pending_deactivation WHERE user_id = '{self.user_id}'"  # noqa: S608
        )
