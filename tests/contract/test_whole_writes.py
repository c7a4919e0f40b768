"""A write happens whole or not at all, wherever it fails and wherever the process dies."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

import attrs
import pytest
from scim2_models import NotFoundException, Resource, ResourceType, SCIMException, UniquenessException

from synapse_scim.application import Application, account_gateway, build
from synapse_scim.homeserver.database import HomeserverDatabase
from synapse_scim.mapping.identifiers import fold
from synapse_scim.module import ScimModule
from synapse_scim.store.audit import Wanted
from synapse_scim.store.errors import scim_errors
from synapse_scim.store.rights import Rights
from synapse_scim.store.users import UserStorage
from synapse_scim.subject import Subject
from tests.support.failing import Crash, FailingDatabase, FailingGateway, Steps, When
from tests.support.homeserver import LocalHomeserver

SSO = {"sso": {"idp_id": "oidc"}}

pytestmark = [pytest.mark.usefixtures("engine"), pytest.mark.homeserver(module_config=SSO)]


def application(homeserver: LocalHomeserver, steps: Steps | None = None) -> Application:
    """Return SCIM, its steps counted if wanted."""
    # More leave here than the guard would let.
    config = ScimModule.parse_config({**SSO, "guard": {"max": None}, **homeserver.delegation})
    if steps is None:
        return build(config, homeserver.hs)
    gateway = FailingGateway(account_gateway(config, homeserver.hs), steps)
    database = FailingDatabase(HomeserverDatabase(homeserver.hs, fold), steps)
    return build(config, homeserver.hs, gateway=gateway, database=database)


@attrs.frozen
class Person:
    """Somebody to make, change and delete through one application."""

    application: Application
    name: str

    @property
    def user_id(self) -> str:
        """The Matrix user ID that the first userName gives."""
        return f"@{self.name}:example.org"

    @property
    def phone_number(self) -> str:
        """A valid phone number of nobody else's, as digits."""
        return f"4930{123456 + int(self.name[1:])}"

    @property
    def users(self) -> UserStorage:
        """The Users as a server admin sees them."""
        store = self.application.store
        subject = Subject(name="@admin:example.org", adopt="any")
        return UserStorage(store, Rights(subject=subject, protected=(), users=store.users))

    @property
    def user_type(self) -> ResourceType:
        """The type of a User."""
        return self.application.provider.resource_types[0]

    def user(self, **attributes: Any) -> Resource[Any]:
        """Return the User to send."""
        return self.application.store.model.model_validate(
            {
                "userName": self.name,
                "externalId": f"{self.name}-external",
                "emails": [{"value": f"{self.name}@mail.example.org", "type": "work"}],
                "phoneNumbers": [{"value": f"+{self.phone_number}"}],
                "title": "Boss",
                **attributes,
            }
        )

    async def create(self) -> None:
        """Make the account."""
        await self.users.create(self.user_type, self.user(displayName="Ann", active=False))

    async def change(self) -> None:
        """Change everything at once."""
        changed = self.user(
            id=self.user_id,
            userName=f"{self.name}-renamed",
            externalId=f"{self.name}-other",
            emails=[{"value": f"{self.name}-other@mail.example.org"}],
            phoneNumbers=[],
            title="Clerk",
            displayName="Anna",
            active=True,
            password="correct horse",
        )
        await self.users.update(self.user_type, changed)

    async def delete(self) -> None:
        """Delete the account."""
        await self.users.delete(self.user_type, self.user_id)

    async def disable(self) -> None:
        """Disable the account, as the User that it was changed to."""
        await self._set_active(active=False)

    async def expire(self) -> None:
        """Let the time pass in which the account is only locked."""
        store = self.application.store
        with scim_errors():
            await store.database.run("test_expire", _make_due)
            for user_id in await store.writer.unfinished():
                await store.writer.recover(user_id)
            await store.leavers.deactivate_due()

    async def enable(self) -> None:
        """Enable the account again."""
        await self._set_active(active=True)

    async def revive(self) -> None:
        """Make an account for the person who was deleted."""
        user = self.user(externalId=f"{self.name}-other", displayName="Annie", photos=[{"value": "mxc://x/face"}])
        await self.users.create(self.user_type, user)

    def owners_view(self, homeserver: LocalHomeserver) -> Any:
        """Return what MAS has of the account, if it belongs to it."""
        mas = homeserver.mas
        user = mas.state.named(self.name) if mas else None
        if mas is None or user is None:
            return None
        emails, links = mas.state.emails_of(user.id), mas.state.links_of(user.id)
        if user.locked_at is not None and not (emails or links or user.deactivated_at):
            return "locked, with nothing"
        has_password = user.password == "correct horse"
        return [user.locked_at is None, user.deactivated_at is None, has_password, sorted(emails), sorted(links)]

    async def told_of(self, operation: str) -> list[str]:
        """Return what the audit tells of an operation, beside what had to happen before: how it ended."""
        trail = self.application.endpoint.observer.trail
        events = [recorded.event for recorded in reversed(await trail.read(Wanted(user_id=self.user_id), 100))]
        told = [event for event in events[len(OPERATIONS[operation]) :] if event.outcome != "failed"]
        assert {event.operation for event in told} <= {AUDITED[operation]}
        return [event.outcome for event in told]

    async def _set_active(self, *, active: bool) -> None:
        user = await self.users.get(self.user_type, self.user_id)
        user.active = active  # type: ignore[attr-defined]
        await self.users.update(self.user_type, user)

    async def state(self, homeserver: LocalHomeserver) -> str:
        """Return everything that anybody sees of the account, without the person's name.

        MAS keeps a registration that was given up, but nobody sees it or gets in.
        """
        store = homeserver.hs.get_datastores().main
        if homeserver.mas is not None:
            await homeserver.mas.do_jobs()
        given_up = await store.db_pool.simple_select_list(
            "synapse_scim_users", {"user_id": self.user_id, "state": "given_up"}, ("user_name",)
        )
        published: dict[str, Any] | None = None
        with suppress(NotFoundException):
            published = (await self.users.get(self.user_type, self.user_id)).model_dump(exclude={"meta"})
        accounts = await store.db_pool.simple_select_list(
            "users", {"name": self.user_id}, ("locked", "deactivated", "password_hash")
        )
        departures = await store.db_pool.simple_select_list(
            "synapse_scim_departures", {"user_id": self.user_id}, ("deactivate_ts", "departure")
        )
        profiles = await store.db_pool.simple_select_list(
            "profiles", {"full_user_id": self.user_id}, ("displayname", "avatar_url")
        )
        seen = {
            "published": published,
            "accounts": [
                (bool(locked), deactivated, password_hash is None) for locked, deactivated, password_hash in accounts
            ],
            "profiles": profiles,
            "departures": [(deactivate_ts is None, departure) for deactivate_ts, departure in departures],
            "threepids": sorted((t.medium, t.address) for t in await store.user_get_threepids(self.user_id)),
            "external_ids": sorted(await store.get_external_ids_by_user(self.user_id)),
            "mas": self.owners_view(homeserver),
        }
        if given_up:
            assert all(seen["accounts"][0][:1] for _ in seen["accounts"])
            assert seen["mas"] in {None, "locked, with nothing"}
            seen |= {"accounts": [], "profiles": [], "mas": None}
        return json.dumps(seen, sort_keys=True).replace(self.name, "NAME").replace(self.phone_number, "NUMBER")


