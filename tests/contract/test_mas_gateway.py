"""The gateway to Matrix Authentication Service: what it promises of each change."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.defer import DeferredList, ensureDeferred

from synapse_scim.accounts import AccountChangeRefused, ExternalId, InvalidUserId, Threepid, Unavailable
from synapse_scim.homeserver.mas import MasAccounts
from synapse_scim.module import ScimModule
from synapse_scim.steps import (
    AddExternalId,
    AddThreepid,
    DatabaseChange,
    Deactivate,
    EndSessions,
    RemoveExternalId,
    RemoveThreepid,
    SetLocked,
    SetPassword,
)
from tests.support.databases import Databases
from tests.support.homeserver import LocalHomeserver
from tests.support.mas import PROVIDER_IDS, AuthenticationService
from tests.support.mas_state import Email, Link, Session
from tests.support.mas_troubles import Disturbance

pytestmark = [pytest.mark.usefixtures("mas"), pytest.mark.homeserver(module_config={"sso": {"idp_id": "oidc-corp"}})]

ANN = "@ann:example.org"
EMAIL = Threepid("email", "ann@corp.example")
SUBJECT = ExternalId("oidc-corp", "7")


class Gateway:
    """The gateway, called as the module calls it."""

    def __init__(self, homeserver: LocalHomeserver) -> None:
        """Call a homeserver's."""
        config = ScimModule.parse_config({"sso": {"idp_id": "oidc-corp"}, **homeserver.delegation})
        assert config.mas is not None
        self.accounts = MasAccounts(homeserver.hs, config.mas)
        self._homeserver = homeserver

    async def change(self, change: DatabaseChange) -> None:
        """Make a change to Ann."""
        with self._homeserver._context():
            await self.accounts.change_elsewhere(ANN, change)

    async def finish(self, change: Any) -> None:
        """Make a change to Ann that nothing undoes."""
        with self._homeserver._context():
            await self.accounts.finish(ANN, change)


@pytest.fixture
def gateway(homeserver: LocalHomeserver) -> Gateway:
    """The gateway to the accounts of `homeserver`."""
    return Gateway(homeserver)


async def test_repeating_a_change_does_no_harm(gateway: Gateway, mas: AuthenticationService) -> None:
    """After a crash nobody knows whether a change was made, so it is made again."""
    ann = await mas.register("ann")
    steps: list[tuple[DatabaseChange, Any]] = [
        (AddThreepid(EMAIL), lambda: mas.state.emails_of(ann.id) == [EMAIL.address]),
        (AddExternalId(SUBJECT), lambda: mas.state.links_of(ann.id) == {(PROVIDER_IDS[0], "7")}),
        (SetLocked(locked=True), lambda: ann.locked_at is not None),
        (SetLocked(locked=False), lambda: ann.locked_at is None),
        (SetPassword("hash", "correct horse"), lambda: ann.password == "correct horse"),
        (RemoveThreepid(EMAIL), lambda: mas.state.emails_of(ann.id) == []),
        (RemoveExternalId(SUBJECT), lambda: mas.state.links_of(ann.id) == set()),
    ]
    for change, is_made in steps:
        for _ in range(2):
            await gateway.change(change)
            assert is_made()


@pytest.mark.homeserver(config={"allow_underscore_prefixed_localpart": True})
async def test_names_that_mas_refuses(
    homeserver: LocalHomeserver, gateway: Gateway, mas: AuthenticationService
) -> None:
    """Synapse may be told to allow names that MAS does not; of what Synapse does not allow, MAS is not asked."""
    for localpart in ("_ann", "123"):
        with homeserver._context(), pytest.raises(InvalidUserId, match="'userName' gives the user ID"):
            await gateway.accounts.register(gateway.accounts.registration(localpart, "Ann", None))

    assert mas.requested.count("POST users") == 1


def test_mas_hears_of_what_it_has(gateway: Gateway) -> None:
    """Phone numbers, and subjects of providers that it has no name for, are Synapse's alone."""
    here = (AddThreepid(Threepid("msisdn", "4930123456")), RemoveExternalId(ExternalId("oidc-old", "7")))
    there = (AddThreepid(EMAIL), RemoveExternalId(SUBJECT), SetLocked(locked=True), SetPassword(None))

    assert gateway.accounts.elsewhere((*here, *there)) == there


async def test_what_is_gone_already_is_removed(gateway: Gateway, mas: AuthenticationService) -> None:
    """Somebody else may have been faster; what does not say that it is gone is not believed."""
    await mas.register("ann")
    await gateway.change(AddThreepid(EMAIL))
    mas.disturb("DELETE user-emails/.*", Disturbance.unknown, times=1)
    await gateway.change(RemoveThreepid(EMAIL))

    for disturbance in (Disturbance.other, Disturbance.odd):
        mas.disturb("DELETE user-emails/.*", disturbance, times=1)
        with pytest.raises(Unavailable):
            await gateway.change(RemoveThreepid(EMAIL))


