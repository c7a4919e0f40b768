"""Who may call, and what everybody else is told."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import treq
import yaml
from twisted.internet import reactor
from twisted.web.client import Agent, HTTPConnectionPool
from twisted.web.http_headers import Headers

from tests.conftest import Owner
from tests.support.client import Response
from tests.support.configuration import scim_module
from tests.support.homeserver import LocalHomeserver, StartHomeserver
from tests.web.clients import STABLE, UNSTABLE, Admin, Scim, Synapse, assert_error, assert_scim, new_user

DISCOVERY = (
    "/ServiceProviderConfig",
    "/ResourceTypes",
    "/ResourceTypes/User",
    "/Schemas",
    "/Schemas/urn:ietf:params:scim:schemas:core:2.0:User",
)
PROTECTED = (
    ("GET", "/Users"),
    ("POST", "/Users"),
    ("GET", "/Users/@ann:example.org"),
    ("PUT", "/Users/@ann:example.org"),
    ("PATCH", "/Users/@ann:example.org"),
    ("DELETE", "/Users/@ann:example.org"),
    ("POST", "/Users/.search"),
    ("POST", "/.search"),
    ("GET", "/Me"),
    ("POST", "/Bulk"),
    ("GET", ""),
)


def assert_unauthenticated(response: Response) -> None:
    """Check that an answer is a 401 with a challenge."""
    assert_error(response, 401)
    assert response.headers["www-authenticate"].startswith("Bearer")


async def test_every_endpoint_asks_for_a_token(homeserver: LocalHomeserver) -> None:
    """Without a token nothing is told but a SCIM error with a challenge (RFC 7644 §2, RFC 9110 §15.5.2)."""
    for prefix in (STABLE, UNSTABLE):
        client = Scim(homeserver.url, None, prefix)
        for method, path in PROTECTED:
            body = b"{}" if method in {"POST", "PUT", "PATCH"} else None
            assert_unauthenticated(await client.request(method, path, body=body))


async def test_what_is_no_bearer_token_of_somebody_is_refused(admin: Admin) -> None:
    """Credentials of another form, or nobody's, are 401 (RFC 6750 §3.1), an admin's token in the wrong form too."""
    token = admin.token
    for header in ("", "Bearer", "Bearer ", "Bearer unknown", "Basic YWRtaW46c2VjcmV0", f"Token {token}"):
        assert_unauthenticated(await admin.scim.get("/Users", headers={"Authorization": header}))
    for header in (token, f"Bearer {token} {token}", f"Bearer {token}, Bearer {token}", f"Bearer {token}\xe9"):
        assert_unauthenticated(await admin.scim.get("/Users", headers={"Authorization": header}))


async def test_two_authorization_headers_are_refused(admin: Admin) -> None:
    """A request names one caller (RFC 9110 §11.6.2): two headers are refused, whichever comes first."""
    agent = Agent(reactor, pool=HTTPConnectionPool(reactor, persistent=False))
    for values in ([admin.token, "unknown"], ["unknown", admin.token], [admin.token, admin.token]):
        headers = Headers({"Authorization": [f"Bearer {value}" for value in values]})
        answer = await agent.request(b"GET", f"{admin.homeserver.url}{STABLE}/Users".encode(), headers)
        await treq.content(answer)
        assert answer.code == 401


async def test_scheme_has_no_case(admin: Admin) -> None:
    """`bearer` is as good as `Bearer` (RFC 9110 §11.1), though Synapse itself wants the latter."""
    for scheme in ("Bearer", "bearer", "BEARER"):
        response = await admin.scim.get("/Users", headers={"Authorization": f"{scheme} {admin.token}"})
        assert_scim(response, 200)


async def test_token_in_the_query_is_refused(admin: Admin) -> None:
    """Query strings are logged: a token there is refused, even beside a valid header (RFC 6750 §2.3)."""
    for name in ("access_token", "Access_Token"):
        for headers in ({}, {"Authorization": None}):
            response = await admin.scim.get(f"/Users?{name}={admin.token}", headers=headers)
            assert_unauthenticated(response)


@pytest.mark.usefixtures("owner")
async def test_tokens_that_stopped_working_are_refused(admin: Admin) -> None:
    """The token of an admin is 401 once it is expired, or its account deactivated or locked (the documentation)."""
    homeserver, synapse = admin.homeserver, admin.synapse
    expired = await homeserver.register("expired", admin=True)
    auth = homeserver.hs.get_auth_handler()
    with homeserver._context():
        expired_token = await auth.create_access_token_for_user_id(expired, None, valid_until_ms=1)
    tokens = [expired_token]
    for localpart, change in (("gone", {"deactivated": True}), ("locked", {"locked": True})):
        user_id = await homeserver.register(localpart, admin=True)
        tokens.append(await homeserver.access_token(user_id))
        assert_scim(await Scim(homeserver.url, tokens[-1], STABLE).get("/Users"), 200)
        await synapse.change(user_id, **change)

    for token in tokens:
        assert_unauthenticated(await Scim(homeserver.url, token, STABLE).get("/Users"))


@pytest.mark.homeserver(config={"allow_guest_access": True})
async def test_people_who_do_not_administer_the_server_are_refused(owner: Owner, admin: Admin) -> None:
    """A valid token is not enough: only server admins that nobody restricted may call (the documentation).

    MAS has no guests.
    """
    homeserver, synapse = admin.homeserver, admin.synapse
    tokens = {"person": await homeserver.access_token(await homeserver.register("person"))}
    if owner == "synapse":
        guest = await synapse.request("POST", "/_matrix/client/v3/register?kind=guest", {})
        tokens["guest"] = guest.json["access_token"]
    for name, method, path in (
        ("suspended", "PUT", "/_synapse/admin/v1/suspend/@suspended:example.org"),
        ("shadow", "POST", "/_synapse/admin/v1/users/@shadow:example.org/shadow_ban"),
    ):
        tokens[name] = await homeserver.access_token(await homeserver.register(name, admin=True))
        assert (await synapse.request(method, path, {"suspend": True})).status == 200

    for token in tokens.values():
        client = Scim(homeserver.url, token, STABLE)
        assert_error(await client.get("/Users"), 403)
        assert_error(await client.post("/Users", new_user("jdoe")), 403)
    assert await admin.scim.names('userName eq "jdoe"') == []


async def test_application_services_are_refused(start_homeserver: StartHomeserver, tmp_path: Path) -> None:
    """The token of an appservice is no person's, even where it speaks for an admin (the documentation)."""
    registration = {
        "id": "bridge",
        "url": None,
        "as_token": "the-bridge",
        "hs_token": "the-server",
        "sender_localpart": "bridge",
        "namespaces": {"users": [{"regex": "@admin:.*", "exclusive": False}]},
    }
    (tmp_path / "bridge.yaml").write_text(yaml.safe_dump(registration))
    homeserver = await start_homeserver(config={"app_service_config_files": [str(tmp_path / "bridge.yaml")]})
    await homeserver.register("admin", admin=True)
    bridge = Scim(homeserver.url, "the-bridge", STABLE)

    for path in ("/Users", "/Users?user_id=@admin:example.org", "/Me?user_id=@admin:example.org"):
        assert_error(await bridge.get(path), 403)


