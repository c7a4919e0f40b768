"""Whom a client may see, change and take over: clients of the configuration, each with rights of its own."""

from __future__ import annotations

import json
from typing import Any

import pytest
from scim2_models import SCIMException
from scim2_server.requests import ScimRequest

from synapse_scim.application import build
from synapse_scim.config import Config
from synapse_scim.protocol.handler import Handler
from synapse_scim.store.rights import Rights
from synapse_scim.store.users import UserStorage
from synapse_scim.subject import Subject
from tests.web.clients import (
    ENTERPRISE,
    MATRIX,
    SERVER,
    STABLE,
    Admin,
    Scim,
    Synapse,
    assert_error,
    assert_scim,
    bulk_of,
    new_user,
    patch_of,
    url_of,
    without_meta,
)
from tests.web.tokens import client, token_of

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

CLIENTS: dict[str, dict[str, Any]] = {
    "corp": {},
    "corp-managed": {"visibility": "managed"},
    "corp-own": {"visibility": "own"},
    "corp-any": {"adopt": "any"},
    "corp-never": {"adopt": "never"},
    "hr": {"domain": "hr"},
    "hr-own": {"domain": "hr", "visibility": "own"},
    "hr-any": {"domain": "hr", "adopt": "any"},
    "reader": {"scopes": ["users:read"]},
    "writer": {"scopes": ["users:write"]},
}
CONFIG: dict[str, Any] = {
    # Two provisioning domains, each with a single sign-on provider.
    "sso": {"idp_id": "oidc-corp", "domains": {"hr": "oidc-hr"}},
    "clients": [client(name, **rights) for name, rights in CLIENTS.items()],
}

pytestmark = [pytest.mark.usefixtures("owner"), pytest.mark.homeserver(module_config=CONFIG)]


class Client(Scim):
    """A client of the configuration."""

    async def user(self, method: str, path: str, body: Any = None) -> dict[str, Any]:
        """Send a request that must succeed, and return the User of the answer."""
        response = await self.request(method, path, body)
        user: dict[str, Any] = assert_scim(response, 201 if response.status == 201 else 200)
        return user

    async def writes(self, user_id: str, user: dict[str, Any]) -> list[tuple[str, int]]:
        """Try every way to write to a User, and return the status of each, with its method."""
        one_by_one = [
            (method, (await self.request(method, url_of(user_id), body)).status)
            for method, body in (("PUT", user), ("PATCH", patch_of(TITLE)), ("PATCH", patch_of()), ("DELETE", None))
        ]
        bulk = bulk_of(
            {"method": "PUT", "path": url_of(user_id), "data": user},
            {"method": "PATCH", "path": url_of(user_id), "data": patch_of(TITLE)},
            {"method": "DELETE", "path": url_of(user_id)},
        )
        answer = assert_scim(await self.post("/Bulk", bulk), 200)
        return one_by_one + [(f"bulk {o['method']}", int(o["status"])) for o in answer["Operations"]]


class Clients:
    """The clients of the configuration, by their names."""

    def __init__(self, url: str) -> None:
        """Know the clients of a homeserver."""
        self._url = url

    def __getitem__(self, name: str) -> Client:
        """Return a client."""
        return Client(self._url, token_of(name), STABLE)


@pytest.fixture
def clients(admin: Admin) -> Clients:
    """The clients of the configuration."""
    return Clients(admin.homeserver.url)


