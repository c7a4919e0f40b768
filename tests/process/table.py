"""Everything that an identity provider does, in the order of a person's life, and what it is answered with."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from tests.process.trio import Trio
from tests.web.clients import SEARCH, Scim, bulk_of, new_user, url_of

PASSWORD = "correct horse"
OFF = {"op": "replace", "path": "active", "value": False}
ON = {"op": "replace", "path": "active", "value": True}


class Subject:
    """Whom the operations of one process are about."""

    def __init__(self, trio: Trio, process: str) -> None:
        """Let a process answer."""
        self.trio = trio
        self.scim = trio.scim[process]
        self.process = process
        self.name = f"ann-{process}"
        self.user_id = f"@{self.name}:example.org"

    async def patch(self, *operations: Any) -> int:
        """Change the person."""
        return (await self.scim.patch(self.user_id, *operations)).status

    def user(self, **attributes: Any) -> dict[str, Any]:
        """Return the User to send."""
        return new_user(
            self.name,
            **{
                "externalId": self.name,
                "displayName": "Ann",
                "timezone": "Europe/Vienna",
                "password": PASSWORD,
                "emails": [{"value": f"{self.name}@mail.example.org"}],
                "photos": [{"value": "mxc://example.org/face"}],
                **attributes,
            },
        )

    # -- Operations, in the order in which they are done ----------------------

    async def create(self) -> int:
        """Create the person."""
        return (await self.scim.post("/Users", self.user())).status

    async def create_again(self) -> int:
        """Create the person a second time."""
        return (await self.scim.post("/Users", self.user())).status

    async def find(self) -> int:
        """Find the person by e-mail address."""
        names = await self.scim.names(f'emails.value eq "{self.name}@mail.example.org"')
        assert names == [self.name]
        return 200

    async def search(self) -> int:
        """Find the person by a search in a body."""
        body = {
            "schemas": [SEARCH],
            "filter": f'userName eq "{self.name}"',
        }
        found = await self.scim.post("/Users/.search", body)
        assert [user["id"] for user in found.json["Resources"]] == [self.user_id]
        return found.status

    async def replace(self) -> int:
        """Replace the person: display name, avatar and profile field change, and an address."""
        changed = self.user(
            displayName="Anna",
            timezone="Europe/Berlin",
            photos=[{"value": "mxc://example.org/other"}],
            emails=[{"value": f"{self.name}-other@mail.example.org"}],
        )
        answered = await self.scim.put(self.user_id, changed)
        profile = await self.trio.synapse[self.process].request("GET", f"/_matrix/client/v3/profile/{self.user_id}")
        expected = {"displayname": "Anna", "avatar_url": "mxc://example.org/other", "m.tz": "Europe/Berlin"}
        assert profile.json.items() >= expected.items()
        return answered.status

    async def replace_what_changed(self) -> int:
        """Replace a version that is no longer the present one."""
        return (await self.scim.put(self.user_id, self.user(), headers={"If-Match": 'W/"old"'})).status

    async def rename(self) -> int:
        """Give the person another userName, and the former again."""
        assert await self.patch({"op": "replace", "path": "userName", "value": f"{self.name}-renamed"}) == 200
        return await self.patch({"op": "replace", "path": "userName", "value": self.name})

    async def set_password(self) -> int:
        """Give the person another password, with which they can log in at every process."""
        status = await self.patch({"op": "replace", "path": "password", "value": "battery staple"})
        for synapse in self.trio.synapse.values():
            assert (await synapse.login(self.name, "battery staple")).status == 200
        return status

    async def disable(self) -> int:
        """Disable the person."""
        return await self.patch(OFF)

    async def enable(self) -> int:
        """Enable the person."""
        return await self.patch(ON)

    async def delete(self) -> int:
        """Delete the person."""
        return (await self.scim.delete(self.user_id)).status

    async def read_what_is_gone(self) -> int:
        """Read the person who was deleted."""
        return (await self.scim.get(url_of(self.user_id))).status

    async def revive(self) -> int:
        """Create the person again."""
        answered = await self.scim.post("/Users", self.user(photos=[]))
        assert answered.json["id"] == self.user_id
        return answered.status

    async def adopt(self) -> int:
        """Adopt an account that SCIM did not make."""
        user_id = f"@bob-{self.process}:example.org"
        await self.trio.synapse["homeserver"].change(user_id)
        answered = await self.scim.post("/Users", new_user(f"bob-{self.process}"))
        assert answered.json["id"] == user_id
        return answered.status

    async def bulk(self) -> int:
        """Create somebody, refer to them and delete them, in one request."""
        operations = (
            {"method": "POST", "path": "/Users", "bulkId": "b", "data": new_user(f"cid-{self.process}")},
            {"method": "DELETE", "path": "/Users/bulkId:b"},
        )
        answered = await self.scim.post("/Bulk", bulk_of(*operations))
        statuses = [operation["status"] for operation in answered.json["Operations"]]
        assert statuses[0] == "201", answered.json
        return answered.status

    async def me(self) -> int:
        """Ask who calls."""
        return (await self.scim.get("/Me")).status

    async def discover(self) -> int:
        """Ask what can be done."""
        return (await Scim(self.trio.process(self.process).url, None).get("/ServiceProviderConfig")).status


OUTCOMES: dict[Callable[[Subject], Awaitable[int]], int] = {
    Subject.create: 201,
    Subject.create_again: 409,
    Subject.find: 200,
    Subject.search: 200,
    Subject.replace: 200,
    Subject.replace_what_changed: 412,
    Subject.rename: 200,
    Subject.set_password: 200,
    Subject.disable: 200,
    Subject.enable: 200,
    Subject.delete: 204,
    Subject.read_what_is_gone: 404,
    Subject.revive: 201,
    Subject.adopt: 201,
    Subject.bulk: 200,
    Subject.me: 200,
    Subject.discover: 200,
}
"""What each operation is answered with, at whatever process."""
