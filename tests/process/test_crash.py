"""A homeserver that is killed in the middle of provisioning."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from itertools import count
from typing import Any

import attrs
from twisted.internet import reactor
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.error import ConnectError, ConnectionClosed
from twisted.internet.task import deferLater
from twisted.web.client import ResponseFailed

from tests.support.configuration import SERVER_NAME
from tests.support.databases import Engine
from tests.support.process import SpawnedHomeserver, SpawnHomeserver
from tests.web.clients import (
    ENTERPRISE,
    STABLE,
    Scim,
    Synapse,
    assert_error,
    assert_scim,
    new_user,
    until,
    url_of,
    without_meta,
)

AT_ONCE = 4
"""How many requests are under way when the homeserver dies."""

LIFETIMES_S = (0.08, 0.12, 0.16, 0.22)
"""How long people are provisioned before it dies, in one round after the other."""


def person(number: int) -> dict[str, Any]:
    """Return a person whose creation has every kind of step. Every third is disabled."""
    name = f"person{number}"
    return new_user(
        name,
        externalId=f"external-{name}",
        displayName=f"Person {number}",
        title="Clerk",
        password=f"password of {name}",
        active=number % 3 > 0,
        emails=[{"value": f"{name}@mail.example.org", "type": "work", "primary": True}],
        phoneNumbers=[{"value": f"+4366412{number:05}", "type": "work"}],
        **{ENTERPRISE: {"department": "Accounts"}},
    )


def user_id_of(sent: Mapping[str, Any]) -> str:
    """Return the user ID that a person gets."""
    return f"@{sent['userName']}:{SERVER_NAME}"


@attrs.define
class Provisioned:
    """Whose creation was asked for, and whose was answered."""

    begun: list[dict[str, Any]] = attrs.field(factory=list)
    answered: list[dict[str, Any]] = attrs.field(factory=list)


class Server:
    """A homeserver that runs, dies and runs again, and who provisions people there."""

    def __init__(self, homeserver: SpawnedHomeserver) -> None:
        """Start the homeserver."""
        self.homeserver = homeserver
        homeserver.start()
        token = homeserver.register_admin()
        self.scim = Scim(homeserver.url, token, STABLE)
        self.synapse = Synapse(homeserver.url, token)

    async def die_while_provisioning(self, people: Iterator[dict[str, Any]], lifetime_s: float) -> Provisioned:
        """Create people, several at once, until the homeserver is killed."""
        provisioned = Provisioned()

        async def provision() -> None:
            with suppress(ConnectError, ConnectionClosed, ResponseFailed):
                for sent in people:
                    provisioned.begun.append(sent)
                    assert_scim(await self.scim.post("/Users", sent), 201)
                    provisioned.answered.append(sent)

        death = deferLater(reactor, lifetime_s, self.homeserver.kill)
        await gatherResults([death, *(Deferred.fromCoroutine(provision()) for _ in range(AT_ONCE))])
        return provisioned

    async def rise(self) -> None:
        """Start again, and wait until no write is left that has begun and not ended."""
        self.homeserver.start()

        async def is_clean() -> bool:
            ready = (await self.scim.get("/Me")).status == 200
            return ready and not self.homeserver._database.execute("SELECT user_id FROM synapse_scim_writes")

        await until(is_clean)

    async def is_there(self, sent: Mapping[str, Any]) -> bool:
        """Tell whether a person exists, who must be whole then: in SCIM, in Synapse, and for themselves."""
        user_id = user_id_of(sent)
        answer = await self.scim.get(url_of(user_id))
        if answer.status == 404:
            return False
        published = assert_scim(answer, 200)
        expected = {name: value for name, value in sent.items() if name not in {"password", "schemas"}}
        assert without_meta(published).items() >= expected.items()
        account = await self.synapse.account(user_id)
        assert (account["displayname"], account["locked"]) == (sent["displayName"], not sent["active"])
        assert {threepid["medium"] for threepid in account["threepids"]} == {"email", "msisdn"}
        login = await self.synapse.login(user_id, sent["password"])
        assert login.status == (200 if sent["active"] else 401)
        return True


async def test_person_is_whole_or_absent(engine: Engine, spawn_homeserver: SpawnHomeserver) -> None:
    """Whenever the process dies, each person exists with all that was sent or not at all. Repeating is safe."""
    server = Server(await spawn_homeserver(engine=engine))
    people = map(person, count())
    for lifetime_s in LIFETIMES_S:
        provisioned = await server.die_while_provisioning(people, lifetime_s)
        await server.rise()

        there = [sent for sent in provisioned.begun if await server.is_there(sent)]
        absent = [sent for sent in provisioned.begun if sent not in there]
        assert all(sent in there for sent in provisioned.answered)
        for sent in there:
            assert_error(await server.scim.post("/Users", sent), 409, "uniqueness")
        for sent in absent:
            assert assert_scim(await server.scim.post("/Users", sent), 201)["id"] == user_id_of(sent)
            assert await server.is_there(sent)