@pytest.mark.usefixtures("engine")
async def test_a_client_may_see_its_own_domain_alone(clients: Clients, synapse: Synapse) -> None:
    """With `visibility: own` everybody else is not there: not in lists, not by id, not by writes (documentation)."""
    await synapse.change("@local:example.org", displayname="Local")
    corp, hr = clients["corp-own"], clients["hr-own"]
    bob = await corp.user("POST", "/Users", new_user("bob", externalId="7"))
    cat = await hr.user("POST", "/Users", new_user("cat", externalId="7"))

    assert (await corp.names(), await hr.names()) == (["bob"], ["cat"])
    assert await corp.users(filter='externalId eq "7"') == [bob]
    for hidden in (cat["id"], "@local:example.org", "@admin:example.org"):
        assert_error(await corp.get(url_of(hidden)), 404)
        assert {status for _, status in await corp.writes(hidden, new_user("x"))} == {404}
    assert await hr.user("GET", url_of(cat["id"])) == cat
    for searching in ("/Users/.search", "/.search"):
        assert assert_scim(await corp.post(searching, {}), 200)["totalResults"] == 1
    assert sorted(await clients["corp"].names()) == ["admin", "bob", "cat", "local"]
    assert sorted(await clients["corp-managed"].names()) == ["bob", "cat"]
    for hidden in ("@local:example.org", "@admin:example.org"):
        assert_error(await clients["corp-managed"].get(url_of(hidden)), 404)


@pytest.mark.usefixtures("engine")
async def test_an_account_belongs_to_the_domain_that_made_it(clients: Clients) -> None:
    """Clients of other domains read it, and do not write to it: 403, and nothing changes (documentation)."""
    corp, hr = clients["corp"], clients["hr-any"]
    bob = await corp.user("POST", "/Users", new_user("bob", externalId="7"))

    assert await hr.user("GET", url_of(bob["id"])) == bob
    assert {status for _, status in await hr.writes(bob["id"], bob)} == {403}
    assert_error(await hr.patch(bob["id"], TITLE), 403, naming="belongs to another provisioning domain")
    assert_error(await hr.post("/Users", new_user("BOB")), 409, "uniqueness")

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
async def test_a_verified_person_is_adopted(clients: Clients, synapse: Synapse, proof: str, method: str) -> None:
    """A bound e-mail of the request, or the domain's single sign-on identity, tells whose account it is.

    What the request does not speak of stays (documentation).
    """
    await synapse.change(ANN, **LOCAL)
    token = await synapse.token("ann", LOCAL["password"])
    okta = clients["hr" if proof == "hr" else "corp"]
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
    other = clients["corp-any" if proof == "hr" else "hr-any"]
    assert {status for _, status in await other.writes(ANN, user)} == {403}


@pytest.mark.parametrize("stated", [*UNVERIFIED.values()], ids=[*UNVERIFIED])
async def test_a_stranger_is_not_adopted(clients: Clients, synapse: Synapse, stated: dict[str, Any]) -> None:
    """Without proof an account that SCIM did not make is out of reach: 409 for POST, 403 else (documentation).

    The detail says what an administrator can do, and nothing changes.
    """
    await synapse.change(ANN, **LOCAL)
    okta = clients["corp"]
    was, before = await okta.user("GET", url_of(ANN)), await synapse.account(ANN)
    user = new_user("ann", displayName="Mallory", **stated)

    adoptable = "A server administrator can adopt it"
    assert_error(await okta.post("/Users", user), 409, "uniqueness", naming=adoptable)
    for response in (
        await okta.put(ANN, user),
        await okta.put(ANN, {**without_meta(was), "emails": [], "externalId": "", **stated}),
        await okta.patch(ANN, TITLE, {"op": "add", "value": {"title": "Dr", **stated}}),
        await okta.patch(ANN, {"op": "remove", "path": "emails"}),
        await okta.patch(ANN, {"op": "replace", "path": "active", "value": False}),
        await okta.delete(ANN),
    ):
        assert_error(response, 403, naming=adoptable)

    assert await okta.user("GET", url_of(ANN)) == was
    assert {**await synapse.account(ANN), "last_seen_ts": None} == {**before, "last_seen_ts": None}


