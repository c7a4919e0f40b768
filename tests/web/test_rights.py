"""Whom a client may see, change and take over: the clients of an administrator's configuration, each with its rights.

The rights stand below the web, and so do these tests: they act as a client whose credential has been checked.
"""

from __future__ import annotations

import json
from typing import Any

import attrs
import pytest
from scim2_models import SCIMException
from scim2_server.requests import ScimRequest
from scim2_server.responses import ScimResponse

from synapse_scim.application import Application, build
from synapse_scim.config import Config, Sso
from synapse_scim.protocol.handler import Handler
from synapse_scim.protocol.presentation import encoded
from synapse_scim.store.rights import Rights
from synapse_scim.store.users import UserStorage
from synapse_scim.subject import Scope, Subject
from tests.support.homeserver import LocalHomeserver
from tests.support.runner import BlockingRunner
from tests.web.clients import ENTERPRISE, MATRIX, SERVER, Synapse, new_user, patch_of, url_of, without_meta

ANN = "@ann:example.org"
LOCAL: dict[str, Any] = {
    "displayname": "Ann",
    "avatar_url": "mxc://example.org/face",
    "password": "correct horse",
    "threepids": [{"medium": "email", "address": "ann@x.example"}, {"medium": "msisdn", "address": "4930123456"}],
    "external_ids": [
        {"auth_provider": "oidc-corp", "external_id": "C1"},
        {"auth_provider": "oidc-hr", "external_id": "H1"},
    ],
}
TITLE = {"op": "replace", "path": "title", "value": "Dr"}


@pytest.fixture
def application(homeserver: LocalHomeserver, runner: BlockingRunner) -> Application:
    """SCIM with two provisioning domains, each with a single sign-on provider."""
    application = build(Config(sso=Sso(providers={"default": "oidc-corp", "hr": "oidc-hr"})), homeserver.hs)
    runner.run(application.maintenance.start())
    return application


@attrs.frozen
class Client:
    """Somebody whose credential was accepted."""

    application: Application
    subject: Subject

    async def request(self, method: str, path: str, body: Any = None) -> ScimResponse:
        """Send a request, and return the answer, be it an error."""
        service, store = self.application.service, self.application.store
        request = ScimRequest(
            method,
            f"{SERVER}/_scim",
            path.partition("?")[0],
            query={"filter": path.partition("?")[2]} if "?" in path else {},
            headers={"Content-Type": "application/scim+json"},
            body=b"" if body is None else json.dumps(body).encode(),
            subject=self.subject,
        )
        rights = Rights(subject=self.subject, protected=(), users=store.users)
        try:
            return await Handler(service, UserStorage(store, rights)).handle(request)
        except SCIMException as error:
            return service.error_response(error)

    async def user(self, method: str, path: str, body: Any = None) -> dict[str, Any]:
        """Send a request that must succeed, and return the User of the answer."""
        response = await self.request(method, path, body)
        assert response.status in {200, 201}, response.body
        user: dict[str, Any] = json.loads(encoded(response.body or {}))
        return user

    async def names(self) -> list[str]:
        """Return the userNames of the Users that the client sees."""
        page = await self.user("GET", "/Users")
        assert page["totalResults"] == len(page["Resources"])
        return sorted(user["userName"] for user in page["Resources"])

    async def writes(self, user_id: str, user: dict[str, Any]) -> list[tuple[str, int]]:
        """Try every way to write to a User, and return the status of each, with its method."""
        return [
            (method, int((await self.request(method, url_of(user_id), body)).status))
            for method, body in (("PUT", user), ("PATCH", patch_of(TITLE)), ("PATCH", patch_of()), ("DELETE", None))
        ]


def client(application: Application, name: str = "okta", **rights: Any) -> Client:
    """Return a client with some rights."""
    return Client(application, Subject(name=name, **rights))


@pytest.mark.usefixtures("engine")
async def test_a_client_may_see_its_own_domain_alone(application: Application, synapse: Synapse) -> None:
    """With `visibility: own` everybody else is not there: not in lists, not by id, not by writes (documentation)."""
    await synapse.change("@local:example.org", displayname="Local")
    corp, hr = client(application, visibility="own"), client(application, domain="hr", visibility="own")
    bob = await corp.user("POST", "/Users", new_user("bob", externalId="7"))
    cat = await hr.user("POST", "/Users", new_user("cat", externalId="7"))

    assert (await corp.names(), await hr.names()) == (["bob"], ["cat"])
    assert (await corp.user("GET", '/Users?externalId eq "7"'))["Resources"] == [bob]
    for hidden in (cat["id"], "@local:example.org", "@admin:example.org"):
        assert (await corp.request("GET", url_of(hidden))).status == 404
        assert {status for _, status in await corp.writes(hidden, new_user("x"))} == {404}
    assert await hr.user("GET", url_of(cat["id"])) == cat
    everybody = client(application)
    assert await everybody.names() == ["admin", "bob", "cat", "local"]
    assert await client(application, visibility="managed").names() == ["bob", "cat"]