async def test_discovery_needs_no_token(homeserver: LocalHomeserver) -> None:
    """Discovery says nothing of anybody, and anybody may ask, whatever token they have (RFC 7644 §4)."""
    for prefix in (STABLE, UNSTABLE):
        for token in (None, "unknown"):
            client = Scim(homeserver.url, token, prefix)
            for path in DISCOVERY:
                assert_scim(await client.get(path), 200)


@pytest.mark.homeserver(module_config={"admin_tokens": False})
async def test_admin_tokens_can_be_turned_off(admin: Admin) -> None:
    """With `admin_tokens: false` a server admin's token is nobody's, and is not announced (the documentation)."""
    assert_unauthenticated(await admin.scim.get("/Users"))
    config = assert_scim(await admin.scim.get("/ServiceProviderConfig"), 200)
    assert not config.get("authenticationSchemes")


@pytest.mark.homeserver(module_config={"read_only": True})
async def test_read_only_refuses_every_write(scim: Scim, synapse: Synapse) -> None:
    """With `read_only: true` every write is 403, in bulk too, and reading works (the documentation)."""
    await synapse.change("@ann:example.org", displayname="Ann")
    before = await scim.users()
    ann = await scim.read("@ann:example.org")
    rename: dict[str, Any] = {"op": "replace", "path": "displayName", "value": "Anna"}
    assert (await scim.post("/.search", {"filter": 'userName eq "ann"'})).json["totalResults"] == 1

    assert_error(await scim.post("/Users", new_user("jdoe")), 403, naming="read_only")
    assert_error(await scim.put(ann["id"], {**ann, "displayName": "Anna"}), 403)
    assert_error(await scim.put(ann["id"], ann), 403)
    assert_error(await scim.patch(ann["id"], rename), 403)
    assert_error(await scim.delete(ann["id"]), 403)
    operation = {"method": "POST", "path": "/Users", "bulkId": "a", "data": new_user("jdoe")}
    bulk = await scim.post("/Bulk", {"Operations": [operation]})
    assert bulk.status == 403 or [o["status"] for o in bulk.json["Operations"]] == ["403"]

    assert await scim.users() == before


@pytest.mark.homeserver(module_config={"read_only": True})
async def test_read_only_announces_no_writes(scim: Scim) -> None:
    """What does not work is not announced: PATCH, bulk requests, new passwords (the documentation, RFC 7643 §5)."""
    config = assert_scim(await scim.get("/ServiceProviderConfig"), 200)

    announced = {name: config[name]["supported"] for name in ("patch", "bulk", "changePassword", "filter", "sort")}
    assert announced == {"patch": False, "bulk": False, "changePassword": False, "filter": True, "sort": True}


async def test_callers_are_named_in_no_other_tests_words(start_homeserver: StartHomeserver) -> None:
    """The token is never logged, nor any part of what it is compared with (the documentation)."""
    admin = await Admin.of(await start_homeserver(module=scim_module()))

    assert_scim(await admin.scim.get("/Users"), 200)
    assert_unauthenticated(await Scim(admin.homeserver.url, "a-wrong-token", STABLE).get("/Users"))

    logged = "\n".join(record.getMessage() for record in admin.homeserver.log_records)
    assert admin.token not in logged
    assert "a-wrong-token" not in logged