async def test_adoption_can_be_free_or_forbidden(clients: Clients, synapse: Synapse) -> None:
    """`adopt: any` asks for no proof, and `never` takes none (documentation)."""
    await synapse.change(ANN, **LOCAL)
    never, free = clients["corp-never"], clients["corp-any"]
    proven = new_user("ann", externalId="C1", emails=[{"value": "ann@x.example"}])

    assert_error(await never.post("/Users", proven), 409, "uniqueness")
    assert {status for _, status in await never.writes(ANN, proven)} == {403}
    assert (await free.user("GET", url_of(ANN)))[MATRIX]["managed"] is False

    adopted = await free.user("POST", "/Users", new_user("ann", **{ENTERPRISE: {"department": "Sales"}}))
    assert (adopted["id"], adopted[MATRIX]["managed"], adopted["displayName"]) == (ANN, True, "Ann")
    # What SCIM manages is written by every client of the domain.
    assert (await never.user("PATCH", url_of(ANN), patch_of(TITLE)))["title"] == "Dr"


@pytest.mark.parametrize("visibility", ["managed", "own"])
async def test_who_is_not_seen_can_be_adopted(clients: Clients, synapse: Synapse, visibility: str) -> None:
    """A client that sees no unmanaged accounts takes one over by a POST, or is told why it cannot (documentation)."""
    await synapse.change(ANN, **LOCAL)
    okta = clients[f"corp-{visibility}"]

    refused = await okta.post("/Users", new_user("ann"))
    assert_error(refused, 409, "uniqueness", naming="A server administrator can adopt it")
    assert await okta.names() == []

    adopted = await okta.user("POST", "/Users", new_user("ann", externalId="C1"))
    assert await okta.user("GET", url_of(ANN)) == adopted
    assert await okta.names() == ["ann"]


async def test_a_reader_does_nothing_else(clients: Clients) -> None:
    """Who lacks a scope is told which one: 403, and nothing changes (documentation)."""
    bob = await clients["corp"].create("bob")
    reader = clients["reader"]

    assert {status for _, status in await reader.writes(bob["id"], bob)} == {403}
    assert_error(await reader.post("/Users", new_user("cat")), 403, naming="users:write")
    created = bulk_of({"method": "POST", "path": "/Users", "bulkId": "1", "data": new_user("cat")})
    (operation,) = assert_scim(await reader.post("/Bulk", created), 200)["Operations"]
    assert (operation["status"], operation["response"]["status"]) == ("403", "403")

    assert sorted(await reader.names()) == ["admin", "bob"]
    assert await reader.read(bob["id"]) == bob
    assert assert_scim(await reader.post("/.search", {"filter": 'userName eq "bob"'}), 200)["Resources"] == [bob]


async def test_a_writer_reads_no_more_than_it_wrote(clients: Clients) -> None:
    """Without `users:read` nobody is listed or looked up; the answer to a write is all there is (documentation)."""
    writer = clients["writer"]
    bob = await writer.create("bob")

    for response in (
        await writer.get("/Users"),
        await writer.get(url_of(bob["id"])),
        await writer.post("/Users/.search", {}),
    ):
        assert_error(response, 403, naming="users:read")
    assert_error(await writer.post("/.search", {}), 403)
    assert (await writer.patched(bob["id"], TITLE))["title"] == "Dr"


async def test_a_client_is_nobody(clients: Clients) -> None:
    """`/Me` is the account of an access token; a client's credential is no account's: 404 (documentation)."""
    for method, body in (("GET", None), ("PUT", new_user("me")), ("PATCH", patch_of(TITLE)), ("DELETE", None)):
        assert_error(await clients["corp"].request(method, "/Me", body), 404, naming="belongs to no user")


async def test_another_domains_single_sign_on_is_out_of_reach(clients: Clients, synapse: Synapse) -> None:
    """An externalId is recorded for the provider of the client's own domain, whatever others have (documentation).

    So a client cannot make the login of another domain's person open an account of its own, nor take theirs away.
    """
    corp, hr = clients["corp"], clients["hr-any"]
    bob = await corp.create("bob", externalId="X1")
    assert await external_ids(synapse, bob["id"]) == {("oidc-corp", "X1")}

    mallory = await hr.create("mallory", externalId="X1")
    await hr.patched(mallory["id"], {"op": "replace", "path": "externalId", "value": "C9"})
    await hr.patched(mallory["id"], {"op": "replace", "path": "externalId", "value": "X1"})

    assert await external_ids(synapse, mallory["id"]) == {("oidc-hr", "X1")}
    assert await external_ids(synapse, bob["id"]) == {("oidc-corp", "X1")}
    # Within a domain there is one of each, managed or not.
    await synapse.change(ANN, **LOCAL)
    assert_error(await corp.post("/Users", new_user("other", externalId="X1")), 409, "uniqueness")
    assert_error(await hr.post("/Users", new_user("other", externalId="H1")), 409, "uniqueness")
    assert (await corp.create("other", externalId="H1"))["externalId"] == "H1"
    assert await external_ids(synapse, ANN) == {("oidc-corp", "C1"), ("oidc-hr", "H1")}