@pytest.mark.usefixtures("engine")
async def test_an_account_belongs_to_the_domain_that_made_it(application: Application) -> None:
    """Clients of other domains read it, and do not write to it: 403, and nothing changes (documentation)."""
    corp, hr = client(application), client(application, domain="hr", adopt="any")
    bob = await corp.user("POST", "/Users", new_user("bob", externalId="7"))

    assert await hr.user("GET", url_of(bob["id"])) == bob
    assert await hr.writes(bob["id"], bob) == [("PUT", 403), ("PATCH", 403), ("PATCH", 403), ("DELETE", 403)]
    refused = await hr.request("PATCH", url_of(bob["id"]), patch_of(TITLE))
    assert "belongs to another provisioning domain" in str(refused.body)
    assert (await hr.request("POST", "/Users", new_user("BOB"))).status == 409

    assert await corp.user("GET", url_of(bob["id"])) == bob
    # An externalId is the domain's own matter; a localpart is not.
    other = await hr.user("POST", "/Users", new_user("bob@hr.example", externalId="7"))
    assert other["id"] == "@bob2:example.org"


VERIFIED: dict[str, dict[str, Any]] = {
    "default": {"externalId": "C1"},
    "hr": {"externalId": "H1"},
    "mail": {"emails": [{"value": "Ann@X.example", "type": "work"}]},
}
UNVERIFIED: dict[str, dict[str, Any]] = {
    "nothing": {},
    "another provider's subject": {"externalId": "H1"},
    "an e-mail of nobody": {"emails": [{"value": "ann@y.example"}]},
    "a phone number": {"phoneNumbers": [{"value": "+49 30 123456"}]},
}


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH"])
@pytest.mark.parametrize("proof", list(VERIFIED))
async def test_a_verified_person_is_adopted(
    application: Application, synapse: Synapse, proof: str, method: str
) -> None:
    """A bound e-mail of the request, or the domain's single sign-on identity, tells whose account it is.

    What the request does not speak of stays (documentation).
    """
    await synapse.change(ANN, **LOCAL)
    token = await synapse.token("ann", LOCAL["password"])
    okta = client(application, domain="hr" if proof == "hr" else "default")
    was, before = await okta.user("GET", url_of(ANN)), await synapse.account(ANN)
    stated = VERIFIED[proof]
    match method:
        case "POST":
            path, body = "/Users", new_user("ann", title=None, nickName="Annie", **stated)
        case "PUT":
            path, body = url_of(ANN), new_user("ann", nickName="Annie", displayName="Ann", **stated)
        case _:
            path, body = url_of(ANN), patch_of({"op": "add", "value": {"nickName": "Annie", **stated}})

    user = await okta.user(method, path, body)

    assert user == await okta.user("GET", url_of(ANN))
    assert user[MATRIX] == {**was[MATRIX], "managed": True}
    assert (user["id"], user["displayName"], user["nickName"]) == (ANN, "Ann", "Annie")
    after = await synapse.account(ANN)
    assert {**after, "last_seen_ts": None, "threepids": None} == {**before, "last_seen_ts": None, "threepids": None}
    assert await synapse.threepids(ANN) == {("email", "ann@x.example"), ("msisdn", "4930123456")}
    assert (await synapse.whoami(token)).status == 200
    other = client(application, domain="default" if proof == "hr" else "hr", adopt="any")
    assert {status for _, status in await other.writes(ANN, user)} == {403}