async def test_sessions_that_end_meanwhile(gateway: Gateway, mas: AuthenticationService) -> None:
    """A session that somebody else has ended keeps none of the others; one that MAS does not end is not passed over."""
    ann = await mas.register("ann")
    sessions = [Session(kind="user-session", user_id=ann.id) for _ in range(2)]
    mas.state.sessions.update({session.id: session for session in sessions})
    mas.disturb("POST user-sessions/.*/finish", Disturbance.odd, times=1)
    with pytest.raises(Unavailable):
        await gateway.finish(EndSessions())
    assert [session.finished_at is None for session in sessions] == [True, True]
    mas.disturb("POST user-sessions/.*/finish", Disturbance.unknown, times=1)

    await gateway.finish(EndSessions())

    assert [session.finished_at is None for session in sessions] == [True, False]


@pytest.mark.parametrize(
    ("path", "change"),
    [("user-emails", RemoveThreepid(EMAIL)), ("upstream-oauth-links", RemoveExternalId(SUBJECT))],
)
async def test_nothing_of_anybody_else_is_removed(
    path: str, change: DatabaseChange, gateway: Gateway, mas: AuthenticationService
) -> None:
    """If MAS lists more than it was asked for, as one that does not know a filter would, nothing is removed."""
    await mas.register("ann")
    bob = await mas.register("bob")
    link = Link(provider_id=PROVIDER_IDS[0], subject="7", user_id=bob.id)
    mas.state.links[link.id] = link
    email = Email(user_id=bob.id, email=EMAIL.address)
    mas.state.emails[email.id] = email
    mas.api.ignored_filters.add("filter[user]")

    with pytest.raises(Unavailable):
        await gateway.change(change)

    assert f"GET {path}" in mas.requested
    assert (mas.state.emails_of(bob.id), len(mas.state.links_of(bob.id))) == ([EMAIL.address], 1)


async def test_whoever_waits_for_a_token_shares_the_failure(gateway: Gateway, mas: AuthenticationService) -> None:
    """Those who come while a token is fetched wait no longer than the first, even if MAS does not answer."""
    await mas.register("ann")
    mas.disturb("POST /oauth2/token", Disturbance.unreachable, times=1)

    waiting = [ensureDeferred(gateway.change(AddThreepid(EMAIL))) for _ in range(5)]
    failures = [succeeded for succeeded, _ in await DeferredList(waiting, consumeErrors=True)]

    assert failures == [False] * 5
    assert "GET users/by-username/ann" not in mas.requested
    await gateway.change(AddThreepid(EMAIL))


async def test_a_list_without_end(gateway: Gateway, mas: AuthenticationService) -> None:
    """If a page is the one before once more, as behind a proxy that drops the query, nobody reads on for ever."""
    ann = await mas.register("ann")
    sessions = [Session(kind="user-session", user_id=ann.id) for _ in range(101)]
    mas.state.sessions.update({session.id: session for session in sessions})
    mas.api.ignored_filters.add("page[after]")

    with pytest.raises(Unavailable):
        await gateway.finish(EndSessions())

    mas.api.ignored_filters.clear()
    await gateway.finish(EndSessions())
    assert all(session.finished_at for session in sessions)


@pytest.mark.homeserver(engine="postgres")
@pytest.mark.expected_errors("Rollback failed", "Connection lost", "Background process", "server closed", "Error")
async def test_a_database_that_is_away(
    homeserver: LocalHomeserver, gateway: Gateway, mas: AuthenticationService, databases: Databases
) -> None:
    """Whatever waits for Synapse's database, which MAS may have found, is to be tried again."""
    await mas.register("ann")
    with homeserver._context():
        await gateway.accounts.register(gateway.accounts.registration("bob", "Bob", None))
    databases.postgresql.suspend()
    try:
        with homeserver._context():
            for waiting in (
                gateway.accounts.finish(ANN, Deactivate(erase=False)),
                gateway.accounts.give_up(ANN),
                gateway.accounts.register(gateway.accounts.registration("ann", "Ann", None), "given up"),
            ):
                with pytest.raises(Unavailable, match="database does not answer"):
                    await waiting
    finally:
        databases.postgresql.resume()


async def test_without_passwords_there_is_none_to_remove(gateway: Gateway, mas: AuthenticationService) -> None:
    """And none to set."""
    await mas.register("ann")
    mas.api.has_passwords = False

    await gateway.change(SetPassword(None))
    with pytest.raises(AccountChangeRefused, match="keeps no passwords"):
        await gateway.change(SetPassword("hash", "correct horse"))


@pytest.mark.parametrize(
    ("path", "change"),
    [("users/.*/set-password", SetPassword("hash", "x")), ("upstream-oauth-links", AddExternalId(SUBJECT))],
)
async def test_refusals_that_nobody_described(
    path: str, change: DatabaseChange, gateway: Gateway, mas: AuthenticationService
) -> None:
    """Something is wrong with the service then, not with what was asked."""
    await mas.register("ann")
    mas.disturb(f"POST {path}", Disturbance.odd)

    with pytest.raises(Unavailable):
        await gateway.change(change)