def _make_due(txn: Any) -> None:
    txn.execute("UPDATE synapse_scim_departures SET deactivate_ts = 0 WHERE deactivate_ts IS NOT NULL")


OPERATIONS: dict[str, tuple[str, ...]] = {
    "create": (),
    "change": ("create",),
    "delete": ("create", "change"),
    "disable": ("create", "change"),
    "expire": ("create", "change", "disable"),
    "enable": ("create", "change", "disable", "expire"),
    "revive": ("create", "change", "delete"),
}
"""What is tried, and what has to happen before."""

AUDITED = {
    "create": "create",
    "change": "replace",
    "delete": "delete",
    "disable": "replace",
    "expire": "deactivate",
    "enable": "replace",
    "revive": "revive",
}
"""What the audit calls it."""

IMPOSSIBLE_TWICE = {"create": UniquenessException, "revive": UniquenessException, "delete": NotFoundException}
"""How it is refused to repeat what has happened already."""


async def prepared(homeserver: LocalHomeserver, operation: str, name: str, steps: Steps | None = None) -> Person:
    """Return a person at whom an operation can be tried, with the given steps."""
    await application(homeserver).maintenance.start()
    for before in OPERATIONS[operation]:
        await getattr(Person(application(homeserver), name), before)()
    return Person(application(homeserver, steps), name)