@pytest.mark.parametrize("stated", [*UNVERIFIED.values()], ids=[*UNVERIFIED])
async def test_a_stranger_is_not_adopted(application: Application, synapse: Synapse, stated: dict[str, Any]) -> None:
    """Without proof an account that SCIM did not make is out of reach: 409 for POST, 403 else (documentation).

    The detail says what an administrator can do, and nothing changes.
    """
    await synapse.change(ANN, **LOCAL)
    okta = client(application)
    was, before = await okta.user("GET", url_of(ANN)), await synapse.account(ANN)
    user = new_user("ann", displayName="Mallory", **stated)

    posted = await okta.request("POST", "/Users", user)
    assert posted.status == 409
    assert {"scimType": "uniqueness"}.items() <= dict(posted.body or {}).items()
    for response in (
        posted,
        await okta.request("PUT", url_of(ANN), user),
        await okta.request("PUT", url_of(ANN), {**without_meta(was), "emails": [], "externalId": "", **stated}),
        await okta.request("PATCH", url_of(ANN), patch_of(TITLE, {"op": "add", "value": {"title": "Dr", **stated}})),
        await okta.request("PATCH", url_of(ANN), patch_of({"op": "remove", "path": "emails"})),
        await okta.request("PATCH", url_of(ANN), patch_of({"op": "replace", "path": "active", "value": False})),
        await okta.request("DELETE", url_of(ANN)),
    ):
        assert response.status == (409 if response is posted else 403)
        assert "A server administrator can adopt it" in str(response.body)

    assert await okta.user("GET", url_of(ANN)) == was
    assert {**await synapse.account(ANN), "last_seen_ts": None} == {**before, "last_seen_ts": None}


async def test_adoption_can_be_free_or_forbidden(application: Application, synapse: Synapse) -> None:
    """`adopt: any` asks for no proof, and `never` takes none (documentation)."""
    await synapse.change(ANN, **LOCAL)
    never, free = client(application, adopt="never"), client(application, adopt="any")
    proven = new_user("ann", externalId="C1", emails=[{"value": "ann@x.example"}])

    assert (await never.request("POST", "/Users", proven)).status == 409
    assert {status for _, status in await never.writes(ANN, proven)} == {403}
    assert (await free.user("GET", url_of(ANN)))[MATRIX]["managed"] is False

    adopted = await free.user("POST", "/Users", new_user("ann", **{ENTERPRISE: {"department": "Sales"}}))
    assert (adopted["id"], adopted[MATRIX]["managed"], adopted["displayName"]) == (ANN, True, "Ann")
    # What SCIM manages is written by every client of the domain.
    assert (await never.user("PATCH", url_of(ANN), patch_of(TITLE)))["title"] == "Dr"


@pytest.mark.parametrize("visibility", ["managed", "own"])
async def test_who_is_not_seen_can_be_adopted(application: Application, synapse: Synapse, visibility: str) -> None:
    """A client that sees no unmanaged accounts takes one over by a POST, or is told why it cannot (documentation)."""
    await synapse.change(ANN, **LOCAL)
    okta = client(application, visibility=visibility)

    refused = await okta.request("POST", "/Users", new_user("ann"))
    assert refused.status == 409
    assert "A server administrator can adopt it" in str(refused.body)
    assert await okta.names() == []

    adopted = await okta.user("POST", "/Users", new_user("ann", externalId="C1"))
    assert await okta.user("GET", url_of(ANN)) == adopted
    assert await okta.names() == ["ann"]


async def test_scopes_say_what_a_credential_is_good_for(application: Application) -> None:
    """Who lacks a scope is told which one: 403 (documentation)."""
    reader = client(application, scopes=frozenset({Scope.users_read}))
    writer = client(application, scopes=frozenset({Scope.users_write}))
    await writer.user("POST", "/Users", new_user("bob"))

    for stranger, method, path, scope in (
        (reader, "POST", "/Users", "users:write"),
        (reader, "DELETE", url_of("@bob:example.org"), "users:write"),
        (writer, "GET", "/Users", "users:read"),
        (writer, "POST", "/Users/.search", "users:read"),
    ):
        response = await stranger.request(method, path, new_user("cat") if path == "/Users" else {})
        assert response.status == 403
        assert scope in str(response.body)
    assert await reader.names() == ["bob"]


async def test_a_client_is_nobody(application: Application) -> None:
    """`/Me` is the account of an access token; a client's credential is no account's: 404 (documentation)."""
    response = await client(application).request("GET", "/Me")

    assert response.status == 404
    assert "belongs to no user" in str(response.body)


async def test_nobody_writes_to_the_account_that_asks(application: Application) -> None:
    """The account whose token makes a request is not its to change, server administrator or not (documentation)."""
    await client(application).user("POST", "/Users", new_user("bob"))
    bob = client(application, user_id="@bob:example.org")

    assert {status for _, status in await bob.writes("@bob:example.org", new_user("bob"))} == {403}
    assert (await bob.request("GET", url_of("@bob:example.org"))).status == 200