async def external_ids(synapse: Synapse, user_id: str) -> set[tuple[str, str]]:
    """Return whom single sign-on takes an account's owner for, at which provider."""
    external_ids = (await synapse.account(user_id))["external_ids"]
    return {(external_id["auth_provider"], external_id["external_id"]) for external_id in external_ids}


@pytest.mark.homeserver(module_config=CONFIG | {"read_only": True})
async def test_read_only_stops_every_client(clients: Clients, synapse: Synapse) -> None:
    """With `read_only: true` no credential writes, whatever its scopes and rights (documentation)."""
    await synapse.change(ANN, **LOCAL)
    before = await synapse.account(ANN)
    for name in ("corp", "corp-any", "hr-any", "writer"):
        for method, path, body in (
            ("POST", "/Users", new_user("cat")),
            ("PUT", url_of(ANN), new_user("ann", externalId="C1")),
            ("PATCH", url_of(ANN), patch_of(TITLE)),
            ("DELETE", url_of(ANN), None),
            ("POST", "/Bulk", bulk_of({"method": "DELETE", "path": url_of(ANN)})),
        ):
            assert_error(await clients[name].request(method, path, body), 403, naming="read_only")
    assert sorted(await clients["corp"].names()) == ["admin", "ann"]
    assert {**await synapse.account(ANN), "last_seen_ts": None} == {**before, "last_seen_ts": None}


@pytest.mark.homeserver(module_config=CONFIG | {"protected": ["@emergency:.*"]})
async def test_nobody_writes_to_protected_accounts(clients: Clients, synapse: Synapse) -> None:
    """Server administrators, and whom the configuration names, are read and not written, by any client."""
    await synapse.change("@emergency:example.org", displayname="Emergency")
    for user_id in ("@admin:example.org", "@emergency:example.org"):
        for name in ("corp-any", "hr-any"):
            user = await clients[name].read(user_id)
            assert {status for _, status in await clients[name].writes(user_id, user)} == {403}
            assert_error(await clients[name].post("/Users", user), 403)


async def test_nobody_writes_to_the_account_that_asks(admin: Admin, clients: Clients) -> None:
    """The account whose token makes a request is not its to change, server administrator or not (documentation).

    Whoever ceases to be one between the check of the token and the write is still who asks: this test stands in there.
    """
    bob = await clients["corp"].create("bob")
    application = build(Config(), admin.homeserver.hs)
    store, subject = application.store, Subject(name=bob["id"], user_id=bob["id"])
    storage = UserStorage(store, Rights(subject=subject, protected=(), users=store.users))
    endpoint = application.endpoint
    handler = Handler(
        application.service, storage, admit=endpoint.limits.admit_bulk, ensure_open=endpoint.activity.ensure_open
    )

    for method, body in (("PUT", new_user("bob")), ("PATCH", patch_of(TITLE)), ("PATCH", patch_of()), ("DELETE", None)):
        request = ScimRequest(
            method,
            f"{SERVER}{STABLE}",
            url_of(bob["id"]),
            headers={"Content-Type": "application/scim+json"},
            body=b"" if body is None else json.dumps(body).encode(),
            subject=subject,
        )
        with pytest.raises(SCIMException, match="is the one whose access token makes this request") as refused:
            await handler.handle(request)
        assert refused.value.status == 403
    assert await clients["corp"].read(bob["id"]) == bob