async def outcomes(homeserver: LocalHomeserver, operation: str) -> tuple[str, str, list[str]]:
    """Return the states before and after an operation that nothing disturbs, and its steps."""
    steps = Steps()
    person = await prepared(homeserver, operation, "p0", steps)
    quiet = Person(application(homeserver), "p0")
    old = await quiet.state(homeserver)
    await getattr(person, operation)()
    return old, await quiet.state(homeserver), steps.taken


async def fail_everywhere(homeserver: LocalHomeserver, operation: str, when: When) -> None:
    """Let an operation fail at each step, and check that it has happened or has not, and succeeds when repeated."""
    old, new, taken = await outcomes(homeserver, operation)
    assert old != new
    for number, _step in enumerate(taken):
        name = f"p{number + 1}"
        person = await prepared(homeserver, operation, name, Steps(fail_at=number, when=when))
        quiet = Person(application(homeserver), name)
        answered = True
        try:
            await getattr(person, operation)()
        except SCIMException:
            answered = False
        if answered:
            # What was left to do is done by the next clean-up.
            await quiet.application.maintenance.start()
        else:
            assert await quiet.state(homeserver) in {old, new, with_new_password(old)}
        await repeated(homeserver, quiet, operation, new)


async def crash_everywhere(homeserver: LocalHomeserver, operation: str, when: When) -> None:
    """Let the process die at each step of an operation, and check what the next start makes of it."""
    old, new, taken = await outcomes(homeserver, operation)
    for number, _step in enumerate(taken):
        name = f"p{number + 1}"
        person = await prepared(homeserver, operation, name, Steps(fail_at=number, when=when, crash=True))
        with pytest.raises(Crash):
            await getattr(person, operation)()
        quiet = Person(application(homeserver), name)
        # Whoever sees the write sees that it is recorded, before anybody has cleaned up.
        recorded = await quiet.told_of(operation)
        assert recorded in ([], ["done"])
        assert recorded or await quiet.state(homeserver) != new
        await quiet.application.maintenance.start()
        state, ended = await quiet.state(homeserver), await quiet.told_of(operation)
        assert ended in ([], ["undone"]) if state != new else ended in (recorded or ["done"], ["finished"])
        assert state in {old, new, with_new_password(old)}
        await repeated(homeserver, quiet, operation, new)


async def repeat_everywhere(homeserver: LocalHomeserver, operation: str, when: When) -> None:
    """Let the process die at each step of an operation, and check that it succeeds when repeated."""
    _old, new, taken = await outcomes(homeserver, operation)
    for number, _step in enumerate(taken):
        name = f"p{number + 1}"
        person = await prepared(homeserver, operation, name, Steps(fail_at=number, when=when, crash=True))
        with pytest.raises(Crash):
            await getattr(person, operation)()
        await repeated(homeserver, Person(application(homeserver), name), operation, new)


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("operation", list(OPERATIONS))
async def test_a_repeated_request_makes_whole_what_a_crash_left(
    homeserver: LocalHomeserver, operation: str, when: When
) -> None:
    """The client need not wait for the next start: its next attempt cleans up, and succeeds."""
    await repeat_everywhere(homeserver, operation, when)


def with_new_password(state: str) -> str:
    """Return a state that differs in what cannot be undone: MAS has a new password before the write is certain."""
    seen = json.loads(state)
    if isinstance(seen["mas"], list):
        seen["mas"][2] = True
    return json.dumps(seen, sort_keys=True)


async def repeated(homeserver: LocalHomeserver, person: Person, operation: str, new: str) -> None:
    """Repeat a request, and check that its state is the new one and that nothing is left behind."""
    try:
        await getattr(person, operation)()
    except SCIMException as error:
        # It had happened already; then it must have happened whole.
        assert isinstance(error, IMPOSSIBLE_TWICE.get(operation, type(None)))  # noqa: PT017 - or it succeeds
    assert await person.state(homeserver) == new
    await person.application.maintenance.start()
    assert await person.state(homeserver) == new
    assert await person.application.store.writer.unfinished() == []
    outcomes = [outcome for outcome in await person.told_of(operation) if outcome != "undone"]
    assert outcomes in (["done"], ["finished"])
